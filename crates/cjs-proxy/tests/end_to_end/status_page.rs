//! The status page in Chromium. What is read there stands in `tests/clients/status_page.py`.

use serde_json::json;

use crate::support::admin::{address, on};
use crate::support::mortal::mortal;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::scene::{SITE, Scene, get, get_from};
use crate::support::{programs, python};

/// Lets the browser see `case`.
fn look(proxy: &Proxy, case: &str) {
    let mut client = python::client("status_page.py");
    client.args([case, &address(proxy).port().to_string(), &proxy.address().port().to_string()]);
    print!("{}", programs::stdout(client.arg(proxy.id().to_string())));
}

/// Asks so often that both cores know the site.
fn known(scene: &Scene) {
    (0..20).for_each(|_| assert_eq!(scene.ask(get("/")).status, 200));
}

#[test]
fn a_death_is_shown_with_its_reason() {
    let backends = [mortal("a"), mortal("b")];
    let urls = backends.each_ref().map(|backend| backend.url());
    // The mark outlasts a slow browser.
    let scene = Scene::with(on(json!({ "server": { "deadBackendTTL": 600 } })), &[&urls[0], &urls[1]]);
    known(&scene);
    look(&scene.proxy, "death");
}

#[test]
fn routes_are_searched_and_names_stay_text() {
    let backend = mortal("a");
    let scene = Scene::with(on(json!({})), &[&backend.url()]);
    let hostile = "<script>document.title='bad'</script><img src=x onerror=document.title='bad'>";
    scene.redis.route("one.example", &[hostile, &backend.url()]);
    scene.redis.route("two.example", &["two", &backend.url()]);
    for host in [SITE, "one.example", "two.example"] {
        assert_eq!(scene.ask(get_from(host, "/")).status, 200);
    }
    look(&scene.proxy, "search");
}

#[test]
fn the_page_asks_for_the_token() {
    let backends = [mortal("a"), mortal("b")];
    let urls = backends.each_ref().map(|backend| backend.url());
    let scene = Scene::with(on(json!({ "admin": { "token": "s3cret" } })), &[&urls[0], &urls[1]]);
    known(&scene);
    look(&scene.proxy, "token");
}

#[test]
fn the_page_says_that_the_store_or_the_proxy_is_away() {
    let redis = Redis::absent();
    let mut proxy = Proxy::start(on(json!({ "redis": { "port": redis.port } })));
    look(&proxy, "outage");
    assert_eq!(proxy.wait_for_exit().code(), Some(0));
}
