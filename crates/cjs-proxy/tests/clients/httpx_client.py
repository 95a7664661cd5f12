"""Asks through httpx: `httpx_client.py CASE PORT AUTHORITY`. Fails where an answer is not as it has to be."""

import asyncio
import hashlib
import random
import ssl
import sys

import httpx

import site_here

CONCURRENT = 64
PIECES = 64


class Asking:
    """How the site is reached."""

    def __init__(self, port: str, authority: str) -> None:
        self.url = f"https://{site_here.SITE}:{port}"
        self.port = port
        self.context = site_here.believing(authority)

    def client(self, version: str, **more) -> httpx.AsyncClient:
        """Speaks this version of HTTP over one connection."""
        return httpx.AsyncClient(
            base_url=self.url,
            verify=self.context,
            http1=version == "HTTP/1.1",
            http2=version == "HTTP/2",
            limits=httpx.Limits(max_connections=1),
            timeout=60,
            **more,
        )


async def many(asking: Asking) -> None:
    """Requests at the same time, each with a body of its own, share a connection."""
    for version in ("HTTP/2", "HTTP/1.1"):
        ports = set()
        async with asking.client(version) as client:

            async def ask(number: int) -> None:
                body = site_here.bytes_of(number * 500, number)
                answer = await client.post(f"/{number}", content=body)
                assert (answer.status_code, answer.http_version) == (200, version), answer
                assert answer.content == body, number
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))

            await asyncio.gather(*(ask(number) for number in range(CONCURRENT)))
        assert len(ports) == 1, ports


async def streams(asking: Asking) -> None:
    """Long bodies pass piece by piece, both ways."""
    pieces = [random.randbytes(100_000 + number) for number in range(PIECES)]
    sent = hashlib.sha256(b"".join(pieces)).hexdigest()

    async def sending():
        for piece in pieces:
            yield piece

    for version in ("HTTP/2", "HTTP/1.1"):
        async with asking.client(version) as client:
            for _ in range(2):
                received = hashlib.sha256()
                async with client.stream("PUT", "/", content=sending()) as answer:
                    assert (answer.status_code, answer.http_version) == (200, version), answer
                    async for piece in answer.aiter_raw():
                        received.update(piece)
                assert received.hexdigest() == sent, version


async def fields(asking: Asking) -> None:
    """Fields that come several times stay several, and cookies come back."""
    for version in ("HTTP/2", "HTTP/1.1"):
        async with asking.client(version) as client:
            for _ in range(2):
                answer = await client.get("/a%20b?c=d", headers=[("X-Dup", "1"), ("X-Dup", "2")])
                assert (answer.status_code, answer.http_version) == (200, version), answer
                assert answer.headers.get_list("x-several") == ["a", "b, c"], answer.headers
                assert len(answer.headers.get_list("set-cookie")) == 2, answer.headers
            assert dict(client.cookies) == {"session": "1", "theme": "dark"}, client.cookies


async def trust(asking: Asking) -> None:
    """The certificate is believed for the site's name, and where the authority is known."""
    for url, verify, why in (
        (asking.url, asking.context, None),
        (asking.url, ssl.create_default_context(), "CERTIFICATE_VERIFY_FAILED"),
        (f"https://other.example:{asking.port}", asking.context, "Hostname mismatch"),
    ):
        async with httpx.AsyncClient(http2=True, verify=verify, timeout=60) as client:
            try:
                answer = await client.get(url)
            except httpx.ConnectError as error:
                assert why is not None and why in str(error), error
            else:
                assert why is None and answer.status_code == 200, (url, answer)


if __name__ == "__main__":
    site_here.resolve()
    case, port, authority = sys.argv[1:]
    cases = {each.__name__: each for each in (many, streams, fields, trust)}
    asyncio.run(cases[case](Asking(port, authority)))
