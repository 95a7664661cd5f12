"""The scenarios: what is sent, by how many clients, and what must come back."""

from dataclasses import dataclass
from functools import cached_property

PLAIN_HOST = "small.bench"

KILOBYTE = "k" * 1024
POSTED = "posted\n"
MEGABYTE = 2**20
# Of HTTPS, in the benchmark's directory: the certificate, its key, and both in one file.
CERTIFICATE, KEY, PAIR = "site.crt", "site.key", "site.pem"
# Clients that open a TLS connection for each request: they have a core with the backend, and shake hands in Python.
HANDSHAKERS = 16
# Each has a connection to the proxy: it and the clients need as many open files.
ADDRESSES = 10_000


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
class Handshakes:
    """A TLS connection for each request: of which version, and whether it takes up an earlier session."""

    version: str
    resumed: bool = False


@dataclass(frozen=True)
class Limits:
    """Requests that each client address may make in a window of so many seconds."""

    requests: int
    window: int


# Nobody comes near it: what counting costs is measured, not what refusing does.
FAR_LIMITS = Limits(1_000_000_000, 60)


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
    tls: bool = False
    handshakes: Handshakes | None = None
    streams: int = 0
    """Of HTTP/2 at once on each connection; 0: HTTP/1.1."""
    live_routes: bool = False
    """About routes in a store: for builds of cjs-proxy, which have asked for every host beforehand, and nginx-lua."""
    changes_per_second: int = 0
    logged: bool = False
    """Every proxy writes an access log to a file; otherwise none does."""
    frame_bytes: int = 0
    """Of WebSocket messages, each of which comes back before the next is sent; 0: requests."""
    limits: Limits | None = None
    """Counted by builds of cjs-proxy and by nginx-lua; the first build takes part a second time without them."""
    addresses: int = 0
    """Client addresses, each with a connection of its own, of which `connections` are in use at once; 0: one for all."""
    joins_over: int = 0
    """Seconds of warm-up, beside those of the plan, over which the addresses come for the first time, one after the other."""
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
            name="small-logged",
            about="as small, each request a line in an access log",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            logged=True,
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
            name="post100k",
            about="POST of 100 KB, short answers, 64 keep-alive clients",
            path="/post",
            answer_bytes=len(POSTED),
            script="post.lua",
            arguments=("102400",),
            body_bytes=102400,
        ),
        Scenario(
            name="body1m",
            about="1 MB answers, 16 keep-alive clients",
            path="/1m",
            answer_bytes=MEGABYTE,
            connections=16,
        ),
        Scenario(
            name="body10m",
            about="10 MB answers, 8 keep-alive clients",
            path="/10m",
            answer_bytes=10 * MEGABYTE,
            connections=8,
        ),
        Scenario(
            name="websocket",
            about="WebSocket messages of 200 bytes that are sent back, 64 connections",
            path="/socket",
            answer_bytes=200,
            frame_bytes=200,
        ),
        Scenario(
            name="newconn",
            about="1 KB answers, 64 clients, a new connection for each request",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            headers=("Connection: close",),
        ),
        Scenario(
            name="tls",
            about="as small, over TLS 1.3",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            tls=True,
        ),
        *(
            Scenario(
                name=name,
                about=f"1 KB answers, {HANDSHAKERS} clients, {about} for each request",
                path="/1k",
                answer_bytes=len(KILOBYTE),
                connections=HANDSHAKERS,
                headers=("Connection: close",),
                tls=True,
                handshakes=handshakes,
            )
            for name, about, handshakes in (
                ("tls13-new", "a new TLS 1.3 session", Handshakes("1.3")),
                ("tls12-new", "a new TLS 1.2 session", Handshakes("1.2")),
                ("tls13-resumed", "a TLS 1.3 session taken up again", Handshakes("1.3", resumed=True)),
                ("tls12-resumed", "a TLS 1.2 session taken up again", Handshakes("1.2", resumed=True)),
            )
        ),
        Scenario(
            name="http2",
            about="1 KB answers over HTTP/2 and TLS 1.3, 16 connections with 32 streams each",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            connections=16,
            tls=True,
            streams=32,
        ),
        Scenario(
            name="limited",
            about="as small, requests counted for one client address, far below its limit",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            limits=FAR_LIMITS,
        ),
        Scenario(
            name="limited-addresses",
            about=f"1 KB answers, {ADDRESSES:,} client addresses in turn, each with a keep-alive connection and a limit, "
                  "64 requests at once",
            path="/1k",
            answer_bytes=len(KILOBYTE),
            limits=FAR_LIMITS,
            addresses=ADDRESSES,
            # As long as a quarter of the window, for which a client is lent at most: those who came together would come
            # back to Redis together.
            joins_over=FAR_LIMITS.window // 4,
        ),
    )
}
