//! The sets of addresses `deny:ip` and `allow:ip`: read before the first look-up is answered, and again when a push or
//! their age says so, never for a request. What was read stays in force until something else is read.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use redis::{Value, cmd};

use crate::address_set::{AddressSet, member};
use crate::bounds::{ADDRESS_BATCH, ADDRESSES_MAX, ADDRESSES_PAUSE_MS, PING_WAIT, TICK_MS};
use crate::complaints::Kind;
use crate::connection::{Connection, Lost, Pipeline};
use crate::handshake::text_of;
use crate::question::read_expiry;
use crate::store::{InUse, Store};
use crate::tracking::{Since, Stamp};

/// Which clients are denied and which are let pass, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct AddressSets {
    denied: Rc<AddressSet>,
    allowed: Rc<AddressSet>,
}

impl AddressSets {
    /// Whether nobody is denied: then nobody need be looked for.
    pub fn deny_nobody(&self) -> bool {
        self.denied.is_empty()
    }

    /// Whether clients of `address` are to be served nothing. An IPv4-mapped IPv6 address is that IPv4 address.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.denied.contains(address)
    }

    /// Whether no limit holds for clients of `address`. One that is denied is not allowed too.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allowed.contains(address) && !self.denies(address)
    }
}

/// What one core knows of them.
#[derive(Default)]
pub(crate) struct Addresses {
    sets: RefCell<Rc<AddressSets>>,
    denied: Followed,
    allowed: Followed,
    left_out: Cell<bool>,
}

/// One key, and how far it is followed.
#[derive(Default)]
struct Followed {
    /// Clock milliseconds at which the last read began; `None`: none has.
    begun_ms: Cell<Option<u64>>,
    /// What the last read that came to its end depends on.
    read: RefCell<Option<Read>>,
}

struct Read {
    stamp: Stamp,
    /// Clock milliseconds at which it is to be done again, whatever was written.
    deadline_ms: u64,
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
enum Which {
    Denied,
    Allowed,
}

/// What a key holds.
struct Found {
    set: Rc<AddressSet>,
    /// Milliseconds until it expires; `u64::MAX`: it does not.
    lives_ms: u64,
}

impl Addresses {
    pub(crate) fn sets(&self) -> Rc<AddressSets> {
        self.sets.borrow().clone()
    }

    /// Nobody is to be denied or allowed here, so neither set is read.
    pub(crate) fn leave_out(&self) {
        self.left_out.set(true);
    }

    fn put(&self, which: Which, set: Rc<AddressSet>) {
        let mut sets = AddressSets::clone(&self.sets.borrow());
        match which {
            Which::Denied => sets.denied = set,
            Which::Allowed => sets.allowed = set,
        }
        self.sets.replace(Rc::new(sets));
    }

    fn followed(&self, which: Which) -> &Followed {
        match which {
            Which::Denied => &self.denied,
            Which::Allowed => &self.allowed,
        }
    }
}

impl Followed {
    fn is_known(&self) -> bool {
        self.read.borrow().is_some()
    }

    fn is_due(&self, store: &Store) -> bool {
        let now_ms = store.clock.now_ms();
        if self.begun_ms.get().is_some_and(|begun_ms| now_ms < begun_ms + ADDRESSES_PAUSE_MS) {
            return false;
        }
        match &*self.read.borrow() {
            Some(read) => now_ms >= read.deadline_ms || store.tracking.since(&read.stamp) != Since::Nothing,
            None => true,
        }
    }
}

/// Reads each set again that may be another by now, until the store is stopped. A tick passes between a push and the read,
/// so that a set which is written by several commands is most often read whole.
pub(crate) async fn keep(store: Rc<Store>) {
    let sleep = || monoio::time::sleep(Duration::from_millis(TICK_MS));
    while store.unless_stopped(sleep()).await.is_some() {
        let Some(InUse { connection, built_in_age_ms, .. }) = store.in_use() else { continue };
        for which in [Which::Denied, Which::Allowed] {
            if !store.addresses.left_out.get()
                && store.addresses.followed(which).is_due(&store)
                && read(&store, &connection, which, built_in_age_ms).await.is_err()
            {
                break;
            }
        }
    }
}

/// Reads what was never read, over a connection that is not in use yet: whoever is denied gets no route before that is known.
pub(crate) async fn read_first(store: &Store, connection: &Connection, age_ms: u64) -> Result<(), Lost> {
    for which in [Which::Denied, Which::Allowed] {
        if !store.addresses.left_out.get() && !store.addresses.followed(which).is_known() {
            read(store, connection, which, age_ms).await?;
        }
    }
    Ok(())
}

async fn read(store: &Store, connection: &Connection, which: Which, age_ms: u64) -> Result<(), Lost> {
    let key = match which {
        Which::Denied => &store.prefixes.denied,
        Which::Allowed => &store.prefixes.allowed,
    };
    let begun_ms = store.clock.refresh();
    let followed = store.addresses.followed(which);
    followed.begun_ms.set(Some(begun_ms));
    let stamp = store.tracking.moment([key.as_str()].into_iter()).stamp(0..1);
    let lives_ms = match scan(store, connection, key).await? {
        Some(Found { set, lives_ms }) => {
            store.addresses.put(which, set);
            // A tick late: then the server holds it for expired too.
            lives_ms.saturating_add(TICK_MS)
        }
        None => ADDRESSES_PAUSE_MS,
    };
    let deadline_ms = begun_ms.saturating_add(lives_ms.min(age_ms));
    followed.read.replace(Some(Read { stamp, deadline_ms }));
    Ok(())
}

/// The members of the set `key`, a batch at a time. What is written meanwhile is in it or not; it makes the read that comes
/// next. `None`: the server does not let us read it.
async fn scan(store: &Store, connection: &Connection, key: &str) -> Result<Option<Found>, Lost> {
    let mut set = AddressSet::default();
    let (mut cursor, mut seen, mut lives_ms) = (b"0".to_vec(), 0, u64::MAX);
    loop {
        let mut pipeline = Pipeline::default();
        pipeline.push(cmd("SSCAN").arg(key).arg(&cursor).arg("COUNT").arg(ADDRESS_BATCH));
        if seen == 0 {
            pipeline.push(cmd("PTTL").arg(key));
        }
        let mut replies = connection.call_within(PING_WAIT, pipeline).await?.into_iter();
        let Some((next, members)) = replies.next().and_then(|reply| batch(store, key, reply)) else {
            return Ok(None);
        };
        if let Some(expiry) = replies.next() {
            // Of a key that is not there it says so, as of one that expired between the two commands.
            lives_ms = if members.is_empty() { u64::MAX } else { read_expiry(expiry).unwrap_or(u64::MAX) };
        }
        seen += members.len();
        for text in members {
            take_in(store, key, &mut set, &text);
        }
        if next == b"0" || seen >= ADDRESSES_MAX {
            if next != b"0" {
                store.complaints.too_many_addresses(key);
            }
            return Ok(Some(Found { set: Rc::new(set), lives_ms }));
        }
        cursor = next;
    }
}

fn take_in(store: &Store, key: &str, set: &mut AddressSet, text: &[u8]) {
    match member(text) {
        Some(network) => set.insert(network),
        None => store.complaints.invalid_address(key, text),
    }
}

/// The next cursor and some members, out of the reply to SSCAN; `None`: it was refused.
fn batch(store: &Store, key: &str, reply: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let reason = match reply {
        Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
            Ok([Value::BulkString(cursor), Value::Array(members)]) => {
                let text = |value| if let Value::BulkString(text) = value { Some(text) } else { None };
                return Some((cursor, members.into_iter().filter_map(text).collect()));
            }
            _ => "SSCAN was answered with no cursor".into(),
        },
        Value::ServerError(error) if error.code() == "WRONGTYPE" => {
            store.complaints.wrong_type(key, Kind::Addresses);
            return Some((b"0".to_vec(), Vec::new()));
        }
        Value::ServerError(error) => text_of(&error),
        _ => "SSCAN was answered with no list".into(),
    };
    store.complaints.unread_addresses(key, &reason);
    None
}
