"""Speaks HTTP/2 by h2: `h2_client.py CASE PORT AUTHORITY PROXY`, PROXY being the id of the proxy's process. Fails where
an answer is not as it has to be."""

import os
import signal
import sys

from h2.settings import SettingCodes

import site_here
from h2_connection import Connection

WINDOW = SettingCodes.INITIAL_WINDOW_SIZE


def trailers(asking) -> None:
    """Fields behind the body pass both ways, and pings are answered between."""
    connection = asking()
    stream = connection.begin("POST", "/", False)
    connection.ping()
    connection.send(stream, b"body", False)
    connection.h2.send_headers(stream, [("x-check", "1"), ("x-more", "2")], end_stream=True)
    connection.flush()
    answer = connection.whole(stream)
    assert (answer.status, bytes(answer.body)) == (200, b"abc"), vars(answer)
    assert answer.trailers == [("x-sum", "6")], answer.trailers


def byte_by_byte(asking) -> None:
    """Not a byte comes beyond a stream's window, however it was widened."""
    connection = asking({WINDOW: 1})
    connection.takes = False
    stream = connection.begin("GET", "/5000", True)
    body = connection.answers[stream].body

    def stops_at(count: int) -> None:
        connection.wait(lambda: len(body) >= count)
        connection.ping()
        assert len(body) == count, (len(body), count)

    for received in range(1, 20):
        stops_at(received)
        connection.grant(1, stream)
    stops_at(20)
    # New settings widen the windows of streams there are.
    connection.h2.update_settings({WINDOW: 3001})
    connection.flush()
    stops_at(3020)
    connection.grant(10_000, stream)
    connection.whole(stream)
    assert body == site_here.bytes_of(5000)


def shared_window(asking) -> None:
    """The connection's window stops all streams alike, and is given out to the last byte."""
    connection = asking({WINDOW: 1_000_000})
    connection.takes = False
    streams = [connection.begin("GET", "/50000", True) for _ in range(4)]

    def received() -> int:
        return sum(len(connection.answers[stream].body) for stream in streams)

    window = 65_535
    for increment in (1, 64, 65_000, 1_000_000):
        connection.wait(lambda: received() >= window)
        connection.ping()
        assert received() == window, (received(), window)
        connection.grant(increment)
        window += increment
    assert all(connection.whole(stream).body == site_here.bytes_of(50_000) for stream in streams)


def upload(asking) -> None:
    """Bodies go as the proxy widens its windows, several at once."""
    connection = asking()
    streams = [connection.begin("POST", "/", False) for _ in range(3)]
    bodies = [site_here.bytes_of(900_000, seed) for seed in range(3)]
    for at in range(0, 900_000, 100_000):
        for stream, body in zip(streams, bodies):
            connection.send(stream, body[at : at + 100_000], at == 800_000)
    for stream, body in zip(streams, bodies):
        assert connection.whole(stream).body == body


def priorities(asking) -> None:
    """Priorities, which RFC 9113 has abolished, do no harm: with requests, by themselves, for streams never begun."""
    connection = asking()
    connection.wait(lambda: connection.has_settings)
    connection.h2.prioritize(101, weight=256, depends_on=0)
    streams = []
    for number in range(20):
        depends_on = streams[-1] if streams else 101
        weight = 1 + number * 13
        stream = connection.begin(
            "GET", "/10", True, priority_weight=weight, priority_depends_on=depends_on, priority_exclusive=True
        )
        streams.append(stream)
        connection.h2.prioritize(stream, weight=weight, depends_on=103, exclusive=number % 2 == 0)
        connection.flush()
    assert all(connection.whole(stream).body == site_here.bytes_of(10) for stream in streams)
    connection.h2.prioritize(streams[0], weight=1)
    assert connection.get("/10").status == 200


def tables(asking) -> None:
    """The table of the proxy's heads follows the settings, also where they change twice between two answers."""
    connection = asking({SettingCodes.HEADER_TABLE_SIZE: 0})
    for sizes in ((65_536,), (0,), (0, 4096), (4096, 0, 100)):
        for size in sizes:
            connection.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
        connection.flush()
        for _ in range(3):
            assert connection.get("/10").status == 200


def as_many_as_allowed(asking) -> None:
    """As many streams at once as the proxy's settings say are all answered, more than once."""
    connection = asking()
    connection.wait(lambda: connection.has_settings)
    most = connection.h2.remote_settings.max_concurrent_streams
    assert 100 <= most <= 1000, most
    for _ in range(3):
        streams = [connection.begin("POST", "/", False) for _ in range(most)]
        for stream in streams:
            connection.send(stream, str(stream).encode(), True)
        for stream in streams:
            answer = connection.whole(stream)
            assert (answer.status, bytes(answer.body)) == (200, str(stream).encode()), vars(answer)


def drain(asking) -> None:
    """A proxy that is told to end says GOAWAY, lets what has begun end, and then closes."""
    connection = asking()
    stream = connection.begin("POST", "/", False)
    connection.send(stream, b"begun ", False)
    connection.ping()
    os.kill(int(sys.argv[4]), signal.SIGTERM)
    connection.wait(lambda: connection.goaway is not None)
    assert connection.goaway.error_code == 0, connection.goaway
    assert connection.goaway.last_stream_id >= stream, connection.goaway
    connection.send(stream, b"and ended", True)
    answer = connection.whole(stream)
    assert (answer.status, bytes(answer.body)) == (200, b"begun and ended"), vars(answer)
    connection.wait(lambda: connection.has_ended)


def tunnel(asking) -> None:
    """WebSocket by an extended CONNECT (RFC 8441), beside requests."""
    connection = asking()
    connection.wait(lambda: connection.has_settings)
    assert connection.h2.remote_settings.enable_connect_protocol == 1
    stream = connection.begin("CONNECT", "/chat", False, "websocket")
    answer = connection.answers[stream]
    connection.wait(lambda: answer.body == b"hello")
    assert answer.status == 200
    assert dict(answer.fields)["sec-websocket-protocol"] == "chat", answer.fields
    message = site_here.bytes_of(300_000)
    for at in range(0, len(message), 50_000):
        connection.send(stream, message[at : at + 50_000], False)
        connection.wait(lambda: len(answer.body) >= 5 + at + 50_000)
    assert not answer.is_whole
    connection.h2.end_stream(stream)
    connection.flush()
    assert connection.whole(stream).body == b"hello" + message


if __name__ == "__main__":
    case, port, authority, _ = sys.argv[1:]
    cases = (trailers, byte_by_byte, shared_window, upload, priorities, tables, as_many_as_allowed, drain, tunnel)
    named = {each.__name__: each for each in cases}
    named[case](lambda settings=None: Connection(port, authority, settings))
