"""Backends that note when each request reached them, for checks of who was admitted when."""

import asyncio
import multiprocessing
import time

from acceptance.backends import Backend

_fork = multiprocessing.get_context("fork")

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nheard"


class Arrivals:
    """When requests reached a backend, by their numbers and the monotonic clock; shared with processes that are forked."""

    def __init__(self, count: int):
        self._times = _fork.RawArray("d", count)

    def note(self, number: int, at: float) -> None:
        self._times[number] = at

    def at(self, number: int) -> float | None:
        return self._times[number] or None


class Witness(Backend):
    """Answers every request, and notes those whose path is a number that `arrivals` has a place for."""

    def __init__(self, name: str, arrivals: Arrivals):
        super().__init__(name)
        self._arrivals = arrivals

    def live(self) -> None:
        self.kill()
        self._process = _fork.Process(target=_witness, args=(self.listener, self._arrivals), daemon=True)
        self._process.start()


def _witness(listener, arrivals: Arrivals) -> None:
    class Peer(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport, self.unread = transport, b""

        def data_received(self, data):
            at = time.monotonic()
            *heads, self.unread = (self.unread + data).split(b"\r\n\r\n")
            for head in heads:
                path = head.split(b" ", 2)[1]
                if path[1:].isdigit():
                    arrivals.note(int(path[1:]), at)
                self.transport.write(ANSWER)

    async def main():
        server = await asyncio.get_running_loop().create_server(Peer, sock=listener)
        await server.serve_forever()

    asyncio.run(main())
