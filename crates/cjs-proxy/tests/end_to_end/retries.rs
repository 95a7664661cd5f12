//! What happens when a backend fails: who else is asked, and when nobody may be.

use serde_json::{Value, json};

use crate::support::backend::{Backend, Refusing, ok};
use crate::support::scene::{Scene, get, request, with_body};
use crate::support::wait::{self, Gate};

/// Enough requests that backends chosen at random are all chosen.
const ROUNDS: usize = 24;

fn retries(count: u32) -> Value {
    json!({ "server": { "retryOnError": count } })
}

/// Statuses of the answers to `ROUNDS` requests, each on a connection of its own.
fn statuses(scene: &Scene, request: &str) -> Vec<u16> {
    (0..ROUNDS).map(|_| scene.ask(request).status).collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|&&found| found == status).count()
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    let (refusing, good) = (Refusing::new(), Backend::echoing());
    let scene = Scene::with(json!({}), &[&refusing.url(), &good.url()]);
    for request in [get("/"), with_body("POST", "/", "body"), with_body("PATCH", "/", &"x".repeat(200_000))] {
        assert_eq!(count(&statuses(&scene, &request), 200), ROUNDS);
    }
    let bodies = good.requests();
    assert!(bodies[ROUNDS..2 * ROUNDS].iter().all(|request| request.body == b"body"));
}

#[test]
fn a_get_is_repeated_when_its_backend_closes() {
    let (closing, good) = (Backend::closing(), Backend::saying("fine"));
    let scene = Scene::with(json!({}), &[&closing.url(), &good.url()]);
    assert_eq!(count(&statuses(&scene, &get("/x")), 200), ROUNDS);
    assert!(!closing.requests().is_empty() && good.requests().len() == ROUNDS);
}

#[test]
fn a_get_is_repeated_when_its_backend_resets() {
    let resetting = Backend::run(|peer| {
        peer.request();
        peer.reset();
    });
    let good = Backend::saying("fine");
    let scene = Scene::with(json!({}), &[&resetting.url(), &good.url()]);
    assert_eq!(count(&statuses(&scene, &get("/x")), 200), ROUNDS);
    assert!(!resetting.requests().is_empty());
}

#[test]
fn a_get_is_repeated_when_its_backend_answers_badly() {
    let (bad, good) = (Backend::answering_once("nonsense\r\n\r\n"), Backend::saying("fine"));
    let scene = Scene::with(json!({}), &[&bad.url(), &good.url()]);
    assert_eq!(count(&statuses(&scene, &get("/x")), 200), ROUNDS);
    assert!(!bad.requests().is_empty());
}

#[test]
fn a_get_is_repeated_when_its_backend_is_silent() {
    let (silent, good) = (Backend::silent(), Backend::saying("fine"));
    let config = json!({ "server": { "timeouts": { "backendHeader": 0.2 } } });
    let scene = Scene::with(config, &[&silent.url(), &good.url()]);
    assert_eq!(count(&statuses(&scene, &get("/x")), 200), ROUNDS);
    assert!(!silent.requests().is_empty());
}

#[test]
fn a_post_is_never_repeated_once_it_was_sent() {
    let (closing, good) = (Backend::closing(), Backend::saying("fine"));
    let scene = Scene::with(json!({}), &[&closing.url(), &good.url()]);
    let statuses = statuses(&scene, &with_body("POST", "/", "pay once"));
    let (lost, done) = (closing.requests().len(), good.requests().len());
    assert!(lost > 0 && lost + done == ROUNDS, "{lost} lost, {done} done");
    assert_eq!((count(&statuses, 502), count(&statuses, 200)), (lost, done));
}

#[test]
fn a_short_put_is_repeated_whole() {
    let body = "0123456789".repeat(6_000);
    let (closing, good) = (Backend::closing(), Backend::saying("fine"));
    let scene = Scene::with(json!({}), &[&closing.url(), &good.url()]);
    let chunked =
        request("PUT", "/", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
    for request in [with_body("PUT", "/", &body), chunked] {
        assert_eq!(count(&statuses(&scene, &request), 200), ROUNDS);
    }
    let requests = good.requests();
    assert!(!closing.requests().is_empty() && requests.len() == 2 * ROUNDS);
    assert!(requests[..ROUNDS].iter().all(|request| request.body == body.as_bytes()));
    assert!(
        requests[ROUNDS..].iter().all(|request| request.body == b"abcde" && request.trailers == ["X: y"])
    );
}

#[test]
fn a_long_put_is_not_repeated() {
    let (closing, good) = (Backend::closing(), Backend::saying("fine"));
    let scene = Scene::with(json!({}), &[&closing.url(), &good.url()]);
    let statuses = statuses(&scene, &with_body("PUT", "/", &"x".repeat(200_000)));
    let (lost, done) = (closing.requests().len(), good.requests().len());
    assert!(lost > 0 && lost + done == ROUNDS, "{lost} lost, {done} done");
    assert_eq!((count(&statuses, 502), count(&statuses, 200)), (lost, done));
}

#[test]
fn an_error_answer_is_relayed_and_not_retried() {
    let failing = Backend::answering("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let also_failing = Backend::answering("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let scene = Scene::with(json!({}), &[&failing.url(), &also_failing.url()]);
    let response = scene.ask(get("/"));
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!(failing.requests().len() + also_failing.requests().len(), 1);
}

#[test]
fn no_more_backends_are_tried_than_allowed() {
    for (allowed, asked) in [(0, 1), (1, 2), (3, 4), (9, 4)] {
        let backends: Vec<Backend> = (0..4).map(|_| Backend::closing()).collect();
        let urls: Vec<String> = backends.iter().map(Backend::url).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let scene = Scene::with(retries(allowed), &urls);
        assert_eq!(scene.ask(get("/")).status, 502);
        let requests: Vec<usize> = backends.iter().map(|backend| backend.requests().len()).collect();
        assert_eq!(requests.iter().sum::<usize>(), asked, "retryOnError {allowed}: {requests:?}");
        assert!(requests.iter().all(|&count| count <= 1), "one was asked twice: {requests:?}");
    }
}

#[test]
fn when_all_refuse_the_client_gets_502_and_may_go_on() {
    let refusing = [Refusing::new(), Refusing::new(), Refusing::new()];
    let scene = Scene::with(json!({}), &[&refusing[0].url(), &refusing[1].url(), &refusing[2].url()]);
    let mut client = scene.connect();
    for request in [get("/"), with_body("POST", "/", "x"), get("/")] {
        let response = client.ask(request);
        assert!(response.status == 502 && !response.says_close(), "{}", response.head.raw);
    }
}

#[test]
fn when_the_last_failure_is_a_time_out_the_client_gets_504() {
    let silent = [Backend::silent(), Backend::silent()];
    let config = json!({ "server": { "timeouts": { "backendHeader": 0.2 } } });
    let scene = Scene::with(config, &[&silent[0].url(), &silent[1].url()]);
    assert_eq!(scene.ask(get("/")).status, 504);
    assert_eq!(silent[0].requests().len() + silent[1].requests().len(), 2);
}

#[test]
fn a_pooled_connection_that_was_closed_costs_no_error() {
    let backend = Backend::answering_once(ok("fine"));
    let scene = Scene::with(retries(0), &[&backend.url()]);
    let mut client = scene.connect();
    for round in 0..ROUNDS {
        // The end has arrived before the next request is sent: nothing of it can be lost.
        let response = client.ask(with_body("POST", "/", "once"));
        assert_eq!(response.status, 200, "round {round}");
        backend.wait_for_end(round);
    }
    assert_eq!(backend.requests().len(), ROUNDS);
}

#[test]
fn a_pooled_connection_that_closes_under_a_get_costs_no_error() {
    let backend = Backend::run(|peer| {
        for _ in 0..2 {
            if let Some(request) = peer.request()
                && (request.target() != "/drop" || peer.number > 0)
            {
                peer.send(ok("fine"));
            }
        }
    });
    let scene = Scene::with(retries(0), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(get("/first")).status, 200);
    assert_eq!(client.ask(get("/drop")).status, 200);
    assert_eq!((backend.connections(), backend.requests().len()), (2, 3));
}

#[test]
fn a_get_races_with_a_closing_backend_and_wins() {
    let backend = Backend::answering_once(ok("fine"));
    let scene = Scene::with(retries(0), &[&backend.url()]);
    let mut client = scene.connect();
    for round in 0..200 {
        assert_eq!(client.ask(get("/")).status, 200, "round {round}");
    }
}

/// One core, so that there is one pool; `sockets` connections to a backend.
fn sockets(sockets: u32, patience: f64) -> Value {
    json!({ "server": { "workers": 1, "maxSockets": sockets, "timeouts": { "connect": patience } } })
}

#[test]
fn a_request_past_max_sockets_waits_for_a_place() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let scene = Scene::with(sockets(2, 15.0), &[&backend.url()]);
    let mut clients: Vec<_> = (0..6).map(|_| scene.connect()).collect();
    clients.iter_mut().for_each(|client| {
        client.send(get("/"));
    });
    backend.wait_for_requests(2);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_request_past_max_sockets_gets_503_when_no_place_frees() {
    let gate = Gate::default();
    let backend = Backend::gated(&gate);
    let scene = Scene::with(sockets(1, 0.3), &[&backend.url()]);
    let mut first = scene.connect();
    first.send(get("/"));
    backend.wait_for_requests(1);
    let refused = scene.ask(get("/"));
    assert_eq!(refused.status, 503);
    assert!(refused.head.get("retry-after").is_some());
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(scene.ask(get("/")).status, 200);
    assert_eq!((backend.connections(), backend.requests().len()), (1, 2));
}

#[test]
fn a_place_frees_when_its_client_leaves_or_its_backend_fails() {
    let backend = Backend::run(|peer| match peer.request() {
        Some(request) if request.target() == "/close" => {}
        Some(request) if request.target() == "/bad" => peer.send("bad\r\n\r\n"),
        Some(_) => peer.send(ok("fine")),
        None => {}
    });
    let scene = Scene::with(sockets(1, 5.0), &[&backend.url()]);
    for (target, status) in
        [("/close", 502), ("/", 200), ("/bad", 502), ("/", 200), ("/close", 502), ("/", 200)]
    {
        assert_eq!(scene.ask(get(target)).status, status, "{target}");
    }
}

#[test]
fn tunnels_do_not_count_as_sockets() {
    let backend = Backend::run(|peer| {
        while let Some(request) = peer.request() {
            if request.head.get("upgrade").is_some() {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
                return peer.hold();
            }
            peer.send(ok("fine"));
        }
    });
    let scene = Scene::with(sockets(1, 0.5), &[&backend.url()]);
    let upgrade = request("GET", "/", "Connection: Upgrade\r\nUpgrade: x\r\n");
    let mut tunnels: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.ask(&upgrade).status, 101);
    }
    assert_eq!(scene.ask(get("/")).text(), "fine");
}

#[test]
fn failures_of_backends_are_told_in_the_error_log() {
    let refusing = Refusing::new();
    let scene = Scene::with(json!({}), &[&refusing.url()]);
    scene.ask(get("/"));
    let line = scene.proxy.wait_for_log("unreachable");
    assert!(line.contains("site.example") && line.contains(&refusing.url()), "{line}");
    wait::until("one line a failure", || scene.proxy.log().iter().any(|line| line.contains("refused")));
}

/// The body that the good backend gets of a PUT whose first backend has closed before the body was sent whole.
fn body_after_a_failure(fields: &str, first: &str, rest: &str) -> Vec<u8> {
    loop {
        let closing = Backend::run(|peer| {
            peer.head();
        });
        let good = Backend::echoing();
        let scene = Scene::with(json!({}), &[&closing.url(), &good.url()]);
        let mut client = scene.connect();
        client.send(request("PUT", "/", fields) + first);
        wait::until("the good backend is asked", || good.connections() > 0);
        if closing.connections() > 0 {
            let response = client.send(rest).response();
            assert_eq!(response.status, 200, "{}", response.text());
            return response.body;
        }
        // The good one was chosen first: once more.
    }
}

#[test]
fn a_put_is_repeated_while_its_client_still_sends() {
    for _ in 0..5 {
        assert_eq!(body_after_a_failure("Content-Length: 10\r\n", "01234", "56789"), b"0123456789");
        assert_eq!(body_after_a_failure("Content-Length: 5\r\n", "", "56789"), b"56789");
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(body_after_a_failure(chunked, "5\r\n012", "34\r\n1\r\n5\r\n0\r\n\r\n"), b"012345");
    }
}

#[test]
fn a_pooled_connection_that_closes_under_a_put_costs_nothing() {
    let backend = Backend::run(|peer| {
        if peer.number == 0 {
            peer.request();
            peer.send(ok("first"));
            peer.head();
            return;
        }
        let body = peer.request().unwrap().body;
        peer.send(ok(body));
    });
    let scene = Scene::with(retries(0), &[&backend.url()]);
    let mut client = scene.connect();
    assert_eq!(client.ask(get("/")).text(), "first");
    client.send(request("PUT", "/", "Content-Length: 10\r\n") + "01234");
    wait::until("a fresh connection", || backend.connections() == 2);
    assert_eq!(client.ask("56789").text(), "0123456789");
}
