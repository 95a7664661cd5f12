//! Sentinels that lag behind a fail-over, or fall silent after one: what they say is scripted, the servers are real.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use redis_router::RedisSettings;
use scene::{RedisServer, TcpDialer, eventually, scene, served, serves};

/// A sentinel that names one server all the time.
struct Scripted {
    port: u16,
    said: Arc<Said>,
}

struct Said {
    master: u16,
    epoch: u64,
    silent: AtomicBool,
    /// How often it was asked for the master.
    asked: AtomicUsize,
}

impl Scripted {
    fn names(master: &RedisServer, epoch: u64) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silent, asked) = Default::default();
        let said = Arc::new(Said { master: master.port, epoch, silent, asked });
        let shared = said.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let said = shared.clone();
                std::thread::spawn(move || said.talk(stream.unwrap()));
            }
        });
        Scripted { port, said }
    }
}

impl Said {
    /// Each command comes in one piece, as each waits for the answer to the one before.
    fn talk(&self, mut stream: TcpStream) {
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let command = String::from_utf8_lossy(&bytes[..count]).to_string();
            let asks_where = command.contains("GET-MASTER-ADDR-BY-NAME");
            self.asked.fetch_add(usize::from(asks_where), SeqCst);
            let answer = match () {
                () if self.silent.load(SeqCst) => continue,
                () if asks_where => array(&["127.0.0.1", &self.master.to_string()]),
                () if command.contains("SUBSCRIBE") => {
                    "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n".into()
                }
                () if command.contains("MASTER") => array(&["config-epoch", &self.epoch.to_string()]),
                () => array(&["pong", ""]),
            };
            // The asker may be gone already: that is its right.
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}

fn array(parts: &[&str]) -> String {
    let head = format!("*{}\r\n", parts.len());
    parts.iter().fold(head, |text, part| text + &format!("${}\r\n{part}\r\n", part.len()))
}

fn watched_by(sentinels: &[&Scripted]) -> RedisSettings {
    scene::watched_by(sentinels.iter().map(|sentinel| sentinel.port))
}

#[test]
fn those_who_lag_behind_are_not_believed_while_the_one_who_knows_is_silent() {
    let (filled, empty) = (RedisServer::start(), RedisServer::start());
    filled.admin().run("RPUSH frontend:a.tld app http://10.0.0.1");
    let (knows, lags) = (Scripted::names(&filled, 1), Scripted::names(&empty, 0));
    scene(watched_by(&[&knows, &lags]), TcpDialer, async |router| {
        serves(&router, "a.tld", "app").await;
        knows.said.silent.store(true, SeqCst);
        let asked = lags.said.asked.load(SeqCst);
        filled.admin().run("CLIENT KILL TYPE pubsub");
        filled.admin().run("RPUSH frontend:new.tld new http://10.0.0.1");
        let known_meanwhile = async || {
            assert_eq!(served(&router, "a.tld").await, "app");
            lags.said.asked.load(SeqCst) >= asked + 3
        };
        eventually("the one that lags behind is asked again and again", known_meanwhile).await;
        knows.said.silent.store(false, SeqCst);
        serves(&router, "new.tld", "new").await;
    });
}

#[test]
fn sentinels_that_were_set_up_anew_are_believed_in_the_end() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    old.admin().run("RPUSH frontend:a.tld old http://10.0.0.1");
    new.admin().run("RPUSH frontend:a.tld new http://10.0.0.1");
    let (before, anew) = (Scripted::names(&old, 7), Scripted::names(&new, 1));
    scene(watched_by(&[&before, &anew]), TcpDialer, async |router| {
        serves(&router, "a.tld", "old").await;
        before.said.silent.store(true, SeqCst);
        old.admin().run("CLIENT KILL TYPE pubsub");
        serves(&router, "a.tld", "new").await;
    });
}
