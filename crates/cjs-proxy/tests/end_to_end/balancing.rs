//! Which of several live backends a request gets: weights, drains, turns, load, and cookies that keep a client.

use serde_json::{Value, json};

use super::routing::for_host;
use crate::support::backend::Backend;
use crate::support::client::{Client, Response};
use crate::support::mortal::{ask_until_reached, mortal, wait_until_avoided};
use crate::support::scene::{SITE, Scene, get, request};
use crate::support::wait;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn balance(method: &str) -> Value {
    json!({ "server": { "workers": 1, "balance": method } })
}

/// A site whose backends `a`, `b`, … have these fragments.
fn site(config: Value, fragments: &[&str]) -> (Scene, Vec<Backend>) {
    let backends: Vec<Backend> = NAMES[..fragments.len()].iter().map(|name| mortal(name)).collect();
    let urls: Vec<String> =
        backends.iter().zip(fragments).map(|(backend, fragment)| backend.url() + fragment).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    (Scene::with(config, &urls), backends)
}

/// Who answers so many requests of one client, in order.
fn served(client: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| client.ask(get("/")).text()).collect()
}

fn share(served: &[String], name: &str) -> usize {
    served.iter().filter(|text| *text == name).count()
}

/// Whether each of three backends follows the one before it in the list.
fn in_turn(served: &[String]) -> bool {
    served.windows(2).all(|pair| {
        let place = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
        place(&pair[1]) == (place(&pair[0]) + 1) % 3
    })
}

#[test]
fn at_random_weights_are_shares() {
    for method in ["random", "leastRequests"] {
        let (scene, _backends) = site(balance(method), &["/#weight=3", ""]);
        let served = served(&mut scene.connect(), 800);
        // 600 by chance: six standard deviations to either side.
        assert!((525..=675).contains(&share(&served, "a")), "{method}: {}", share(&served, "a"));
    }
}

#[test]
fn in_turn_weights_are_exact_shares() {
    let (scene, _backends) = site(balance("roundRobin"), &["#weight=3", "#weight=2", ""]);
    let served = served(&mut scene.connect(), 60);
    assert_eq!(NAMES.map(|name| share(&served, name)), [30, 20, 10]);
}

#[test]
fn in_turn_equal_backends_come_one_after_the_other() {
    let (scene, _backends) = site(balance("roundRobin"), &["", "", ""]);
    let served = served(&mut scene.connect(), 30);
    assert!(in_turn(&served), "{served:?}");
}

#[test]
fn in_turn_a_dead_backend_is_left_out() {
    let (scene, backends) = site(balance("roundRobin"), &["", "", ""]);
    scene.redis.command(&format!("SADD dead:{SITE} 1"));
    wait_until_avoided(&scene.proxy, &backends[1], &get("/"));
    let served = served(&mut scene.connect(), 30);
    assert_eq!(NAMES.map(|name| share(&served, name)), [15, 0, 15], "{served:?}");
}

#[test]
fn a_draining_backend_gets_nothing_new() {
    for method in ["random", "roundRobin", "leastRequests"] {
        let (scene, backends) = site(balance(method), &["", "", ""]);
        let mut client = scene.connect();
        assert!(share(&served(&mut client, 60), "b") > 0);
        let urls = [backends[0].url(), backends[1].url() + "/#drain", backends[2].url()];
        scene.redis.route(SITE, &["site", &urls[0], &urls[1], &urls[2]]);
        wait_until_avoided(&scene.proxy, &backends[1], &get("/"));
        let served = served(&mut client, 60);
        assert!(share(&served, "b") == 0 && share(&served, "a") > 0 && share(&served, "c") > 0, "{served:?}");
    }
}

#[test]
fn fewer_requests_under_way_come_first() {
    let gate = wait::Gate::default();
    let passes = gate.clone();
    let busy = Backend::run(move |peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/hold" {
                passes.pass();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy");
        }
    });
    let idle = mortal("idle");
    let scene = Scene::with(balance("leastRequests"), &[&busy.url()]);
    let mut held: Vec<Client> = (0..20).map(|_| scene.connect()).collect();
    for client in &mut held {
        client.send(get("/hold"));
    }
    busy.wait_for_requests(20);
    scene.redis.route(SITE, &["site", &busy.url(), &idle.url()]);
    ask_until_reached(&scene.proxy, &idle, &get("/"));
    // At random half of them; of two chosen with the same one possible twice, a quarter.
    let served = served(&mut scene.connect(), 400);
    assert!(share(&served, "busy") < 150, "{} of 400 went to the busy one", share(&served, "busy"));
    gate.open();
    assert!(held.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn a_host_may_ask_for_a_way_of_its_own() {
    let (scene, _backends) = site(balance("random"), &["", "", ""]);
    let mut client = scene.connect();
    assert!(!in_turn(&served(&mut client, 60)));
    for (command, turns) in [
        ("HSET options:site.example balance roundRobin", true),
        ("HSET options:site.example balance random", false),
        ("HSET options:*.example balance roundRobin", false),
        ("DEL options:site.example", true),
        ("DEL options:*.example", false),
        ("HSET options:* balance roundRobin", true),
        ("HSET options:site.example sticky no", false),
        ("HSET options:site.example balance roundRobin", true),
        ("HSET options:site.example balance nonsense", false),
    ] {
        scene.redis.command(command);
        wait::until(&format!("{command} is followed"), || in_turn(&served(&mut client, 60)) == turns);
    }
}

#[test]
fn a_hosts_way_overrides_the_config_and_its_absence_does_not() {
    let (scene, _backends) = site(balance("roundRobin"), &["", "", ""]);
    let mut client = scene.connect();
    assert!(in_turn(&served(&mut client, 30)));
    scene.redis.command("HSET options:site.example balance random");
    wait::until("random", || !in_turn(&served(&mut client, 60)));
    scene.redis.command("DEL options:site.example");
    wait::until("in turn", || in_turn(&served(&mut client, 60)));
}

#[test]
fn options_of_another_kind_are_none() {
    let (scene, _backends) = site(balance("roundRobin"), &["", "", ""]);
    scene.redis.command("SET options:site.example roundRobin");
    assert!(in_turn(&served(&mut scene.connect(), 30)));
}

/// The value of the cookie that `response` sets, if it sets one.
fn cookie(response: &Response) -> Option<String> {
    let set: Vec<&str> = response.head.all("set-cookie");
    let ours: Vec<&&str> = set.iter().filter(|line| line.starts_with("cjs_backend=")).collect();
    assert!(ours.len() < 2, "{set:?}");
    let (value, attributes) = ours.first()?.trim_start_matches("cjs_backend=").split_once(';')?;
    let attributes: Vec<&str> = attributes.split(';').map(str::trim).collect();
    assert!(attributes.contains(&"Path=/") && attributes.contains(&"HttpOnly"), "{set:?}");
    Some(value.to_owned())
}

fn with_cookie(value: &str) -> String {
    request("GET", "/", &format!("Cookie: a=b; cjs_backend={value}; cjs_backend2=c\r\n"))
}

/// Three backends whose clients stay where they are.
fn sticky() -> (Scene, Vec<Backend>) {
    let (scene, backends) = site(json!({}), &["", "", ""]);
    scene.redis.command(&format!("HSET options:{SITE} sticky cookie"));
    wait::until("it is sticky", || cookie(&scene.ask(get("/"))).is_some());
    (scene, backends)
}

#[test]
fn a_cookie_keeps_a_client_on_its_backend() {
    let (scene, _backends) = sticky();
    for _ in 0..6 {
        let first = scene.ask(get("/"));
        let value = cookie(&first).unwrap();
        for _ in 0..20 {
            let next = scene.ask(with_cookie(&value));
            assert_eq!((next.text(), cookie(&next)), (first.text(), None));
        }
    }
}

#[test]
fn clients_without_the_cookie_are_spread() {
    let (scene, backends) = sticky();
    let first_answers = backends.iter().map(|backend| ask_until_reached(&scene.proxy, backend, &get("/")));
    let mut values: Vec<String> = first_answers.map(|response| cookie(&response).unwrap()).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 3);
}

#[test]
fn a_client_whose_backend_is_dead_is_moved_and_stays_there() {
    let (scene, backends) = sticky();
    let value = cookie(&ask_until_reached(&scene.proxy, &backends[0], &get("/"))).unwrap();
    scene.redis.command(&format!("SADD dead:{SITE} 0"));
    wait_until_avoided(&scene.proxy, &backends[0], &with_cookie(&value));
    let moved = scene.ask(with_cookie(&value));
    let new = cookie(&moved).unwrap();
    assert!(moved.text() != "a" && new != value);
    for _ in 0..20 {
        let next = scene.ask(with_cookie(&new));
        assert_eq!((next.text(), cookie(&next)), (moved.text(), None));
    }
}

#[test]
fn a_client_whose_backend_fails_under_it_is_moved() {
    let (scene, backends) = sticky();
    let value = cookie(&ask_until_reached(&scene.proxy, &backends[0], &get("/"))).unwrap();
    let dying = with_cookie(&value).replacen("GET /", "GET /die/a", 1);
    let moved = scene.ask(dying);
    assert_eq!(moved.status, 200);
    assert!(moved.text() != "a" && cookie(&moved).is_some_and(|new| new != value), "{}", moved.head.raw);
}

#[test]
fn a_cookie_of_no_backend_is_replaced() {
    let (scene, backends) = sticky();
    let gone = cookie(&ask_until_reached(&scene.proxy, &backends[0], &get("/"))).unwrap();
    for value in ["", "x", "99999999999999999999", "\u{e9}", &"y".repeat(5000)] {
        let response = scene.ask(with_cookie(value));
        assert_eq!(response.status, 200);
        let new = cookie(&response).unwrap_or_else(|| panic!("{value:?}: {}", response.head.raw));
        assert_eq!(scene.ask(with_cookie(&new)).text(), response.text());
    }
    scene.redis.command(&format!("LREM frontend:{SITE} 0 {}", backends[0].url()));
    wait::until("its backend is gone from the list", || cookie(&scene.ask(with_cookie(&gone))).is_some());
}

#[test]
fn the_backends_own_cookies_are_kept() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nSet-Cookie: cjs=2\r\nContent-Length: 0\r\n\r\n",
    );
    let scene = Scene::of(&backend);
    scene.redis.command(&format!("HSET options:{SITE} sticky cookie"));
    wait::until("it is sticky", || cookie(&scene.ask(get("/"))).is_some());
    let response = scene.ask(get("/"));
    let set = response.head.all("set-cookie");
    assert!(set.contains(&"own=1") && set.contains(&"cjs=2") && set.len() == 3, "{set:?}");
}

#[test]
fn a_site_that_is_not_sticky_sets_no_cookie() {
    let (scene, backends) = sticky();
    let value = cookie(&scene.ask(get("/"))).unwrap();
    scene.redis.command(&format!("DEL options:{SITE}"));
    wait::until("it is not sticky", || cookie(&scene.ask(get("/"))).is_none());
    for backend in &backends {
        let response = ask_until_reached(&scene.proxy, backend, &with_cookie(&value));
        assert_eq!(cookie(&response), None);
    }
}

/// A site that wants HTTPS.
fn redirecting(config: Value) -> (Scene, Backend) {
    let backend = mortal("a");
    let scene = Scene::with(config, &[&backend.url()]);
    scene.redis.command(&format!("HSET options:{SITE} httpsRedirect true"));
    wait::until("plain HTTP is redirected", || scene.ask(get("/")).status == 301);
    (scene, backend)
}

#[test]
fn plain_http_is_redirected_where_the_host_asks_for_it() {
    let (scene, backend) = redirecting(json!({}));
    let before = backend.requests().len();
    for (method, status) in
        [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("OPTIONS", 308)]
    {
        for host in ["site.example", "Site.Example:8080"] {
            let mut client = scene.connect();
            client.send(format!(
                "{method} /a/b?c=d%20&e HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
            ));
            let response = client.try_response(method == "HEAD").unwrap();
            let location = response.head.get("location").unwrap_or_default().to_ascii_lowercase();
            assert_eq!((response.status, location.as_str()), (status, "https://site.example/a/b?c=d%20&e"));
        }
    }
    assert_eq!(backend.requests().len(), before, "no backend is asked");
    scene.redis.command(&format!("HSET options:{SITE} httpsRedirect false"));
    wait::until("no longer", || scene.ask(get("/")).status == 200);
}

#[test]
fn only_a_trusted_proxy_may_say_that_it_was_https() {
    let said = request("GET", "/", "X-Forwarded-Proto: https\r\n");
    let (scene, _backend) = redirecting(json!({}));
    assert_eq!(scene.ask(&said).status, 301);
    let (scene, _backend) = redirecting(json!({ "server": { "trustedProxies": ["127.0.0.1"] } }));
    assert_eq!(scene.ask(&said).status, 200);
    assert_eq!(scene.ask(request("GET", "/", "X-Forwarded-Proto: http\r\n")).status, 301);
    assert_eq!(scene.ask(get("/")).status, 301);
}

#[test]
fn a_host_without_a_list_is_not_redirected() {
    let backend = mortal("a");
    let scene = Scene::of(&backend);
    scene.redis.command("HSET options:* httpsRedirect true");
    wait::until("the site is redirected", || scene.ask(get("/")).status == 301);
    assert_eq!(scene.ask(for_host("unknown.example")).status, 400);
    assert_eq!(scene.ask(for_host("__ping__")).status, 200);
}
