#!/usr/bin/env python3
"""Mixed traffic for minutes, half of it over TLS, while cores are replaced, routes and certificates change and the config
is read anew: what the proxy holds must stay flat. Needs redis-server, openssl and a build with the test hooks
(`cargo build --profile quick`).

Prints what clients saw and how resident memory, descriptors and threads went; draws them. The exit status is 1 where a
request failed that must not.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from acceptance.authority import Authority
from acceptance.redis import Redis, routing
from acceptance.secure import VERSIONS, believing
from bench.process import Process

ROOT = Path(__file__).resolve().parent.parent
SITE = "site.example"
BIG = b"x" * (4 << 20)
SAMPLE_SECONDS = 5.0


class Backend:
    """Answers /, /big and POSTs, and echoes tunnels."""

    async def start(self) -> str:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client or the proxy left, or the soak is over.
        finally:
            writer.close()

    async def _answer(self, reader, writer) -> bool:
        head = await read_head(reader)
        if head is None:
            return False
        start, fields = head
        if "upgrade" in fields:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
            return False
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        answer = BIG if " /big " in start else b"%d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        return True


async def read_head(reader) -> tuple[str, dict[str, str]] | None:
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError as cut:
        if cut.partial:
            raise
        return None
    start, *lines = text.rstrip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return start, fields


class Clients:
    """Each kind asks over and over, with short pauses: the machine is to stay calm."""

    def __init__(self, ports: tuple[int, int], authority: Path):
        self.port, self.https_port = ports
        self.done, self.failed = Counter(), Counter()
        self.stop = False
        self._trust = [believing(authority, version) for version in VERSIONS]

    async def run(self, kind: str) -> None:
        while not self.stop:
            try:
                await asyncio.wait_for(getattr(self, kind)(), 30)
                self.done[kind] += 1
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
                self.failed[f"{kind}: {type(error).__name__}: {error}"] += 1
            await asyncio.sleep(random.uniform(0, 0.04))

    async def _open(self, tls: bool | None = None):
        if not (random.random() < 0.5 if tls is None else tls):
            return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        return await asyncio.open_connection(
            "127.0.0.1", self.https_port, limit=1 << 20, ssl=random.choice(self._trust), server_hostname=SITE)

    async def _ask(self, reader, writer, method: str, path: str, body: bytes = b"") -> bool:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await read_head(reader)
        if head is None:
            raise ValueError("no answer")
        start, fields = head
        answer = await reader.readexactly(int(fields["content-length"]))
        wanted = BIG if path == "/big" else b"%d" % len(body)
        if " 200 " not in start or answer != wanted:
            raise ValueError(start)
        return fields.get("connection") != "close"

    async def small(self) -> None:
        """Keep-alive, until the proxy says that it closes."""
        reader, writer = await self._open()
        for _ in range(200):
            if not await self._ask(reader, writer, "GET", "/") or self.stop:
                break
            await asyncio.sleep(random.uniform(0, 0.01))
        writer.close()

    async def single(self) -> None:
        reader, writer = await self._open()
        await self._ask(reader, writer, "GET", "/")
        writer.close()

    async def download(self) -> None:
        reader, writer = await self._open()
        await self._ask(reader, writer, "GET", "/big")
        writer.close()
        await asyncio.sleep(0.3)

    async def upload(self) -> None:
        reader, writer = await self._open()
        await self._ask(reader, writer, "POST", "/", b"y" * (1 << 20))
        writer.close()
        await asyncio.sleep(0.3)

    async def tunnel(self) -> None:
        reader, writer = await self._open()
        writer.write(f"GET / HTTP/1.1\r\nHost: {SITE}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
        head = await read_head(reader)
        if head is None or " 101 " not in head[0]:
            raise ValueError(f"no tunnel: {head}")
        for _ in range(10):
            writer.write(b"ping" * 1000)
            if await reader.readexactly(4000) != b"ping" * 1000:
                raise ValueError("another echo")
        writer.close()
        await asyncio.sleep(0.1)

    async def vanish(self) -> None:
        """Leaves at some stage of a request; nobody can fail it."""
        reader, writer = await self._open()
        text = f"POST /big HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 100\r\n\r\n".encode() + b"z" * 100
        writer.write(text[: random.randrange(len(text) + 1)])
        await asyncio.sleep(random.choice([0, 0.01]))
        writer.transport.abort()

    async def hook(self, what: str) -> None:
        reader, writer = await self._open(tls=False)
        writer.write(f"GET {what} HTTP/1.1\r\nHost: __hook__\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()


def sample(pid: int) -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    held = {"resident MB": int(status["VmRSS"].split()[0]) / 1024, "threads": int(status["Threads"])}
    return held | {"descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


async def disturb(pid: int, clients: Clients, redis: Redis, urls: list[str], site: "Site", events: Counter) -> None:
    """Replaces a core every 3 s, changes a route five times a second, reads the config anew every 20 s, replaces the
    certificate every 5 s."""
    turn = 0
    while not clients.stop:
        turn += 1
        host = f"h{random.randrange(200)}.example"
        redis.ask(*routing(host, random.choice([urls, urls + ["http://127.0.0.1:9"]])))
        events["route changes"] += 1
        if turn % 15 == 0:
            await clients.hook("/replace")
            events["replacements"] += 1
        if turn % 25 == 0:
            site.replace_certificate(turn)
            events["certificates"] += 1
        if turn % 100 == 0:
            os.kill(pid, signal.SIGHUP)
            events["reloads"] += 1
        await asyncio.sleep(0.2)


class Site:
    """The certificate of the site, in files that are replaced by renaming, or in Redis, where it goes first."""

    def __init__(self, folder: Path, redis: Redis):
        self.authority, self._folder, self._redis = Authority(folder), folder, redis
        self._pairs = [self.authority.issue(SITE, serial) for serial in range(1, 4)]
        self.settings = self._pairs[0].write(folder / "site")

    def replace_certificate(self, turn: int) -> None:
        pair = self._pairs[turn % len(self._pairs)]
        if turn % 2:
            self._redis.ask(("HSET", f"tls:{SITE}", "certificate", pair.certificate, "key", pair.key))
            return
        self._redis.ask(("DEL", f"tls:{SITE}"))
        new = pair.write(self._folder / "new")
        for setting, file in self.settings.items():
            os.replace(new[setting], file)


async def soak(
    process: Process, ports: tuple[int, int], site: Site, redis: Redis, minutes: float
) -> tuple[list, Clients, Counter]:
    urls = [await Backend().start(), await Backend().start()]
    redis.route(SITE, urls)
    clients, events, samples = Clients(ports, site.authority.file), Counter(), []
    kinds = ["small"] * 6 + ["single"] * 4 + ["download", "upload", "tunnel", "tunnel", "vanish", "vanish"]
    tasks = [asyncio.create_task(clients.run(kind)) for kind in kinds]
    tasks.append(asyncio.create_task(disturb(process.pid, clients, redis, urls, site, events)))
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < minutes * 60:
        samples.append({"minute": elapsed / 60} | sample(process.pid))
        await asyncio.sleep(SAMPLE_SECONDS)
    clients.stop = True
    await asyncio.gather(*tasks)
    return samples, clients, events


def plot(samples: list[dict], path: Path) -> None:
    """One row for each measure, drawn as a line over the minutes."""
    width, row, left = 800, 120, 90
    measures = [name for name in samples[0] if name != "minute"]
    end = samples[-1]["minute"] or 1
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{row * len(measures) + 30}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for place, name in enumerate(measures):
        top, highest = place * row + 10, max(each[name] for each in samples) * 1.1
        point = lambda each: (f'{left + (width - left - 20) * each["minute"] / end:.1f},'
                              f'{top + (row - 20) * (1 - each[name] / highest):.1f}')
        parts.append(f'<line x1="{left}" y1="{top + row - 20}" x2="{width - 20}" y2="{top + row - 20}" stroke="#aaa"/>')
        parts.append(f'<text x="5" y="{top + 12}">{name}</text><text x="5" y="{top + 30}" fill="#666">0 to {highest:.0f}</text>')
        parts.append(f'<polyline fill="none" stroke="#246" points="{" ".join(map(point, samples))}"/>')
    parts.append(f'<text x="{left}" y="{row * len(measures) + 22}" fill="#666">{end:.0f} minutes</text></svg>')
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def tell(samples: list[dict], clients: Clients, events: Counter) -> None:
    print("done:", ", ".join(f"{count} {kind}" for kind, count in sorted(clients.done.items())))
    print("meanwhile:", ", ".join(f"{count} {kind}" for kind, count in events.items()))
    fifth = max(1, len(samples) // 5)
    for name in (name for name in samples[0] if name != "minute"):
        second, last = samples[fifth:2 * fifth] or samples, samples[-fifth:]
        early, late = (statistics.median(each[name] for each in part) for part in (second, last))
        print(f"{name}: {early:.1f} in the second fifth, {late:.1f} in the last (median), most {max(s[name] for s in samples):.1f}")
    for what, count in clients.failed.items():
        print(f"FAILED {count} times: {what}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=20)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/quick/cjs-proxy")
    parser.add_argument("--plot", type=Path, help="where the drawing goes (SVG)")
    options = parser.parse_args()
    os.environ["CJS_PROXY_HOOKS"] = "1"
    with tempfile.TemporaryDirectory() as folder, Redis(Path(folder)) as redis:
        config, site = Path(folder) / "soak.json", Site(Path(folder), redis)
        server = {"port": 0, "bind": "127.0.0.1", "workers": 2, "accessLog": str(Path(folder) / "access.log"),
                  "gracefulWait": 4, "https": {"port": 0, **site.settings}}
        config.write_text(json.dumps({"server": server, "redis": {"port": redis.port}}), encoding="utf-8")
        process = Process("cjs-proxy", [str(options.binary), "run", "-c", str(config)], None, Path(folder))
        try:
            ports = tuple(
                int(process.wait_for_line(rf"listening on 127\.0\.0\.1:(\d+){what}\n")[1]) for what in ("", " for HTTPS"))
            process.wait_for_line(r"serving on")
            samples, clients, events = asyncio.run(soak(process, ports, site, redis, options.minutes))
        finally:
            process.stop()
    tell(samples, clients, events)
    if options.plot:
        plot(samples, options.plot)
    return 1 if clients.failed else 0


if __name__ == "__main__":
    sys.exit(main())
