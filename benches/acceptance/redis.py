"""A redis-server of the check's own, and as much of a client as is needed."""

import contextlib
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

from bench.process import Process, free_ports

Address = tuple[str, int] | str


class Client:
    """One connection to Redis: by host and port, or by the path of a socket."""

    def __init__(self, address: Address):
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)
        else:
            self._socket = socket.create_connection(address)
        self._replies = self._socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self._replies.close()
        self._socket.close()

    def ask(self, *words: str):
        """Sends a command and returns its reply; an error reply is raised."""
        parts = [f"*{len(words)}\r\n"] + [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self._socket.sendall("".join(parts).encode())
        return self.reply()

    def reply(self):
        """The next reply, or the next message of a subscription."""
        line = self._replies.readline()
        if not line:
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:].strip().decode()
        if kind == b"-":
            raise RuntimeError(rest)
        if kind == b"+":
            return rest
        count = int(rest)
        if kind == b":" or count < 0:
            return count if kind == b":" else None
        if kind == b"*":
            return [self.reply() for _ in range(count)]
        return self._replies.read(count + 2)[:-2].decode()


class Redis:
    """A server that is killed and comes back on its port. Leaving the context ends it."""

    def __init__(self, directory: Path, fsync: str | None = "always"):
        """`fsync`: how often it waits for the disk, so that what was acknowledged is there again after a kill; None: it
        keeps nothing."""
        (self.port,) = free_ports(1)
        self._directory, self._fsync = directory, fsync
        self._socket = str(directory / "redis.socket")
        self._process: Process | None = None

    def __enter__(self) -> "Redis":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._process.stop()

    def start(self, port: int | None = None) -> float:
        """Starts it; returns when it first answered on its port, by the monotonic clock."""
        port = self.port if port is None else port
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self._socket,
                "--dir", str(self._directory), "--save", "", "--appendonly", "yes" if self._fsync else "no"]
        argv += ["--appendfsync", self._fsync] if self._fsync else []
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket)
        self._process = Process("redis-server", argv, None, self._directory)
        while not self._answers(("127.0.0.1", port) if port else self._socket):
            time.sleep(0.001)
        return time.monotonic()

    def _answers(self, address: Address) -> bool:
        try:
            with Client(address) as client:
                return client.ask("PING") == "PONG"
        except (OSError, RuntimeError):
            return False

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def halt(self) -> None:
        """Has it answer nothing, its connections left open, until it goes on."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def change_unseen(self, *commands: tuple[str, ...]) -> None:
        """Changes what it holds while it is down for all others."""
        self.start(port=0)
        self.ask(*commands)
        self.kill()

    def ask(self, *commands: tuple[str, ...]) -> list:
        with Client(self._socket) as client:
            return [client.ask(*command) for command in commands]

    def route(self, host: str, urls: list[str]) -> None:
        self.ask(*routing(host, urls))

    def bytes_used(self) -> int:
        (said,) = self.ask(("INFO", "memory"))
        return int(re.search(r"used_memory:(\d+)", said)[1])

    def hear(self, channel: str) -> "Heard":
        return Heard(Client(self._socket), channel)


def routing(host: str, urls: list[str]) -> list[tuple[str, ...]]:
    """The commands that make this the list of the host."""
    return [("MULTI",), ("DEL", f"frontend:{host}"), ("RPUSH", f"frontend:{host}", host, *urls), ("EXEC",)]


class Heard:
    """Messages of a channel with the times they came at, from now until the server ends."""

    def __init__(self, client: Client, channel: str):
        self.messages: list[tuple[float, str]] = []
        client.ask("SUBSCRIBE", channel)
        threading.Thread(target=self._listen, args=(client,), daemon=True).start()

    def _listen(self, client: Client) -> None:
        with contextlib.suppress(OSError, ValueError), client:
            while message := client.reply():
                self.messages.append((time.monotonic(), message[2]))

    def first_since(self, since: float, patience: float = 10.0) -> float | None:
        """When the first message later than that came."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if later := [at for at, _ in self.messages if at >= since]:
                return later[0]
            time.sleep(0.001)
        return None
