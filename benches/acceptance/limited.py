"""What the checks of rate limits have in common: proxies that count, a backend behind each, and clients they have not met."""

import contextlib
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Iterable, Iterator

from acceptance.backends import Backend
from acceptance.pace import Asked, Client, Due, Paced, Target
from acceptance.proxies import Proxy
from acceptance.redis import Redis

# Clients are those that X-Forwarded-For names.
TRUSTED = ["127.0.0.0/8"]
KNOWN_SECONDS = 0.5
KNOWN_REQUESTS = 64


class Scene:
    """Redis, and before each of the backends a proxy with a host of its own. Leaving the context ends all of them.

    `compared`: there is one more, `without_limits`, that counts nothing, for the host of the first backend.
    """

    def __init__(
        self, binary: Path, rate_limit: dict, backends: list[Backend], fsync: str | None = None, compared: bool = False,
    ):
        self._binary, self._rate_limit, self._fsync, self._compared = binary, rate_limit, fsync, compared
        self._backends = backends
        self._ends = contextlib.ExitStack()
        self.targets: list[Target] = []
        self.without_limits: Target | None = None

    def __enter__(self) -> "Scene":
        with contextlib.ExitStack() as ends:
            directory = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cjs-proxy-acceptance-")))
            self.redis = ends.enter_context(Redis(directory, self._fsync))
            for backend in self._backends:
                ends.callback(backend.kill)
                backend.live()
                self.redis.route(_host_of(backend), [backend.url])
                proxy = self._start(ends, backend.name, self._rate_limit, directory)
                self.targets.append(Target(proxy, _host_of(backend)))
            if self._compared:
                proxy = self._start(ends, "without-limits", None, directory)
                self.without_limits = Target(proxy, _host_of(self._backends[0]))
            self.make_known()
            self._ends = ends.pop_all()
        return self

    def _start(self, ends: contextlib.ExitStack, name: str, rate_limit: dict | None, directory: Path) -> Proxy:
        settings = {"port": self.redis.port}
        proxy = Proxy.start(name, self._binary, settings, directory, rate_limit, trustedProxies=TRUSTED)
        ends.callback(proxy.process.stop)
        return proxy

    def __exit__(self, *_) -> None:
        self._ends.close()

    def make_known(self) -> None:
        """Has every core look its host up, for clients of whom nothing is heard again."""
        strangers = addresses("10.200.0.0")
        every = KNOWN_SECONDS / KNOWN_REQUESTS
        plan = [
            Due(number * every, Client(next(strangers)), target)
            for target in [*self.targets, self.without_limits] if target for number in range(KNOWN_REQUESTS)
        ]
        if (found := statuses(Paced(plan, folder="/known/").result())) != {200: len(plan)}:
            raise RuntimeError(f"expected 200 from the start, got {told(found)}")


def _host_of(backend: Backend) -> str:
    return f"{backend.name}.example"


def addresses(first: str) -> Iterator[str]:
    """IPv4 addresses from this one on."""
    begin = int.from_bytes(bytes(int(part) for part in first.split(".")))
    return (".".join(str(part) for part in number.to_bytes(4)) for number in count(begin))


def statuses(asked: Iterable[Asked]) -> Counter:
    return Counter(each.status for each in asked)


def told(found: Counter) -> str:
    """How often each status was the answer, in words."""
    names = {0: "none"}
    return ", ".join(f"{names.get(status, status)}: {often}" for status, often in sorted(found.items())) or "nothing"


def took(asked: Iterable[Asked]) -> str:
    """How long answers took, in words."""
    times = sorted(each.took * 1000 for each in asked)
    if not times:
        return "nothing asked"
    at = lambda share: times[min(int(share * len(times)), len(times) - 1)]
    return f"median {at(0.5):.1f} ms, 99 % within {at(0.99):.1f} ms, the slowest {times[-1]:.1f} ms"
