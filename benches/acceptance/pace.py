"""Clients that ask at set times, whatever became of their last requests: one process, many keep-alive connections.

Where the machine is too slow for that they are late, and send as soon as they can.
"""

import multiprocessing
import re
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Iterable

from acceptance.proxies import Proxy

# Opened beforehand to each proxy, so that every core of it has some.
CONNECTIONS = 16
CONNECTIONS_MAX = 200
# Requests that are overdue and sent before answers are looked for once more.
BURST = 16
PATIENCE_SECONDS = 10

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Client:
    """Who asks: the address that X-Forwarded-For names, and an API key where it has one."""

    address: str
    key: str | None = None


@dataclass(frozen=True)
class Target:
    """Who is asked: a proxy, for this host."""

    proxy: Proxy
    host: str

    def head(self, client: Client, path: str) -> bytes:
        key = f"X-API-Key: {client.key}\r\n" if client.key else ""
        fields = f"Host: {self.host}\r\nX-Forwarded-For: {client.address}\r\n{key}"
        return f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()


@dataclass(frozen=True)
class Due:
    """A request to be sent so many seconds after the beginning."""

    at: float
    client: Client
    target: Target


@dataclass(frozen=True)
class Asked:
    """What became of a request. Times are of the monotonic clock."""

    number: int
    due: Due
    sent: float
    took: float
    status: int
    """0: no answer."""
    says_when: bool
    """There was a Retry-After."""


def evenly(client: Client, targets: list[Target], rate: float, seconds: float, since: float = 0.0) -> list[Due]:
    """So many requests a second of this client, to the targets in turn."""
    count = int(rate * seconds)
    return [Due(since + number / rate, client, targets[number % len(targets)]) for number in range(count)]


class Paced:
    """Sends the requests of a plan, each of which has its place there as its path, behind that of a folder."""

    def __init__(self, plan: Iterable[Due], folder: str = "/"):
        self._folder = folder
        self.plan = sorted(plan, key=lambda due: due.at)
        count = len(self.plan)
        self._sent, self._took = _fork.RawArray("d", count), _fork.RawArray("d", count)
        self._status, self._says_when = _fork.RawArray("i", count), _fork.RawArray("b", count)
        self.began = time.monotonic()
        self._process = _fork.Process(target=self._run, daemon=True)
        self._process.start()

    def result(self) -> list[Asked]:
        """Waits until all are answered, or nothing comes any more."""
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError("the clients broke off")
        columns = zip(self.plan, self._sent, self._took, self._status, self._says_when)
        return [Asked(number, *column[:-1], bool(column[-1])) for number, column in enumerate(columns)]

    def _run(self) -> None:
        poll, open_ones = select.epoll(), {}
        targets = {due.target for due in self.plan}
        pools = {target: _Pool(target.proxy.port, poll, open_ones) for target in targets}
        began, following, on_way = time.monotonic(), 0, 0
        while following < len(self.plan) or on_way:
            now = time.monotonic() - began
            for due in self.plan[following:following + BURST]:
                if due.at > now or not self._send(pools[due.target], following):
                    break
                following, on_way = following + 1, on_way + 1
            pause = self._pause(pools, following, now)
            ready = poll.poll(pause)
            if not ready and pause == PATIENCE_SECONDS:
                return
            on_way -= sum(self._take(open_ones[descriptor]) for descriptor, _ in ready)

    def _pause(self, pools: dict[Target, "_Pool"], following: int, now: float) -> float:
        """Seconds until there is something to send."""
        if following == len(self.plan) or not pools[self.plan[following].target].has_room:
            return PATIENCE_SECONDS
        return max(self.plan[following].at - now, 0)

    def _send(self, pool: "_Pool", number: int) -> bool:
        """Sends a request, where there is room for one more."""
        if not pool.has_room:
            return False
        due, connection = self.plan[number], pool.take()
        connection.number = number
        self._sent[number] = time.monotonic()
        connection.socket.send(due.target.head(due.client, f"{self._folder}{number}"))
        return True

    def _take(self, connection: "_Connection") -> bool:
        """Takes in what has come on a connection; whether that ends a request."""
        number, received = connection.number, connection.receive()
        if number is None:
            connection.pool.lose(connection)
            return False
        if received and not _is_whole(connection.received):
            return False
        self._took[number] = time.monotonic() - self._sent[number]
        if received:
            head = connection.received.partition(b"\r\n\r\n")[0].lower()
            self._status[number] = int(head.split(b" ", 2)[1])
            self._says_when[number] = b"\r\nretry-after:" in head
            connection.pool.put_back(connection)
        else:
            connection.pool.lose(connection)
        return True


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(_LENGTH.search(head + b"\r\n")[1])


class _Connection:
    """Has at most one request on its way."""

    def __init__(self, pool: "_Pool", port: int):
        self.pool, self.number, self.received = pool, None, b""
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def receive(self) -> bytes:
        try:
            found = self.socket.recv(65536)
        except OSError:
            found = b""
        self.received += found
        return found


class _Pool:
    """The connections to one proxy, used in turn."""

    def __init__(self, port: int, poll: select.epoll, open_ones: dict[int, _Connection]):
        self._port, self._poll, self._open = port, poll, open_ones
        self._count, self._idle = 0, deque()
        self._idle.extend(self._connect() for _ in range(CONNECTIONS))

    def _connect(self) -> _Connection:
        connection = _Connection(self, self._port)
        self._count += 1
        self._open[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    @property
    def has_room(self) -> bool:
        return bool(self._idle) or self._count < CONNECTIONS_MAX

    def take(self) -> _Connection:
        return self._idle.popleft() if self._idle else self._connect()

    def put_back(self, connection: _Connection) -> None:
        connection.number, connection.received = None, b""
        self._idle.append(connection)

    def lose(self, connection: _Connection) -> None:
        self._count -= 1
        del self._open[connection.socket.fileno()]
        self._poll.unregister(connection.socket.fileno())
        connection.socket.close()
        if connection in self._idle:
            self._idle.remove(connection)
