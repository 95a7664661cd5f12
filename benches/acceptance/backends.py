"""Backends in processes of their own that can be killed, and what takes their place on the same port."""

import asyncio
import multiprocessing
import socket
import struct
import threading
import time
from dataclasses import dataclass

_fork = multiprocessing.get_context("fork")


class Backend:
    """Answers every request with its name. Killed, its port stays: connections wait for whoever takes it over."""

    def __init__(self, name: str):
        self.name = name
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._process: multiprocessing.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def live(self, dead_for: int | None = None) -> None:
        """Serves; requests that a proxy took on the port `dead_for` are reset."""
        self.kill()
        self._process = _fork.Process(target=_serve, args=(self.listener, self.name, dead_for), daemon=True)
        self._process.start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(listener: socket.socket, name: str, dead_for: int | None) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()
    fatal = f"x-forwarded-port: {dead_for}\r\n".encode()

    class Peer(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.unread = transport, b""

        def data_received(self, data):
            *heads, self.unread = (self.unread + data).split(b"\r\n\r\n")
            for head in heads:
                if dead_for is not None and fatal in head.lower() + b"\r\n":
                    return _reset(self.transport)
                self.transport.write(answer)

    async def main():
        server = await asyncio.get_running_loop().create_server(Peer, sock=listener)
        await server.serve_forever()

    asyncio.run(main())


def _reset(transport) -> None:
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


@dataclass(frozen=True)
class Arrival:
    """A request that reached a dead backend."""

    at: float
    """By the monotonic clock."""
    proxy_port: int
    """The port on which its proxy took it; 0: it sent nothing."""


class Grave:
    """Takes the place of a killed backend: resets every connection and notes it. Leaving the context ends it."""

    def __init__(self, backend: Backend):
        self.arrivals: list[Arrival] = []
        self._listener = backend.listener.dup()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Grave":
        self._listener.settimeout(0.1)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._done.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._bury(connection, time.monotonic())

    def _bury(self, connection: socket.socket, at: float) -> None:
        with connection:
            connection.settimeout(1)
            try:
                head = connection.recv(65536).lower()
            except OSError:
                head = b""
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _, _, rest = head.partition(b"x-forwarded-port: ")
        port = rest.split(b"\r\n")[0]
        self.arrivals.append(Arrival(at, int(port) if port.isdigit() else 0))
