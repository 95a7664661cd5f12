"""Proxies, the load on them, and clients that ask one after the other."""

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.process import Process

LUA = Path(__file__).resolve().parent.parent / "lua"
CORES = 2


@dataclass(frozen=True)
class Proxy:
    name: str
    process: Process
    port: int
    https_port: int | None

    @classmethod
    def start(
        cls, name: str, binary: Path, redis: dict, directory: Path, rate_limit: dict | None = None, admin: dict | None = None,
        **server,
    ) -> "Proxy":
        """Starts it with these settings of `redis`, of `rateLimit` and `admin` where there are any, and of `server` beside
        or in the place of its own."""
        config = directory / f"{name}.json"
        server = {"port": 0, "bind": "127.0.0.1", "workers": CORES, "accessLog": None} | server
        settings = {"server": server, "redis": redis}
        settings |= {name: more for name, more in [("rateLimit", rate_limit), ("admin", admin)] if more}
        config.write_text(json.dumps(settings), encoding="utf-8")
        process = Process(name, [str(binary), "run", "-c", str(config)], None, directory)
        port = int(process.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)\n")[1])
        said = process.wait_for_line(rf"serving on {server['workers']} core").string
        https = re.search(r"listening on 127\.0\.0\.1:(\d+) for HTTPS", said)
        process.wait_for_port(port)
        return cls(name, process, port, int(https[1]) if https else None)


class Load:
    """wrk on a proxy, over HTTPS where it has that, from now on for so many seconds."""

    def __init__(self, proxy: Proxy, host: str, connections: int, seconds: int):
        url = f"https://127.0.0.1:{proxy.https_port}/" if proxy.https_port else f"http://127.0.0.1:{proxy.port}/"
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", "summary.lua",
                "-H", f"Host: {host}", url]
        self.proxy = proxy
        self._wrk = subprocess.Popen(argv, cwd=LUA, stdout=subprocess.PIPE, text=True)

    def result(self) -> tuple[int, int]:
        """Waits for its end; requests that were answered, and those that failed."""
        said, _ = self._wrk.communicate()
        line = next(line for line in said.splitlines() if line.startswith("SUMMARY "))
        counted = json.loads(line.removeprefix("SUMMARY "))
        failed = sum(counted[kind] for kind in ("connect", "read", "write", "timeout", "status"))
        return counted["requests"], failed


class Client:
    """A keep-alive connection to a proxy."""

    def __init__(self, proxy: Proxy):
        self._socket = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, host: str) -> tuple[int, str]:
        """Status and text of the answer to a GET."""
        self._socket.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status = int(self._answers.readline().split()[1])
        length = 0
        while (line := self._answers.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._answers.read(length).decode()


def ask_once(proxy: Proxy, host: str) -> tuple[int, str]:
    """Asks over a connection of its own, so that any core may take it."""
    with Client(proxy) as client:
        return client.ask(host)


def last_answered(proxy: Proxy, host: str, text: str, seconds: float) -> float | None:
    """Asks for so long, each time anew; when the last request was sent that was answered with `text`."""
    last, end = None, time.monotonic() + seconds
    while (sent := time.monotonic()) < end:
        if ask_once(proxy, host)[1] == text:
            last = sent
    return last
