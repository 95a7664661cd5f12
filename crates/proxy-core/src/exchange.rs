//! One request and its response, in the order they live: route, backend, request sent, response relayed, log
//! line. The only place that knows this order.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis_router::{Backend, Cached, Route};
use smallvec::SmallVec;

use crate::access_log::{Entry, RequestLine};
use crate::buffer::Buffer;
use crate::context::{Core, Registration};
use crate::downstream::{Downstream, OutgoingHead};
use crate::error::Failure;
use crate::http::encode::{self, Destination, Forwarding, Persistence};
use crate::http::fault::Fault;
use crate::http::head::{Length, Version};
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::relay::{self, Beside, Broken, HeldBody, Progress};
use crate::upstream::connection::Upstream;
use crate::upstream::pool::Leased;
use crate::{answer, clock, conversation, pick};

/// Host that the proxy answers itself, for load balancers that ask whether it lives (Hipache).
const PING_HOST: &str = "__ping__";
/// Status in the log for a client that left before there was one, as nginx writes it.
const CLIENT_LEFT: u16 = 499;

/// The client at the other end of a connection.
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) address_text: String,
    /// Whether its forwarding fields are believed.
    pub(crate) trusted: bool,
    /// Port it connected to.
    pub(crate) port: u16,
}

/// How the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The next request may be read.
    Continue,
    /// The connection ends: the answer is whole and so was the request.
    Close,
    /// The connection ends though the client may still send; what was sent to it should arrive.
    Linger,
    /// The connection ends at once: nobody must take what was sent for whole, or nobody is there.
    Abort,
}

/// What talking to a backend came to.
enum Talk {
    /// The response is with the client, whole; so is the request with the backend where it was `uploaded`.
    Answered { persistence: Persistence, uploaded: bool },
    /// The backend agreed to another protocol.
    Switch,
    /// The response has begun and cannot be completed.
    Broken,
}

/// One request on its way.
struct Exchange<'a> {
    core: &'a Core,
    client: &'a Client,
    connection: &'a Registration<'a>,
    request: &'a RequestHead,
    started: Instant,
    route: Option<Rc<Route>>,
    /// Some bytes of the request have gone to some backend.
    sent: bool,
    status: u16,
    asked_backend_at: Option<Instant>,
    backend_answered_at: Option<Instant>,
}

/// Serves the request whose first byte came when it `started` and whose head was `read`, and logs it.
pub(crate) async fn run(
    core: &Core,
    client: &Client,
    connection: &Registration<'_>,
    (request, started): (&RequestHead, Instant),
    read: Result<(), Failure>,
    mut downstream: Downstream<'_>,
) -> Ending {
    let mut exchange = Exchange {
        core,
        client,
        connection,
        request,
        started,
        route: None,
        sent: false,
        status: CLIENT_LEFT,
        asked_backend_at: None,
        backend_answered_at: None,
    };
    let served = match read {
        Ok(()) => exchange.serve(&mut downstream).await,
        Err(failure) => Err(failure),
    };
    let ending = match served {
        Ok(ending) => ending,
        Err(failure) => exchange.refuse(&mut downstream, &failure).await,
    };
    exchange.log(&downstream);
    ending
}

impl Exchange<'_> {
    async fn serve(&mut self, downstream: &mut Downstream<'_>) -> Result<Ending, Failure> {
        downstream.body.begin(self.request.body, self.core.settings.limits.body_bytes)?;
        if self.request.host == PING_HOST {
            return self.answer_ping(downstream).await;
        }
        let route = self.route().await?;
        self.route = Some(Rc::clone(&route));
        let mut held = HeldBody::with_head(&mut downstream.body)?;
        self.asked_backend_at = Some(clock::now());
        let outcome = self.ask_backends(downstream, &route, &mut held).await;
        self.backend_answered_at = Some(clock::now());
        outcome
    }

    /// The route for the request's host. Waits for the store only where the host is new or was just changed.
    async fn route(&self) -> Result<Rc<Route>, Failure> {
        let host = self.request.host.as_str();
        match self.core.router.cached(host) {
            Cached::Route(route) => return Ok(route),
            Cached::NoFrontend => return Err(Failure::NoFrontend),
            Cached::Unknown => {}
        }
        match self.core.router.find(host).await {
            Ok(Some(route)) => Ok(route),
            Ok(None) => Err(Failure::NoFrontend),
            Err(unavailable) => Err(Failure::RoutesUnavailable(unavailable.to_string())),
        }
    }

    /// Asks one backend after the other until one answers, as long as the request can be sent again.
    async fn ask_backends(
        &mut self,
        downstream: &mut Downstream<'_>,
        route: &Route,
        held: &mut HeldBody,
    ) -> Result<Ending, Failure> {
        let mut tried: SmallVec<[usize; 4]> = SmallVec::new();
        let mut last = Failure::NoBackend;
        for _ in 0..=self.core.settings.upstream.retries {
            let Some(backend) = pick::pick(&route.frontend.backends, &tried, fastrand::u64(..)) else {
                break;
            };
            tried.push(backend.index);
            match self.ask(downstream, backend, held).await {
                // A client that reset its connection has ended the backend's too.
                Err(_) if self.connection.client_is_gone() => return Err(Failure::ClientGone),
                Err(failure) if failure.is_backends() => last = failure,
                outcome => return outcome,
            }
            let (frontend, url) = (&route.frontend.key, &backend.url);
            self.core.complaints.log(format_args!("frontend {frontend}, backend {url}: {last}"));
            if !self.is_replayable(held) {
                break;
            }
        }
        Err(last)
    }

    /// Whether another backend can be sent the same request without its being done twice (RFC 9110 section 9.2.2).
    fn is_replayable(&self, held: &HeldBody) -> bool {
        held.is_replayable() && (!self.sent || self.request.is_idempotent())
    }

    /// Asks one backend. A pooled connection that its backend closed in the meantime is no failure of the
    /// backend: a fresh one is tried once.
    async fn ask(
        &mut self,
        downstream: &mut Downstream<'_>,
        backend: &Backend,
        held: &mut HeldBody,
    ) -> Result<Ending, Failure> {
        let leased = self.core.connector.connection(backend, false).await?;
        let was_pooled = leased.upstream.reused;
        let outcome = self.talk(downstream, backend, held, leased).await;
        if was_pooled && matches!(outcome, Err(Failure::BackendClosed)) && self.is_replayable(held) {
            let leased = self.core.connector.connection(backend, true).await?;
            return self.talk(downstream, backend, held, leased).await;
        }
        outcome
    }

    /// Sends the request over `upstream` and relays the response.
    async fn talk(
        &mut self,
        downstream: &mut Downstream<'_>,
        backend: &Backend,
        held: &mut HeldBody,
        mut leased: Leased,
    ) -> Result<Ending, Failure> {
        let upstream = &mut *leased.upstream;
        self.send_request(upstream, backend, held).await?;
        let mut head = std::mem::take(&mut upstream.head);
        self.connection.waits_for(Some(upstream.write.cutter()));
        let talk = self.converse(downstream, held, upstream, &mut head).await;
        self.connection.waits_for(None);
        if matches!(talk, Err(Failure::BackendClosed)) && upstream.write.has_timed_out() {
            // It took none of the body for too long and was cut.
            return Err(Failure::BackendTimeout);
        }
        match talk? {
            Talk::Switch => self.switch_protocols(downstream, leased, &head).await,
            Talk::Answered { persistence, uploaded } => {
                let is_reusable = uploaded && head.persistent();
                upstream.head = head;
                if is_reusable {
                    self.keep(leased);
                }
                Ok(if uploaded { ending_of(persistence) } else { Ending::Linger })
            }
            Talk::Broken => Ok(Ending::Abort),
        }
    }

    /// Sends the rest of the request and relays the response, both at once: either side may be the longer one.
    async fn converse(
        &mut self,
        downstream: &mut Downstream<'_>,
        held: &mut HeldBody,
        upstream: &mut Upstream,
        head: &mut ResponseHead,
    ) -> Result<Talk, Failure> {
        let (core, request) = (self.core, self.request);
        let deadline = upstream.messages.shared_deadline();
        let client_deadline = downstream.body.deadline();
        let progress = Progress::default();
        progress.uploaded.set(held.is_whole());
        let Downstream { body, out } = downstream;
        let Upstream { messages, write, .. } = upstream;
        let upload = conversation::upload(core, request, held, (&deadline, &progress), (body, write));
        let mut upload = std::pin::pin!(upload);
        let mut upload = Beside::new(upload.as_mut());
        let head_wait =
            conversation::final_head(core, request, (messages, out), (&client_deadline, &progress), head);
        match upload.during(head_wait, Result::is_err).await {
            Some(received) => received?,
            None => return Err(conversation::failure_of(upload.into_outcome())),
        }
        progress.answered.set(true);
        deadline.disarm();
        self.status = head.status;
        if head.status == 101 {
            return if upload.is_done() {
                Ok(Talk::Switch)
            } else {
                Err(Failure::BackendInvalid(Fault::Status))
            };
        }
        messages.begin_body(head.body);
        let first = messages.decode_buffered(head.length).map_err(Failure::BackendInvalid)?;
        let can_finish = upload.is_done() || conversation::is_soon_read(request);
        let persistence = out.persistence(head, request.persistent() && !core.draining.get() && can_finish);
        let relaying = conversation::relay_response(core, messages, out, (head, first), persistence);
        match upload.during(relaying, Result::is_err).await {
            Some(Ok(())) => {}
            Some(Err(Broken::Client)) => return Ok(Talk::Broken),
            Some(Err(Broken::Backend)) | None => {
                out.abort();
                return Ok(Talk::Broken);
            }
        }
        // A backend may answer before it has read all; the client goes on sending what it announced.
        if persistence == Persistence::KeepAlive {
            upload.finish().await;
        }
        Ok(Talk::Answered { persistence, uploaded: matches!(upload.into_outcome(), Some(Ok(()))) })
    }

    /// Sends the head together with what is held of the body, in one write.
    async fn send_request(
        &mut self,
        upstream: &mut Upstream,
        backend: &Backend,
        held: &HeldBody,
    ) -> Result<(), Failure> {
        if !self.client.trusted && !self.request.forwarded_for.is_empty() {
            self.core.mention_untrusted(self.client.address);
        }
        let mut out = upstream.take_scratch();
        let forwarding = Forwarding {
            peer: &self.client.address_text,
            trusted: self.client.trusted,
            scheme: "http",
            port: self.client.port,
            request_id: fastrand::u128(..),
        };
        let to = Destination { path_prefix: &backend.path_prefix, authority: &backend.authority };
        encode::request(&mut out, self.request, &forwarding, to);
        held.append_to(&mut out, self.request.body == Length::Chunked);
        self.sent = true;
        let patience = self.core.backend_patience;
        let (sent, out) = upstream.write.write_all(Buffer::from_vec(out, 0), patience.body).await;
        upstream.give_scratch(out);
        if sent.is_err() && upstream.write.has_timed_out() {
            return Err(Failure::BackendTimeout);
        }
        // Any other error: the backend may have answered before it closed. The read will tell.
        if held.is_whole() || self.request.expects_continue {
            upstream.messages.deadline().arm(patience.header);
        }
        Ok(())
    }

    /// Passes the 101 on and becomes a tunnel until both sides have ended. Its place in the pool is free at once.
    async fn switch_protocols(
        &mut self,
        downstream: &mut Downstream<'_>,
        leased: Leased,
        head: &ResponseHead,
    ) -> Result<Ending, Failure> {
        let Leased { upstream, permit } = leased;
        let Upstream { mut messages, mut write, .. } = *upstream;
        drop(permit);
        let bytes = &messages.buffered()[..head.length];
        downstream.out.put_head(OutgoingHead { head, bytes, persistence: Persistence::Close });
        downstream.out.flush().await.map_err(|_| Failure::ClientGone)?;
        messages.consume(head.length);
        let core = self.core;
        relay::tunnel(
            downstream,
            (&mut messages, &mut write),
            &core.connector.bulk,
            core.backend_patience.tunnel,
        )
        .await;
        Ok(Ending::Linger)
    }

    /// Puts the connection back for the next request.
    fn keep(&self, mut leased: Leased) {
        let Upstream { messages, write, .. } = &mut *leased.upstream;
        // Bytes behind a response answer nobody's request; they must never answer the next one's.
        let is_clean = messages.buffered().is_empty() && (messages.has_seen_all() || write.peer_is_quiet());
        if is_clean && self.core.settings.upstream.keep_alive && !self.core.draining.get() {
            messages.rest();
            self.core.connector.pool.put(leased);
        }
    }

    async fn answer_ping(&mut self, downstream: &mut Downstream<'_>) -> Result<Ending, Failure> {
        let persistence = self.own_persistence(downstream);
        let client = downstream.out.client(persistence);
        self.status = 200;
        let to_head = self.request.is_head();
        let sent = downstream.out.send_own(|out| answer::ping(out, client, to_head)).await;
        sent.map_err(|_| Failure::ClientGone)?;
        Ok(ending_of(persistence))
    }

    /// Answers with the error page for `failure`, or ends a response that has begun so that nobody takes it for
    /// whole.
    async fn refuse(&mut self, downstream: &mut Downstream<'_>, failure: &Failure) -> Ending {
        log::debug!("{} {}: {failure}", self.client.address_text, self.request.host);
        let Some(status) = failure.status().filter(|_| !downstream.out.has_begun()) else {
            downstream.out.abort();
            return Ending::Abort;
        };
        let persistence = match failure {
            Failure::Client(_) | Failure::ClientTimeout => Persistence::Close,
            _ => self.own_persistence(downstream),
        };
        self.status = status;
        let client = downstream.out.client(persistence);
        let (pages, to_head) = (&self.core.settings.pages, self.request.is_head());
        let sent = downstream.out.send_own(|out| answer::error(out, status, pages, client, to_head)).await;
        match (sent, persistence) {
            (Err(_), _) => Ending::Abort,
            (Ok(()), Persistence::KeepAlive) => Ending::Continue,
            (Ok(()), Persistence::Close) => Ending::Linger,
        }
    }

    /// An answer of our own leaves the connection usable where nothing of the request is still to come.
    fn own_persistence(&self, downstream: &Downstream<'_>) -> Persistence {
        if self.request.persistent() && downstream.body.is_done() && !self.core.draining.get() {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }

    fn log(&self, downstream: &Downstream<'_>) {
        let Some(log) = &self.core.log else { return };
        let request = self.request;
        let bytes = request.bytes.as_slice();
        let request_line = (!request.method.is_empty()).then(|| RequestLine {
            method: request.method.within(bytes),
            target: request.written_target.within(bytes),
            version: match request.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            },
        });
        // Where a backend answered, its answer's end is the exchange's end.
        let ended = self.backend_answered_at.unwrap_or_else(clock::now);
        let entry = Entry {
            client: self.logged_client(),
            time: &self.core.log_time.borrow(),
            request: request_line,
            status: self.status,
            bytes: downstream.out.bytes_sent(),
            referer: request.referer.within(bytes),
            user_agent: request.user_agent.within(bytes),
            vhost: self.route.as_ref().map_or("", |route| &route.frontend.identifier),
            total: ended - self.started,
            backend: self.asked_backend_at.map_or(Duration::ZERO, |at| ended - at),
        };
        log.write(&entry);
    }

    /// The client as a trusted proxy names it (the last address of X-Forwarded-For), else the peer.
    fn logged_client(&self) -> IpAddr {
        if !self.client.trusted {
            return self.client.address;
        }
        let forwarded = self.request.forwarded_for.within(&self.request.bytes);
        let last = forwarded.rsplit(|&byte| byte == b',').next().unwrap_or_default();
        std::str::from_utf8(last.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(self.client.address)
    }
}

fn ending_of(persistence: Persistence) -> Ending {
    match persistence {
        Persistence::KeepAlive => Ending::Continue,
        Persistence::Close => Ending::Close,
    }
}
