//! Clients that show certificates: who is let in, what the backend learns, and that nobody can say so of himself.

use std::sync::Arc;

use serde_json::json;

use crate::support::authority::{Authority, Identity};
use crate::support::backend::Backend;
use crate::support::over_tls::{dial, showing};
use crate::support::scene::{SITE, Scene, get, request};
use crate::support::secure_scene::Certificates;

const FORGED: &str = "X-Client-Cert-Subject: CN=root\r\nx_client_cert_subject: CN=root\r\n\
                      X-CLIENT-CERT-FINGERPRINT: 00\r\nX-Client_Cert-Fingerprint: 00\r\n";

/// Lines about a client's certificate that reached the backend last.
fn told(backend: &Backend) -> Vec<String> {
    let head = backend.requests().pop().unwrap().head;
    let of_clients = |line: &&str| line.to_lowercase().replace('_', "-").starts_with("x-client-cert");
    head.lines().into_iter().filter(of_clients).map(str::to_owned).collect()
}

fn ask(certificates: &Certificates, scene: &Scene, member: Option<&Identity>, forged: &str) -> Option<u16> {
    let client = match member {
        Some(member) => Arc::new(showing(&certificates.authority, member)),
        None => certificates.client(),
    };
    let mut dialled = dial(scene.proxy.https_address(), &client, SITE).ok()?;
    // In TLS 1.3 a client learns only then that it is refused.
    dialled.client.send(request("GET", "/", forged));
    dialled.client.try_response(false).ok().map(|response| response.status)
}

#[test]
fn who_shows_a_certificate_is_made_known() {
    let certificates = Certificates::new();
    let (member, stranger) = (certificates.authority.issue(&["member"]), Authority::new().issue(&["member"]));
    for (auth, without) in [("required", None), ("optional", Some(200))] {
        let backend = Backend::saying("a");
        let more = json!({ "clientCa": certificates.file("ca.pem"), "clientAuth": auth });
        let scene = certificates.scene(more, &[&backend.url()]);
        assert_eq!(ask(&certificates, &scene, Some(&member), FORGED), Some(200));
        let lines = told(&backend);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], r"X-Client-Cert-Subject: O=Of tests\, and others,CN=rcgen self signed cert");
        let fingerprint = lines[1].strip_prefix("X-Client-Cert-Fingerprint: ").unwrap();
        assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(ask(&certificates, &scene, Some(&stranger), ""), None);
        assert_eq!(ask(&certificates, &scene, None, FORGED), without, "{auth}");
        if without.is_some() {
            assert_eq!(told(&backend), Vec::<String>::new());
        }
    }
}

#[test]
fn nobody_can_say_so_of_himself() {
    let certificates = Certificates::new();
    for more in [json!({}), json!({ "clientCa": certificates.file("ca.pem") })] {
        let backend = Backend::saying("a");
        let mut config = certificates.config(more);
        config["server"]["trustedProxies"] = json!(["127.0.0.0/8"]);
        let scene = Scene::with(config, &[&backend.url()]);
        assert_eq!(scene.ask(request("GET", "/", FORGED)).status, 200);
        assert_eq!(told(&backend), Vec::<String>::new(), "over plain HTTP, from a trusted proxy");
        let chunked = request("POST", "/", "Transfer-Encoding: chunked\r\n");
        let body = "1\r\nx\r\n0\r\nX-Client-Cert-Subject: CN=root\r\n\r\n";
        assert_eq!(scene.ask(chunked + body).status, 200);
        let sent = String::from_utf8(backend.bytes()).unwrap().to_lowercase();
        assert!(!sent.contains("cn=root"), "not in a trailer either: {sent}");
    }
}

#[test]
fn a_ticket_from_before_clients_were_asked_opens_nothing() {
    let certificates = Certificates::new();
    let backend = Backend::saying("a");
    let scene = certificates.scene(json!({}), &[&backend.url()]);
    let client = certificates.client();
    let ask = || {
        let mut dialled = dial(scene.proxy.https_address(), &client, SITE).ok()?;
        dialled.client.send(get("/"));
        dialled.client.try_response(false).ok().map(|response| (response.status, dialled.resumed))
    };
    assert_eq!((ask(), ask()), (Some((200, false)), Some((200, true))));
    let https = json!({ "clientCa": certificates.file("ca.pem") });
    scene.proxy.reload(json!({ "server": { "https": https } }));
    crate::support::wait::until("every core asks", || (0..10).all(|_| ask().is_none()));
}
