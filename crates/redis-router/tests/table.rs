//! A router over a table instead of a server.

#![allow(clippy::unwrap_used, reason = "test support: a failure is to stop the test")]

mod scene;

use std::sync::Arc;
use std::time::Duration;

use redis_router::{Cached, Health, Router, StoreState, Table};
use scene::{TcpDialer, eventually, known, served};

fn table(text: &str) -> Arc<Table> {
    Arc::new(Table::parse(text).unwrap())
}

#[test]
fn answers_from_the_table_it_holds() {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().build().unwrap();
    runtime.block_on(async {
        let router = Router::table(table(r#"{"*.tld": ["first", "http://10.0.0.1"]}"#));
        // Returns at once.
        router.run(TcpDialer).await;
        assert_eq!(router.state(), StoreState::Table);
        assert_eq!(
            (known(&router, "a.tld"), served(&router, "b.tld").await),
            ("first".into(), "first".into())
        );
        assert!(matches!(router.cached("a"), Cached::NoFrontend));
        let clone = router.clone();
        router.replace_table(table(r#"{"a": ["second"]}"#));
        assert_eq!((known(&clone, "a.tld"), known(&clone, "a")), ("-".into(), "second".into()));
        router.stop();
        assert_eq!(known(&router, "a"), "second");
    });
}

#[test]
fn marks_outlast_the_table() {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build().unwrap();
    runtime.block_on(async {
        let list =
            table(r#"{"*.tld": ["app", "http://h0", "http://h1"], "options:a.tld": {"sticky": "cookie"}}"#);
        let router = Router::table(list.clone());
        router.set_dead_ttl(Duration::from_millis(300));
        let health = || {
            let Cached::Route(route) = router.cached("a.tld") else { panic!("it is listed") };
            route.frontend.backends.iter().map(|backend| route.health(backend)).collect::<Vec<_>>()
        };
        let Cached::Route(route) = router.cached("a.tld") else { panic!("it is listed") };
        assert!(route.options.sticky && route.is_unmarked() && !router.checker_is_active());
        router.backend_died(&route, &route.frontend.backends[1], "refused");
        assert_eq!(health(), [Health::Live, Health::Dead]);
        router.replace_table(table(r#"{"*.tld": ["app", "http://h1", "http://h0"]}"#));
        assert_eq!(health(), [Health::Live, Health::Live]);
        router.replace_table(list);
        assert_eq!(health(), [Health::Live, Health::Dead]);
        eventually("the mark is over", async || health()[1] == Health::Unproven).await;
        route.backend_answered(&route.frontend.backends[1]);
        assert!(route.is_unmarked());
    });
}
