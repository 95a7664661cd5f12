//! `rateLimit`: what turns it on, and what is said of what cannot be.

use serde_json::json;

use super::bad::check;
use super::{at, effective};

#[test]
fn tiers_are_ordered_by_their_limits() {
    let config = effective(r#"{"rateLimit": {"tiers": {"gold": 9, "basic": 1, "silver": 5}}}"#);
    assert_eq!(at(&config, "rateLimit.tiers"), Some(&json!({ "basic": 1, "silver": 5, "gold": 9 })));
    assert_eq!(at(&effective("{}"), "rateLimit"), Some(&json!(null)));
}

#[test]
fn faults_are_told() {
    check(&[
        (
            r#"{"rateLimit": {"window": 0}}"#,
            "rateLimit.window: 0 is out of range; accepted: seconds from 1 to 86400",
        ),
        (r#"{"rateLimit": {"tiers": {}}}"#, "rateLimit.tiers: names 0 tiers; accepted: 1 to 16"),
        (
            r#"{"rateLimit": {"tiers": {"a": 0}}}"#,
            "rateLimit.tiers.a: 0 is not accepted; accepted: a whole number from 1 to 1000000000000",
        ),
        (
            r#"{"rateLimit": {"tiers": {"a": 5, "b": 5}}}"#,
            "rateLimit.tiers.b: 5 is the limit of \"a\" too; accepted: each limit once, as the greater one is the higher tier",
        ),
        (
            r#"{"rateLimit": {"tiers": {"a b": 5}}}"#,
            "rateLimit.tiers.a b: the name is not accepted; accepted: 1 to 64 letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            r#"{"rateLimit": {"tiers": {"dead": 5}}}"#,
            "rateLimit.tiers.dead: the name is that of other keys in Redis; choose another",
        ),
        (
            r#"{"rateLimit": {"tiers": [5]}}"#,
            "rateLimit.tiers: [5] is not accepted; accepted: an object of tier names and limits from 1 to 1000000000000",
        ),
        (
            r#"{"rateLimit": {"identify": ["origin", "header:"]}}"#,
            "rateLimit.identify[1]: \"header:\" is not accepted; accepted: a list of \"header:<name>\", \"referer\" and \"origin\"",
        ),
        (
            r#"{"rateLimit": {"onStoreError": "panic"}}"#,
            "rateLimit.onStoreError: \"panic\" is not accepted; accepted: \"local\" or \"allow\" or \"deny\"",
        ),
    ]);
}
