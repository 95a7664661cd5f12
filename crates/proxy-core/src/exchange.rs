//! One request and its response, in the order they live: limit, route, backend, request sent, response relayed, log
//! line. The only place that knows this order.

mod admission;
mod client_address;
mod judgement;
mod own_answers;
mod rate_limit;
mod record;

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use rate_limit::Limited;
use redis_router::{Backend, Cached, EXACT, Options, Route};
use smallvec::SmallVec;

use crate::buffer::Buffer;
use crate::choice::Choice;
use crate::context::{Core, Registration, Rules};
use crate::downstream::{Downstream, OutgoingHead};
use crate::error::Failure;
#[cfg(debug_assertions)]
use crate::hooks;
use crate::http::encode::{self, Destination, Forwarding, Persistence};
use crate::http::fault::Fault;
use crate::http::head::Length;
use crate::http::host;
use crate::http::request::RequestHead;
use crate::http::response::ResponseHead;
use crate::relay::{self, Beside, Broken, HeldBody, Progress};
use crate::secured::Secured;
use crate::sticky::Tag;
use crate::upstream::connection::Upstream;
use crate::upstream::pool::Leased;
use crate::{api_version, clock, conversation};

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
    /// What TLS tells of it; `None`: it does not speak it with us.
    pub(crate) secured: Option<Rc<Secured>>,
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
    rules: &'a Rules,
    client: &'a Client,
    connection: &'a Registration<'a>,
    request: &'a RequestHead,
    started: Instant,
    /// What its client may do; `None`: it is not limited, or nothing is known of it.
    limited: Option<Limited>,
    route: Option<Rc<Route>>,
    /// Those of the route, or of its host.
    options: Options,
    /// Bytes of the target that named the API version.
    skipped: usize,
    request_id: u128,
    /// The backend that was asked last, by its place in the list.
    asked: Option<usize>,
    /// The client's cookie does not name the backend that answers it, and should.
    to_keep_to: Option<Tag>,
    /// Some bytes of the request have gone to some backend.
    sent: bool,
    status: u16,
    asked_backend_at: Option<Instant>,
    backend_answered_at: Option<Instant>,
}

/// Serves the request whose first byte came when it `started` and whose head was `read`, and logs it.
pub(crate) async fn run(
    (core, rules): (&Core, &Rules),
    client: &Client,
    connection: &Registration<'_>,
    (request, started): (&RequestHead, Instant),
    read: Result<(), Failure>,
    mut downstream: Downstream<'_>,
) -> Ending {
    let mut exchange = Exchange {
        core,
        rules,
        client,
        connection,
        request,
        started,
        limited: None,
        route: None,
        options: Options::default(),
        skipped: 0,
        request_id: fastrand::u128(..),
        asked: None,
        to_keep_to: None,
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
    exchange.record(&downstream);
    ending
}

impl Exchange<'_> {
    async fn serve(&mut self, downstream: &mut Downstream<'_>) -> Result<Ending, Failure> {
        let begun = downstream.body.begin(self.request.body, self.rules.settings.limits.body_bytes);
        self.admit()?;
        begun?;
        if self.request.host == PING_HOST {
            return self.answer_ping(downstream).await;
        }
        #[cfg(debug_assertions)]
        if hooks::run(self.core, &self.request.host, self.request.target.within(&self.request.bytes)) {
            return self.answer_ping(downstream).await;
        }
        if let Some(secured) = &self.client.secured
            && !secured.may_ask_for(self.core, &self.request.host).await
        {
            return Err(Failure::Misdirected);
        }
        self.stay_within_limit().await?;
        let route = self.route().await?;
        // Where that waited for the store to be read at all, nothing was known of the client before.
        self.admit()?;
        self.route = Some(Rc::clone(&route));
        if self.wants_https() && !self.came_by_https() {
            return self.redirect_to_https(downstream).await;
        }
        let mut held = HeldBody::with_head(&mut downstream.body)?;
        self.asked_backend_at = Some(clock::now());
        let outcome = self.ask_backends(downstream, &route, &mut held).await;
        self.backend_answered_at = Some(clock::now());
        outcome
    }

    /// The route for the request's host; that of the API version its target names goes first.
    async fn route(&mut self) -> Result<Rc<Route>, Failure> {
        if let Some(route) = self.version_route().await? {
            return Ok(route);
        }
        let route = self.look_up(&self.request.host).await?.ok_or(Failure::NoFrontend)?;
        self.options = route.options.clone();
        Ok(route)
    }

    /// The route of the API version in the target, where versions are on and it has one.
    async fn version_route(&mut self) -> Result<Option<Rc<Route>>, Failure> {
        let (host, target) = (&self.request.host, self.request.target.within(&self.request.bytes));
        let wanted = self.rules.settings.api_versions;
        let Some(version) = api_version::segment(target).filter(|_| wanted) else { return Ok(None) };
        let key = format!("{EXACT}{}:{version}", host::without_port(host));
        let Some(route) = self.look_up(&key).await? else { return Ok(None) };
        self.skipped = "/".len() + version.len();
        self.options = route.options.clone();
        if self.options == Options::default() {
            // Without options of its own it has those of its host.
            self.options = self.look_up(host).await?.map(|host| host.options.clone()).unwrap_or_default();
        }
        Ok(Some(route))
    }

    /// What serves `host`. Waits for the store only where the host is new or was just changed.
    async fn look_up(&self, host: &str) -> Result<Option<Rc<Route>>, Failure> {
        match self.core.router.cached(host) {
            Cached::Route(route) => return Ok(Some(route)),
            Cached::NoFrontend => return Ok(None),
            Cached::Unknown => {}
        }
        let found = self.core.router.find(host).await;
        found.map_err(|unavailable| Failure::RoutesUnavailable(unavailable.to_string()))
    }

    /// Asks one backend after the other until one answers, as long as the request can be sent again.
    async fn ask_backends(
        &mut self,
        downstream: &mut Downstream<'_>,
        route: &Route,
        held: &mut HeldBody,
    ) -> Result<Ending, Failure> {
        let mut choice = Choice {
            core: self.core,
            route,
            balance: self.options.balance.unwrap_or(self.rules.settings.balance),
            kept_to: if self.options.sticky { Tag::in_request(self.request) } else { None },
            tried: SmallVec::new(),
        };
        let mut last = None;
        for _ in 0..=self.rules.settings.upstream.retries {
            let Some(chosen) = choice.next() else { break };
            if last.is_some() {
                self.core.account.retries.add(1);
            }
            let backend = chosen.backend;
            self.asked = Some(backend.index);
            if self.options.sticky {
                self.to_keep_to = Some(Tag::of(backend)).filter(|&tag| choice.kept_to != Some(tag));
            }
            match self.ask(downstream, (route, backend), held).await {
                // A client that reset its connection has ended the backend's too.
                Err(_) if self.connection.client_is_gone() => return Err(Failure::ClientGone),
                Err(failure) if failure.is_backends() => last = Some(failure),
                outcome => return outcome,
            }
            let (frontend, url) = (&route.frontend.key, &backend.url);
            if let Some(failure) = &last {
                self.core.complaints.log(format_args!("frontend {frontend}, backend {url}: {failure}"));
            }
            if !self.is_replayable(held) {
                break;
            }
        }
        Err(last.unwrap_or_else(|| choice.nobody()))
    }

    /// Whether another backend can be sent the same request without its being done twice (RFC 9110 section 9.2.2).
    fn is_replayable(&self, held: &HeldBody) -> bool {
        held.is_replayable() && (!self.sent || self.request.is_idempotent())
    }

    /// Asks one backend, and marks it dead where it fails. A pooled connection that its backend closed in the meantime
    /// is no failure of the backend: a fresh one is tried once.
    async fn ask(
        &mut self,
        downstream: &mut Downstream<'_>,
        (route, backend): (&Route, &Backend),
        held: &mut HeldBody,
    ) -> Result<Ending, Failure> {
        let mut fresh = false;
        let failure = loop {
            let connecting = self.core.connector.connection(backend, fresh);
            let leased = match self.connection.unless_client_left(connecting).await {
                Some(Ok(leased)) => leased,
                Some(Err(failure)) => break failure,
                None => return Err(Failure::ClientGone),
            };
            let was_pooled = leased.upstream.reused;
            let failure = match self.talk(downstream, (route, backend), held, leased).await {
                Err(failure) => failure,
                answered => return answered,
            };
            if !(was_pooled && matches!(failure, Failure::BackendClosed | Failure::BackendTls(_))) {
                break failure;
            }
            if !self.is_replayable(held) {
                return Err(failure);
            }
            fresh = true;
        };
        if failure.is_backends() && !self.connection.client_is_gone() {
            self.mark_dead(route, backend, &failure);
        }
        Err(failure)
    }

    /// Sends the request over `upstream` and relays the response.
    async fn talk(
        &mut self,
        downstream: &mut Downstream<'_>,
        (route, backend): (&Route, &Backend),
        held: &mut HeldBody,
        mut leased: Leased,
    ) -> Result<Ending, Failure> {
        let upstream = &mut *leased.upstream;
        self.send_request(upstream, backend, held).await?;
        let mut head = std::mem::take(&mut upstream.head);
        self.connection.waits_for(Some(upstream.write.cutter()));
        let talk = self.converse(downstream, (route, backend), held, upstream, &mut head).await;
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
        to: (&Route, &Backend),
        held: &mut HeldBody,
        upstream: &mut Upstream,
        head: &mut ResponseHead,
    ) -> Result<Talk, Failure> {
        let (core, rules, request) = (self.core, self.rules, self.request);
        let deadline = upstream.messages.shared_deadline();
        let client_deadline = downstream.body.deadline();
        let progress = Progress::default();
        progress.uploaded.set(held.is_whole());
        let Downstream { body, out } = downstream;
        let Upstream { messages, write, .. } = upstream;
        let upload =
            conversation::upload((core, rules), request, held, (&deadline, &progress), (body, write));
        let mut upload = pin!(upload);
        let mut upload = Beside::new(upload.as_mut());
        let head_wait =
            conversation::final_head(rules, request, (messages, out), (&client_deadline, &progress), head);
        match upload.during(head_wait, Result::is_err).await {
            Some(received) => received?,
            None => return Err(conversation::failure_of(upload.into_outcome())),
        }
        progress.answered.set(true);
        deadline.disarm();
        self.status = head.status;
        self.judge(to, head, messages.buffered());
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
        let more = self.more_lines(None, head.has("strict-transport-security", messages.buffered()));
        let patience = rules.backend_patience.body;
        let relaying = conversation::relay_response(
            (core, patience),
            messages,
            out,
            (head, first),
            (persistence, &more),
        );
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
            scheme: if self.client.secured.is_some() { "https" } else { "http" },
            member: self.client.secured.as_ref().and_then(|secured| secured.member.as_ref()),
            port: self.client.port,
            request_id: self.request_id,
        };
        let to = Destination {
            skipped: self.skipped,
            path_prefix: &backend.path_prefix,
            authority: &backend.authority,
        };
        encode::request(&mut out, self.request, &forwarding, to);
        held.append_to(&mut out, self.request.body == Length::Chunked);
        self.sent = true;
        let patience = self.rules.backend_patience;
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
        let more = self.more_lines(None, head.has("strict-transport-security", bytes));
        downstream.out.put_head(OutgoingHead { head, bytes, persistence: Persistence::Close, more: &more });
        downstream.out.flush().await.map_err(|_| Failure::ClientGone)?;
        messages.consume(head.length);
        let core = self.core;
        relay::tunnel(
            downstream,
            (&mut messages, &mut write),
            &core.connector.bulk,
            self.rules.backend_patience.tunnel,
        )
        .await;
        Ok(Ending::Linger)
    }

    /// Puts the connection back for the next request.
    fn keep(&self, mut leased: Leased) {
        let messages = &mut leased.upstream.messages;
        // Bytes behind a response answer nobody's request; they must never answer the next one's.
        if messages.has_nothing_left() && self.rules.settings.upstream.keep_alive && !self.core.draining.get()
        {
            messages.rest();
            self.core.connector.pool.put(leased);
        }
    }
}

fn ending_of(persistence: Persistence) -> Ending {
    match persistence {
        Persistence::KeepAlive => Ending::Continue,
        Persistence::Close => Ending::Close,
    }
}
