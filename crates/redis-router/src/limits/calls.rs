//! What is asked of the store, each in a task of its own; the connection sends together what is asked in one turn. While
//! the store is in trouble nothing is asked.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use redis::{Cmd, Value, cmd};

use super::accounts::Account;
use super::lease::{Answer, Ask, Quota};
use super::{LimitRules, micros, names, script};
use crate::bell::Bell;
use crate::bounds::{LIMIT_CALLS_MAX, LIMIT_TROUBLE, PRESENCE, REFUSAL_PAUSE_MS};
use crate::connection::{Connection, Lost, Pipeline};
use crate::handshake::text_of;
use crate::store::Store;

pub(super) struct Calls {
    store: Rc<Store>,
    under_way: Cell<usize>,
    all_ended: Bell,
    /// Nothing is asked before this, in microseconds.
    trouble_until: Cell<u64>,
    /// Cores of all proxies that were last seen at the store.
    cores: Cell<u64>,
    /// Names this core among them.
    me: String,
    /// When trouble was last logged.
    said_at: Cell<Option<u64>>,
}

/// What a user of Redis needs.
const MEND: &str = "; allow it: ACL SETUSER <user> ~<prefix>limit:* +eval +evalsha +hdel +hincrby +del +pexpire +zadd \
                    +zremrangebyscore";

/// Why a call has no answer.
enum NoAnswer {
    Lost,
    /// The store's words.
    Refused(String),
}

impl NoAnswer {
    /// Whether other counters would have none either.
    fn is_of_server(&self) -> bool {
        const OF_COUNTER: [&str; 2] = ["WRONGTYPE", "ERR"];
        match self {
            NoAnswer::Lost => true,
            NoAnswer::Refused(said) => !OF_COUNTER.iter().any(|code| said.starts_with(code)),
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Lost => f.write_str("the connection was lost"),
            NoAnswer::Refused(said) if said.starts_with("NOPERM") => write!(f, "{said}{MEND}"),
            NoAnswer::Refused(said) => f.write_str(said),
        }
    }
}

impl Calls {
    pub(super) fn new(store: Rc<Store>, cores: usize) -> Calls {
        Calls {
            store,
            under_way: Cell::new(0),
            all_ended: Bell::default(),
            trouble_until: Cell::new(0),
            cores: Cell::new(cores as u64),
            me: format!("{:016x}", fastrand::u64(..)),
            said_at: Cell::new(None),
        }
    }

    /// Asks for what `account` needs. Whether an answer is on its way, if it needs one.
    pub(super) fn ask(self: &Rc<Self>, account: &Rc<Account>, quota: &Quota, rules: &LimitRules) -> bool {
        let now = self.store.clock.micros();
        if now < self.trouble_until.get() {
            return false;
        }
        if account.lease.borrow().rests(now) {
            return false;
        }
        if account.lease.borrow().is_asking() {
            return true;
        }
        let Some(connection) = self.free_connection() else {
            self.say(format_args!("no connection, or too much is asked already"));
            return false;
        };
        let ask = account.lease.borrow_mut().ask(now, quota, account.waiting());
        if let Some(ask) = ask {
            self.begin(connection, Rc::clone(account), *quota, (rules, ask));
        }
        true
    }

    /// Gives back what `account` has left.
    pub(super) fn give_back(self: &Rc<Self>, account: &Rc<Account>, quota: &Quota, rules: &LimitRules) {
        let now = self.store.clock.micros();
        // Requests go before.
        if now < self.trouble_until.get() || self.under_way.get() > LIMIT_CALLS_MAX / 4 {
            return;
        }
        let Some(connection) = self.free_connection() else { return };
        let ask = account.lease.borrow_mut().ask_idle(now, quota);
        if let Some(ask) = ask {
            self.begin(connection, Rc::clone(account), *quota, (rules, ask));
        }
    }

    /// The connection that is written to, where one more call may go.
    fn free_connection(&self) -> Option<Rc<Connection>> {
        self.store.writer().filter(|_| self.under_way.get() < LIMIT_CALLS_MAX)
    }

    fn begin(
        self: &Rc<Self>,
        connection: Rc<Connection>,
        account: Rc<Account>,
        quota: Quota,
        (rules, ask): (&LimitRules, Ask),
    ) {
        let tier = &rules.tiers[account.key.tier.min(rules.tiers.len() - 1)].name;
        let counter = names::counter(rules.window, tier, &account.key.client);
        let key = format!("{}{counter}", self.store.prefixes.all);
        let all = Rc::clone(self);
        self.under_way.set(self.under_way.get() + 1);
        monoio::spawn(async move {
            let answer = call(&connection, &key, &quota, &ask).await;
            all.take_in(&account, &quota, answer);
            account.bell.ring();
            all.under_way.set(all.under_way.get() - 1);
            all.all_ended.ring();
        });
    }

    fn take_in(&self, account: &Account, quota: &Quota, answer: Result<Answer, NoAnswer>) {
        let mut lease = account.lease.borrow_mut();
        match answer {
            Ok(answer) => {
                self.trouble_until.set(0);
                lease.answered(self.store.clock.micros(), quota, &answer);
            }
            Err(why) => {
                lease.lost();
                if why.is_of_server() {
                    self.trouble_for(LIMIT_TROUBLE, format_args!("{why}"));
                } else {
                    lease.rest_until(self.store.clock.micros() + micros(LIMIT_TROUBLE));
                    self.say(format_args!("{}: {why}", account.key.client));
                }
            }
        }
    }

    /// The store did not answer within `limit`.
    pub(super) fn is_slow(&self, limit: Duration) {
        self.trouble_for(LIMIT_TROUBLE, format_args!("no answer within {} ms", limit.as_millis()));
    }

    /// Nothing is asked for so long.
    fn trouble_for(&self, pause: Duration, why: fmt::Arguments<'_>) {
        self.trouble_until.set(self.store.clock.micros() + micros(pause));
        self.say(why);
    }

    /// Tells the operator, now and then.
    fn say(&self, why: fmt::Arguments<'_>) {
        let now = self.store.clock.micros();
        if self.said_at.get().is_none_or(|at| now - at >= 1_000 * REFUSAL_PAUSE_MS) {
            self.said_at.set(Some(now));
            let name = &self.store.name;
            warn!("redis {name}: limits are not counted ({why}); rateLimit.onStoreError says what is done");
        }
    }

    /// Cores that share a limit; at least the `own` of this process.
    pub(super) fn cores(&self, own: usize) -> u64 {
        self.cores.get().max(own as u64).max(1)
    }

    /// Writes that this core is there, and learns how many are.
    pub(super) fn show_presence(self: &Rc<Self>) {
        let Some(connection) = self.free_connection() else { return };
        let key = format!("{}{}", self.store.prefixes.all, names::CORES);
        let mut pipeline = Pipeline::default();
        pipeline
            .push(cmd("EVAL").arg(script::PRESENCE).arg(1).arg(key).arg(&self.me).arg(PRESENCE.as_secs()));
        let all = Rc::clone(self);
        self.under_way.set(self.under_way.get() + 1);
        monoio::spawn(async move {
            if let Ok(replies) = connection.call(pipeline).await
                && let Some(Value::Int(cores)) = replies.first()
            {
                all.cores.set(u64::try_from(*cores).unwrap_or(0));
            }
            all.under_way.set(all.under_way.get() - 1);
            all.all_ended.ring();
        });
    }

    /// Waits until none is under way.
    pub(super) async fn all_ended(&self) {
        self.all_ended.until_true(|| self.under_way.get() == 0).await;
    }
}

/// One call of the script. A server that has not got it did nothing, and is given it.
async fn call(connection: &Connection, key: &str, quota: &Quota, ask: &Ask) -> Result<Answer, NoAnswer> {
    let mut by_name = cmd("EVALSHA");
    by_name.arg(script::digest());
    let mut reply = one(connection, with_arguments(by_name, key, quota, ask)).await?;
    if matches!(&reply, Value::ServerError(error) if error.code() == "NOSCRIPT") {
        let mut whole = cmd("EVAL");
        whole.arg(script::SOURCE);
        reply = one(connection, with_arguments(whole, key, quota, ask)).await?;
    }
    match &reply {
        Value::ServerError(error) => Err(NoAnswer::Refused(text_of(error))),
        reply => script::answer(reply).ok_or_else(|| NoAnswer::Refused("its answer makes no sense".into())),
    }
}

fn with_arguments(mut call: Cmd, key: &str, quota: &Quota, ask: &Ask) -> Cmd {
    call.arg(1).arg(key);
    script::arguments(&mut call, quota, ask);
    call
}

async fn one(connection: &Connection, call: Cmd) -> Result<Value, NoAnswer> {
    let mut pipeline = Pipeline::default();
    pipeline.push(&call);
    let replies = connection.call(pipeline).await.map_err(|Lost| NoAnswer::Lost)?;
    Ok(replies.into_iter().next().expect("one command has one reply"))
}
