//! A Redis server, greeted: the one of a deployment that a command is about.

mod change;
mod import;
mod limits;
mod show;
mod walk;

pub use limits::Used;
pub(crate) use show::in_force;

use redis::{Cmd, ConnectionLike, ServerError, Value, cmd};

use crate::bounds::EDIT_TRIES_MAX;
use crate::connection::Pipeline;
use crate::handshake::{auth, check_mode, explain, knows_no_hello, mode_in_hello, mode_in_info, text_of};
use crate::keys::Prefixes;
use crate::sentinel::{at_sentinel, read_address, where_is};
use crate::signs::{Role, read_role, role};
use crate::source::{Deployment, Endpoint, Login, RedisSettings, Sentinels};

use super::failure::Failure;

/// Opens a connection to a server, on which nothing has been said yet. Its error says why there is none, without the
/// server's name.
pub type Dial<'a> = dyn Fn(&Endpoint) -> Result<Box<dyn ConnectionLike>, String> + 'a;

/// Says, given the replies to what was read, which commands a change takes and what it comes to.
type Decide<'a, T> = dyn Fn(&Session, Vec<Value>) -> Result<(Vec<Cmd>, T), Failure> + 'a;

/// What a server of a deployment is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To change routes: the master.
    Write,
    /// To read routes as they were written: the master, if it is one.
    Read,
    /// To see what the proxy sees: the server that it reads.
    Watch,
}

/// An open connection to one server of a deployment.
pub struct Session {
    connection: Box<dyn ConnectionLike>,
    /// Its address.
    server: String,
    login: Login,
    db: u32,
    prefixes: Prefixes,
}

impl Session {
    /// Opens one to the server of `settings` that serves the purpose.
    ///
    /// # Errors
    /// Which server could not be used, why, and what mends it.
    pub fn open(settings: &RedisSettings, purpose: Purpose, dial: &Dial<'_>) -> Result<Session, Failure> {
        let prefixes = Prefixes::new(&settings.prefix, &settings.sets);
        let endpoint = match (&settings.deployment, purpose) {
            (Deployment::Single(endpoint), _) => endpoint,
            (Deployment::Pair { reads, .. }, Purpose::Watch) => reads,
            (Deployment::Pair { writes, .. }, Purpose::Read | Purpose::Write) => writes,
            (Deployment::Sentinel(sentinels), _) => return find_master(sentinels, &prefixes, dial),
        };
        let fail = |problem| Failure::Redis { server: endpoint.server.to_string(), problem };
        let (session, role) = Session::greet(endpoint, prefixes, dial).map_err(fail)?;
        match role {
            Some(Role::Replica { .. }) if purpose == Purpose::Write => Err(fail(REPLICA.into())),
            _ => Ok(session),
        }
    }

    fn greet(
        endpoint: &Endpoint,
        prefixes: Prefixes,
        dial: &Dial<'_>,
    ) -> Result<(Session, Option<Role>), String> {
        let mut connection = dial(endpoint)?;
        check_kind(&mut *connection, &endpoint.login)?;
        let asked = [cmd("SELECT").arg(endpoint.db).take(), role()];
        let replies = call(&mut *connection, &asked)?;
        if let [Value::ServerError(error), _] = &replies[..] {
            return Err(explain(error, &endpoint.login, &prefixes.all));
        }
        let role = replies.get(1).and_then(read_role);
        let (server, login) = (endpoint.server.to_string(), endpoint.login.clone());
        Ok((Session { connection, server, login, db: endpoint.db, prefixes }, role))
    }

    /// One reply for each of `commands`, errors among them.
    fn call(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, Failure> {
        call(&mut *self.connection, commands).map_err(|problem| self.failure(problem))
    }

    fn ask(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        ask(&mut *self.connection, pipeline).map_err(|problem| self.failure(problem))
    }

    fn failure(&self, problem: String) -> Failure {
        Failure::Redis { server: self.server.clone(), problem }
    }

    /// The failure that the server's error on `key` is.
    fn refused(&self, error: &ServerError, key: &str) -> Failure {
        let said = text_of(error);
        match error.code() {
            "WRONGTYPE" => Failure::NoList { key: key.into() },
            "NOPERM" => {
                let (user, prefix) =
                    (self.login.username.as_deref().unwrap_or("default"), &self.prefixes.all);
                self.failure(format!("{said}; allow it: ACL SETUSER {user} ~{prefix}* {ACL}"))
            }
            "READONLY" => self.failure(REPLICA.into()),
            _ => self.failure(explain(error, &self.login, &self.prefixes.all)),
        }
    }

    /// Changes what stands under `keys`: `decide` is given the replies to `reads` and says which commands that takes,
    /// none where nothing is to be done. It is asked again where others wrote one of the keys in between.
    ///
    /// # Errors
    /// What `decide` said, or the keys could not be read or written.
    fn change<T>(&mut self, keys: &[&str], reads: &[Cmd], decide: &Decide<'_, T>) -> Result<T, Failure> {
        for _ in 0..EDIT_TRIES_MAX {
            let looks: Vec<Cmd> =
                std::iter::once(cmd("WATCH").arg(keys).take()).chain(reads.iter().cloned()).collect();
            let mut replies = self.call(&looks)?;
            if let Some(Value::ServerError(error)) = replies.first() {
                return Err(self.refused(error, keys[0]));
            }
            let decided = decide(self, replies.split_off(1));
            let (commands, outcome) = match decided {
                Ok((commands, outcome)) if commands.is_empty() => {
                    self.call(&[cmd("UNWATCH")])?;
                    return Ok(outcome);
                }
                decided => decided?,
            };
            if self.transaction(&commands, keys[0])? {
                return Ok(outcome);
            }
        }
        Err(Failure::Contended { key: keys[0].into() })
    }

    /// Carries out `commands`, which are about `key`, all or none. Returns false where a watched key was written.
    fn transaction(&mut self, commands: &[Cmd], key: &str) -> Result<bool, Failure> {
        let whole: Vec<Cmd> =
            std::iter::once(cmd("MULTI")).chain(commands.iter().cloned()).chain([cmd("EXEC")]).collect();
        let replies = self.call(&whole)?;
        self.read_transaction(&replies, key)
    }

    /// Reads the replies to a whole transaction.
    fn read_transaction(&self, replies: &[Value], key: &str) -> Result<bool, Failure> {
        // The first error tells more than the EXECABORT that it leads to.
        if let Some(error) = replies.iter().find_map(error_of) {
            return Err(self.refused(error, key));
        }
        let Some(Value::Array(done)) = replies.last() else {
            let refused = matches!(replies.last(), Some(Value::Nil));
            return if refused {
                Ok(false)
            } else {
                Err(self.failure("EXEC was answered with no list".into()))
            };
        };
        // The list has been read before: what is of another type are marks, and such a key holds none.
        match done.iter().filter_map(error_of).find(|error| error.code() != "WRONGTYPE") {
            Some(error) => Err(self.refused(error, key)),
            None => Ok(true),
        }
    }
}

fn error_of(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// What an ACL user needs for every command.
const ACL: &str =
    "+@read +@connection +@transaction +info +role +time +rpush +lrem +del +sadd +srem +pexpire +hset +hdel";

const REPLICA: &str = "it is a replica and takes no routes: name the master in redis.masterHost, or as the second address \
                       of driver";

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It is of another kind than routes are kept in: a node of a cluster ([`crate::CLUSTER`]), a sentinel.
    Kind(String),
    /// It refuses us, or the connection is lost.
    Refused(String),
}

impl From<Unusable> for String {
    fn from(unusable: Unusable) -> String {
        match unusable {
            Unusable::Kind(problem) | Unusable::Refused(problem) => problem,
        }
    }
}

/// The servers of `settings` that [`check_kind`] can be asked about at a start; none where sentinels name them.
pub fn servers(settings: &RedisSettings) -> Vec<Endpoint> {
    match &settings.deployment {
        Deployment::Single(endpoint) => vec![endpoint.clone()],
        Deployment::Pair { reads, writes } => vec![reads.clone(), writes.clone()],
        Deployment::Sentinel(_) => Vec::new(),
    }
}

/// Says who we are on a new connection and asks whether the server can be used at all.
///
/// # Errors
/// Why not, and what mends it.
pub fn check_kind(connection: &mut dyn ConnectionLike, login: &Login) -> Result<(), Unusable> {
    let hello: Vec<Cmd> = auth(login).into_iter().chain([cmd("HELLO")]).collect();
    let mut replies = call(connection, &hello).map_err(Unusable::Refused)?;
    let hello = replies.pop().unwrap_or(Value::Nil);
    if let Some(Value::ServerError(error)) = replies.first() {
        return Err(Unusable::Refused(explain(error, login, "")));
    }
    let checked = match hello {
        Value::ServerError(error) if knows_no_hello(&error) => {
            let info = call(connection, &[cmd("INFO").arg("server").take()]).map_err(Unusable::Refused)?;
            check_mode(mode_in_info(&info[0]))
        }
        Value::ServerError(error) => return Err(Unusable::Refused(explain(&error, login, ""))),
        Value::Array(parts) => check_mode(mode_in_hello(&pairs(parts))),
        Value::Map(fields) => check_mode(mode_in_hello(&fields)),
        _ => Ok(()),
    };
    checked.map_err(Unusable::Kind)
}

/// The master, as the first sentinel says that knows one which is.
fn find_master(sentinels: &Sentinels, prefixes: &Prefixes, dial: &Dial<'_>) -> Result<Session, Failure> {
    let mut answers = Vec::new();
    for address in &sentinels.addresses {
        let endpoint = match ask_sentinel(&sentinels.sentinel(address.clone()), &sentinels.master_name, dial)
        {
            Ok(server) => sentinels.master(server),
            Err(problem) => {
                answers.push(format!("sentinel {address}: {problem}"));
                continue;
            }
        };
        match Session::greet(&endpoint, prefixes.clone(), dial) {
            Ok((_, Some(Role::Replica { .. }))) => {
                answers.push(format!("sentinel {address}: {} is a replica", endpoint.server));
            }
            Ok((session, Some(Role::Master))) => return Ok(session),
            Ok((_, None)) => answers.push(format!(
                "master {}: it does not say whether it is the master; allow it: ACL SETUSER with +role",
                endpoint.server
            )),
            Err(problem) => answers.push(format!("master {}: {problem}", endpoint.server)),
        }
    }
    let problem = format!("no sentinel led to a master that can be used: {}", answers.join("; "));
    Err(Failure::Redis { server: format!("{:?}", sentinels.master_name), problem })
}

fn ask_sentinel(
    sentinel: &Endpoint,
    master_name: &str,
    dial: &Dial<'_>,
) -> Result<crate::source::Server, String> {
    let mut connection = dial(sentinel)?;
    if let Some(auth) = auth(&sentinel.login)
        && let Some(Value::ServerError(error)) = call(&mut *connection, &[auth])?.pop()
    {
        return Err(at_sentinel(text_of(&error)));
    }
    let reply = call(&mut *connection, &[where_is(master_name)])?.pop();
    read_address(reply.unwrap_or(Value::Nil), master_name)
}

fn call(connection: &mut dyn ConnectionLike, commands: &[Cmd]) -> Result<Vec<Value>, String> {
    let mut pipeline = Pipeline::default();
    commands.iter().for_each(|command| pipeline.push(command));
    ask(connection, &pipeline)
}

fn ask(connection: &mut dyn ConnectionLike, pipeline: &Pipeline) -> Result<Vec<Value>, String> {
    let (bytes, count) = (pipeline.bytes(), pipeline.commands());
    let replies = connection.req_packed_commands(bytes, 0, count).map_err(|error| error.to_string())?;
    if replies.len() == count {
        Ok(replies)
    } else {
        Err(format!("{count} commands had {} replies", replies.len()))
    }
}

/// Fields and values that follow each other.
fn pairs(parts: Vec<Value>) -> Vec<(Value, Value)> {
    let mut parts = parts.into_iter();
    std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect()
}

#[cfg(test)]
mod tests {
    use redis::{Cmd, ConnectionLike, RedisResult, Value, cmd, parse_redis_value};

    use super::{Purpose, Session};
    use crate::edit::Failure;
    use crate::source::{Deployment, Endpoint, RedisSettings, Server};

    /// Says the same on everything, and that it is a master.
    struct Says(&'static str);

    impl ConnectionLike for Says {
        fn req_packed_command(&mut self, _: &[u8]) -> RedisResult<Value> {
            parse_redis_value(self.0.as_bytes())
        }

        fn req_packed_commands(&mut self, _: &[u8], _: usize, count: usize) -> RedisResult<Vec<Value>> {
            (0..count).map(|_| self.req_packed_command(b"")).collect()
        }

        fn get_db(&self) -> i64 {
            0
        }

        fn check_connection(&mut self) -> bool {
            true
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    fn session(says: &'static str) -> Result<Session, Failure> {
        let endpoint = Endpoint::plain(Server::Tcp("10.0.0.1".into(), 6379));
        let deployment = Deployment::Single(endpoint);
        let settings = RedisSettings { deployment, prefix: "p:".into(), sets: Vec::new() };
        Session::open(&settings, Purpose::Write, &|_| Ok(Box::new(Says(says))))
    }

    fn change(says: &'static str) -> Result<(), Failure> {
        let decide = |_: &Session, _: Vec<Value>| Ok((vec![cmd("RPUSH").arg("k").arg("v").take()], ()));
        session(says)?.change(&["k"], &[] as &[Cmd], &decide)
    }

    #[test]
    fn an_edit_is_not_tried_for_ever() {
        let said = change("$-1\r\n").unwrap_err();
        assert!(matches!(&said, Failure::Contended { key } if key == "k"), "{said}");
        assert!(said.to_string().contains("each of the 100 times"), "{said}");
    }

    #[test]
    fn what_the_server_says_is_told_with_the_mend() {
        for (says, told) in [
            ("-LOADING wait\r\n", "redis 10.0.0.1:6379: LOADING wait; routes are read once"),
            ("-NOAUTH no\r\n", "set redis.password"),
            ("-NOPERM no\r\n", "redis 10.0.0.1:6379: "),
            ("+OK\r\n", "EXEC was answered with no list"),
        ] {
            let said = change(says).unwrap_err().to_string();
            assert!(said.contains(told), "{says}: {said}");
        }
        let session = session("+OK\r\n").unwrap();
        for (says, told) in [
            ("-READONLY You can't write\r\n", "it is a replica and takes no routes"),
            ("-NOPERM no\r\n", "allow it: ACL SETUSER default ~p:* +@read"),
            ("-WRONGTYPE no\r\n", "key \"k\" holds no list"),
        ] {
            let replies = [parse_redis_value(says.as_bytes()).unwrap(), Value::Nil];
            let said = session.read_transaction(&replies, "k").unwrap_err().to_string();
            assert!(said.contains(told), "{says}: {said}");
        }
    }
}
