"""The scenarios: what is sent, by how many clients, and what must come back."""

from dataclasses import dataclass
from functools import cached_property

PLAIN_HOST = "small.bench"

KILOBYTE = "k" * 1024
POSTED = "posted\n"
MEGABYTE = 2**20


@dataclass(frozen=True)
class Hosts:
    """Virtual hosts: a printf format of their names, and how many there are."""

    format: str
    count: int

    @cached_property
    def names(self) -> list[str]:
        return [self.format % number for number in range(self.count)]


VHOSTS = Hosts("host%05d.bench", 10_000)
ZIPF = Hosts("zipf%06d.bench", 100_000)


@dataclass(frozen=True)
class Scenario:
    """One kind of load. `reference` names a scenario run beside it, to compare a proxy with itself."""

    name: str
    about: str
    path: str
    answer_bytes: int
    connections: int = 64
    script: str = "summary.lua"
    arguments: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body_bytes: int = 0
    hosts: Hosts | None = None
    """Those that are asked for; otherwise `PLAIN_HOST` alone."""
    live_routes: bool = False
    """About routes in a store: for builds of cjs-proxy alone, which have asked for every host beforehand."""
    changes_per_second: int = 0
    reference: str | None = None


ALL = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="small",
            about="1 KB answers, 64 keep-alive clients, one host",
            path="/1k",
            answer_bytes=len(KILOBYTE),
        ),
        Scenario(
            name="vhosts",
            about=f"as small, over {VHOSTS.count:,} virtual hosts in turn",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            script="vhosts.lua",
            arguments=(VHOSTS.format, str(VHOSTS.count)),
            hosts=VHOSTS,
            reference="small",
        ),
        Scenario(
            name="zipf",
            about=f"as small, over {ZIPF.count:,} virtual hosts in Zipf order",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            script="zipf.lua",
            arguments=(ZIPF.format, str(ZIPF.count)),
            hosts=ZIPF,
            live_routes=True,
            reference="small",
        ),
        Scenario(
            name="zipf-changes",
            about="as zipf, while 1,000 routes a second are changed",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            script="zipf.lua",
            arguments=(ZIPF.format, str(ZIPF.count)),
            hosts=ZIPF,
            live_routes=True,
            changes_per_second=1_000,
            reference="small",
        ),
        Scenario(
            name="post10k",
            about="POST of 10 KB, short answers, 64 keep-alive clients",
            path="/post",
            answer_bytes=len(POSTED),
            script="post.lua",
            arguments=("10240",),
            body_bytes=10240,
        ),
        Scenario(
            name="body1m",
            about="1 MB answers, 16 keep-alive clients",
            path="/1m",
            answer_bytes=MEGABYTE,
            connections=16,
        ),
        Scenario(
            name="newconn",
            about="1 KB answers, 64 clients, a new connection for each request",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            headers=("Connection: close",),
        ),
    )
}
