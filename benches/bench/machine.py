"""The machine the benchmark runs on: its cores, its versions, and how busy others keep it."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass

VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "wrk": ["wrk", "-v"],
    "h2load": ["h2load", "--version"],
    "openssl": ["openssl", "version"],
    "redis-server": ["redis-server", "--version"],
}


@dataclass(frozen=True)
class Cores:
    """Which core the proxies get, and which the backend, the load and Redis share."""

    proxy: int
    others: int

    @classmethod
    def choose(cls) -> "Cores":
        usable = sorted(os.sched_getaffinity(0))
        return cls(proxy=usable[0], others=usable[min(1, len(usable) - 1)])

    @property
    def shared(self) -> bool:
        return self.proxy == self.others


def prepare() -> int:
    """Sets up this process and all it starts; returns how many files each may open."""
    # Debian leaves the folders of system programs out of an ordinary user's path.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    if Cores.choose().shared:
        print("WARNING: one core only: the load takes time from the proxies", file=sys.stderr)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def missing(tools: list[str]) -> list[str]:
    return [tool for tool in tools if shutil.which(tool) is None]


def describe() -> dict:
    """Processor, kernel and versions: what a reader needs to judge the figures."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "versions": {tool: version(argv) for tool, argv in VERSION_COMMANDS.items()},
    }


def version(argv: list[str]) -> str | None:
    """The first line of what the command says about itself, or None where it is not installed."""
    if shutil.which(argv[0]) is None:
        return None
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().splitlines()[0]


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


@dataclass(frozen=True)
class Ticks:
    """Seconds of processor time since boot, over all cores."""

    busy: float
    stolen: float
    total: float

    @classmethod
    def read(cls) -> "Ticks":
        with open("/proc/stat", encoding="utf-8") as stat:
            fields = [int(field) for field in stat.readline().split()[1:9]]
        user, nice, system, idle, iowait, irq, softirq, steal = (
            field / os.sysconf("SC_CLK_TCK") for field in fields
        )
        busy = user + nice + system + irq + softirq
        return cls(busy, steal, busy + idle + iowait + steal)


def disturbance(before: Ticks, after: Ticks, own_seconds: float) -> dict:
    """Shares of the machine that other work and the hypervisor took between two readings."""
    total = max(after.total - before.total, 1e-9)
    other = after.busy - before.busy - own_seconds
    return {
        "other": max(other, 0.0) / total,
        "steal": (after.stolen - before.stolen) / total,
    }
