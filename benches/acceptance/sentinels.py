"""A Redis master with replicas, and the sentinels that watch it: brought up, failed over, ended."""

import contextlib
import time
from pathlib import Path

from bench.process import Process, free_ports

from acceptance.redis import Client, Heard, Redis

MASTER_NAME = "mymaster"
REPLICAS = 2
SENTINELS = 3
QUORUM = 2
DOWN_AFTER_MS = 1_000
FAILOVER_TIMEOUT_MS = 3_000
# A master that is back is made a replica after some ten seconds, and then has to follow.
PATIENCE_SECONDS = 60

SENTINEL_CONF = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {name} 127.0.0.1 {master} {quorum}
sentinel down-after-milliseconds {name} {down_after}
sentinel failover-timeout {name} {timeout}
sentinel parallel-syncs {name} 1
"""


class Sentinels:
    """One master, its replicas and their sentinels, all of which know each other. Leaving the context ends them."""

    def __init__(self, directory: Path):
        self._servers = [Redis(_made(directory / f"redis{number}")) for number in range(1 + REPLICAS)]
        self.ports = free_ports(SENTINELS)
        self._directory = directory
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> "Sentinels":
        with contextlib.ExitStack() as ends:
            master, *replicas = [ends.enter_context(server) for server in self._servers]
            for replica in replicas:
                replica.ask(("REPLICAOF", "127.0.0.1", str(master.port)))
            wait("replicas follow the master", lambda: all(map(_follows, replicas)))
            for number, port in enumerate(self.ports):
                ends.callback(self._start(number, port, master.port).stop)
            wait("the sentinels know each other", lambda: all(map(_knows_all, self.ports)))
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._ends.close()

    def _start(self, number: int, port: int, master: int) -> Process:
        directory = _made(self._directory / f"sentinel{number}")
        config = directory / "sentinel.conf"
        config.write_text(SENTINEL_CONF.format(
            port=port, directory=directory, name=MASTER_NAME, master=master, quorum=QUORUM,
            down_after=DOWN_AFTER_MS, timeout=FAILOVER_TIMEOUT_MS,
        ), encoding="utf-8")
        process = Process("sentinel", ["redis-server", str(config), "--sentinel"], None, directory)
        process.wait_for_port(port)
        return process

    def settings(self) -> dict:
        """What stands under `redis` in the file of a proxy that asks these sentinels."""
        return {"sentinels": [f"127.0.0.1:{port}" for port in self.ports], "masterName": MASTER_NAME}

    @property
    def master(self) -> Redis:
        """The server that the first sentinel names."""
        _, port = ask(self.ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return next(server for server in self._servers if server.port == int(port))

    def switches(self) -> Heard:
        """What the first sentinel says of masters that take over, from now on."""
        return Heard(Client(("127.0.0.1", self.ports[0])), "+switch-master")

    def fail_over(self) -> None:
        """Has the master replaced while it lives."""
        ask(self.ports[0], "SENTINEL", "FAILOVER", MASTER_NAME)

    def wait_until_whole(self) -> None:
        """Returns once the first sentinel sees a master that lives, and all others as its replicas in step."""
        wait("one master and its replicas", self._is_whole)

    def _is_whole(self) -> bool:
        with contextlib.suppress(OSError, RuntimeError, ConnectionError):
            master = self.master
            if _role(master) != "master" or _state(self.ports[0], "MASTER") != ["master"]:
                return False
            replicas = [server for server in self._servers if server is not master]
            return all(map(_follows, replicas)) and _knows_all(self.ports[0])
        return False


def ask(port: int, *words: str):
    with Client(("127.0.0.1", port)) as client:
        return client.ask(*words)


def wait(what: str, is_so) -> None:
    """Returns once it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.01)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _role(server: Redis) -> str:
    return server.ask(("ROLE",))[0][0]


def _follows(replica: Redis) -> bool:
    role, *rest = replica.ask(("ROLE",))[0]
    return role == "slave" and rest[2] == "connected"


def _knows_all(port: int) -> bool:
    """Whether the sentinel sees every replica and every other sentinel, none of them down."""
    replicas, others = _state(port, "REPLICAS"), _state(port, "SENTINELS")
    return replicas == ["slave"] * REPLICAS and others == ["sentinel"] * (SENTINELS - 1)


def _state(port: int, what: str) -> list[str]:
    """The flags of each master, replica or other sentinel."""
    told = ask(port, "SENTINEL", what, MASTER_NAME)
    every = [told] if what == "MASTER" else told
    return [dict(zip(each[::2], each[1::2]))["flags"] for each in every]
