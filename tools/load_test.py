"""Load test of the feature server: measures latency and memory, and checks every answer.

python -m zoo.tools.load_test --model=simclr_convnet_fashion_mnist.e15 --seconds=600 --out=serving.json

Starts `zoo-serve` on a temporary serving folder. First it sends batches of 32, over gRPC and REST, as numbers and as
image files, alternating with the same call of the SavedModel in this process. Then clients of all four kinds send
batches of 1, 7 and 32 concurrently. Every tenth request is malformed and must get its error. Every minute a new version
takes over: alternately the model itself and one with fresh weights, so that an answer made of both is noticed. An
answer that neither of them gives counts as wrong. Clients and server share the machine, which should otherwise be idle.
The exit status is 1 if an answer was lost or wrong, if the version never changed, or if the server's memory grew by a
tenth after the first quarter.
"""

import concurrent.futures
import json
import os
import pathlib
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import flags

from zoo.tools import bench, config

FLAGS = flags.FLAGS
BATCHES = (1, 7, 32)
ROUNDS = 40
TOLERANCE = 1e-5
_KEPT = ("name", "description", "license", "citation", "input")


def define_flags():
    """Defines this program's flags."""
    flags.DEFINE_string("model", None, "Name of a published model, or a model folder.", required=True)
    flags.DEFINE_float("seconds", 600, "Seconds of the concurrent load.", lower_bound=1)
    flags.DEFINE_integer("clients", 4, "Number of concurrent clients.", lower_bound=1)
    flags.DEFINE_float("reload_seconds", 60, "Seconds between new versions.", lower_bound=1)
    flags.DEFINE_string("out", None, "JSON file to write; by default nothing is written.")


def hardware():
    """Returns the machine in words."""
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"


class Server:
    """A `zoo-serve` process, which `end` stops."""

    def __init__(self, folder, *flags):
        self._ports, self._log = folder / "ports.json", open(folder / "server.log", "ab")  # noqa: SIM115
        self._ports.unlink(missing_ok=True)
        command = [sys.executable, "-m", "zoo.tools.serve", f"--model={folder}", "--port=0", "--grpc_port=0"]
        command.append(f"--port_file={self._ports}")
        began = time.perf_counter()
        self.process = subprocess.Popen([*command, *flags], stdout=self._log, stderr=self._log)
        while not self._ports.exists():
            if self.process.poll() is not None:
                raise ValueError(f"load_test: the server did not start.\n{(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.01)
        self.start_seconds = time.perf_counter() - began
        ports = json.loads(self._ports.read_text())
        self.addresses = {"gRPC": f"grpc://127.0.0.1:{ports['grpc']}", "REST": f"http://127.0.0.1:{ports['rest']}"}

    def megabytes(self):
        """Returns the megabytes of memory that the server holds now."""
        return bench.held("VmRSS", self.process.pid)

    def end(self, how=signal.SIGTERM):
        """Ends the server; returns its exit status."""
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self._log.close()
        return code


class Work:
    """Requests whose answers are known.

    Args:
        folder: folder of the model.
        other: folder of the model that takes turns with it.
    """

    def __init__(self, folder, other):
        import numpy as np
        import tensorflow as tf

        from zoo.hub import cards
        from zoo.serving import servable

        shape = cards.read(folder)["input"]["shape"]
        pixels = np.random.default_rng(0).integers(0, 256, (max(BATCHES), *shape), dtype=np.uint8)
        self.floats = pixels.astype("float32") / 255
        self.files = [tf.io.encode_png(image).numpy() for image in pixels]
        array = np.empty(len(self.files), object)
        array[:] = self.files
        model = servable.Servable("direct", 1, folder)
        self.direct = {
            "numbers": lambda: model.run(model.signature(), {"images": self.floats}),
            "files": lambda: model.run(model.signature("encode_bytes"), {"image_bytes": array}),
        }
        fresh = servable.Servable("fresh", 1, other)
        answers = fresh.run(fresh.signature(), {"images": self.floats})["embedding"]
        self.answers = {kind: (call()["embedding"], answers) for kind, call in self.direct.items()}

    def right(self, kind, start, count, answer):
        """Returns whether this is the answer of one of the two models."""
        import numpy as np

        wanted = [known[start : start + count] for known in self.answers[kind]]
        return any(answer.shape == known.shape and np.allclose(answer, known, atol=TOLERANCE) for known in wanted)

    def images(self, kind, start, count):
        """Returns a batch as the client takes it."""
        return (self.floats if kind == "numbers" else self.files)[start : start + count]


def overhead(work, clients):
    """Returns the median milliseconds of a batch of 32, by the SavedModel in this process and by the server."""
    import numpy as np

    calls = {("direct", kind): call for kind, call in work.direct.items()}
    for api, client in clients.items():
        for kind in work.direct:
            calls[api, kind] = lambda client=client, kind=kind: client(work.images(kind, 0, 32))
    times = {name: [] for name in calls}
    for index in range(ROUNDS + 3):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if index >= 3:
                times[name].append(1000 * (time.perf_counter() - began))
    rows = []
    for api in clients:
        for kind in work.direct:
            served, direct = np.array(times[api, kind]), np.array(times["direct", kind])
            quartiles = np.percentile(served - direct, (25, 75)) / np.median(direct) * 100
            rows.append(
                {
                    "api": api,
                    "images": kind,
                    "direct_ms": round(float(np.median(direct)), 2),
                    "served_ms": round(float(np.median(served)), 2),
                    "overhead_percent": round(float(np.median(served - direct) / np.median(direct) * 100), 1),
                    "overhead_quartiles": [round(float(percent), 1) for percent in quartiles],
                }
            )
    return rows


def _malformed(client, image):
    """Sends a malformed request; returns whether the answer is the right error."""
    import numpy as np

    from zoo.serving import status

    wrong = {
        "range": lambda: client(np.full((2, *image.shape), 255.0, np.float32)),
        "nan": lambda: client(np.full((1, *image.shape), np.nan, np.float32)),
        "shape": lambda: client(np.zeros((1, 3, 3, 3), np.float32)),
        "file": lambda: client([b"no image"]),
        "signature": lambda: client.predict("none", {"images": image[None]}),
        "type": lambda: client.predict("serving_default", {"images": np.array([b"x"], object)}),
    }
    try:
        wrong[random.choice(sorted(wrong))]()
    except status.ServingError as error:
        return error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    return False


def customer(work, address, name, api, until, seed):
    """Sends the requests of one client until a given time; returns counts and latencies."""
    from zoo.serving import client

    chance = random.Random(seed)
    seen = {"latencies": [], "images": 0, "requests": 0, "malformed": 0, "wrong": 0, "lost": 0, "unrefused": 0}
    with client.Client(address, name, retries=0) as encoder:
        while time.monotonic() < until:
            seen["requests"] += 1
            if chance.random() < 0.1:
                seen["malformed"] += 1
                seen["unrefused"] += not _malformed(encoder, work.floats[0])
                continue
            kind, count = chance.choice(("numbers", "files")), chance.choice(BATCHES)
            start = chance.randrange(len(work.files) - count + 1)
            began = time.perf_counter()
            try:
                answer = encoder(work.images(kind, start, count))
            except Exception as error:
                seen["lost"] += 1
                print(f"lost: {api} {kind} {count}: {error}", file=sys.stderr)
                continue
            seen["latencies"].append((api, kind, count, 1000 * (time.perf_counter() - began)))
            seen["wrong"] += not work.right(kind, start, count, answer)
            seen["images"] += count
    return seen


def mixed(work, server, sources, folder, name):
    """Returns what the clients saw under the concurrent load with reloads, and the server's memory."""
    import numpy as np

    from zoo.serving import client, deployment

    began = time.monotonic()
    until = began + FLAGS.seconds
    memory, version, served = [], 1, set()
    with concurrent.futures.ThreadPoolExecutor(FLAGS.clients) as pool:
        apis = [list(server.addresses)[index % 2] for index in range(FLAGS.clients)]
        running = [
            pool.submit(customer, work, server.addresses[api], name, api, until, index)
            for index, api in enumerate(apis)
        ]
        after = began + FLAGS.reload_seconds
        while time.monotonic() < until:
            time.sleep(1)
            memory.append(server.megabytes())
            with client.Client(server.addresses["gRPC"], name) as asks:
                served |= {number for number, state in asks.wait().items() if state == "AVAILABLE"}
            if time.monotonic() > after:
                version, after = version + 1, time.monotonic() + FLAGS.reload_seconds
                deployment.copy(sources[(version + 1) % 2], folder, name, version)
                print(f"{time.monotonic() - began:.0f} s: version {version}, {memory[-1]:.0f} MB", flush=True)
        seen = [future.result() for future in running]
    latencies = [measured for counts in seen for measured in counts["latencies"]]
    rows = []
    for api in server.addresses:
        for count in BATCHES:
            ms = [measured[3] for measured in latencies if measured[0] == api and measured[2] == count]
            if ms:
                p50, p99 = np.percentile(ms, (50, 99))
                row = {"api": api, "batch": count, "requests": len(ms)}
                rows.append({**row, "p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)})
    quarter = max(1, len(memory) // 4)
    totals = {what: sum(counts[what] for counts in seen) for what in seen[0] if what != "latencies"}
    return {
        **totals,
        "seconds": FLAGS.seconds,
        "clients": FLAGS.clients,
        "versions_served": len(served),
        "features_per_second": round(totals["images"] / FLAGS.seconds, 1),
        # The first quarter fills caches; growth after it would be a leak.
        "mb_second_quarter": round(float(np.median(memory[quarter : 2 * quarter])), 1),
        "mb_last_quarter": round(float(np.median(memory[-quarter:])), 1),
        "latencies": rows,
    }


def main(argv):
    """Runs both parts and writes the record."""
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from zoo import files
    from zoo.hub import cards, pretrained
    from zoo.serving import client, deployment, export

    busy = round(os.getloadavg()[0], 1)  # other load makes all numbers worse
    source = cards.find(FLAGS.model)
    name = cards.read(source)["name"]
    with tempfile.TemporaryDirectory(prefix="zoo-load-test.") as place:
        folder, fresh = pathlib.Path(place) / "served", pathlib.Path(place) / "fresh"
        export.export(pretrained.load(source, weights=None), fresh, {name: cards.read(source)[name] for name in _KEPT})
        work = Work(source, fresh)
        deployment.copy(source, folder, name, 1)
        deployment.configure(folder)
        server = Server(folder)
        starts = [server.start_seconds]
        connected = {api: client.Client(address, name) for api, address in server.addresses.items()}
        costs = overhead(work, connected)
        for connection in connected.values():
            connection.close()
        for row in costs:
            print(json.dumps(row), flush=True)
        load = mixed(work, server, (source, fresh), folder, name)
        print(json.dumps(load), flush=True)
        killed = server.end(signal.SIGKILL)
        server = Server(folder)
        starts.append(server.start_seconds)
        stopped = server.end()
    record = {
        "command": config.command("python -m zoo.tools.load_test", FLAGS),
        "hardware": hardware(),
        "machine_load": busy,
        "model": name,
        "start_seconds": round(starts[0], 2),
        "start_after_kill_seconds": round(starts[1], 2),
        "exit_codes": {"SIGKILL": killed, "SIGTERM": stopped},
        "overhead": costs,
        "load": load,
    }
    if FLAGS.out:
        out = pathlib.Path(FLAGS.out).expanduser()
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write(out, json.dumps(record, indent=1) + "\n")
        print(f"Wrote {out}.")
    failures = load["wrong"] + load["lost"] + load["unrefused"]
    grown = load["mb_last_quarter"] > 1.1 * load["mb_second_quarter"]
    if failures or grown or load["versions_served"] < 2:
        print(
            f"error: expected every request answered as it should be, several versions and steady memory. Received: "
            f"{failures} failures, {load['versions_served']} version(s), {load['mb_second_quarter']} MB, then "
            f"{load['mb_last_quarter']} MB.",
            file=sys.stderr,
        )
        return 1
    return 0


def cli():
    """Runs the load test."""
    define_flags()
    config.launch(main)


if __name__ == "__main__":
    cli()
