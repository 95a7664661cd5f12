//! A router over a table instead of a server.

mod scene;

use std::sync::Arc;

use redis_router::{Cached, Router, StoreState, Table};
use scene::{TcpDialer, known, served};

#[test]
fn answers_from_the_table_it_holds() {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().build().unwrap();
    runtime.block_on(async {
        let table = |text| Arc::new(Table::parse(text).unwrap());
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
