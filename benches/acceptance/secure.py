"""Clients over TLS: what they believe, and connections that know which certificate they were shown."""

import socket
import ssl
from pathlib import Path

from acceptance.proxies import Client, Proxy

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
TIMEOUT_SECONDS = 20


def believing(authority: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Verifies certificates and names, and speaks this version alone."""
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = context.maximum_version = version
    return context


def trusting(*protocols: str) -> ssl.SSLContext:
    """Takes any certificate, and offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def connect(port: int, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection for this host, hands shaken."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=host)


class SecureClient(Client):
    """A keep-alive connection over TLS."""

    def __init__(self, proxy: Proxy, host: str, context: ssl.SSLContext):
        self._socket = connect(proxy.https_port, host, context)
        self._answers = self._socket.makefile("rb")

    @property
    def version(self) -> str:
        return self._socket.version()

    @property
    def serial(self) -> int:
        """Of the certificate that was shown and verified."""
        return int(self._socket.getpeercert()["serialNumber"], 16)
