//! `lease.lua` in a real server against its model: the same schedules, the same answers, call by call.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Value;

use super::lease::{Answer, Ask, Quota};
use super::model::{Model, Variant};
use super::script;
use super::simulation::{Server, World, any_world, pressing, run};
use super::{BUCKETS, LIFE_MAX};

/// A server whose script takes the time from a list.
struct Real {
    child: Child,
    connection: redis::Connection,
    script: String,
    /// When the counter expires, by the clock of the schedule.
    expires: u64,
    _dir: tempfile::TempDir,
}

const KEY: &str = "limit:60:anonymous:10.0.0.1";

impl Real {
    fn start() -> Real {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket").display().to_string();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", &socket, "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("install redis-server");
        let client = redis::Client::open(format!("redis+unix://{socket}")).unwrap();
        let connection = (0..2_000).find_map(|_| {
            let connection = client.get_connection().ok();
            if connection.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            connection
        });
        let asked = "redis.call('TIME')";
        assert_eq!(script::SOURCE.matches(asked).count(), 1);
        let script = script::SOURCE.replace(asked, "redis.call('LRANGE', 'time', 0, 1)");
        Real { child, connection: connection.expect("redis-server answers"), script, expires: 0, _dir: dir }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server for Real {
    fn call(&mut self, now: u64, quota: &Quota, ask: &Ask) -> Answer {
        let mut call = redis::cmd("EVAL");
        call.arg(&self.script).arg(1).arg(KEY);
        script::arguments(&mut call, quota, ask);
        let time = redis::cmd("RPUSH").arg("time").arg(now / 1_000_000).arg(now % 1_000_000).take();
        if now >= self.expires {
            redis::cmd("DEL").arg(KEY).exec(&mut self.connection).unwrap();
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("DEL").arg("time").add_command(time).add_command(call).cmd("PTTL").arg(KEY);
        let replies: Vec<Value> = pipeline.query(&mut self.connection).unwrap();
        if let Value::Int(lives @ 0..) = replies[3] {
            // What has passed since of real time is some milliseconds.
            let expiry = (BUCKETS + LIFE_MAX + 2) * quota.bucket();
            let short = expiry.div_ceil(1_000) - u64::try_from(lives).unwrap();
            assert!(short < 1_000, "it expires {short} ms too soon");
            self.expires = now + expiry.div_ceil(1_000) * 1_000;
        }
        script::answer(&replies[2]).unwrap()
    }

    fn forget(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection).unwrap();
    }
}

/// Both at once.
struct Both {
    real: Real,
    model: Model,
    calls: u64,
}

impl Server for Both {
    fn call(&mut self, now: u64, quota: &Quota, ask: &Ask) -> Answer {
        let (real, model) = (self.real.call(now, quota, ask), Server::call(&mut self.model, now, quota, ask));
        assert_eq!(real, model, "at {now}: {ask:?}");
        self.calls += 1;
        real
    }

    fn forget(&mut self) {
        self.real.forget();
        self.model.forget();
    }
}

#[test]
fn the_script_answers_as_its_model() {
    let mut both = Both { real: Real::start(), model: Model::new(Variant::AsBuilt), calls: 0 };
    for seed in 0..100 {
        let mut world: World = any_world(seed);
        if seed % 3 == 0 {
            world.forgets = vec![world.lasts / 3, world.lasts / 2];
        }
        both.forget();
        let outcome = run(&world, seed, &mut both);
        assert!(!world.forgets.is_empty() || outcome.worst(world.quota.window) <= world.quota.limit);
    }
    for (limit, cores) in [(100, 4), (10_000, 2), (100_000, 1)] {
        both.forget();
        run(&pressing(limit, 60_000_000, cores, 2), 1, &mut both);
    }
    println!("{} calls", both.calls);
    assert!(both.calls > 20_000);
}
