#!/usr/bin/env python3
"""Clients that open a TLS connection for each request. Prints what they counted as one line, as lua/summary.lua does.

They verify the certificate. Each connection must be a new session, or with --resume one that the server took up again;
a connection that is not what it has to be counts as an error.
"""

import argparse
import json
import socket
import ssl
import threading
import time
from collections import Counter
from statistics import quantiles

TIMEOUT_SECONDS = 10
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Client:
    """Asks over a connection of its own each time, and notes what came of it."""

    def __init__(self, options: argparse.Namespace, context: ssl.SSLContext):
        self._options, self._context = options, context
        self._request = f"GET {options.path} HTTP/1.1\r\nHost: {options.host}\r\nConnection: close\r\n\r\n".encode()
        self._session: ssl.SSLSession | None = None
        self.micros: list[float] = []
        self.bytes, self.errors = 0, Counter()

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                self._ask()
            except TimeoutError:
                self.errors["timeout"] += 1
            except ConnectionRefusedError:
                self.errors["connect"] += 1
            except OSError:
                self.errors["read"] += 1

    def _ask(self) -> None:
        began = time.perf_counter()
        connected = socket.create_connection(("127.0.0.1", self._options.port), timeout=TIMEOUT_SECONDS)
        # As browsers and curl have it: otherwise the request waits for an acknowledgement of the handshake.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wanted = self._session
        with self._context.wrap_socket(connected, server_hostname=self._options.host, session=wanted) as secured:
            secured.sendall(self._request)
            answer = b""
            while chunk := secured.recv(65536):
                answer += chunk
            if secured.session_reused != (wanted is not None):
                self.errors["session"] += 1
            # Those of TLS 1.3 come after the handshake: with the answer they have come for certain.
            self._session = secured.session if self._options.resume else None
        self.micros.append((time.perf_counter() - began) * 1e6)
        self.bytes += len(answer)
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.errors["status"] += 1


def main() -> None:
    options = parse()
    context = ssl.create_default_context(cafile=options.ca)
    context.minimum_version = context.maximum_version = VERSIONS[options.tls]
    # Of TLS 1.2; for those of 1.3 Python has no say.
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    clients = [Client(options, context) for _ in range(options.clients)]
    began = time.monotonic()
    threads = [threading.Thread(target=client.run, args=(began + options.seconds,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("SUMMARY " + json.dumps(summary(clients, time.monotonic() - began)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--ca", required=True, help="file with the certificates to trust")
    parser.add_argument("--tls", choices=VERSIONS, required=True)
    parser.add_argument("--resume", action="store_true", help="take up the session of the connection before")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    return parser.parse_args()


def summary(clients: list[Client], seconds: float) -> dict:
    micros = [each for client in clients for each in client.micros]
    cuts = quantiles(micros, n=100) if len(micros) > 1 else [0] * 99
    return {
        "requests": len(micros),
        "micros": seconds * 1e6,
        "bytes": sum(client.bytes for client in clients),
        "p50": cuts[49],
        "p99": cuts[98],
        **sum((client.errors for client in clients), Counter()),
    }


if __name__ == "__main__":
    main()
