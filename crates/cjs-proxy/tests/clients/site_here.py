"""The site that the proxy serves on loopback, for clients that ask for it by name."""

import socket
import ssl

SITE = "site.example"


def resolve() -> None:
    """Every name is found on loopback from now on."""
    look_up = socket.getaddrinfo

    def here(_, *rest, **more):
        return look_up("127.0.0.1", *rest, **more)

    socket.getaddrinfo = here


def believing(authority: str) -> ssl.SSLContext:
    """Believes who is signed by the authority in this file."""
    return ssl.create_default_context(cafile=authority)


def bytes_of(length: int, seed: int = 0) -> bytes:
    """A body that shows what is missing or out of its place."""
    return bytes((at * 31 + seed + at // 251) % 256 for at in range(length))
