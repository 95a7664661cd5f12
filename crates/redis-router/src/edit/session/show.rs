//! One host as the proxy would find it, its marks, and how the proxy would follow this server.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use crate::backend::Backend;
use crate::bounds::CHECKER_AGE_MAX_MS;
use crate::complaints::Complaints;
use crate::connection::Pipeline;
use crate::edit::failure::Failure;
use crate::edit::plan::text;
use crate::edit::shown::{Freshness, Mark, Server, Shown, ShownBackend, ShownFrontend, ShownOptions};
use crate::freshness::{Mode, flags, lacking, notifications, refusal, tracking};
use crate::handshake::{explain, knows_no_hello, text_of};
use crate::options::Options;
use crate::question::{Found, Members, Question, ask_members, read_members};
use crate::report::Report;
use crate::signs::{self, Allowed, Role};

use super::Session;
use super::walk::{Fields, error_in};

impl Session {
    pub(crate) fn show(&mut self, host: &str, age_max: Option<Duration>) -> Result<Shown, Failure> {
        let question = Question::of(host, &self.prefixes);
        let replies = self.ask(&question.pipeline())?;
        let mut notes = passed_over(&question, &replies);
        let read = question.read(replies, &Complaints::default());
        let found = read.map_err(|problem| self.failure(problem))?;
        let looked_for = question.list_keys().map(str::to_owned).collect();
        let frontend = match &found.list {
            Some(_) => Some(self.frontend(host, &question, &found, &mut notes)?),
            None => None,
        };
        let server = Some(self.server(age_max)?);
        Ok(Shown { host: host.into(), looked_for, frontend, notes, server })
    }

    fn frontend(
        &mut self,
        host: &str,
        question: &Question,
        found: &Found,
        notes: &mut Vec<String>,
    ) -> Result<ShownFrontend, Failure> {
        let list = found.list.as_ref().expect("the caller has seen it");
        let name = question.name(list.candidate);
        let sets = self.dead_sets(host, question, found, name)?;
        let elements = list.value.iter().map(|element| text(element)).collect::<Vec<_>>();
        let backends = elements.iter().skip(1).enumerate().map(|(index, url)| {
            let mark = mark(&sets, index, url);
            ShownBackend { url: url.clone(), read: Backend::parse(url, index), mark }
        });
        let options = found.options.as_ref().map(|hash| {
            let key = question.options_key(hash.candidate).to_owned();
            ShownOptions { fields: in_force(&key, &hash.value, notes), key }
        });
        Ok(ShownFrontend {
            key: format!("{}{name}", self.prefixes.lists),
            identifier: elements[0].clone(),
            left_ms: (list.lives_ms != u64::MAX).then_some(list.lives_ms),
            options,
            backends: backends.collect(),
        })
    }

    /// The dead sets that concern the list `name`.
    fn dead_sets(
        &mut self,
        host: &str,
        question: &Question,
        found: &Found,
        name: &str,
    ) -> Result<Vec<DeadSet>, Failure> {
        let (keys, mut pipeline) = (self.keys_of(name), Pipeline::default());
        ask_members(&mut pipeline, &keys.dead);
        let members = read_members(&keys.dead, self.ask(&pipeline)?.into_iter(), &Complaints::default());
        let members = members.map_err(|problem| self.failure(problem))?;
        let mut sets = vec![self.dead_set(name, members)?];
        if let Some(other) = question.also_marked_as(name, host) {
            let members = Members { indexes: found.dead.indexes.clone(), lives_ms: found.dead.lives_ms };
            sets.push(self.dead_set(other, members)?);
        }
        Ok(sets)
    }

    /// The set with what is told beside it.
    fn dead_set(&mut self, name: &str, members: Members) -> Result<DeadSet, Failure> {
        let keys = self.keys_of(name);
        let told = self.one(cmd("HGETALL").arg(&keys.died).take())?;
        let reports = self.read_hash(told, &keys.died)?.unwrap_or_default();
        Ok(DeadSet { key: keys.dead, members, reports })
    }

    /// Speaks as the proxy does at its start: nothing else can be asked over this connection afterwards.
    fn server(&mut self, age_max: Option<Duration>) -> Result<Server, Failure> {
        let replies = self.ask(&signs::ask(&self.prefixes.checker_sign, Allowed::ALL))?;
        let signs = signs::read(&replies, Allowed::ALL, false);
        let mode = self.mode()?;
        let max_age_ms = mode.age_max(age_max).map_or(0, |age| age.as_millis() as u64);
        Ok(Server {
            address: self.server.clone(),
            now: replies.get(1).and_then(seconds),
            freshness: match mode {
                Mode::Tracking => Freshness::Tracking,
                Mode::Keyspace { why } => Freshness::Keyspace { max_age_ms, why },
                Mode::Polling { why } => Freshness::Polling { max_age_ms, why },
            },
            cut_off: signs.role == Some(Role::Replica { linked: false }),
            checker: signs.checker_age_ms.is_some_and(|age_ms| age_ms <= CHECKER_AGE_MAX_MS),
            own_checker: signs.own_checker,
        })
    }

    /// The steps of `freshness.rs`.
    fn mode(&mut self) -> Result<Mode, Failure> {
        let why = match self.one(cmd("HELLO").arg(3).take())? {
            Value::ServerError(error) if knows_no_hello(&error) => text_of(&error),
            Value::ServerError(error) => {
                return Err(self.failure(explain(&error, &self.login, &self.prefixes.all)));
            }
            Value::Map(_) => {
                let tracking = tracking(&self.prefixes);
                match refusal(self.one(tracking)?, "CLIENT TRACKING") {
                    None => return Ok(Mode::Tracking),
                    Some(why) => why,
                }
            }
            _ => "HELLO 3 did not turn RESP3 on".into(),
        };
        if let Some(missing) = lacking(&self.one(flags())?) {
            return Ok(Mode::Polling { why: format!("{why}; {missing}") });
        }
        for subscription in notifications(self.db, &self.prefixes) {
            if let Some(refused) = error_in(Some(&self.one(subscription)?)) {
                return Ok(Mode::Polling { why: format!("{why}; {refused}") });
            }
        }
        Ok(Mode::Keyspace { why })
    }

    fn one(&mut self, command: Cmd) -> Result<Value, Failure> {
        Ok(self.call(&[command])?.pop().unwrap_or(Value::Nil))
    }
}

struct DeadSet {
    key: String,
    members: Members,
    reports: Fields,
}

impl DeadSet {
    /// What is told of the backend at `index`, where it is about `url`.
    fn report(&self, index: usize, url: &str) -> Option<Report> {
        let field = index.to_string().into_bytes();
        let (_, told) = self.reports.iter().find(|(name, _)| *name == field)?;
        Report::from_field(str::from_utf8(told).ok()?).filter(|report| report.url == url)
    }
}

/// What holds the backend at `index` dead.
fn mark(sets: &[DeadSet], index: usize, url: &str) -> Option<Mark> {
    let holds = |set: &&DeadSet| set.members.indexes.binary_search(&index).is_ok();
    let holding: Vec<&DeadSet> = sets.iter().filter(holds).collect();
    let last_ms = holding.iter().map(|set| set.members.lives_ms).max()?;
    Some(Mark {
        sets: holding.iter().map(|set| set.key.clone()).collect(),
        left_ms: (last_ms != u64::MAX).then_some(last_ms),
        report: holding.iter().find_map(|set| set.report(index, url)),
    })
}

/// Keys that hold something else than they have to.
fn passed_over(question: &Question, replies: &[Value]) -> Vec<String> {
    let is_wrong = |reply: &&Value| matches!(reply, Value::ServerError(error) if error.code() == "WRONGTYPE");
    let answered = question.keys().zip(replies.iter().step_by(2));
    answered
        .filter(|(_, reply)| is_wrong(reply))
        .map(|(key, _)| format!("key {key:?} is of another type than it has to be and counts as absent"))
        .collect()
}

/// The fields that the proxy goes by; of the others a note is made.
pub(crate) fn in_force(
    key: &str,
    fields: &[(String, String)],
    notes: &mut Vec<String>,
) -> Vec<(String, String)> {
    let mut used: Vec<(String, String)> = Vec::new();
    for (field, value) in fields {
        match Options::default().take(field, value) {
            Ok(()) => used.push((field.clone(), value.clone())),
            Err(reason) => notes.push(format!("key {key:?}: option {field:?} is not used: {reason}")),
        }
    }
    used.sort_unstable();
    used
}

/// The seconds that TIME answered.
fn seconds(reply: &Value) -> Option<u64> {
    let Value::Array(parts) = reply else { return None };
    let Some(Value::BulkString(seconds)) = parts.first() else { return None };
    str::from_utf8(seconds).ok()?.parse().ok()
}
