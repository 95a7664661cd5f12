//! What a warm look-up costs: time and allocations of `Router::cached`, which answers each request of a known host.
//! Brings its own redis-server. The exit status is 1 where a look-up allocates; time is told, not judged.

#[path = "look_up/allocations.rs"]
mod allocations;
#[path = "look_up/order.rs"]
mod order;
#[path = "../crates/redis-router/tests/scene/mod.rs"]
mod scene;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use monoio::time::TimeDriver;
use nix::time::{ClockId, clock_gettime};
use redis_router::{CacheSettings, Cached, Router};

use allocations::{Counting, made_by};
use order::Order;
use scene::{Admin, RedisServer, TcpDialer, serves, tracking};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Runtime = monoio::FusionRuntime<TimeDriver<monoio::IoUringDriver>, TimeDriver<monoio::LegacyDriver>>;

const MANY: usize = 100_000;
const DRAWS: usize = 1 << 20;
/// Reads under way at once while the rows are filled.
const READS: usize = 256;
/// Look-ups of one walk that may miss.
const UNKNOWN_MAX: u32 = 100;
/// A route that only serves to be changed.
const OTHER: &str = "other.bench";

fn main() -> ExitCode {
    let mut bench = Bench::start();
    let hosts: Vec<String> = (0..MANY).map(|number| format!("host{number:05}.bench")).collect();
    bench.fill(&hosts);
    let cases = [
        ("one host", Order::of(&hosts[0]), After::Nothing),
        ("10,000 hosts, Zipf", Order::zipf(&hosts[..10_000], DRAWS), After::Nothing),
        ("100,000 hosts, Zipf", Order::zipf(&hosts, DRAWS), After::Nothing),
        ("100,000 hosts, each as often", Order::shuffled(&hosts), After::Nothing),
        ("100,000 hosts, each for the first time since a push", Order::shuffled(&hosts), After::Push),
        ("a host by wildcard", Order::of("www.wild.bench"), After::Nothing),
        ("an unknown host", Order::of("stranger.example"), After::Nothing),
    ];
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    let mut allocated = false;
    for (name, order, after) in &cases {
        let allocations = bench.allocations(order, *after);
        println!("{name}: {allocations} allocations in {} look-ups", order.len());
        allocated |= allocations > 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|look_ups| bench.time(order, look_ups, *after));
        });
    }
    criterion.final_summary();
    bench.end();
    if allocated { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What happened just before the hosts are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    /// The route of another host was changed, so each row is compared with what was pushed.
    Push,
}

/// A router on the runtime of this thread, which runs only while it is given a turn: look-ups go on beside it.
struct Bench {
    runtime: Runtime,
    router: Router,
    running: monoio::task::JoinHandle<()>,
    admin: Admin,
    pushes: u64,
    _server: RedisServer,
}

impl Bench {
    #[allow(
        clippy::async_yields_async,
        reason = "the router is awaited in the end; it runs in every turn till then"
    )]
    fn start() -> Bench {
        let server = RedisServer::start();
        let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
            .enable_timer()
            .build()
            .expect("the kernel gives a ring or an epoll descriptor");
        let cache = CacheSettings { rows: 2 * MANY, max_age: None };
        let router = Router::redis(server.settings(), cache);
        let runs = router.clone();
        let running = runtime.block_on(async {
            let running = monoio::spawn(async move { runs.run(TcpDialer).await });
            tracking(&router).await;
            running
        });
        Bench { runtime, router, running, admin: server.admin(), pushes: 0, _server: server }
    }

    /// Routes `hosts`, a wildcard and another host, and looks each of them up once.
    fn fill(&mut self, hosts: &[String]) {
        for part in hosts.chunks(10_000) {
            let mut pipeline = redis::pipe();
            for host in part {
                pipeline.cmd("RPUSH").arg(format!("frontend:{host}")).arg(host).arg("http://10.0.0.1:80");
            }
            pipeline.exec(&mut self.admin.0).expect("redis-server takes routes");
        }
        self.admin.run("RPUSH frontend:*.wild.bench wild http://10.0.0.1:80");
        let others = ["www.wild.bench", "stranger.example", OTHER].map(String::from);
        for part in hosts.chunks(READS).chain([&others[..]]) {
            self.runtime.block_on(read_all(&self.router, part));
        }
    }

    fn allocations(&mut self, order: &Order, after: After) -> u64 {
        self.prepare(after);
        made_by(|| ask(&self.router, order.hosts()))
    }

    /// Processor time of so many look-ups.
    fn time(&mut self, order: &Order, look_ups: u64, after: After) -> Duration {
        let (mut left, mut spent) = (look_ups as usize, Duration::ZERO);
        let mut hosts = order.hosts().cycle();
        while left > 0 {
            self.prepare(after);
            // One host is not walked through a call at a time.
            let turn = left.min(order.len().max(MANY));
            let before = processor_time();
            ask(&self.router, hosts.by_ref().take(turn));
            spent += processor_time() - before;
            left -= turn;
        }
        spent
    }

    /// Lets the router do its part, so that it stays connected, and brings a push about where one is wanted.
    fn prepare(&mut self, after: After) {
        if after == After::Nothing {
            return self.runtime.block_on(tracking(&self.router));
        }
        self.pushes += 1;
        let name = self.pushes.to_string();
        redis::pipe()
            .atomic()
            .cmd("DEL")
            .arg(format!("frontend:{OTHER}"))
            .cmd("RPUSH")
            .arg(format!("frontend:{OTHER}"))
            .arg(&name)
            .arg("http://10.0.0.1:80")
            .exec(&mut self.admin.0)
            .expect("redis-server takes routes");
        self.runtime.block_on(serves(&self.router, OTHER, &name));
    }

    fn end(mut self) {
        self.runtime.block_on(async {
            self.router.stop();
            self.running.await;
        });
    }
}

/// What this thread has had of the processor: what others get meanwhile does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

/// Looks the hosts up at once, and waits for it.
async fn read_all(router: &Router, hosts: &[String]) {
    let read = |host: &String| {
        let (router, host) = (router.clone(), host.clone());
        monoio::spawn(async move { router.find(&host).await.map(drop) })
    };
    for read in hosts.iter().map(read).collect::<Vec<_>>() {
        read.await.expect("redis-server answers");
    }
}

/// Looks the hosts up. All are known, but for the few whose keys share a counter with one that was changed: a look-up that
/// has to ask Redis would be another thing than the one measured.
fn ask<'a>(router: &Router, hosts: impl Iterator<Item = &'a str>) {
    let mut unknown = 0;
    for host in hosts {
        unknown += u32::from(matches!(black_box(router.cached(black_box(host))), Cached::Unknown));
    }
    assert!(unknown <= UNKNOWN_MAX, "{unknown} hosts are not warm");
}
