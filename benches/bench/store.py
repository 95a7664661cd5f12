"""A redis-server of the benchmark's own, and the routes in it."""

import socket
from pathlib import Path

from . import scenarios
from .process import Process, free_ports


def start(core: int, directory: Path) -> tuple[Process, int]:
    """Starts a Redis that keeps nothing on disk; returns it with its port."""
    (port,) = free_ports(1)
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", str(directory)]
    redis = Process("redis-server", argv, core, directory)
    redis.wait_for_port(port)
    return redis, port


def load_routes(port: int, backend_port: int) -> None:
    """Routes the plain host and every virtual host to the backend."""
    url = f"http://127.0.0.1:{backend_port}"
    hosts = [scenarios.PLAIN_HOST, *scenarios.vhosts()]
    commands = [("FLUSHALL",)] + [
        ("RPUSH", f"frontend:{host}", host.split(".")[0], url) for host in hosts
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"".join(_encode(command) for command in commands))
        replies = connection.makefile("rb")
        for command in commands:
            reply = replies.readline()
            if not reply.startswith((b"+OK", b":2")):
                raise RuntimeError(f"Redis answered {command} with {reply!r}")


def _encode(command: tuple[str, ...]) -> bytes:
    parts = [f"*{len(command)}\r\n"]
    parts += [f"${len(part)}\r\n{part}\r\n" for part in command]
    return "".join(parts).encode()
