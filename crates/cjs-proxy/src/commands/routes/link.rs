//! A blocking connection to Redis over std sockets, for commands: the redis crate packs what is sent and parses what
//! comes.

mod secured;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use redis::{ConnectionLike, Parser, PushKind, RedisError, RedisResult, Value};
use redis_router::{Endpoint, Server};
use tls::Trust;

use secured::Secured;

/// Where an operator says whom to believe.
const AUTHORITIES: &str = "redis.ca names a file with the authorities of its certificate";

/// An open connection.
struct Link {
    stream: Box<dyn Stream>,
    parser: Parser,
    patience: Duration,
    open: bool,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Connects within `patience`, over TLS where the endpoint says so; each later read and write may take as long.
/// `trust`: whom to believe then.
///
/// # Errors
/// Why there is no connection.
pub(crate) fn dial(
    endpoint: &Endpoint,
    trust: &Trust,
    patience: Duration,
) -> Result<Box<dyn ConnectionLike>, String> {
    let stream: Box<dyn Stream> = match &endpoint.server {
        Server::Tcp(host, port) if endpoint.tls => {
            let secured =
                Secured::open(tcp(host, *port, patience)?, &trust.clients(), without_brackets(host));
            Box::new(secured.map_err(|error| not_secured(&error, patience))?)
        }
        Server::Tcp(host, port) => Box::new(tcp(host, *port, patience)?),
        Server::Unix(path) => Box::new(unix(path, patience).map_err(|error| error.to_string())?),
    };
    Ok(Box::new(Link { stream, parser: Parser::new(), patience, open: true }))
}

fn not_secured(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s; does it speak TLS on this port?", patience.as_secs_f32())
        }
        _ => format!("{error} ({AUTHORITIES})"),
    }
}

/// An IPv6 address as it stands in a URL, without what stands around it there.
fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn tcp(host: &str, port: u16, patience: Duration) -> Result<TcpStream, String> {
    let addresses = (without_brackets(host), port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {host}: {error}"))?;
    let mut failure = format!("{host} has no address");
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, patience).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

fn unix(path: &std::path::Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

impl Link {
    /// The next reply; what the server says unasked is passed over.
    fn reply(&mut self) -> RedisResult<Value> {
        loop {
            match self.parser.parse_value(&mut self.stream) {
                Ok(Value::Push { kind: PushKind::Subscribe | PushKind::PSubscribe, .. }) => {
                    return Ok(Value::Okay);
                }
                Ok(Value::Push { .. }) => {}
                Ok(value) => return Ok(value),
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&mut self, error: RedisError) -> RedisError {
        self.open = false;
        if error.is_timeout() {
            return failure(format!("no answer within {} s", self.patience.as_secs_f32()));
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return failure(format!("it closed the connection: {error}"));
        }
        failure(format!("its answer is no RESP ({error}); is it a Redis server?"))
    }
}

fn failure(text: String) -> RedisError {
    RedisError::from(io::Error::other(text))
}

impl ConnectionLike for Link {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        let mut replies = self.req_packed_commands(command, 0, 1)?;
        replies.pop().ok_or_else(|| failure("there was no reply".into()))
    }

    fn req_packed_commands(
        &mut self,
        commands: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        if let Err(error) = self.stream.write_all(commands).and_then(|()| self.stream.flush()) {
            return Err(self.lost(error.into()));
        }
        let mut replies = Vec::with_capacity(count);
        for number in 0..offset + count {
            let reply = self.reply()?;
            if number >= offset {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.open
    }
}
