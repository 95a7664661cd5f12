"""Asks for many hosts, or as many clients, each once: several connections, many requests on their way on each."""

import re
import socket
from collections import Counter
from itertools import islice
from typing import Callable, Iterable, Iterator

CONNECTIONS = 16
# Requests on their way on one connection. They fit the socket buffers, so that nobody waits for the other to read.
WINDOW = 32
TIMEOUT_SECONDS = 30

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Asker:
    """Keep-alive connections to a proxy. Each stays with its core, so what it asked for once that core knows."""

    def __init__(
        self, port: int, path: str = "/", connections: int = CONNECTIONS, fields: Callable[[str], str] | None = None,
    ):
        """`fields`: header fields of a request by what is asked for; otherwise that is its Host."""
        self._path, self._fields = path, fields or (lambda host: f"Host: {host}\r\n")
        self._connections = [_connect(port) for _ in range(connections)]

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_) -> None:
        for connection in self._connections:
            connection.close()

    def ask(self, hosts: Iterable[str]) -> Counter:
        """Asks for each host once, over any of the connections; how often each status was the answer."""
        found, pending = Counter(), iter(hosts)
        while parts := self._send(pending):
            for connection, count in parts:
                found.update(_statuses(connection, count))
        return found

    def ask_on_each(self, hosts: list[str]) -> Counter:
        """Asks for each host once over every connection."""
        found = Counter()
        for connection in self._connections:
            pending = iter(hosts)
            while count := self._send_on(connection, pending):
                found.update(_statuses(connection, count))
        return found

    def _send(self, pending: Iterator[str]) -> list[tuple[socket.socket, int]]:
        sent = ((connection, self._send_on(connection, pending)) for connection in self._connections)
        return [(connection, count) for connection, count in sent if count]

    def _send_on(self, connection: socket.socket, pending: Iterator[str]) -> int:
        """Sends the next requests; how many there were."""
        heads = [f"GET {self._path} HTTP/1.1\r\n{self._fields(what)}\r\n" for what in islice(pending, WINDOW)]
        connection.sendall("".join(heads).encode())
        return len(heads)


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _statuses(connection: socket.socket, count: int) -> list[int]:
    """The statuses of the next answers. What is left of the last body is passed over with those after it."""
    received, found = b"", []
    while len(found) < count:
        chunk = connection.recv(1 << 18)
        if not chunk:
            raise ConnectionError(f"closed after {len(found)} of {count} answers")
        received += chunk
        found = _STATUS.findall(received)
    return [int(status) for status in found]
