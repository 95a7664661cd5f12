"""Changes routes at an even pace, in a process of its own, while a proxy is under load."""

import multiprocessing
import os
import random
import socket
import time

from .scenarios import Hosts
from .store import encode

TICK_SECONDS = 0.005
SEED = 1
# Lines of the answers to MULTI, DEL, RPUSH and EXEC, which holds two more.
REPLY_LINES = 6

_fork = multiprocessing.get_context("fork")


class Changes:
    """So many changes a second of hosts drawn at random, until the context is left. Every list stays valid."""

    def __init__(self, redis: int, backend: int, hosts: Hosts, per_second: int, core: int):
        self._done = _fork.Value("Q", 0, lock=False)
        arguments = (self._done, redis, f"http://127.0.0.1:{backend}", hosts, per_second, core)
        self._process = _fork.Process(target=_change, args=arguments, daemon=True)

    def __enter__(self) -> "Changes":
        self._process.start()
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.join()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def done(self) -> int:
        """Changes that Redis has acknowledged."""
        return self._done.value


def _change(done, redis: int, url: str, hosts: Hosts, per_second: int, core: int) -> None:
    os.sched_setaffinity(0, {core})
    chance, number = random.Random(SEED), 0
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", redis)) as connection, connection.makefile("rb") as replies:
        while True:
            due = int((time.monotonic() - began) * per_second)
            commands = []
            for number in range(number + 1, due + 1):
                commands += _routing(chance.choice(hosts.names), f"{url}#weight={1 + number % 1000}")
            connection.sendall(b"".join(encode(command) for command in commands))
            for _ in range(REPLY_LINES * (due - done.value)):
                if (line := replies.readline()).startswith(b"-") or not line:
                    raise RuntimeError(f"Redis answered a change with {line!r}")
            done.value = due
            time.sleep(TICK_SECONDS)


def _routing(host: str, url: str) -> list[tuple[str, ...]]:
    key = f"frontend:{host}"
    return [("MULTI",), ("DEL", key), ("RPUSH", key, host.split(".")[0], url), ("EXEC",)]
