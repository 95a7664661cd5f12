#!/usr/bin/env python3
"""Clients at addresses of their own (127.1.0.1 and on), each with one keep-alive connection. Prints what they counted as
one line, as lua/summary.lua does.

They ask in turn, so many at once: with each answer the next one begins. For some seconds there may be new ones among those
whose turn it is, at an even pace. Says READY once all are connected, and begins when
a line is said to it.
"""

import argparse
import contextlib
import json
import re
import select
import socket
import sys
import time
from collections import Counter, deque
from statistics import quantiles

TIMEOUT_SECONDS = 10
ADDRESSES_PER_NETWORK = 250

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Clients:
    """All of them, on one thread."""

    def __init__(self, options: argparse.Namespace):
        self._request = f"GET {options.path} HTTP/1.1\r\nHost: {options.host}\r\n\r\n".encode()
        self._answer_bytes = options.answer_bytes
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        for number in range(options.addresses):
            connected = _connect(options.port, _address(number))
            self._sockets[connected.fileno()] = connected
            self._poll.register(connected.fileno(), select.EPOLLIN)
        # Those that have asked nothing yet, and those whose last request is answered, in turn.
        self._new, self._turns = deque(self._sockets), deque()
        self._began: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self.micros: list[float] = []
        self.bytes, self.errors = 0, Counter()

    def run(self, at_once: int, join_seconds: float, seconds: float) -> None:
        began = time.perf_counter()
        until, total = began + seconds, len(self._new)
        for _ in range(at_once):
            self._ask(self._new.popleft())
        while self._began:
            ready = self._poll.poll(TIMEOUT_SECONDS)
            if not ready:
                self.errors["timeout"] += len(self._began)
                return
            for descriptor, _ in ready:
                now = time.perf_counter()
                if not self._answered(descriptor) or now >= until:
                    continue
                self._turns.append(descriptor)
                joined = total if not join_seconds else total * (now - began) / join_seconds
                is_due = self._new and total - len(self._new) < joined
                self._ask(self._new.popleft() if is_due else self._turns.popleft())

    def _ask(self, descriptor: int) -> None:
        self._began[descriptor] = time.perf_counter()
        self._sockets[descriptor].send(self._request)

    def _answered(self, descriptor: int) -> bool:
        """Takes in what has come; whether that ends an answer."""
        try:
            received = self._sockets[descriptor].recv(65536)
        except OSError:
            received = b""
        if not received or descriptor not in self._began:
            self._leave(descriptor)
            return False
        if self._parts:
            received = self._parts.pop(descriptor, b"") + received
        at = received.find(b"\r\n\r\n")
        body = len(received) - at - 4
        if at < 0 or (body != self._answer_bytes and body < int(_LENGTH.search(received, 0, at + 2)[1])):
            self._parts[descriptor] = received
            return False
        self.micros.append((time.perf_counter() - self._began.pop(descriptor)) * 1e6)
        self.bytes += len(received)
        if not received.startswith(b"HTTP/1.1 200 "):
            self.errors["status"] += 1
        return True

    def _leave(self, descriptor: int) -> None:
        """A connection that ends takes no part any more, and its request is not made up for."""
        self.errors["read"] += 1
        self._poll.unregister(descriptor)
        self._began.pop(descriptor, None)
        for among in (self._new, self._turns):
            with contextlib.suppress(ValueError):
                among.remove(descriptor)


def _address(number: int) -> str:
    network, host = divmod(number, ADDRESSES_PER_NETWORK)
    return f"127.1.{network}.{1 + host}"


def _connect(port: int, address: str) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS, source_address=(address, 0))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # With a time-out each call would wait for readiness first, which the poll has told.
    connected.setblocking(False)
    return connected


def main() -> None:
    options = parse()
    clients = Clients(options)
    print("READY", flush=True)
    if not sys.stdin.readline():
        return
    began = time.perf_counter()
    clients.run(options.at_once, options.join_seconds, options.seconds)
    print("SUMMARY " + json.dumps(summary(clients, time.perf_counter() - began)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--answer-bytes", type=int, required=True, help="of an answer's body")
    parser.add_argument("--addresses", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True, help="requests on their way")
    parser.add_argument("--join-seconds", type=float, default=0, help="over which new ones come (0: at once)")
    parser.add_argument("--seconds", type=int, required=True)
    return parser.parse_args()


def summary(clients: Clients, seconds: float) -> dict:
    cuts = quantiles(clients.micros, n=100) if len(clients.micros) > 1 else [0] * 99
    return {
        "requests": len(clients.micros),
        "micros": seconds * 1e6,
        "bytes": clients.bytes,
        "p50": cuts[49],
        "p99": cuts[98],
        **clients.errors,
    }


if __name__ == "__main__":
    main()
