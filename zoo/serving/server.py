"""The feature server: models from a repository, over HTTP and gRPC, until it is asked to stop.

A machine without `tensorflow_model_server` serves the same folders with the same API.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import sys
import time

import uvicorn
from uvicorn.protocols.http import h11_impl

from zoo import files
from zoo.serving import batching, grpc_api, limits, metrics, predictor, repository, rest

LOG = logging.getLogger("zoo.serving")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and what is known of it."""

    def format(self, record):
        """The line of a record; what it brings as `extra={"fields": {...}}` stands beside the event."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to(stream=None, requests=True):
    """Makes the server's events JSON lines.

    Args:
        stream: where they go; standard error by default.
        requests: whether every request is told, not only what goes wrong with the server.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    if not requests:
        handler.addFilter(lambda record: record.getMessage() != "request")
    for logger, level in ((LOG, logging.INFO), (logging.getLogger("uvicorn"), logging.WARNING)):
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _Connection(h11_impl.H11Protocol):
    """A connection that ends when no request comes, or only a part of its head, or no answer is read, for too long."""

    header_seconds = limits.Limits.header_seconds
    answer_seconds = limits.Limits.answer_seconds

    def connection_made(self, transport):
        super().connection_made(transport)
        self._seen = self._unread = None
        self._patience = self.loop.call_later(self.header_seconds, self._look)

    def connection_lost(self, exc):
        self._patience.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self):
        super().pause_writing()
        # To close it would be to wait until the answer is read.
        self._unread = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self):
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def _look(self):
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle if idle else self._seen
        self._patience = self.loop.call_later(self.header_seconds, self._look)


class _Http(uvicorn.Server):
    """Uvicorn without signal handlers of its own: HTTP and gRPC stop together."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class Server:
    """Both services over one repository.

    Args:
        models: `repository.Model`s.
        host: address to listen on.
        port: of REST; 0 for any that is free, None for no REST.
        grpc_port: of gRPC; likewise.
        batch: `batching.Batching`.
        bounds: `limits.Limits`.
        poll_seconds: between looks at the folders; None for no reloads.
        metrics_path: where Prometheus finds its page; None for nowhere.

    Raises:
        ValueError: no port, or a model of which no version can be loaded.
    """

    def __init__(
        self,
        models,
        host="127.0.0.1",
        port=8501,
        grpc_port=8500,
        batch=None,
        bounds=None,
        poll_seconds=1.0,
        metrics_path=metrics.PATH,
    ):
        if port is None and grpc_port is None:
            raise ValueError("Server: expected a port for REST, for gRPC or for both. Received: none.")
        if poll_seconds is not None and not poll_seconds > 0:
            raise ValueError(f"Server: expected `poll_seconds` > 0 or None. Received: poll_seconds={poll_seconds}.")
        self._began = time.perf_counter()
        self.host, self.ports = host, {"rest": port, "grpc": grpc_port}
        self.batch, self.bounds = batch or batching.Batching(), bounds or limits.Limits()
        self._poll_seconds, self._metrics_path = poll_seconds, metrics_path
        self.repository = repository.Repository(models)
        self.repository.poll()
        if self.repository.failures():
            raise ValueError(
                "serve: expected a version to serve of every model. " + "; ".join(self.repository.failures())
            )
        self._stop, self._loop, self._asked = None, None, False

    def run(self, ready=lambda ports: None):
        """Serves until SIGTERM, SIGINT or `stop`; requests under way are answered first.

        Args:
            ready: called with the ports, `{"rest": ..., "grpc": ...}`, once both listen.
        """
        asyncio.run(self._run(ready))

    def stop(self):
        """Asks the server to stop; from any thread."""
        self._asked = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _run(self, ready):
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._asked:
            self._stop.set()
        for name in (signal.SIGTERM, signal.SIGINT):
            # Not in threads other than the main one, where tests run it.
            with contextlib.suppress(ValueError, RuntimeError):
                self._loop.add_signal_handler(name, self._stop.set)
        _allow_connections()
        pool = concurrent.futures.ThreadPoolExecutor(self.batch.num_batch_threads, thread_name_prefix="model")
        counts = metrics.Metrics(lambda: batcher.waiting)
        batcher = batching.Batcher(self.batch, pool, counts.call)
        predicts = predictor.Predictor(self.repository, batcher, self.bounds, counts)
        running = [await self._start_rest(predicts), await self._start_grpc(predicts)]
        watch = self._loop.create_task(self._watch()) if self._poll_seconds else None
        LOG.info(
            "serving",
            extra={
                "fields": {
                    "host": self.host,
                    **self.ports,
                    "models": sorted(self.repository.models),
                    "load_seconds": round(time.perf_counter() - self._began, 2),
                }
            },
        )
        ready(dict(self.ports))
        await self._stop.wait()
        LOG.info("draining", extra={"fields": {"seconds": self.bounds.drain_seconds}})
        if watch:
            watch.cancel()
        await asyncio.gather(*(end() for end in running if end))
        pool.shutdown(wait=False, cancel_futures=True)
        LOG.info("stopped")

    async def _start_rest(self, predicts):
        if self.ports["rest"] is None:
            return None
        listening = socket.create_server((self.host, self.ports["rest"]), family=_family(self.host), backlog=2048)
        self.ports["rest"] = listening.getsockname()[1]
        app = rest.App(predicts, self._metrics_path)
        patience = {"header_seconds": self.bounds.header_seconds, "answer_seconds": self.bounds.answer_seconds}
        kind = type("Connection", (_Connection,), patience)
        config = uvicorn.Config(
            app,
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=self.bounds.connections,
            timeout_keep_alive=self.bounds.header_seconds,
            timeout_graceful_shutdown=self.bounds.drain_seconds,
        )
        http = _Http(config)
        serving = self._loop.create_task(http.serve([listening]))
        while not http.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)

        async def end():
            http.should_exit = True
            await serving

        return end

    async def _start_grpc(self, predicts):
        if self.ports["grpc"] is None:
            return None
        made, healthy = grpc_api.server(predicts)
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.ports["grpc"] = made.add_insecure_port(f"{host}:{self.ports['grpc']}")
        except RuntimeError as error:
            raise OSError(f"--grpc_port: expected a free port. Received: {self.ports['grpc']} ({error}).") from error
        await made.start()
        for name in ("", "tensorflow.serving.PredictionService"):
            await healthy.set(name, grpc_api.SERVING)

        async def end():
            await healthy.enter_graceful_shutdown()
            await made.stop(self.bounds.drain_seconds)

        return end

    async def _watch(self):
        """Looks for new versions, in a thread: loading takes seconds."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await asyncio.to_thread(self.repository.poll)
            except Exception:
                LOG.exception("could not look at the models")


def _family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _allow_connections():
    """Raises the limit of open files as far as the system lets a user: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def write_ports(path, ports):
    """Writes where a server listens, with its process, as JSON, in one step: whoever waits for it finds it whole."""
    files.write(path, json.dumps({**ports, "pid": os.getpid()}) + "\n")
