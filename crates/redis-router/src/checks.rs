//! What a built-in health checker reads and writes: which backends stand where, who checks them, what was found. It works
//! on a router of its own, beside the cores. Knows no HTTP.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};

use crate::bell::Bell;
use crate::bounds::{BACKENDS_MAX, CHECK_BATCH};
use crate::changes::Changed;
use crate::clock::unix_seconds;
use crate::connection::{Connection, Lost, Pipeline};
use crate::error::Unavailable;
use crate::frontend::Frontend;
use crate::handshake::text_of;
use crate::look_up::LookUp;
use crate::message::{CHANNEL, Death};
use crate::report::{Report, signature};
use crate::router::Router;
use crate::store::Store;

/// The store, as a checker uses it.
pub struct Checks {
    look_up: Rc<LookUp>,
    signature: String,
    /// Whose locks its own are; no two checkers share it, be they on machines of one name.
    owner: String,
    /// Somebody decides which of a frontend's backends is the last live one.
    deciding: Cell<bool>,
    decided: Bell,
}

/// Why the store did not do what a checker wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckError {
    /// It is away: the router says so.
    Away,
    /// It refused; in its words, and what mends it.
    Refused(String),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Away => f.write_str("the store is away"),
            CheckError::Refused(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for CheckError {}

/// What stands under a name, and which of it is marked dead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What stands behind `dead:`: the key of the frontend, or (Hipache) a host that a wildcard serves.
    pub name: Rc<str>,
    /// The list that serves it.
    pub frontend: Rc<Frontend>,
    /// Indexes in the set of the name.
    pub dead: Vec<usize>,
}

/// A backend was found dead.
#[derive(Debug, Clone, Copy)]
pub struct Finding<'a> {
    /// What it did.
    pub why: &'a str,
    /// Unix seconds at which that began.
    pub since: u64,
    /// How long the mark lasts unless it is renewed.
    pub mark_ttl: Duration,
    /// It was not known before: the others are told.
    pub is_news: bool,
    /// It answers, though badly: the last live backend of a frontend is not marked for that.
    pub spares_last: bool,
}

impl Checks {
    /// `None`: the routes of `router` come from a table, whose marks are those of each core.
    pub fn of(router: &Router) -> Option<Checks> {
        let signature = format!("{} checker", signature());
        let owner = format!("{signature} {:016x}", fastrand::u64(..));
        let (deciding, decided) = (Cell::new(false), Bell::default());
        let look_up = router.look_up()?;
        look_up.store.addresses.leave_out();
        Some(Checks { look_up, signature, owner, deciding, decided })
    }

    fn store(&self) -> &Store {
        &self.look_up.store
    }

    /// Names whose lists or dead sets have changed since the last call; `None`: any may have.
    pub fn changed_names(&self) -> Option<Vec<Rc<str>>> {
        let Changed::Keys(keys) = self.store().changes.take() else { return None };
        let prefixes = &self.store().prefixes;
        let name = |key: Vec<u8>| {
            let key = String::from_utf8(key).ok()?;
            let name = key.strip_prefix(&prefixes.dead).or_else(|| key.strip_prefix(&prefixes.lists));
            name.map(Rc::from)
        };
        Some(keys.into_iter().filter_map(name).collect())
    }

    /// Every name that has a dead set, and with `lists` every one that has a list.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn all_names(&self, lists: bool) -> Result<Vec<Rc<str>>, CheckError> {
        let prefixes = &self.store().prefixes;
        let mut names = self.scan(&prefixes.dead).await?;
        if lists {
            names.extend(self.scan(&prefixes.lists).await?);
            names.sort_unstable();
            names.dedup();
        }
        Ok(names)
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<Rc<str>>, CheckError> {
        let (connection, mut names, mut cursor) = (self.reader()?, Vec::new(), b"0".to_vec());
        loop {
            let pattern = format!("{}*", crate::freshness::escaped(prefix));
            let scan = cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000).take();
            let reply = self.call(&connection, [scan]).await?.pop();
            let Some(Value::Array(parts)) = reply else { return Err(self.refused("SCAN was not answered")) };
            let [Value::BulkString(next), Value::Array(keys)] = parts.as_slice() else {
                return Err(self.refused("SCAN was answered with something else"));
            };
            let name = |key: &Value| match key {
                Value::BulkString(key) => Some(Rc::from(str::from_utf8(key).ok()?.strip_prefix(prefix)?)),
                _ => None,
            };
            names.extend(keys.iter().filter_map(name));
            if next == b"0" {
                return Ok(names);
            }
            cursor.clone_from(next);
        }
    }

    /// What stands under `names` now; those under which nothing does are left out.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn standings(&self, names: &[Rc<str>]) -> Result<Vec<Standing>, CheckError> {
        let (connection, mut standings) = (self.reader()?, Vec::with_capacity(names.len()));
        for names in names.chunks(CHECK_BATCH) {
            let prefixes = &self.store().prefixes;
            let ask = |name: &Rc<str>| {
                let list = cmd("LRANGE")
                    .arg(format!("{}{name}", prefixes.lists))
                    .arg(0)
                    .arg(BACKENDS_MAX + 1)
                    .take();
                [list, cmd("SMEMBERS").arg(format!("{}{name}", prefixes.dead)).take()]
            };
            let mut replies = self.call(&connection, names.iter().flat_map(ask)).await?.into_iter();
            for name in names {
                let (list, dead) = (texts(replies.next()), indexes(replies.next()));
                standings.extend(self.standing(name, list, dead).await?);
            }
        }
        Ok(standings)
    }

    async fn standing(
        &self,
        name: &Rc<str>,
        list: Vec<Vec<u8>>,
        dead: Vec<usize>,
    ) -> Result<Option<Standing>, CheckError> {
        let frontend = if !list.is_empty() {
            Rc::new(Frontend::from_list(name, &list))
        } else if !dead.is_empty() {
            // Hipache's mark of a host that a wildcard serves.
            match self.look_up.find(name).await {
                Ok(Some(route)) => route.frontend.clone(),
                Ok(None) => return Ok(None),
                Err(Unavailable::Refused { reason, .. }) => return Err(self.refused(&reason)),
                Err(_) => return Err(CheckError::Away),
            }
        } else {
            return Ok(None);
        };
        Ok(Some(Standing { name: name.clone(), frontend, dead }))
    }

    /// Whether it is this checker that checks `url`, for as long as `lives` from now on.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn lock(&self, url: &str, lives: Duration) -> Result<bool, CheckError> {
        let key = format!("{}{url}", self.store().prefixes.checker_locks);
        let connection = self.writer()?;
        let (mine, lives_ms) = (self.owner.as_str(), lives.as_millis() as u64);
        let take = cmd("SET").arg(&key).arg(mine).arg("NX").arg("PX").arg(lives_ms).take();
        let replies = self.call(&connection, [take, cmd("GET").arg(&key).take()]).await?;
        if replies[1] != Value::BulkString(mine.into()) {
            return Ok(false);
        }
        if replies[0] == Value::Nil {
            self.call(&connection, [cmd("PEXPIRE").arg(&key).arg(lives_ms).take()]).await?;
        }
        Ok(true)
    }

    /// Shows all proxies on the store that a built-in checker is at work.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn sign(&self, lives: Duration) -> Result<(), CheckError> {
        let key = &self.store().prefixes.checker_sign;
        let sign = cmd("SET").arg(key).arg(&self.signature).arg("PX").arg(lives.as_millis() as u64).take();
        let connection = self.writer()?;
        self.call(&connection, [sign]).await.map(drop)
    }

    /// Marks `url` dead under those of `names` where it still stands beside others, and says where it stands.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn found_dead(
        &self,
        url: &str,
        names: &[Rc<str>],
        finding: Finding<'_>,
    ) -> Result<Vec<Rc<str>>, CheckError> {
        let mark = |standing: &Standing, index, commands: &mut Vec<Cmd>| {
            let Standing { name, frontend, .. } = standing;
            // An only backend is never marked: there would be nobody left to ask.
            let may = frontend.backends.len() > 1 && (!finding.spares_last || standing.has_another_live(url));
            if may {
                let death = Death { frontend: name, url, index, backends: frontend.listed };
                self.mark(&death, finding, commands);
            }
        };
        if !finding.spares_last {
            return self.write(url, names, mark).await;
        }
        // One after the other: two at once would each take the other for the last live one.
        self.decided.until_true(|| !self.deciding.get()).await;
        self.deciding.set(true);
        let _decision = Decision(self);
        let standing = self.write(url, names, mark).await?;
        self.spare_the_last(url, &standing).await?;
        Ok(standing)
    }

    /// As two cores do (`announce`): whoever finds all others marked by now takes its own mark back.
    async fn spare_the_last(&self, url: &str, names: &[Rc<str>]) -> Result<(), CheckError> {
        let standings = self.standings(names).await?;
        let last = standings.into_iter().filter(|standing| !standing.has_another_live(url));
        let last: Vec<Rc<str>> = last.map(|standing| standing.name).collect();
        self.found_alive(url, &last).await.map(drop)
    }

    /// Takes the marks of `url` away under those of `names` where it still stands, and says where that is.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn found_alive(&self, url: &str, names: &[Rc<str>]) -> Result<Vec<Rc<str>>, CheckError> {
        let prefixes = &self.store().prefixes;
        let unmark = |Standing { name, .. }: &Standing, index, commands: &mut Vec<Cmd>| {
            commands.push(cmd("SREM").arg(format!("{}{name}", prefixes.dead)).arg(index).take());
            commands.push(cmd("HDEL").arg(format!("{}{name}", prefixes.reports)).arg(index).take());
        };
        self.write(url, names, unmark).await
    }

    /// Sends what `say` says of each of `names` where `url` stands now, being told its index there.
    async fn write(
        &self,
        url: &str,
        names: &[Rc<str>],
        say: impl Fn(&Standing, usize, &mut Vec<Cmd>),
    ) -> Result<Vec<Rc<str>>, CheckError> {
        let (connection, mut standing) = (self.writer()?, Vec::with_capacity(names.len()));
        for names in names.chunks(CHECK_BATCH) {
            let (found, mut commands) = (self.standings(names).await?, Vec::new());
            for found in &found {
                let indexes = found.indexes_of(url);
                indexes.iter().for_each(|index| say(found, *index, &mut commands));
                standing.extend((!indexes.is_empty()).then(|| found.name.clone()));
            }
            self.call(&connection, commands).await?;
        }
        Ok(standing)
    }

    fn mark(&self, death: &Death<'_>, finding: Finding<'_>, commands: &mut Vec<Cmd>) {
        let prefixes = &self.store().prefixes;
        let (set, reports) = (
            format!("{}{}", prefixes.dead, death.frontend),
            format!("{}{}", prefixes.reports, death.frontend),
        );
        let ttl_s = finding.mark_ttl.as_secs().max(1);
        let (url, by, why) = (death.url.to_owned(), self.signature.clone(), finding.why.to_owned());
        let report = Report { url, since: finding.since, by, why };
        commands.push(cmd("MULTI"));
        commands.push(cmd("SADD").arg(&set).arg(death.index).take());
        commands.push(cmd("EXPIRE").arg(&set).arg(ttl_s).take());
        if finding.is_news {
            commands.push(cmd("PUBLISH").arg(CHANNEL).arg(death.to_string()).take());
        }
        commands.push(cmd("EXEC"));
        commands.push(cmd("HSET").arg(&reports).arg(death.index).arg(report.to_field()).take());
        commands.push(cmd("EXPIRE").arg(&reports).arg(ttl_s).take());
    }

    /// Unix seconds now, for [`Finding::since`].
    pub fn now(&self) -> u64 {
        unix_seconds()
    }

    fn reader(&self) -> Result<Rc<Connection>, CheckError> {
        let in_use = self.store().in_use().map(|in_use| in_use.connection);
        in_use.ok_or(CheckError::Away)
    }

    fn writer(&self) -> Result<Rc<Connection>, CheckError> {
        self.store().writer().ok_or(CheckError::Away)
    }

    /// The replies to `commands`; an error among them is one of the whole.
    async fn call(
        &self,
        connection: &Connection,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<Value>, CheckError> {
        let (mut pipeline, mut count) = (Pipeline::default(), 0);
        for command in commands {
            pipeline.push(&command);
            count += 1;
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let replies = connection.call(pipeline).await;
        let replies = replies.map_err(|Lost| CheckError::Away)?;
        // A key of another kind is none of the checker's business.
        let refused = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) if error.code() != "WRONGTYPE" => Some(text_of(error)),
            _ => None,
        });
        match refused {
            None => Ok(replies),
            Some(said) => Err(self.refused(&said)),
        }
    }

    fn refused(&self, said: &str) -> CheckError {
        let mend = match said.split(' ').next() {
            Some("NOPERM") => "; a user of healthCheck also needs +set +pexpire +srem +hset +hdel +scan",
            Some("READONLY") => "; name the master too, in redis.masterHost",
            _ => "",
        };
        CheckError::Refused(format!("redis {}: {said}{mend}", self.store().name))
    }
}

/// The turn of one who decides. Dropped, the next may.
struct Decision<'a>(&'a Checks);

impl Drop for Decision<'_> {
    fn drop(&mut self) {
        self.0.deciding.set(false);
        self.0.decided.ring();
    }
}

impl Standing {
    /// Where `url` stands; a list may have it more than once.
    fn indexes_of(&self, url: &str) -> Vec<usize> {
        let own = self.frontend.backends.iter().filter(|backend| *backend.url == *url);
        own.map(|backend| backend.index).collect()
    }

    fn has_another_live(&self, url: &str) -> bool {
        let mut others =
            self.frontend.backends.iter().filter(|backend| *backend.url != *url && !backend.drain);
        others.any(|other| !self.dead.contains(&other.index))
    }
}

fn texts(reply: Option<Value>) -> Vec<Vec<u8>> {
    let (Some(Value::Array(elements)) | Some(Value::Set(elements))) = reply else { return Vec::new() };
    let bytes = |element| match element {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    };
    elements.into_iter().filter_map(bytes).collect()
}

fn indexes(reply: Option<Value>) -> Vec<usize> {
    let members = texts(reply);
    members.iter().filter_map(|member| str::from_utf8(member).ok()?.parse().ok()).collect()
}
