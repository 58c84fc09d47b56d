"""The feature server: models from a repository, over REST and gRPC, until it is asked to stop.

It serves the folders of TensorFlow Serving with the same API, on machines without its binary.
"""

import asyncio
import concurrent.futures
import contextlib
import re
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http import h11_impl

from zoo import checks
from zoo.serving import access, batching, grpc_api, limits, metrics, predictor, repository, rest

Ports = dict[str, int | None]
_End = Callable[[], Awaitable[Any]]
LOG = predictor.LOG


class _Connection(h11_impl.H11Protocol):
    """A connection that ends when no request comes, or a part of its head, or its answer is not read, for too long."""

    bounds = limits.Limits()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._idle_cycle: Any = None
        self._unread: asyncio.TimerHandle | None = None
        self._patience = self.loop.call_later(self.bounds.header_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        # To close it would be to wait until the answer is read.
        self._unread = self.loop.call_later(self.bounds.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def _look(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            if self.cycle is self._idle_cycle:
                self.transport.close()
                return
            self._idle_cycle = self.cycle
        self._patience = self.loop.call_later(self.bounds.header_seconds, self._look)


class _Http(uvicorn.Server):
    """Uvicorn without signal handlers of its own: REST and gRPC stop together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Both APIs over the same models.

    Args:
        models: the models to serve.
        host: address to listen on.
        port: port of REST; 0 for a free one, None for no REST.
        grpc_port: port of gRPC; 0 for a free one, None for no gRPC.
        batch: settings of the batcher.
        bounds: limits of requests.
        poll_seconds: time between looks at the folders; None for no reloads.
        metrics_path: path of the page for Prometheus; None for none.
        allowed: encryption, and who may ask; by default plain text, and all who reach the host.

    Raises:
        ValueError: for no port, or a model without a version that can be loaded.
        OSError: for a port that is taken, or a host of another machine.
    """

    def __init__(
        self,
        models: Sequence[repository.Model],
        host: str = "127.0.0.1",
        port: int | None = 8501,
        grpc_port: int | None = 8500,
        batch: batching.Batching | None = None,
        bounds: limits.Limits | None = None,
        poll_seconds: float | None = 1.0,
        metrics_path: str | None = metrics.PATH,
        allowed: access.Access | None = None,
    ):
        some_port = port is not None or grpc_port is not None
        checks.require(some_port, "Server", "a `port`, a `grpc_port` or both", port=port, grpc_port=grpc_port)
        is_path = metrics_path is None or re.fullmatch(r"/[^\s{}?#]*", metrics_path)
        checks.require(is_path, "Server", "a `metrics_path` such as /metrics", metrics_path=metrics_path)
        if poll_seconds is not None:
            checks.positive("Server", poll_seconds=poll_seconds)
        self._began = time.perf_counter()
        self.host, self.ports = host, Ports(rest=port, grpc=grpc_port)
        self.batch, self.bounds = batch or batching.Batching(), bounds or limits.Limits()
        self._poll_seconds, self._metrics_path = poll_seconds, metrics_path
        self.allowed = allowed or access.Access()
        for name, number in (("port", port), ("grpc_port", grpc_port)):
            if number is not None:
                _listening(host, name, number).close()  # models may take minutes to load
        self.repository = repository.Repository(models)
        self.repository.poll()
        failures = self.repository.failures()
        if failures:
            raise ValueError(f"Server: expected a version to serve of every model. Received: {'; '.join(failures)}.")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def run(self, ready: Callable[[Ports], Any] = lambda ports: None) -> None:
        """Serves until SIGTERM, SIGINT or `stop`; requests in flight are answered first.

        Args:
            ready: called with the ports, `{"rest": ..., "grpc": ...}`, once both listen.
        """
        asyncio.run(self._run(ready))

    def stop(self) -> None:
        """Asks the server to stop; from any thread."""
        if self._loop is None:
            self._stop.set()
        else:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _run(self, ready: Callable[[Ports], Any]) -> None:
        self._loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            # Not in threads other than the main one, where tests run it.
            with contextlib.suppress(ValueError, RuntimeError):
                self._loop.add_signal_handler(name, self._stop.set)
        _allow_connections()
        pool = concurrent.futures.ThreadPoolExecutor(self.batch.num_batch_threads, thread_name_prefix="model")
        counts = metrics.Metrics(lambda: batcher.waiting, lambda: predicts.pixels.held)
        batcher = batching.Batcher(self.batch, pool, lambda key, rows, seconds: counts.call(key[0].name, rows, seconds))
        predicts = predictor.Predictor(self.repository, batcher, self.bounds, counts)
        ends = []
        if self.ports["rest"] is not None:
            ends.append(await self._start_rest(predicts, self.ports["rest"]))
        if self.ports["grpc"] is not None:
            ends.append(await self._start_grpc(predicts, self.ports["grpc"]))
        watch = self._loop.create_task(self._watch(self._poll_seconds)) if self._poll_seconds else None
        seconds = round(time.perf_counter() - self._began, 2)
        fields = {"host": self.host, **self.ports, "models": sorted(self.repository.models), "load_seconds": seconds}
        LOG.info("serving", extra={"fields": fields})
        if lacks := self.allowed.missing(self.host):
            LOG.warning(f"other machines reach this server without {' and '.join(lacks)}")
        ready(Ports(self.ports))
        await self._stop.wait()
        LOG.info("draining", extra={"fields": {"seconds": self.bounds.drain_seconds}})
        if watch:
            watch.cancel()
        await asyncio.gather(*(end() for end in ends))
        pool.shutdown(wait=False, cancel_futures=True)
        predicts.close()
        LOG.info("stopped")

    async def _start_rest(self, predicts: predictor.Predictor, port: int) -> _End:
        listening = _listening(self.host, "port", port)
        # An answer is two writes: the second would wait for the client to acknowledge the first, some 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ports["rest"] = listening.getsockname()[1]
        options: dict[str, Any] = {
            "http": type("Connection", (_Connection,), {"bounds": self.bounds}),
            "ws": "none",
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "timeout_keep_alive": self.bounds.header_seconds,
            "timeout_graceful_shutdown": self.bounds.drain_seconds,
            "ssl_certfile": self.allowed.certificate,
            "ssl_keyfile": self.allowed.key,
        }
        http = _Http(uvicorn.Config(rest.App(predicts, self._metrics_path, self.allowed), **options))
        serving = asyncio.create_task(http.serve([listening]))
        while not http.started:
            if serving.done():
                serving.result()
            await asyncio.sleep(0.01)

        async def end() -> None:
            http.should_exit = True
            await serving

        return end

    async def _start_grpc(self, predicts: predictor.Predictor, port: int) -> _End:
        made, healthy = grpc_api.server(predicts, self.allowed)
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.ports["grpc"] = grpc_api.listen(made, f"{host}:{port}", self.allowed)
        except RuntimeError as error:
            raise _no_port(self.host, "grpc_port", port, error) from error
        await made.start()
        await grpc_api.set_serving(healthy)

        async def end() -> None:
            await healthy.enter_graceful_shutdown()
            await made.stop(self.bounds.drain_seconds)

        return end

    async def _watch(self, seconds: float) -> None:
        """Looks for new versions, in a thread: loading takes seconds."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.repository.poll)
            except Exception:
                LOG.exception("could not look at the models")


def _listening(host: str, name: str, port: int) -> socket.socket:
    """Returns a socket that listens; OSError names what it cannot listen on."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise _no_port(host, name, port, error) from error


def _no_port(host: str, name: str, port: int, error: Exception) -> OSError:
    expected, received = "an address of this machine and a free port", f"host={host!r}, {name}={port} ({error})"
    return OSError(f"Server: expected {expected}. Received: {received}.")


def _allow_connections() -> None:
    """Raises the limit of open files as far as a user may: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
