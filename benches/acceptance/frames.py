"""HTTP/2 frame by frame over TLS (RFC 9113 section 4), for what no well-behaved client sends."""

import contextlib
import ssl
import struct
from dataclasses import dataclass

from acceptance.proxies import Proxy
from acceptance.secure import connect, trusting

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
CANCEL = 8
WINDOW_FIRST, WINDOW_MAX = 2**16 - 1, 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The only status that has this one byte (RFC 7541 appendix A).
OK = 0x88
REASONS = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM"}


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def reason(self) -> str:
        """Of GOAWAY."""
        (code,) = struct.unpack(">I", self.payload[4:8])
        return REASONS.get(code, f"code {code}")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(host: str) -> bytes:
    """The header block of a GET that uses no table (RFC 7541 section 6.2.2); each text has under 127 bytes."""
    fields = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host))
    texts = (text.encode() for field in fields for text in field)
    lengths = [bytes([len(text)]) + text for text in texts]
    return b"".join(b"\0" + name + value for name, value in zip(lengths[::2], lengths[1::2]))


class Frames:
    """One connection, `open` until its end was met. Leaving the context closes it."""

    def __init__(self, proxy: Proxy, host: str):
        self._socket = connect(proxy.https_port, host, trusting("h2"))
        if self._socket.selected_alpn_protocol() != "h2":
            raise RuntimeError("the proxy does not speak HTTP/2")
        self._unread, self.open = b"", True
        # All that will be answered is taken: only streams have windows.
        window = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_MAX - WINDOW_FIRST))
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0) + window)

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()

    def send(self, frames: bytes) -> bool:
        """Whether they were taken; else the connection is over."""
        try:
            self._socket.sendall(frames)
        except OSError:
            return False
        return True

    def next(self) -> Frame | None:
        """The next frame; `None`: the connection has ended."""
        while not (found := self._take()):
            received = b""
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                received = self._socket.recv(65536)
            if not received:
                self.open = False
                return None
            self._unread += received
        return found

    def there(self, patience: float) -> list[Frame]:
        """The frames that have come; where there are none, those that come within so many seconds."""
        timeout = self._socket.gettimeout()
        self._socket.settimeout(patience)
        # What came before the end counts; the end itself shows when something is sent.
        with contextlib.suppress(OSError):
            while received := self._socket.recv(65536):
                self._unread += received
                self._socket.settimeout(0)
        self._socket.settimeout(timeout)
        return list(iter(self._take, None))

    def rest(self) -> list[Frame]:
        """The frames that come until the connection ends."""
        return list(iter(self.next, None))

    def _take(self) -> Frame | None:
        if len(self._unread) < 9:
            return None
        end = 9 + int.from_bytes(self._unread[:3], "big")
        if len(self._unread) < end:
            return None
        kind, flags, stream = struct.unpack(">BBI", self._unread[3:9])
        payload, self._unread = self._unread[9:end], self._unread[end:]
        return Frame(kind, flags, stream, payload)
