//! A backend on monoio-http, which shows the request it got. Good for a look at what the proxy sends, and no more: that
//! crate bounds neither bodies nor heads and takes messages that two readers could understand differently.

use std::error::Error;

use bytes::Bytes;
use monoio::io::Splitable;
use monoio::io::sink::SinkExt;
use monoio::io::stream::Stream;
use monoio::net::{TcpListener, TcpStream};
use monoio_http::common::error::HttpError;
use monoio_http::common::request::Request;
use monoio_http::common::response::Response;
use monoio_http::h1::codec::decoder::{FillPayload, RequestDecoder};
use monoio_http::h1::codec::encoder::GenericEncoder;
use monoio_http::h1::payload::{FixedPayload, Payload};

/// Where it listens unless it is told.
const ADDRESS: &str = "127.0.0.1:3000";

#[monoio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| ADDRESS.to_owned());
    let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        monoio::spawn(watch(connection));
    }
}

/// Serves, and says why where it ended badly.
async fn watch(connection: TcpStream) {
    if let Err(error) = serve(connection).await {
        eprintln!("a connection ended: {error}");
    }
}

/// Answers one request after the other until the proxy closes.
async fn serve(connection: TcpStream) -> Result<(), HttpError> {
    let (reading, writing) = connection.into_split();
    let mut requests = RequestDecoder::new(reading);
    let mut answers = GenericEncoder::new(writing);
    while let Some(request) = requests.next().await {
        let request = request?;
        // What is left of a body would stand before the next head.
        requests.fill_payload().await?;
        answers.send_and_flush(answer(&request)).await?;
    }
    Ok(())
}

/// The request in words.
fn answer(request: &Request) -> Response {
    let mut text = format!("monoio-backend\n\n{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    // The answer to HEAD has no body.
    let is_shown = request.method() != http::Method::HEAD;
    let shown = || Payload::Fixed(FixedPayload::new(Bytes::from(text)));
    Response::new(if is_shown { shown() } else { Payload::None })
}
