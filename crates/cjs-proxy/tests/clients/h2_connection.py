"""One HTTP/2 connection over TLS by h2, which knows the protocol and leaves reading and writing to its user. It holds
the peer to the protocol: whatever breaks it ends in an exception."""

import socket
from collections import defaultdict
from collections.abc import Callable

from h2 import events
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings

import site_here

DEADLINE_SECONDS = 60

# h2 takes any GOAWAY for the end, though streams up to the last one that it names go on (RFC 9113 section 6.8).
H2ConnectionStateMachine._transitions[ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY] = (
    None,
    ConnectionState.CLIENT_OPEN,
)


class Answer:
    """What has come on a stream so far."""

    def __init__(self) -> None:
        self.status = None
        self.fields: list[tuple[str, str]] = []
        self.body = bytearray()
        self.trailers: list[tuple[str, str]] = []
        self.is_whole = False


class Connection:
    """Hands out no window by itself: what is received counts as taken only where `takes` is set."""

    def __init__(self, port: str, authority: str, settings: dict[SettingCodes, int] | None = None) -> None:
        context = site_here.believing(authority)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", int(port)), DEADLINE_SECONDS)
        # An end without close_notify is an error.
        self.socket = context.wrap_socket(plain, server_hostname=site_here.SITE, suppress_ragged_eofs=False)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.takes = True
        self.goaway: events.ConnectionTerminated | None = None
        self.has_ended = False
        self.pongs = 0
        self.has_settings = False
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Sends what h2 has for the peer."""
        self.socket.sendall(self.h2.data_to_send())

    def wait(self, check: Callable[[], bool]) -> None:
        """Reads until `check` holds."""
        while not check():
            assert not self.has_ended, "the proxy has closed the connection"
            received = self.socket.recv(65_536)
            self.has_ended = not received
            for event in self.h2.receive_data(received):
                self._note(event)
            self.flush()

    def _note(self, event: events.Event) -> None:
        match event:
            case events.ResponseReceived():
                answer = self.answers[event.stream_id]
                answer.status, answer.fields = int(dict(event.headers)[":status"]), event.headers
            case events.DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case events.TrailersReceived():
                self.answers[event.stream_id].trailers = event.headers
            case events.StreamEnded():
                self.answers[event.stream_id].is_whole = True
            case events.StreamReset():
                raise AssertionError(f"stream {event.stream_id} is reset: {event.error_code}")
            case events.PingAckReceived():
                self.pongs += 1
            case events.RemoteSettingsChanged():
                self.has_settings = True
            case events.ConnectionTerminated():
                self.goaway = event

    def begin(self, method: str, path: str, ends: bool, protocol: str | None = None, **priority) -> int:
        """Begins a request; `protocol`: to speak that over it (RFC 8441). Its stream."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", site_here.SITE)]
        if protocol is not None:
            fields.append((":protocol", protocol))
        self.h2.send_headers(stream, fields, end_stream=ends, **priority)
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, ends: bool) -> None:
        """Sends as the windows and the largest frame allow."""
        while body:
            self.wait(lambda: self.h2.local_flow_control_window(stream) > 0)
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            piece, body = body[:room], body[room:]
            self.h2.send_data(stream, piece, end_stream=ends and not body)
            self.flush()

    def whole(self, stream: int) -> Answer:
        """Its answer, once it has come to its end."""
        answer = self.answers[stream]
        self.wait(lambda: answer.is_whole)
        return answer

    def get(self, path: str) -> Answer:
        return self.whole(self.begin("GET", path, True))

    def ping(self) -> None:
        """What was sent before has been read by the proxy when this returns."""
        pongs = self.pongs
        self.h2.ping(b"12345678")
        self.flush()
        self.wait(lambda: self.pongs > pongs)

    def grant(self, increment: int, stream: int | None = None) -> None:
        """Widens a window: that of a stream or of the connection."""
        self.h2.increment_flow_control_window(increment, stream)
        self.flush()
