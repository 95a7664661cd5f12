//! Backends that do as they are told, byte for byte, and remember what they got.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::message::{Head, Wire};
use super::wait::{self, Gate};

/// A backend on a port of its own; each connection has a thread that runs the script.
pub(crate) struct Backend {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    bytes: Arc<Mutex<Vec<u8>>>,
    stream: Option<TcpStream>,
    ended: Arc<Mutex<bool>>,
}

/// A whole request as a backend got it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

impl Request {
    /// Target of the request line.
    pub(crate) fn target(&self) -> &str {
        self.head.start_line().split(' ').nth(1).unwrap()
    }
}

/// A backend's end of one connection.
pub(crate) struct Peer {
    pub(crate) wire: Wire,
    /// Place among the connections of its backend, from 0.
    pub(crate) number: usize,
    seen: Arc<Seen>,
    resets: bool,
}

impl Backend {
    /// Runs `script` for every connection; when it returns, the connection is closed.
    pub(crate) fn run(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::run_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn run_on(listener: TcpListener, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let (listener, seen) = (Arc::new(listener), Arc::new(Seen::default()));
        let backend = Self {
            address: listener.local_addr().unwrap(),
            listener: Arc::clone(&listener),
            seen: Arc::clone(&seen),
        };
        let script = Arc::new(script);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                seen.admit(stream, Arc::clone(&script));
            }
        });
        backend
    }

    /// Gives every request the same answer.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::run(move |peer| {
            while peer.request().is_some() {
                peer.send(&answer);
            }
        })
    }

    /// Answers 200 with `body`.
    pub(crate) fn saying(body: &str) -> Self {
        Self::answering(ok(body))
    }

    /// Sends every request's body back.
    pub(crate) fn echoing() -> Self {
        Self::run(|peer| {
            while let Some(request) = peer.request() {
                peer.send(ok(request.body));
            }
        })
    }

    /// Gives a request its answer and closes.
    pub(crate) fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::run(move |peer| {
            if peer.request().is_some() {
                peer.send(&answer);
            }
        })
    }

    /// Reads a request and closes.
    pub(crate) fn closing() -> Self {
        Self::answering_once("")
    }

    /// Reads requests and never answers.
    pub(crate) fn silent() -> Self {
        Self::answering("")
    }

    /// Answers 200 `late` once `gate` is open.
    pub(crate) fn gated(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::run(move |peer| {
            while peer.request().is_some() {
                gate.pass();
                peer.send(ok("late"));
            }
        })
    }

    /// Answers 200 `late` after a while.
    pub(crate) fn slow(pause: Duration) -> Self {
        Self::run(move |peer| {
            while peer.request().is_some() {
                Gate::default().opens_within(pause);
                peer.send(ok("late"));
            }
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whole requests so far, over all connections, in the order they were read.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.lock().unwrap().len()
    }

    /// All bytes that came, connection after connection.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let connections = self.seen.connections.lock().unwrap();
        connections.iter().flat_map(|connection| connection.bytes.lock().unwrap().clone()).collect()
    }

    /// The only request.
    pub(crate) fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    pub(crate) fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        wait::until(&format!("{count} requests at the backend"), || self.requests().len() >= count);
        self.requests()
    }

    /// Waits until connection `number` has been closed by the proxy or by the script.
    pub(crate) fn wait_for_end(&self, number: usize) {
        let ended = || {
            let connections = self.seen.connections.lock().unwrap();
            connections.get(number).is_some_and(|connection| *connection.ended.lock().unwrap())
        };
        wait::until(&format!("end of backend connection {number}"), ended);
    }

    /// Closes every connection there is.
    pub(crate) fn hang_up(&self) {
        for stream in self.seen.connections.lock().unwrap().iter().flat_map(|connection| &connection.stream) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Ends the accepting thread, and with the connections theirs.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        self.hang_up();
    }
}

impl Seen {
    /// Runs `script` for a new connection.
    fn admit(self: &Arc<Self>, stream: TcpStream, script: Arc<impl Fn(&mut Peer) + Send + Sync + 'static>) {
        let (kept, ended) = (stream.try_clone().unwrap(), Arc::new(Mutex::new(false)));
        let wire = Wire::new(stream);
        wire.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let bytes = Arc::clone(&wire.record);
        let mut connections = self.connections.lock().unwrap();
        let number = connections.len();
        connections.push(Connection { bytes, stream: Some(kept), ended: Arc::clone(&ended) });
        let mut peer = Peer { wire, number, seen: Arc::clone(self), resets: false };
        std::thread::spawn(move || {
            script(&mut peer);
            peer.close();
            *ended.lock().unwrap() = true;
        });
    }
}

impl Peer {
    /// The next whole request; `None` when the proxy has closed.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        self.body_of(head)
    }

    /// The next request's head alone.
    pub(crate) fn head(&mut self) -> Option<Head> {
        self.wire.head().ok()
    }

    /// Reads so many bytes and forgets them.
    pub(crate) fn skip(&mut self, mut count: usize) {
        while count > 0 {
            let piece = count.min(50_000);
            if self.wire.exactly(piece).is_err() {
                return;
            }
            self.wire.record.lock().unwrap().clear();
            count -= piece;
        }
    }

    /// The body that belongs to `head`; counts the request as whole.
    pub(crate) fn body_of(&mut self, head: Head) -> Option<Request> {
        let mut request = Request { head, ..Request::default() };
        match (request.head.get("transfer-encoding"), request.head.get("content-length")) {
            (Some("chunked"), None) => (request.body, request.trailers) = self.wire.chunks().ok()?,
            (None, Some(length)) => request.body = self.wire.exactly(length.parse().unwrap()).ok()?,
            (None, None) => {}
            _ => panic!("ambiguous length at the backend: {}", request.head.raw),
        }
        self.seen.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A proxy that has left is no concern of the script.
        let _ = self.try_send(bytes);
    }

    /// `false`: the proxy has left.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Waits until the proxy closes.
    pub(crate) fn hold(&mut self) {
        self.wire.rest();
    }

    /// Closes with a reset as soon as the script ends.
    pub(crate) fn reset(&mut self) {
        self.resets = true;
    }

    fn close(self) {
        if !self.resets {
            let _ = self.wire.stream.shutdown(Shutdown::Both);
            return;
        }
        // A reset is sent when the last handle is closed.
        self.seen.connections.lock().unwrap()[self.number].stream = None;
        SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn finish(&mut self) {
        self.wire.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A 200 with a length.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// A port that refuses connections, for as long as this is kept.
pub(crate) struct Refusing(Socket);

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        Self(socket)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap().as_socket().unwrap())
    }

    /// From now on connections are taken.
    pub(crate) fn listen(self) -> TcpListener {
        self.0.listen(128).unwrap();
        self.0.into()
    }
}

/// A port whose connections are never made: its queue is full and nobody accepts.
pub(crate) struct Blackhole {
    listener: Socket,
    _queued: Vec<Socket>,
}

impl Blackhole {
    pub(crate) fn new() -> Self {
        Self::at(([127, 0, 0, 1], 0).into())
    }

    /// On a given port.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let queue = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        };
        let queued = std::iter::repeat_with(queue).take(4).collect();
        Self { listener, _queued: queued }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap().as_socket().unwrap())
    }
}
