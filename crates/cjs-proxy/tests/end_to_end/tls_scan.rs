//! TLS as sslscan sees it from outside: which versions and ciphers are offered, and which faults of old are absent.

use std::process::Command;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::programs;
use crate::support::scene::{SITE, get};
use crate::support::secure_scene::Certificates;

/// Ciphers of TLS 1.2 that are AEADs under a key of one connection alone (RFC 9325 section 4.2). TLS 1.3 has no others.
const SOUND: [&str; 3] = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];

/// What sslscan found, an XML element a line.
struct Found(String);

impl Found {
    /// Scans a proxy with this lowest version and a key of P-256.
    fn at(minimum: &str) -> Self {
        let certificates = Certificates::new();
        let backend = Backend::saying("a");
        let scene = certificates.scene(json!({ "minVersion": minimum }), &[&backend.url()]);
        let mut scan = Command::new("sslscan");
        // It waits three seconds for each group.
        scan.args(["--xml=-", "--no-groups", &format!("--sni-name={SITE}")]);
        let found = programs::stdout(scan.arg(scene.proxy.https_address().to_string()));
        assert_eq!(
            certificates.connect(&scene).client.ask(get("/")).text(),
            "a",
            "the proxy is none the worse"
        );
        assert_eq!(scene.proxy.count_in_log("ERROR"), 0);
        Self(found)
    }

    /// These attributes of each element of this name.
    fn all<'a, const N: usize>(&'a self, element: &str, attributes: [&str; N]) -> Vec<[&'a str; N]> {
        let begin = format!("<{element} ");
        let lines = self.0.lines().filter(|line| line.trim_start().starts_with(&begin));
        lines.map(|line| attributes.map(|name| attribute(line, name))).collect()
    }

    /// Names of the ciphers offered in this version.
    fn ciphers(&self, version: &str) -> Vec<&str> {
        let all = self.all("cipher", ["sslversion", "cipher"]).into_iter();
        all.filter(|[found, _]| *found == version).map(|[_, cipher]| cipher).collect()
    }
}

fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {line}"));
    rest.split('"').next().unwrap()
}

/// What holds of every configuration.
fn assert_sound(found: &Found, versions: &[&str]) {
    let enabled: Vec<String> =
        found.all("protocol", ["type", "version", "enabled"]).into_iter().map(|all| all.join(" ")).collect();
    let all = ["ssl 2", "ssl 3", "tls 1.0", "tls 1.1", "tls 1.2", "tls 1.3"];
    let expected = all.map(|version| format!("{version} {}", u8::from(versions.contains(&version))));
    assert_eq!(enabled, expected);
    assert!(
        found.all("compression", ["supported"]).iter().all(|[supported]| *supported == "0"),
        "{}",
        found.0
    );
    let hearts = found.all("heartbleed", ["sslversion", "vulnerable"]);
    assert!(
        hearts.len() == versions.len() && hearts.iter().all(|[_, vulnerable]| *vulnerable == "0"),
        "{hearts:?}"
    );
    let renegotiation = found.all("renegotiation", ["supported", "secure"]);
    assert!(
        renegotiation.iter().all(|[supported, secure]| supported == secure),
        "only a secure one: {renegotiation:?}"
    );
    let all = found.all("cipher", ["sslversion"]);
    assert!(all.iter().all(|[version]| ["TLSv1.2", "TLSv1.3"].contains(version)), "{}", found.0);
    let newest = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    let mut offered = found.ciphers("TLSv1.3");
    offered.sort_unstable();
    assert_eq!(offered, newest);
}

#[test]
fn only_sound_versions_and_ciphers_are_offered() {
    let found = Found::at("1.2");
    assert_sound(&found, &["tls 1.2", "tls 1.3"]);
    let mut offered = found.ciphers("TLSv1.2");
    offered.sort_unstable();
    assert_eq!(offered, SOUND.map(|cipher| format!("ECDHE-ECDSA-{cipher}")));
}

#[test]
fn nothing_before_the_lowest_version_is_offered() {
    let found = Found::at("1.3");
    assert_sound(&found, &["tls 1.3"]);
    assert_eq!(found.ciphers("TLSv1.2"), Vec::<&str>::new());
}
