//! Every cap of the data plane in one place: the unit in the name, the reason beside the value. Caps that an
//! operator sets live in `settings`; these hold whatever is set.

use std::time::Duration;

/// First read of a client connection. A browser's head fits; ten thousand idle clients stay under 16 KB each.
pub(crate) const CLIENT_HEAD_BYTES: usize = 4 * 1024;
/// First read of a connection whose peer has sent more than that at once before.
pub(crate) const LARGE_HEAD_BYTES: usize = 16 * 1024;
/// First read of a backend's answer: head and a small body arrive together.
pub(crate) const UPSTREAM_HEAD_BYTES: usize = 8 * 1024;
/// One read or write of a body. 64 KB cost a third less CPU per megabyte than 16 KB, 128 KB a fifth less than 64 KB,
/// 256 KB no less than 128 KB.
pub(crate) const BULK_BYTES: usize = 128 * 1024;
/// The least that a connection with TLS receives at a time: a whole record.
pub(crate) const TLS_READ_BYTES: usize = 17 * 1024;
/// What TLS adds at most to as many records as fill a bulk buffer, and to an answer to new keys before them.
pub(crate) const RECORDS_OVERHEAD_BYTES: usize = 512;
/// One receive while hands are shaken: a server's messages with its certificates most often fit.
pub(crate) const HANDSHAKE_BYTES: usize = 8 * 1024;
/// One receive of a client's first message: most often all of it.
pub(crate) const HELLO_BYTES: usize = 4 * 1024;
/// Handshakes with clients under way at once on one core. Each holds some 25 KB once its first byte is here
/// and ends with its time-out; a busy core completes as many in two seconds.
pub(crate) const HANDSHAKES_AT_ONCE: usize = 4096;
/// How long a handshake may take where nothing else bounds it.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// How long a client whose handshake failed may go on sending, so that it sees why and no reset.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);
/// One read from the route store over TLS: a record, as its answers are short.
pub(crate) const STORE_READ_BYTES: usize = 16 * 1024;
/// Receives that find out whether a resting connection with TLS has got nothing but tickets and keys. One with more of
/// them is closed.
pub(crate) const QUIET_LOOKS: u32 = 4;
/// A PROXY header of version 1, its line end included: the longest that the protocol has.
pub(crate) const PROXY_TEXT_BYTES: usize = 107;
/// One of version 2. Two addresses take 52; the rest are extensions, which are passed over, and a certificate's names
/// among them fit.
pub(crate) const PROXY_BINARY_BYTES: usize = 4 * 1024;
/// Locks over which the clients whose connections are limited are spread: with some dozens of cores, two seldom meet.
pub(crate) const CENSUS_SHARDS: usize = 64;
/// Bulk buffers a core keeps for reuse; more are freed.
pub(crate) const BULK_BUFFERS_KEPT: usize = 32;
/// Room before a bulk buffer's payload for the size line of a chunk: eight hex digits and CRLF.
pub(crate) const CHUNK_HEADROOM_BYTES: usize = 10;
/// Header fields any message may have, whatever `limits.headers` says: the parser's table lives on the stack.
pub const HEADER_FIELDS_CEILING: usize = 1024;
/// Bytes of a message head, whatever `limits.headerBytes` says.
pub const HEAD_BYTES_CEILING: usize = 1024 * 1024;
/// Digits of a chunk size: 64 bits.
pub(crate) const CHUNK_SIZE_DIGITS: u8 = 16;
/// Bytes of extensions after one chunk size; they mean nothing to us and cost us reading.
pub(crate) const CHUNK_EXTENSION_BYTES: usize = 256;
/// Bytes of a trailer section.
pub(crate) const TRAILER_BYTES: usize = 8 * 1024;
/// Bytes of a host name with its port (RFC 1035: 255, and `:65535`).
pub(crate) const HOST_BYTES: usize = 261;
/// Bytes of a client's `X-Request-Id` that are passed on; a longer one is replaced.
pub(crate) const REQUEST_ID_BYTES: usize = 128;
/// Bytes of a request body held so that another backend can be tried with it.
pub(crate) const REPLAY_BYTES: usize = 64 * 1024;
/// Bytes of a request body that are still waited for when its response is already complete. A connection with
/// more to come is closed instead: the client would send it for nothing.
pub(crate) const UNREAD_BODY_BYTES: u64 = 256 * 1024;
/// Interim (1xx) answers to one request. More is a backend in a loop.
pub(crate) const INTERIM_RESPONSES: u32 = 32;
/// Idle backend connections per core over all backends; one too many is closed instead of kept.
pub(crate) const IDLE_UPSTREAMS_PER_CORE: usize = 4096;
/// How long a backend connection may lie idle. Shorter than what servers keep by default (60 s and more).
pub(crate) const IDLE_UPSTREAM_SECONDS: u64 = 50;
/// Requests that wait for a connection to one backend on one core; a further one gets 503 at once.
pub(crate) const WAITERS_PER_BACKEND: usize = 1024;
/// Backends whose pools a core remembers; unused ones are forgotten first.
pub(crate) const POOLS_PER_CORE: usize = 65_536;
/// Addresses of one backend name that are tried.
pub(crate) const ADDRESSES_PER_NAME: usize = 16;
/// Names of backends whose addresses a core remembers.
pub(crate) const NAMES_PER_CORE: usize = 65_536;
/// Names waiting for a resolver thread.
pub(crate) const RESOLVE_QUEUE: usize = 1024;
/// Threads that resolve names; one slow name server must not hold up every other name.
pub(crate) const RESOLVER_THREADS: usize = 4;
/// Age at which a resolved name is asked for again.
pub(crate) const RESOLVED_SECONDS: u64 = 30;
/// Backends that the built-in health checker checks; each costs a request an interval.
pub(crate) const CHECKED_BACKENDS: usize = 20_000;
/// Places in lists where they stand.
pub(crate) const CHECKED_PLACES: usize = 200_000;
/// Checks under way at once: one descriptor each.
pub(crate) const CHECKS_AT_ONCE: usize = 256;
/// Longest wait for one address of the route store while it has others: one that does not answer leaves time to the next.
pub(crate) const STORE_ADDRESS_WAIT: Duration = Duration::from_millis(200);
/// Lists that the checker holds at once while it looks at all.
pub(crate) const CHECK_PART: usize = 500;
/// Routes the checker's router keeps; it looks hosts up only where Hipache has marked one that a wildcard serves.
pub(crate) const CHECK_CACHE_ROWS: usize = 1_000;
/// How often the checker looks at everything where the store pushes no changes.
pub(crate) const CHECK_RESCAN: Duration = Duration::from_secs(5);
/// Pause before a checker that has died is begun anew.
pub(crate) const CHECKER_PAUSE: Duration = Duration::from_secs(5);
/// Messages from the supervisor that one core has not yet read.
pub(crate) const INBOX_MESSAGES: usize = 1024;
/// Access log bytes a core gathers before it hands them to the writer.
pub(crate) const LOG_BATCH_BYTES: usize = 64 * 1024;
/// Batches on their way to the writer, per core. A writer that is this far behind loses lines, never time.
pub(crate) const LOG_BATCHES: usize = 32;
/// Bytes of any one client-given field in an access log line.
pub(crate) const LOG_FIELD_BYTES: usize = 4096;
/// Bytes read and thrown away from a client that was refused, so that it sees the answer and not a reset.
pub(crate) const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// How long that may take.
pub(crate) const LINGER: Duration = Duration::from_secs(3);
/// How long while the core drains: a client that keeps its side open must not hold the process up.
pub(crate) const LINGER_DRAINING: Duration = Duration::from_millis(300);
/// Frontends served in turn whose place is remembered; past it all begin anew, which costs only evenness.
pub(crate) const FRONTENDS_IN_TURN: usize = 65_536;
/// Cores that may hang before the process has itself replaced.
pub(crate) const HANGS_MAX: u32 = 3;
/// How long a new executable may take until it accepts.
pub(crate) const HANDOVER_WAIT: Duration = Duration::from_secs(30);
/// How often the supervisor looks after the cores.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A core without a pulse for so long stands still: another takes over its sockets.
pub(crate) const STALL: Duration = Duration::from_secs(3);
/// One without a pulse for so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(10);
/// A core that dies is started anew after this, and after twice that each time it dies again soon.
pub(crate) const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
pub(crate) const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a core has for letting go of what it can before it is weighed again.
pub(crate) const SHRINK_WAIT: Duration = Duration::from_millis(300);
/// A core is not replaced for its memory twice within this.
pub(crate) const RELIEF_PAUSE: Duration = Duration::from_secs(60);
/// A core that lived that long did not die soon.
pub(crate) const STEADY_LIFE: Duration = Duration::from_secs(60);
/// Connections accepted in one go before the core gets to what it has.
pub(crate) const ACCEPTS_PER_TURN: usize = 256;
/// Sockets with something to read that are looked at in one go.
pub(crate) const READINESS_EVENTS: usize = 256;
/// Submission entries of a core's ring; fewer are tried when locked memory is short.
pub(crate) const RING_ENTRIES: [u32; 3] = [4096, 1024, 256];
/// Streams of one HTTP/2 connection at once. As many requests as a browser has in flight; RFC 9113 asks for 100 or more.
pub(crate) const H2_STREAMS: u32 = 128;
/// Tasks that a core keeps for streams to come, of some seven kilobytes each.
pub(crate) const WORKERS_KEPT: usize = 512;
/// Bytes of a request body that one stream may send ahead of its backend: what a connection of 20 ms needs for 100 Mbit/s.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection together: what it can make the proxy hold of requests.
pub(crate) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// First memory for the head of a request put into the form of HTTP/1.1; most fit.
pub(crate) const H2_HEAD_BYTES: usize = 512;
/// Memory of such a head that a worker keeps for the next; longer ones are freed.
pub(crate) const H2_HEAD_BYTES_KEPT: usize = 2 * 1024;
/// Payload vectors of at most so many bytes that a connection keeps for the next responses, and how many.
pub(crate) const H2_PAYLOAD_BYTES_KEPT: usize = 4 * 1024;
pub(crate) const H2_PAYLOADS_KEPT: usize = 32;
/// Bytes of a received frame: the least that the protocol allows, as larger ones only delay other streams.
pub(crate) const H2_FRAME_BYTES: u32 = 16 * 1024;
/// Bytes of responses that wait for the socket of one HTTP/2 connection, over all its streams. Backends are read no
/// further meanwhile.
pub(crate) const H2_OUTFLOW_BYTES: usize = 1024 * 1024;
/// Streams of a connection that were reset and are still remembered, for frames that were on their way.
pub(crate) const H2_RESETS_REMEMBERED: usize = 64;
/// Streams that the peer may reset before they were looked at; then the connection ends (CVE-2023-44487).
pub(crate) const H2_RESETS_UNSEEN: usize = 64;
/// Streams that the peer's mistakes may have had reset; then the connection ends.
pub(crate) const H2_FAULTS: usize = 256;
/// Requests that a connection may take back beyond those that it let be answered; then it ends. Each has cost a backend
/// something.
pub(crate) const H2_CANCELLED: u64 = 512;
/// Bytes that a connection may receive for each that a request or response was made of, in the long run: the rest are
/// frames that ask for nothing, such as PING, SETTINGS and WINDOW_UPDATE. One with more ends.
pub(crate) const H2_TALK_PER_BYTE: u64 = 8;
/// How much it may have of them whatever it asked for, once divided by that.
pub(crate) const H2_IDLE_TALK_BYTES: u64 = 512 * 1024;
/// Bytes of one connection that are read before others get their turn.
pub(crate) const TURN_READ_BYTES: usize = 256 * 1024;
/// How long the others then have.
pub(crate) const TURN_BREATH: Duration = Duration::from_millis(1);
/// What `limits.bodyRate` is averaged over: a pause of some seconds, as of a phone that changes its network, is no attack.
pub(crate) const BODY_RATE_WINDOW: Duration = Duration::from_secs(10);
/// How long a body is waited for before it is asked for the rate.
pub(crate) const BODY_RATE_GRACE: Duration = Duration::from_secs(10);
/// Connections to the admin listener at once; others wait in the kernel's queue. A few scrapers and probes ask in turn.
pub(crate) const ADMIN_CONNECTIONS: usize = 32;
/// Bytes of a request's head there.
pub(crate) const ADMIN_HEAD_BYTES: usize = 16 * 1024;
/// How long such a request may take to arrive, and its answer to be taken.
pub(crate) const ADMIN_PATIENCE: Duration = Duration::from_secs(5);
/// Length of the kernel's queue there.
pub(crate) const ADMIN_BACKLOG: u32 = 128;
/// How long cores may take to put together what they know of frontends.
pub(crate) const SURVEY_PATIENCE: Duration = Duration::from_secs(3);
/// Requests for that at once; more are turned away, as each costs the cores a walk over their routes.
pub(crate) const SURVEYS: usize = 4;
/// Routes and backends that a core looks at in one step of it, in about a quarter of a millisecond.
pub(crate) const SURVEY_STEP: usize = 1_000;
/// Backends that one core tells of in one of them, over all frontends: some fifteen megabytes.
pub(crate) const SURVEY_BACKENDS: usize = 100_000;
/// Marks of which the store is asked for the reason, in one of them.
pub(crate) const SURVEY_REPORTS: usize = 100;
/// What is told of at most in one of them, and unless more is asked for.
pub(crate) const SURVEY_LIMIT_MAX: usize = 10_000;
pub(crate) const SURVEY_LIMIT: usize = 200;
/// Tiers of the rate limit that are counted apart: as many as a configuration may name.
pub const TIERS: usize = 16;
/// Upper bounds of what is told apart of the times of requests, in microseconds: from what a cached answer on the same
/// machine takes to where people give up.
pub(crate) const BUCKETS_MICROS: [u64; 13] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000,
];
/// Resolution of all time-outs on connections.
pub(crate) const TICK_MILLIS: u64 = 100;

const _: () = assert!(BULK_BYTES <= 0xffff_ffff, "a chunk's size must fit its headroom of eight digits");
const _: () = assert!(REPLAY_BYTES <= BULK_BYTES, "a held body is sent as one chunk");
const _: () =
    assert!(TLS_READ_BYTES > 16 * 1024 + 256 + 5, "a record is at most so long (RFC 5246 section 6.2.3)");
const _: () = assert!(RECORDS_OVERHEAD_BYTES >= (BULK_BYTES / (16 * 1024) + 2) * 32);
const _: () =
    assert!(H2_STREAM_WINDOW <= H2_CONNECTION_WINDOW, "one stream must not need more than all have");
const _: () = assert!(H2_FRAME_BYTES as usize <= REPLAY_BYTES, "a held body takes whole frames");
const _: () = assert!(CLIENT_HEAD_BYTES < BULK_BYTES && UPSTREAM_HEAD_BYTES < BULK_BYTES);
