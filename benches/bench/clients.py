"""Clients and a backend over raw sockets, for the figures on memory: large bodies and idle connections."""

import socket
import threading
import time

from .scenarios import MEGABYTE, PLAIN_HOST

LARGE_MEGABYTES = 50
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 60


def download(port: int) -> None:
    """Reads a large answer and stops reading for a while in the middle: what the proxy holds meanwhile shows."""
    with _connect(port) as connection:
        connection.sendall(_head("GET /50m"))
        received = connection.recv_into(bytearray(MEGABYTE))
        time.sleep(PAUSE_SECONDS)
        chunk = bytearray(256 * 1024)
        while received < LARGE_MEGABYTES * MEGABYTE and (count := connection.recv_into(chunk)):
            received += count
    if received < LARGE_MEGABYTES * MEGABYTE:
        raise RuntimeError(f"the download ended after {received} bytes")


def upload(port: int) -> None:
    """Sends a large body as fast as it is taken."""
    length = LARGE_MEGABYTES * MEGABYTE
    with _connect(port) as connection:
        connection.sendall(_head("POST /post", f"Content-Length: {length}\r\n"))
        chunk = b"u" * MEGABYTE
        for _ in range(LARGE_MEGABYTES):
            connection.sendall(chunk)
        _expect_ok(connection)


def open_idle(port: int, count: int) -> list[socket.socket]:
    """Opens keep-alive connections that have had one answer each and then stay idle."""
    opened = []
    for _ in range(count):
        connection = _connect(port)
        opened.append(connection)
        connection.sendall(_head("GET /1k"))
        _expect_ok(connection)
    return opened


def still_open(connections: list[socket.socket]) -> int:
    """How many of them the proxy has not closed."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += connection.recv(1) != b""
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


class SlowBackend:
    """A backend that lets each request body wait for a while before it reads it. Stops with its context."""

    def __enter__(self) -> "SlowBackend":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve_slowly, args=(connection,), daemon=True).start()


def _serve_slowly(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as requests:
        while head := _read_head(requests):
            left = int(head.get("content-length", 0))
            if left:
                time.sleep(PAUSE_SECONDS)
            while left:
                left -= len(requests.read(min(left, MEGABYTE)))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def _read_head(requests) -> dict[str, str]:
    """The header fields of the next request and its request line, or nothing at the end of the stream."""
    if not (line := requests.readline()):
        return {}
    fields = {"": line.decode("latin-1")}
    while (line := requests.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    return fields


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)


def _head(request: str, fields: str = "") -> bytes:
    return f"{request} HTTP/1.1\r\nHost: {PLAIN_HOST}\r\n{fields}\r\n".encode()


def _expect_ok(connection: socket.socket) -> None:
    answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"expected 200, got {answer[:60]!r}")
