"""A feature server in a thread of a test, and one in a process of its own."""

import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import requests

from zoo.serving import server

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def running(models, **options):
    """The `server.Server` of models while it serves, on free ports."""
    made = server.Server(models, **{"port": 0, "grpc_port": None, "poll_seconds": None, **options})
    ready = threading.Event()
    thread = threading.Thread(target=made.run, args=(lambda ports: ready.set(),), daemon=True)
    thread.start()
    assert ready.wait(60), "the server does not start"
    try:
        yield made
    finally:
        made.stop()
        thread.join(60)
        assert not thread.is_alive(), "the server does not stop"


def until(condition, seconds=60):
    """Waits for a condition that will be true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def repeated(function):
    """Calls a function in a thread, again and again; what it raises is raised at the end."""
    stop, errors = threading.Event(), []

    def loop():
        try:
            while not stop.is_set():
                function()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


class Gate:
    """Models that wait: `calls` are the rows of every call of one, which is answered once the gate is open."""

    def __init__(self, made):
        self._open, self.calls = threading.Event(), []
        for name in made.repository.models:
            found = made.repository.find(name)
            found.run = functools.partial(self._run, found.run)

    def _run(self, run, signature, inputs):
        self.calls.append(max((len(array) for array in inputs.values() if array.ndim), default=1))
        assert self._open.wait(60)
        return run(signature, inputs)

    def open(self):
        self._open.set()


@contextlib.contextmanager
def gated(models, batch, **options):
    """A server, and the `Gate` of its models."""
    with running(models, batch=batch, **options) as made:
        gate = Gate(made)
        try:
            yield made, gate
        finally:
            gate.open()


def waiting(made):
    """How many rows wait, as the metrics tell."""
    page = requests.get(url(made, "/monitoring/prometheus/metrics"), timeout=60).text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith("zoo_serving_waiting_rows "))


@contextlib.contextmanager
def process(*flags, folder):
    """The process of `zoo-serve`, once it serves, and its ports; killed at the end if it still runs."""
    ports = pathlib.Path(folder) / "ports.json"
    ports.unlink(missing_ok=True)
    command = [sys.executable, "-m", "zoo.tools.serve", "--port=0", "--grpc_port=0", f"--port_file={ports}", *flags]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with open(pathlib.Path(folder) / "log.txt", "a+") as log:
        made = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=log)
        try:
            while not ports.exists():
                assert made.poll() is None, pathlib.Path(log.name).read_text()[-3000:]
                time.sleep(0.05)
            yield made, json.loads(ports.read_text())
        finally:
            made.kill()
            made.wait()


def url(made, path=""):
    """Where a server, or the ports of one, answers REST."""
    ports = made if isinstance(made, dict) else made.ports
    return f"http://127.0.0.1:{ports['rest']}{path}"


def predict(made, name, document, **options):
    """Status and body of a prediction."""
    response = requests.post(url(made, f"/v1/models/{name}:predict"), json=document, timeout=60, **options)
    return response.status_code, response.json()
