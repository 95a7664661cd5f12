//! `https`: what turns it on, what is read, and what is said of certificates that are of no use.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Authority;
use super::{MACHINE, at, effective, remarks};
use crate::config::{Config, parse};

/// A folder with files of certificates.
pub(super) struct Folder(TempDir);

impl Folder {
    /// With `proxy.crt` and `proxy.key`, `other.crt` and `other.key`, and `ca.pem` that both are from.
    pub(super) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let authority = Authority::new();
        authority.write(&folder.path("ca.pem"));
        for (name, host) in [("proxy", "a.example"), ("other", "b.example")] {
            let [certificate, key] = folder.pair(name);
            authority.issue(&[host]).write(&certificate, &key);
        }
        folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pair(&self, name: &str) -> [PathBuf; 2] {
        [self.path(&format!("{name}.crt")), self.path(&format!("{name}.key"))]
    }

    /// The text with `@/` standing for this folder.
    fn fill(&self, text: &str) -> String {
        text.replace("@/", &format!("{}/", self.0.path().display()))
    }

    fn load(&self, text: &str) -> Result<Config, String> {
        let loaded = parse(Path::new("c.json"), &self.fill(text), MACHINE);
        loaded.map_err(|faults| faults.iter().map(|fault| format!("{fault}\n")).collect())
    }
}

/// A section with the usual pair and more.
fn with(more: &str) -> String {
    format!(r#"{{"https": {{"key": "@/proxy.key", "cert": "@/proxy.crt"{more}}}}}"#)
}

#[test]
fn nothing_but_a_certificate_turns_it_on() {
    for text in [
        "{}",
        r#"{"https": null}"#,
        r#"{"https": {"bind": [], "key": "nowhere", "cert": "nowhere"}}"#,
        r#"{"server": {"https": {"port": 443, "redirect": true}}}"#,
    ] {
        assert_eq!(at(&effective(text), "https"), Some(&Value::Null), "{text}");
    }
    let told = remarks(r#"{"https": {"port": 443}}"#);
    assert_eq!(
        told,
        [
            "note: c.json: https: neither https.key and https.cert nor https.certDir, nor https.redis: HTTPS is off"
        ]
    );
}

#[test]
fn what_is_set_is_in_force() {
    let folder = Folder::new();
    let more = r#", "port": 8443, "bind": "127.0.0.1", "ca": "@/ca.pem", "minVersion": "1.3", "redirect": true,
                   "hsts": 0, "clientCa": "@/ca.pem", "clientAuth": "optional", "redis": false, "http2": false"#;
    let config = folder.load(&with(more)).unwrap();
    let expected = json!({
        "bind": [{"address": "127.0.0.1", "port": 8443}],
        "ca": [folder.path("ca.pem")],
        "cert": folder.path("proxy.crt"),
        "certDir": null,
        "clientAuth": "optional",
        "clientCa": folder.path("ca.pem"),
        "hsts": 0,
        "http2": false,
        "key": folder.path("proxy.key"),
        "minVersion": "1.3",
        "port": 8443,
        "redirect": true,
        "redis": false,
    });
    assert_eq!(at(&config.effective, "https"), Some(&expected));
}

#[test]
fn certificates_in_redis_turn_it_on_where_that_is_said() {
    let alone = effective(r#"{"https": {"redis": true}}"#);
    assert_eq!(at(&alone, "https.redis"), Some(&json!(true)));
    assert_eq!(effective(&alone.to_string()), alone);
    let folder = Folder::new();
    std::fs::write(folder.path("routes.json"), "{}").unwrap();
    let by_file =
        |https: &str| folder.load(&format!(r#"{{"driver": "file:@/routes.json", "https": {https}}}"#));
    let with_pair = by_file(r#"{"key": "@/proxy.key", "cert": "@/proxy.crt"}"#).unwrap();
    assert_eq!(at(&with_pair.effective, "https.redis"), Some(&json!(false)));
    let fault = by_file(r#"{"redis": true}"#).unwrap_err();
    assert!(fault.contains("https.redis: needs routes in Redis"), "{fault}");
}

#[test]
fn addresses_are_those_of_http_unless_named() {
    let folder = Folder::new();
    let bind = |text: &str| at(&folder.load(text).unwrap().effective, "https.bind").cloned();
    assert_eq!(bind(&with("")), Some(json!([{"address": "127.0.0.1", "port": 443}])));
    let text = r#"{"server": {"port": 80, "bind": ["10.0.0.1", {"address": "10.0.0.1", "port": 81}],
                   "https": {"key": "@/proxy.key", "cert": "@/proxy.crt"}}}"#;
    assert_eq!(bind(text), Some(json!([{"address": "10.0.0.1", "port": 443}])));
    let text = r#"{"server": {"https": {"certDir": "@/"}}}"#;
    let all = json!([{"address": "0.0.0.0", "port": 443}, {"address": "::", "port": 443}]);
    assert_eq!(bind(text), Some(all));
    let own = r#"{"https": {"bind": [{"address": "::1", "port": 444, "key": "@/other.key", "cert": "@/other.crt"}]}}"#;
    let expected = json!([{
        "address": "::1", "port": 444, "key": folder.path("other.key"), "cert": folder.path("other.crt"),
    }]);
    assert_eq!(bind(own), Some(expected));
}

#[test]
fn a_broken_pair_in_a_folder_is_told_of_and_the_others_go_on() {
    let folder = Folder::new();
    std::fs::write(folder.path("lonely.crt"), "").unwrap();
    std::fs::write(folder.path("mixed.crt"), std::fs::read(folder.path("other.crt")).unwrap()).unwrap();
    std::fs::write(folder.path("mixed.key"), std::fs::read(folder.path("proxy.key")).unwrap()).unwrap();
    std::fs::write(folder.path("README"), "not ours").unwrap();
    let config = folder.load(r#"{"https": {"certDir": "@/"}}"#).unwrap();
    assert_eq!(config.settings.https.unwrap().served.len(), 2);
    let told: Vec<String> = config.remarks.iter().map(ToString::to_string).collect();
    for part in [
        "lonely.key: No such file or directory",
        "mixed.crt: the key in ",
        "mixed.key is not that of this certificate",
        "other.crt: it is not for other",
    ] {
        assert_eq!(told.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {told:#?}");
    }
}

#[test]
fn faults_name_the_key_the_file_and_the_reason() {
    let folder = Folder::new();
    std::fs::write(folder.path("empty"), "").unwrap();
    std::fs::write(folder.path("torn.key"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    std::fs::write(
        folder.path("odd.key"),
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(folder.path("locked.key"), locked).unwrap();
    let pair = |key: &str, cert: &str| format!(r#"{{"https": {{"key": "@/{key}", "cert": "@/{cert}"}}}}"#);
    for (text, said) in [
        (r#"{"https": {"key": "@/proxy.key"}}"#.into(), "https.key: needs https.cert beside it"),
        (r#"{"server": {"https": {"cert": "c"}}}"#.into(), "server.https.cert: needs https.key beside it"),
        (pair("proxy.key", "nowhere"), "https.cert: @/nowhere: No such file"),
        (pair("nowhere", "proxy.crt"), "https.key: @/nowhere: No such file"),
        (pair("proxy.key", "empty"), "https.cert: @/empty: no certificate in it; accepted: PEM"),
        (pair("empty", "proxy.crt"), "https.key: @/empty: no private key in it; accepted: PEM (PKCS#8, "),
        (pair("torn.key", "proxy.crt"), "https.key: @/torn.key: bad PEM: a section does not end"),
        (pair("odd.key", "proxy.crt"), "https.key: @/odd.key: the key is broken or of a kind that "),
        (pair("locked.key", "proxy.crt"), "https.key: @/locked.key: the key has a passphrase; take it off: "),
        (pair("other.key", "proxy.crt"), "https.cert: @/proxy.crt: the key in @/other.key is not that of this "),
        (with(r#", "ca": ["@/empty", "@/nowhere"]"#), "https.ca: @/nowhere: No such file"),
        (with(r#", "clientCa": "@/empty""#), "https.clientCa: @/empty: no certificate in it; accepted: a PEM "),
        (with(r#", "certDir": "@/nowhere""#), "https.certDir: @/nowhere: No such file"),
        (with(r#", "port": 80"#), "https.port: 127.0.0.1:80 speaks plain HTTP already (server.port); "),
        (with(r#", "bind": ["::1", "::1"]"#), "https.bind: names [::1]:443 twice; keep one"),
        (with(r#", "bind": ["a.example"]"#), "https.bind[0]: \"a.example\" is not accepted; accepted: an IP "),
        (with(r#", "bind": [{"address": "::1", "cert": "c"}]"#), "https.bind[0]: has one of \"key\" and \"cert\" "),
        (with(r#", "bind": [{"address": "::1", "cert": 5, "key": "k"}]"#), "https.bind[0].cert: 5 is not acc"),
        (with(r#", "hsts": -1"#), "https.hsts: -1 is out of range; accepted: a whole number from 0 to "),
        (with(r#", "minVersion": "1.1""#), "https.minVersion: \"1.1\" is not accepted; accepted: \"1.2\" or \"1.3\""),
        (with(r#", "clientAuth": "maybe""#), "https.clientAuth: \"maybe\" is not accepted; accepted: \"required\" "),
        (
            r#"{"https": {"bind": ["::1", {"address": "::1", "port": 1, "key": "@/other.key", "cert": "@/other.crt"}]}}"#
                .into(),
            "https.bind[0]: no certificate; name \"key\" and \"cert\" there, or https.key and https.cert",
        ),
    ] {
        let faults = folder.load(&text).expect_err(&text);
        let said = folder.fill(&format!("c.json: {said}"));
        assert!(faults.starts_with(&said), "{text}\n{faults}\n{said}");
        assert!(!faults.contains("c2VjcmV0"), "a key shows: {faults}");
    }
}

#[test]
fn doubts_are_told_of_and_keep_nothing_from_being_served() {
    let folder = Folder::new();
    let authority = Authority::new();
    let [certificate, key] = folder.pair("old");
    authority.issue_until(&["a.example"], 2001).write(&certificate, &key);
    let text = r#"{"https": {"key": "@/old.key", "cert": "@/old.crt", "ca": "@/ca.pem"}}"#;
    let config = folder.load(text).unwrap();
    let told: Vec<String> = config.remarks.iter().map(ToString::to_string).collect();
    let said = |part: &str| told.iter().any(|line| line.starts_with("warning: ") && line.contains(part));
    assert!(said("old.crt: it expired 9"), "{told:#?}");
    assert!(said("old.crt: certificate 2 of the chain is not the issuer of the one before it"), "{told:#?}");
}
