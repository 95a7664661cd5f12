//! The usual set-up over TLS: the site behind a proxy with certificates of its own.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::{Authority, Identity};
use super::over_tls::{Dialled, believing, dial};
use super::proxy::merge;
use super::scene::{SITE, Scene};

/// An authority and a folder with certificates of it.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
}

impl Certificates {
    /// The default certificate, for the site, is in `site.crt` and `site.key`, the authority in `ca.pem`.
    pub(crate) fn new() -> Self {
        let certificates = Self { authority: Authority::new(), folder: tempfile::tempdir().unwrap() };
        certificates.authority.write(&certificates.file("ca.pem"));
        std::fs::create_dir(certificates.file("dir")).unwrap();
        certificates.put("site", &certificates.authority.issue(&[SITE]));
        certificates
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a pair where another may stand, each file at once.
    pub(crate) fn put(&self, name: &str, identity: &Identity) {
        let (new, end) =
            (|end: &str| self.file(&format!("new.{end}")), |end: &str| self.file(&format!("{name}.{end}")));
        identity.write(&new("crt"), &new("key"));
        for kind in ["crt", "key"] {
            std::fs::rename(new(kind), end(kind)).unwrap();
        }
    }

    /// A certificate for `host` in the folder of certificates.
    pub(crate) fn put_host(&self, host: &str) -> Identity {
        let identity = self.authority.issue(&[host]);
        self.put(&format!("dir/{host}"), &identity);
        identity
    }

    /// A configuration with the default certificate, on a free port, and more.
    pub(crate) fn config(&self, more: Value) -> Value {
        let mut https = json!({ "port": 0, "cert": self.file("site.crt"), "key": self.file("site.key") });
        merge(&mut https, more);
        json!({ "server": { "https": https } })
    }

    pub(crate) fn scene(&self, more: Value, backends: &[&str]) -> Scene {
        Scene::with(self.config(more), backends)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::new(believing(&self.authority))
    }

    /// A connection to the site, by a client that nothing is known of.
    pub(crate) fn connect(&self, scene: &Scene) -> Dialled {
        dial(scene.proxy.https_address(), &self.client(), SITE).unwrap()
    }
}
