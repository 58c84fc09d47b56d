"""Hostile load test of the feature server: whether small requests are answered rightly and soon among bad ones.

python -m zoo.tools.hostile_test --model=simclr_convnet_fashion_mnist.e15 --seconds=600
python -m zoo.tools.hostile_test --model=simclr_convnet_fashion_mnist.e15 --seconds=30 --kinds=pixels,rows

Starts `zoo-serve` on a temporary serving folder. Two clients, over REST and gRPC, send single images as numbers and as
files, first alone and then among strangers, who send what `KINDS` lists from a process of their own. Prints JSON:
`dead` is 1 if the server ended or no longer answers, `wrong` and `lost` count the answers to the clients that were
false or missing, `unexpected` the answers to strangers with a status that is not among those expected; latencies are
those of the clients. The exit status is 1 where one of these is not 0, or where `p99_ms` exceeds `--p99_ms`.
Clients, strangers and the server share the machine, which should otherwise be idle.
"""

import base64
import collections
import concurrent.futures
import http.client
import io
import json
import multiprocessing
import os
import pathlib
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from absl import flags

from zoo.tools import bench, config, load_test

FLAGS = flags.FLAGS
_GOOD, _BAD, _BUSY = {"200", "OK"}, {"400", "INVALID_ARGUMENT"}, {"503", "504", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
# Kind of request -> the statuses that are right. A request that is given up has none.
KINDS = {
    "pixels": _GOOD | _BUSY,  # nine images of 25 megapixels in 300 KB
    "palettes": _GOOD | _BUSY,  # the same with palettes, which Pillow decodes
    "images": _GOOD | _BUSY,  # a thousand images of 0.2 megapixels
    "rows": _GOOD | _BUSY,  # a thousand images as numbers
    "empty_lists": _BAD,  # five million in 15 MB
    "nested_lists": _BAD,
    "truncated": _BAD | _BUSY,  # a JPEG without its second half, behind good images
    "garbage": _BAD,
    "half": {"gone"},  # half of a body, then the end of the connection
    "given_up": {"gone"},  # the connection ends before the answer
}
_SIDE = 4999


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_string("model", None, "Name of a published model, or a model folder.", required=True)
    flags.DEFINE_float("seconds", 600, "Seconds of the hostile load.", lower_bound=1)
    flags.DEFINE_integer("strangers", 8, "Number of concurrent strangers.", lower_bound=1)
    flags.DEFINE_list("kinds", list(KINDS), f"Kinds of hostile requests, among {', '.join(KINDS)}.")
    flags.DEFINE_float("p99_ms", 250, "Milliseconds that p99 may have; 0 for any.", lower_bound=0)
    flags.DEFINE_string("out", None, "JSON file to write as well.")


class Bodies:
    """The requests of strangers, for both APIs.

    Args:
        name: of the model.
        shape: `[H, W, C]` of the model's images.
    """

    def __init__(self, name, shape):
        import numpy as np

        large = _image("L", _SIDE, "PNG")
        self._files = {
            "pixels": [large] * 9,
            "palettes": [_image("P", _SIDE, "PNG")] * 9,
            "images": [_image("L", 450, "PNG")] * 1000,
            "truncated": [_image("L", 64, "PNG")] * 3 + [_image("RGB", 640, "JPEG")[:3000]],
            "garbage": [b"\0no image"],
            "given_up": [large] * 9,
        }
        self._rows = np.random.default_rng(1).random((1000, *shape), np.float32)
        made = {kind: _of_files(files) for kind, files in self._files.items()}
        made["rows"] = json.dumps({"instances": self._rows.tolist()}).encode()
        made["empty_lists"] = b'{"instances": [%s]}' % b",".join([b"[]"] * 5_000_000)
        made["nested_lists"] = b'{"instances": %s' % (b"[" * 15_000_000)
        made["half"] = made["rows"]
        self.rest = made
        self.grpc = {kind: self._message(name, kind) for kind in KINDS}

    def _message(self, name, kind):
        from zoo.serving import messages_pb2, tensors

        request = messages_pb2.PredictRequest(model_spec=messages_pb2.ModelSpec(name=name))
        if kind in self._files:
            request.model_spec.signature_name = "encode_bytes"
            request.inputs["image_bytes"] = tensors.to_bytes(tensors.strings(self._files[kind]))
        else:
            request.inputs["images"] = tensors.to_bytes(self._rows)
        # A message of as many empty fields is what lists are to JSON.
        return request.SerializeToString() + (b"\x1a\0" * 7_000_000 if kind.endswith("_lists") else b"")


def _image(mode, side, form):
    from PIL import Image

    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, form)
    return file.getvalue()


def _of_files(files):
    instances = [{"b64": base64.b64encode(data).decode()} for data in files]
    return json.dumps({"signature_name": "encode_bytes", "instances": instances}).encode()


def _rest(address, name, kind, bodies, chance):
    """Sends a request over REST; returns the status and the message of an error."""
    place, path, body = urllib.parse.urlsplit(address).netloc, f"/v1/models/{name}:predict", bodies.rest[kind]
    if kind == "garbage" and chance.random() < 0.5:
        body = chance.randbytes(chance.randrange(1, 100_000))
    if KINDS[kind] == {"gone"}:
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=90) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head + body[: len(body) // 2 if kind == "half" else None])
            time.sleep(chance.random() / 5)
        return "gone", ""
    connection = http.client.HTTPConnection(place, timeout=90)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        text = answer.read()
        return str(answer.status), "" if answer.status == 200 else text.decode()
    finally:
        connection.close()


def _grpc(address, kind, bodies, chance):
    """Sends a request over gRPC; returns the status and the message of an error."""
    import grpc

    data = bodies.grpc[kind]
    if kind == "garbage" and chance.random() < 0.5:
        data = chance.randbytes(chance.randrange(1, 100_000))
    with grpc.insecure_channel(address.partition("://")[2]) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        future = call.future(data, timeout=90)
        if KINDS[kind] == {"gone"}:
            time.sleep(chance.random() / 5)
            future.cancel()
            return "gone", ""
        error = future.exception()
        return ("OK", "") if error is None else (error.code().name, error.details())


def _attack(addresses, name, shape, kinds, seconds, strangers, ready):
    """Sends hostile requests for some seconds; returns the statuses by kind, with an example of each unexpected one."""
    os.nice(10)  # as if they had a machine of their own
    bodies, seen, lock = Bodies(name, shape), collections.Counter(), threading.Lock()
    examples = {}
    ready.set()
    until = time.monotonic() + seconds

    def stranger(seed):
        chance = random.Random(seed)
        while time.monotonic() < until:
            kind, api = chance.choice(kinds), chance.choice(list(addresses))
            try:
                if api == "REST":
                    code, words = _rest(addresses[api], name, kind, bodies, chance)
                else:
                    code, words = _grpc(addresses[api], kind, bodies, chance)
            # A server that refuses a body may end the connection while it is sent.
            except (ConnectionError, http.client.RemoteDisconnected):
                code, words = "closed", ""
            except Exception as error:
                code, words = type(error).__name__, str(error)
            is_right = code in KINDS[kind] or (code == "closed" and "gone" in KINDS[kind])
            if kind == "truncated" and code in _BAD:
                is_right = "Image 3: expected a whole JPEG image" in words
            with lock:
                seen[kind, api, code, is_right] += 1
                if not is_right:
                    examples.setdefault(f"{kind} over {api}: {code}", words[:300])
            if code in _BUSY:
                time.sleep(0.05)

    with concurrent.futures.ThreadPoolExecutor(strangers) as pool:
        list(pool.map(stranger, range(strangers)))
    return list(seen.items()), examples


def _client(work, address, name, until, seen):
    """Sends small requests until a time; notes milliseconds, and what was wrong with the answers."""
    import numpy as np

    from zoo.serving import client

    chance = random.Random(address)
    with client.Client(address, name, retries=0) as encoder:
        while time.monotonic() < until:
            kind, index = chance.choice(("numbers", "files")), chance.randrange(len(work.files))
            began = time.perf_counter()
            try:
                answer = encoder(work.images(kind, index, 1))
            except Exception as error:
                seen["lost"] += 1
                print(f"lost: {address} {kind}: {error}", file=sys.stderr, flush=True)
                time.sleep(0.05)
                continue
            seen["ms"].append(1000 * (time.perf_counter() - began))
            expected = work.answers[kind][0][index : index + 1]
            is_right = work.right(kind, index, 1, answer)
            seen["wrong"] += not is_right
            if is_right:
                seen["difference"] = max(seen["difference"], float(np.abs(answer - expected).max()))


def _clients(work, addresses, name, seconds):
    """Returns what the clients saw, one of each API, in some seconds."""
    until, seen = time.monotonic() + seconds, []
    with concurrent.futures.ThreadPoolExecutor(len(addresses)) as pool:
        running = []
        for address in addresses.values():
            seen.append({"ms": [], "lost": 0, "wrong": 0, "difference": 0.0})
            running.append(pool.submit(_client, work, address, name, until, seen[-1]))
        for future in running:
            future.result()
    return seen


def _summary(seen, prefix=""):
    """Returns counts and latencies of clients by name."""
    import numpy as np

    ms = (
        np.concatenate([counts["ms"] for counts in seen])
        if any(counts["ms"] for counts in seen)
        else np.array([np.inf])
    )
    p50, p99 = np.percentile(ms, (50, 99))
    times = {"p50_ms": p50, "p99_ms": p99, "max_ms": ms.max()}
    return {
        f"{prefix}requests": sum(len(counts["ms"]) for counts in seen),
        **{f"{prefix}{what}": sum(counts[what] for counts in seen) for what in ("wrong", "lost")},
        **{f"{prefix}{what}": round(float(value), 1) for what, value in times.items()},
    }


def measured(source, seconds, strangers=8, kinds=tuple(KINDS)):
    """Returns the record of a hostile load on a server of a model.

    Args:
        source: folder of the model.
        seconds: of the load.
        strangers: how many send hostile requests at a time.
        kinds: keys of `KINDS`.
    """
    from zoo.hub import cards
    from zoo.serving import deployment

    card, spawn = cards.read(source), multiprocessing.get_context("spawn")
    name, shape = card["name"], card["input"]["shape"]
    work = load_test.Work(source, source)
    with tempfile.TemporaryDirectory(prefix="zoo-hostile-test.") as place, spawn.Manager() as manager:
        folder = pathlib.Path(place) / "served"
        deployment.copy(source, folder, name, 1)
        deployment.configure(folder)
        server = load_test.Server(folder, "--nolog_requests")
        try:
            alone = _clients(work, server.addresses, name, min(5, seconds / 2))
            ready = manager.Event()
            with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
                attack = pool.submit(_attack, server.addresses, name, shape, kinds, seconds, strangers, ready)
                while not ready.wait(0.1) and not attack.done():
                    pass
                among = _clients(work, server.addresses, name, seconds)
                statuses, examples = attack.result()
            is_dead = server.process.poll() is not None or not _is_live(server.addresses["REST"])
            megabytes = 0.0 if is_dead else bench.held("VmHWM", server.process.pid)
        finally:
            code = server.end()
    counts: dict = {kind: {} for kind in kinds}
    for (kind, api, status, _), count in sorted(statuses):
        counts[kind][f"{api} {status}"] = counts[kind].get(f"{api} {status}", 0) + count
    return {
        "dead": int(is_dead or code != 0),
        **_summary(among),
        "unexpected": sum(count for (*_, is_right), count in statuses if not is_right),
        **_summary(alone, "alone_"),
        "largest_difference": max(found["difference"] for found in (*among, *alone)),
        "seconds": seconds,
        "strangers": strangers,
        "mb_peak": round(megabytes, 1),
        "hostile": counts,
        "examples": examples,
    }


def _is_live(address):
    try:
        with urllib.request.urlopen(f"{address}/health/live", timeout=60) as answer:
            return answer.status == 200
    except OSError:
        return False


def check(kinds):
    """Refuses kinds of requests that there are not."""
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"--kinds: expected some of {', '.join(KINDS)}. Received: {', '.join(kinds) or 'none'}.")


def main(argv):
    """Runs the test, prints the record and writes it."""
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from zoo import files
    from zoo.hub import cards

    check(FLAGS.kinds)
    busy = round(os.getloadavg()[0], 1)  # other load makes all latencies worse
    found = measured(cards.find(FLAGS.model), FLAGS.seconds, FLAGS.strangers, FLAGS.kinds)
    command = config.command("python -m zoo.tools.hostile_test", FLAGS)
    record = {"command": command, "hardware": load_test.hardware(), "machine_load": busy, **found}
    text = json.dumps(record, indent=1)
    print(text)
    if FLAGS.out:
        out = pathlib.Path(FLAGS.out).expanduser()
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write(out, text + "\n")
    is_slow = FLAGS.p99_ms and record["p99_ms"] > FLAGS.p99_ms
    return int(is_slow or any(record[what] for what in ("dead", "wrong", "lost", "unexpected")))


def cli():
    """Runs the hostile load test."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
