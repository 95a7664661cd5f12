//! The rows of the table of differences in docs/MIGRATION.md that show in a file: which program the file was
//! written for, and where that program treats it otherwise. Knows the file as written, not the settings.

use super::assemble::Machine;
use super::json::Node;

/// A row of the table that shows in a file.
pub(crate) struct Difference {
    /// Its number in docs/MIGRATION.md.
    pub(crate) row: u16,
    applies: fn(&File<'_>) -> bool,
    /// One sentence: what the original does, what is done here, the mend.
    pub(crate) sentence: &'static str,
}

/// A file, and what the rows ask about it.
struct File<'a> {
    root: &'a Node,
    origin: Origin,
    /// Whether it listens as Hipache 0.4 does; a file of our own may too.
    hipache_04: bool,
    machine: Machine,
}

/// The program a file was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// ConcussionJS proxy, or Hipache 0.1, whose files look the same.
    ConcussionJs,
    /// Hipache 0.2 or 0.3.
    Hipache,
    Hipache04,
    /// cjs-proxy: the file has a key that no older program knows, or too little to tell.
    Own,
}

/// The names older programs know at the top of a file.
const OLD_TOP: [&str; 18] = [
    "server",
    "http",
    "https",
    "driver",
    "user",
    "group",
    "redis",
    "redisHost",
    "redisPort",
    "redisDatabase",
    "redisPassword",
    "redisMasterHost",
    "redisMasterPort",
    "redisMasterDatabase",
    "redisMasterPassword",
    "api",
    "test",
    "rollout",
];
/// Those in `server`.
const OLD_SERVER: [&str; 19] = [
    "accessLog",
    "address",
    "address6",
    "deadBackendOn500",
    "deadBackendTTL",
    "debug",
    "errorMaxRetries",
    "greedyWildcard",
    "httpKeepAlive",
    "https",
    "lruCache",
    "maxSockets",
    "port",
    "retryOnError",
    "stack",
    "staticDir",
    "tcpTimeout",
    "uniqueIdHeader",
    "workers",
];
/// Those in `redis`.
const OLD_REDIS: [&str; 2] = ["host", "port"];

/// The rows, by number.
pub(crate) static DIFFERENCES: &[Difference] = &[
    Difference {
        row: 1,
        applies: |file| file.origin == Origin::ConcussionJs,
        sentence: "ConcussionJS proxy limited every client address (500 requests in 60 s, 10000 where the host of \
                   Referer was in the set \"registered\"); without rateLimit nobody is limited here",
    },
    Difference {
        row: 2,
        applies: |file| file.origin == Origin::ConcussionJs && !file.redis_is_local(),
        sentence: "ConcussionJS proxy did not read redis.host and redis.port and always used 127.0.0.1:6379; here \
                   the server they name is used",
    },
    Difference {
        row: 3,
        applies: |file| file.origin == Origin::ConcussionJs && !file.has("server.errorMaxRetries"),
        sentence: "without server.errorMaxRetries ConcussionJS proxy retried without end (it did not read \
                   retryOnError); here server.retryOnError holds, 3 unless set",
    },
    Difference {
        row: 4,
        applies: |file| file.is_before_04() && !file.has("server.tcpTimeout"),
        sentence: "without server.tcpTimeout the original had no time-outs; here it is 30 s; 0 turns off those \
                   that follow it",
    },
    Difference {
        row: 5,
        applies: |file| file.is_before_04() && !file.has_address(),
        sentence: "without an address the original listened on all IPv4 addresses and on ::1; here on all of IPv6 \
                   too; server.address6: [\"::1\"] brings the old ones",
    },
    Difference {
        row: 6,
        applies: |file| file.is_before_04() && file.has("server.address") && !file.has("server.address6"),
        sentence: "beside server.address Hipache 0.2 listened on ::1 too; here only on what the file names; \
                   server.address6: [\"::1\"] adds it",
    },
    Difference {
        row: 7,
        applies: |file| file.hipache_04 && !file.has_address(),
        sentence: "the file counts as one of Hipache 0.4 and names no address: 127.0.0.1 is listened on, as there; \
                   server.bind names others",
    },
    Difference {
        row: 8,
        applies: |file| file.origin == Origin::Hipache04 && file.has("server.address6"),
        sentence: "Hipache 0.4 ignored server.address6; here its addresses are listened on",
    },
    Difference {
        row: 9,
        applies: |file| file.origin == Origin::Hipache04 && file.has_redis_keys(),
        sentence: "Hipache 0.4 read the Redis server from driver alone; here the redis keys count too",
    },
    Difference {
        row: 10,
        applies: |file| file.reuses_connections_only_here(),
        sentence: "the original opened a connection to the backend for each request; here connections are reused \
                   unless server.httpKeepAlive is false",
    },
    Difference {
        row: 11,
        applies: |file| file.origin == Origin::Hipache04,
        sentence: "server.maxSockets had no effect in Hipache 0.4; here it bounds the connections to a backend on \
                   each core, 100 unless set",
    },
    Difference {
        row: 12,
        applies: |file| {
            let asked = file.number("server.workers").unwrap_or_default();
            file.is_old() && asked > file.machine.cpus as u64
        },
        sentence: "the original started as many processes as server.workers says; here no more cores run than \
                   there are usable CPUs",
    },
    Difference {
        row: 13,
        applies: |file| file.is_old() && file.has("server.lruCache"),
        sentence: "server.lruCache is always on here and follows every change in Redis; size is at least 10000, \
                   ttl counts only where Redis pushes no changes",
    },
    Difference {
        row: 14,
        applies: |file| {
            let set = file.has("server.retryOnError") || file.has("server.errorMaxRetries");
            file.origin == Origin::Hipache && !set
        },
        sentence: "without server.retryOnError Hipache before 0.4 did not retry; here it is 3",
    },
    Difference {
        row: 15,
        applies: |file| match file.origin {
            Origin::Hipache04 => !file.is_off("server.deadBackendOn500"),
            Origin::Hipache => !file.has("server.deadBackendOn500"),
            Origin::ConcussionJs | Origin::Own => false,
        },
        sentence: "server.deadBackendOn500 never acted in Hipache 0.4 and was false before unless set; here it is \
                   true unless set, and acts while an external checker is active",
    },
    Difference {
        row: 16,
        applies: |file| file.is_old() && file.root.at("server.accessLog").is_none(),
        sentence: "the access log that is not named is /var/log/cjs-proxy/access.log here, \
                   /var/log/hipache/access.log in Hipache 0.4",
    },
    Difference {
        row: 17,
        applies: |file| file.is_old() && file.has("server.staticDir"),
        sentence: "the pages in server.staticDir are read at start and on SIGHUP, not for each answer, and for \
                   every status that has one",
    },
    Difference {
        row: 18,
        applies: |file| file.hipache_04 && file.machine.root,
        sentence: "the whole process becomes user (www-data unless set), the part that writes the access log too: its \
                   folder must be that user's for SIGUSR1 to open a new file",
    },
    Difference {
        row: 19,
        applies: |file| file.has("server.memoryLimit"),
        sentence: "the original replaced a worker over 100 MB (200 MB in Hipache 0.4) whatever the file said; here \
                   server.memoryLimit is what counts",
    },
];

/// The rows that show in a parsed file.
pub(crate) fn of(
    root: &Node,
    hipache_04: bool,
    machine: Machine,
) -> impl Iterator<Item = &'static Difference> {
    let file = File { root, origin: origin(root, hipache_04), hipache_04, machine };
    DIFFERENCES.iter().filter(move |difference| (difference.applies)(&file))
}

fn origin(root: &Node, hipache_04: bool) -> Origin {
    let names = |path: &str, known: &[&str]| match root.at(path) {
        Some(Node::Object(members)) => all_known(members, known),
        _ => true,
    };
    let Node::Object(members) = root else { return Origin::Own };
    let own_driver = |text: &str| text.starts_with("file:") || text.starts_with("redis+unix:");
    let is_old = all_known(members, &OLD_TOP)
        && names("server", &OLD_SERVER)
        && names("redis", &OLD_REDIS)
        && !matches!(root.at("driver"), Some(Node::Text(text)) if own_driver(text));
    if !is_old {
        Origin::Own
    } else if hipache_04 {
        Origin::Hipache04
    } else if root.at("server.port").is_none() {
        Origin::Own
    } else if root.at("redis").is_some() {
        Origin::ConcussionJs
    } else {
        Origin::Hipache
    }
}

fn all_known(members: &[(String, Node)], known: &[&str]) -> bool {
    members.iter().all(|(name, _)| known.contains(&name.as_str()))
}

impl File<'_> {
    fn has(&self, path: &str) -> bool {
        self.root.at(path).is_some_and(|node| *node != Node::Text(String::new()))
    }

    fn is_off(&self, path: &str) -> bool {
        self.root.at(path).is_some_and(Node::is_off)
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.root.at(path).and_then(super::kind::whole)
    }

    fn is_old(&self) -> bool {
        self.origin != Origin::Own
    }

    fn is_before_04(&self) -> bool {
        matches!(self.origin, Origin::ConcussionJs | Origin::Hipache)
    }

    fn has_address(&self) -> bool {
        ["server.bind", "http.bind", "server.address", "server.address6"].iter().any(|path| self.has(path))
    }

    fn has_redis_keys(&self) -> bool {
        let single = ["redisHost", "redisPort", "redisDatabase", "redisPassword", "redis.host", "redis.port"];
        single.iter().any(|path| self.has(path))
    }

    fn redis_is_local(&self) -> bool {
        let host = self.root.at("redis.host");
        let local = ["127.0.0.1", "localhost"].map(|name| Node::Text(name.to_owned()));
        let port = self.number("redis.port").unwrap_or(6379);
        host.is_none_or(|host| local.contains(host)) && port == 6379
    }

    /// Before 0.4 only `true` turned it on, in ConcussionJS proxy and 0.4 nothing did.
    fn reuses_connections_only_here(&self) -> bool {
        match self.origin {
            Origin::Own => false,
            Origin::Hipache => !self.has("server.httpKeepAlive"),
            Origin::ConcussionJs | Origin::Hipache04 => !self.is_off("server.httpKeepAlive"),
        }
    }
}
