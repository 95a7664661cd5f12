"""The scenarios: what is sent, by how many clients, and what must come back."""

from dataclasses import dataclass

PLAIN_HOST = "small.bench"
VHOST_FORMAT = "host%05d.bench"
VHOST_COUNT = 10_000

KILOBYTE = "k" * 1024
POSTED = "posted\n"
MEGABYTE = 2**20


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
    many_hosts: bool = False
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
            about=f"as small, over {VHOST_COUNT:,} virtual hosts in turn",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            script="vhosts.lua",
            arguments=(VHOST_FORMAT, str(VHOST_COUNT)),
            many_hosts=True,
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


def vhosts() -> list[str]:
    return [VHOST_FORMAT % number for number in range(VHOST_COUNT)]
