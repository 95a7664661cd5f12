"""A redis-server of the benchmark's own, the routes in it, and how often they are read."""

import re
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
    """Routes the plain host and all virtual hosts to the backend."""
    url = f"http://127.0.0.1:{backend_port}"
    hosts = [scenarios.PLAIN_HOST, *scenarios.VHOSTS.names, *scenarios.ZIPF.names]
    commands = [("FLUSHALL",)] + [
        ("RPUSH", f"frontend:{host}", host.split(".")[0], url) for host in hosts
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"".join(encode(command) for command in commands))
        replies = connection.makefile("rb")
        for command in commands:
            reply = replies.readline()
            if not reply.startswith((b"+OK", b":2")):
                raise RuntimeError(f"Redis answered {command} with {reply!r}")


def reads(port: int) -> int:
    """Reads of a host's route so far: each asks for the host's dead set, and none of the hosts here has another."""
    return calls(port).get("cmdstat_smembers", 0)


def calls(port: int) -> dict[str, int]:
    """How often each command was called so far, by its name in INFO commandstats."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, connection.makefile("rb") as replies:
        connection.sendall(encode(("INFO", "commandstats")))
        said = replies.read(int(replies.readline()[1:])).decode()
    return {name: int(count) for name, count in re.findall(r"^(cmdstat_[^:]+):calls=(\d+)", said, re.MULTILINE)}


def encode(command: tuple[str, ...]) -> bytes:
    """The command as it goes over the wire."""
    parts = [f"*{len(command)}\r\n"]
    parts += [f"${len(part)}\r\n{part}\r\n" for part in command]
    return "".join(parts).encode()
