//! A client that shares one HTTP/2 connection among many requests: that of the h2 crate.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::scene::SITE;
use super::wait::DEADLINE;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// One connection.
#[derive(Clone)]
pub(crate) struct Streams {
    sender: SendRequest<Bytes>,
}

/// Runs `talk` over a connection to `address`, with windows of `window` bytes.
pub(crate) fn over<T, F: Future<Output = T>>(
    address: SocketAddr,
    window: u32,
    talk: impl FnOnce(Streams) -> F,
) -> T {
    over_socket(std::net::TcpStream::connect(address).unwrap(), window, talk)
}

/// As [`over`], on a connection that was begun otherwise.
pub(crate) fn over_socket<T, F: Future<Output = T>>(
    socket: std::net::TcpStream,
    window: u32,
    talk: impl FnOnce(Streams) -> F,
) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        socket.set_nonblocking(true).unwrap();
        let socket = TcpStream::from_std(socket).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let (sender, connection) = builder.handshake(socket).await.unwrap();
        // Its end shows in the streams.
        tokio::spawn(async { drop(connection.await) });
        let talk = talk(Streams { sender });
        tokio::time::timeout(3 * DEADLINE, talk).await.expect("the talk does not come to its end")
    })
}

/// A request to the site.
pub(crate) fn request(method: &str, target: &str) -> Request<()> {
    let uri = format!("https://{SITE}{target}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

impl Streams {
    /// Begins a request; `ends`: it has no body.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request, ends).unwrap()
    }

    /// Asks without a body.
    pub(crate) async fn ask(&self, request: Request<()>) -> Answer {
        let (response, _) = self.begin(request, true).await;
        whole(response.await.unwrap()).await.unwrap()
    }

    /// Asks with a body.
    pub(crate) async fn ask_with(&self, request: Request<()>, body: Vec<u8>) -> Answer {
        let (response, mut stream) = self.begin(request, false).await;
        let sent = async { send(&mut stream, body, true).await };
        let received = async { whole(response.await.unwrap()).await.unwrap() };
        tokio::join!(sent, received).1
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(request("GET", target)).await
    }

    /// Opens a tunnel for WebSocket (RFC 8441).
    pub(crate) async fn open(&self, target: &str) -> (Response<RecvStream>, SendStream<Bytes>) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut request = request("CONNECT", target);
        request.extensions_mut().insert(Protocol::from("websocket"));
        let (response, stream) = sender.send_request(request, false).unwrap();
        (response.await.unwrap(), stream)
    }
}

/// Sends `body` as the windows allow.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, body: Vec<u8>, ends: bool) {
    let mut body = Bytes::from(body);
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, ends && body.is_empty()).is_err() {
            return;
        }
    }
}

/// The next bytes of a body or tunnel; `None`: its end.
pub(crate) async fn next(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = stream.data().await?;
    if let Ok(piece) = &piece {
        stream.flow_control().release_capacity(piece.len()).unwrap();
    }
    Some(piece)
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = next(&mut stream).await {
        body.extend_from_slice(&piece?);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
}
