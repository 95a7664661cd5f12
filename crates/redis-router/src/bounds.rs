//! Every cap of this crate, with its unit in the name and its reason beside it.

use std::time::Duration;

/// Longest wait of one look-up for the store. A client rather gets its 503 than waits longer.
pub const STORE_WAIT: Duration = Duration::from_millis(1_000);

/// Longest host that is looked up: a DNS name (255) or a bracketed address, and a port. No longer one can exist.
pub const HOST_BYTES_MAX: usize = 272;

/// Backends read from one list. Hipache's largest known lists have some hundred.
pub const BACKENDS_MAX: usize = 4_096;

/// Longest element of a list that is taken for a backend URL.
pub const URL_BYTES_MAX: usize = 2_048;

/// Greatest weight of a backend; small enough that the sum over all backends fits `u32`.
pub const WEIGHT_MAX: u32 = 1_000;

/// Parent labels that make wildcards, as in Hipache.
pub const PARENTS_MAX: usize = 5;

/// Keys looked up for one host: with port, without, the wildcards, `*`.
pub const CANDIDATES_MAX: usize = PARENTS_MAX + 3;

/// Redis keys one row depends on: the lists and options of its candidates, and two dead sets.
pub const ROW_KEYS_MAX: usize = 2 * CANDIDATES_MAX + 2;

/// Hosts whose rows are being read at once on one core; their commands are what the send buffer can hold.
pub const READS_MAX: usize = 4_096;

/// Look-ups that wait for one host's read, and look-ups that wait for the first connection.
pub const WAITERS_MAX: usize = 4_096;

/// Repeats of a read during which a key of it was changed; then the answer is given, and kept only as one to be read again.
pub const REREADS_MAX: usize = 3;

/// Bytes of one reply. A list of `BACKENDS_MAX` longest URLs fits several times.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes read from the server at once.
pub const READ_BYTES: usize = 64 * 1024;

/// A send buffer larger than this is given back once it is empty.
pub const SEND_BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Milliseconds between two ticks of the coarse clock.
pub const TICK_MS: u64 = 100;

/// Time between two PINGs, and what each may take: a half-open link is found within twice that.
pub const PING_INTERVAL: Duration = Duration::from_millis(1_000);

/// Longest wait for the answer to a PING, and for each step of the handshake.
pub const PING_WAIT: Duration = Duration::from_millis(1_000);

/// Longest wait for the byte stream to the server.
pub const DIAL_WAIT: Duration = Duration::from_millis(1_000);

/// First pause between two attempts to connect; doubles up to `BACKOFF_MAX_MS`.
pub const BACKOFF_MIN_MS: u64 = 25;

/// Longest pause between two attempts to connect.
pub const BACKOFF_MAX_MS: u64 = 1_000;

/// After a reconnect old answers are served that long while they are read again in the background.
pub const RECHECK_MS: u64 = 1_000;

/// Age at which a row is read again where the store pushes no changes and nothing else is set.
pub const POLLED_AGE: Duration = Duration::from_millis(1_000);

/// Age at which a row is read again where changes are known by keyspace notifications: they tell nothing of a dataset that
/// is replaced as a whole.
pub const NOTIFIED_AGE: Duration = Duration::from_secs(10);

/// Longest wait for one sentinel: the next one may answer while this one's machine is gone.
pub const SENTINEL_WAIT: Duration = Duration::from_millis(300);

/// Milliseconds for which all sentinels that answer must lag behind a known fail-over before they are believed: by then they
/// have told each other of it (every two seconds), or begun another, or were set up anew.
pub const SENTINELS_ANEW_MS: u64 = 10_000;

/// Rows looked at for one eviction, so that it costs the same in any cache.
pub const SWEEP_MAX: usize = 64;

/// Distinct complaints about the store's content that are logged; one more line says that no further ones are.
pub const COMPLAINTS_MAX: usize = 1_024;

/// Hosts whose certificates from the store one core remembers, and hosts without one: some 60 MB of the former.
pub const CERTIFICATES_MAX: usize = 8_192;

/// Members of a set of addresses that are looked at, used or not; lists in use have some tens of thousands. So many scattered
/// IPv4 addresses take 8 MB of a core, IPv6 addresses 46 MB, and twice that while they are read again.
pub const ADDRESSES_MAX: usize = 131_072;

/// Members of a set of addresses asked for at once, and taken in without a pause: a fraction of a millisecond of this core
/// and of Redis, and what waits behind them on the connection waits no longer.
pub const ADDRESS_BATCH: usize = 1_000;

/// Least time from one read of a set of addresses to the next, whatever is written to it meanwhile.
pub const ADDRESSES_PAUSE_MS: u64 = 1_000;

/// How long a backend counts as dead where nothing else is set, as in Hipache.
pub const DEAD_TTL: Duration = Duration::from_secs(30);

/// Dead marks one core remembers, over all frontends: some 10 MB. A backend beyond them is not avoided.
pub const MARKS_MAX: usize = 65_536;

/// Marks that are over are not looked for below this many.
pub const MARKS_SWEEP_MIN: usize = 1_024;

/// Milliseconds an unproven backend is remembered that nobody asks; then it counts as live.
pub const UNPROVEN_KEPT_MS: u64 = 600_000;

/// How long an active checker takes at most to find a backend dead that it was told of: hipache-hchecker gives it 3 s to
/// accept and 3 s to answer.
pub const CHECKER_VERDICT_MS: u64 = 10_000;

/// Least time between two announcements of the same death by one core: many requests fail on it at once.
pub const ANNOUNCE_PAUSE_MS: u64 = 1_000;

/// Characters of the reason in a report of a death.
pub const REASON_CHARACTERS_MAX: usize = 200;

/// Announcements of deaths under way on one core; one more stays local.
pub const ANNOUNCEMENTS_MAX: usize = 1_024;

/// An announcement that the store refused is logged at most this often.
pub const REFUSAL_PAUSE_MS: u64 = 60_000;

/// How long a built-in checker counts as active once its sign was seen: it is looked for each second.
pub const OWN_CHECKER_MS: u64 = 3_000;

/// Names of changed keys kept for a built-in checker; beyond, everything is looked at anew.
pub const CHANGES_MAX: usize = 65_536;

/// Keys that a built-in checker reads or writes in one pipeline.
pub const CHECK_BATCH: usize = 500;

/// Age up to which the sign of an external health checker counts, as in Hipache: it is renewed each 10 s.
pub const CHECKER_AGE_MAX_MS: u64 = 30_000;

/// Times an edit is tried while others write the same key. With a handful of editors at once, one of them succeeds in each
/// round.
pub const EDIT_TRIES_MAX: usize = 100;

/// Frontends that an edit reads or writes in one round trip: some 100 KB of commands.
pub const EDIT_BATCH: usize = 500;

/// Keys that Redis looks at for one step of a scan.
pub const SCAN_COUNT: usize = 1_000;

/// Mistakes of an imported table that are told at once.
pub const MISTAKES_MAX: usize = 20;

/// Longest wait of one request for the tiers of its names. With `LIMIT_WAIT` less than the 50 ms that are promised, as timers
/// are coarse.
pub const MEMBER_WAIT: Duration = Duration::from_millis(10);

/// Longest wait of one request for tokens.
pub const LIMIT_WAIT: Duration = Duration::from_millis(30);

/// How long nothing more is asked for limits after the store gave no answer, or an error.
pub const LIMIT_TROUBLE: Duration = Duration::from_millis(250);

/// Clients whose limits one core knows: some 35 MB. One beyond them takes the place of one that was not used lately.
pub const LIMIT_CLIENTS_MAX: usize = 65_536;

/// Clients looked at in one tick: each one once a second or two, for less than a thousandth of a core.
pub const LIMIT_SWEEP_MAX: usize = 4_096;

/// Calls for limits under way on one core: what Redis answers in some 20 ms.
pub const LIMIT_CALLS_MAX: usize = 1_024;

/// Names whose tiers one core remembers, and names without one.
pub const MEMBERS_MAX: usize = 65_536;

/// Longest name that is looked for in the tiers; no longer one is in any.
pub const NAME_BYTES_MAX: usize = 256;

/// How long a core counts as one that shares the limits after it was last seen.
pub const PRESENCE: Duration = Duration::from_secs(10);

/// Longest wait for why backends are dead, which only people ask for.
pub const REPORTS_WAIT: Duration = Duration::from_millis(300);

const _: () = assert!(MEMBER_WAIT.as_millis() + LIMIT_WAIT.as_millis() < 50);
const _: () = assert!(MARKS_MAX >= BACKENDS_MAX);
const _: () = assert!(BACKENDS_MAX as u64 * WEIGHT_MAX as u64 <= u32::MAX as u64);
const _: () = assert!(REPLY_BYTES_MAX >= 4 * BACKENDS_MAX * URL_BYTES_MAX);
const _: () = assert!(POLLED_AGE.as_millis() as u64 > TICK_MS);
const _: () = assert!(ADDRESSES_PAUSE_MS + TICK_MS < 2_000, "what is written is in force within 2 s");
