//! What is told of a death beside its mark: a field of the hash `died:<frontend>`, named by the index. Older programs do not
//! know it; it is written for people, never read to route by. Pure.

use serde::{Deserialize, Serialize};

use crate::bounds::REASON_CHARACTERS_MAX;

/// Why a backend is marked dead, as far as the store knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The backend as it stood in the list: at its index another may stand now.
    pub url: String,
    /// Unix seconds of the mark.
    pub since: u64,
    /// Who marked it: `<host name>#<process id>`, a built-in checker with ` checker` behind it.
    pub by: String,
    /// What it did.
    pub why: String,
}

impl Report {
    /// As the field of the hash holds it.
    pub fn to_field(&self) -> String {
        let why = self.why.chars().take(REASON_CHARACTERS_MAX).collect();
        serde_json::to_string(&Report { why, ..self.clone() }).expect("texts and a number are JSON")
    }

    /// Reads a field of the hash; `None` where something else wrote it.
    pub fn from_field(field: &str) -> Option<Report> {
        serde_json::from_str(field).ok()
    }
}

/// What this process signs its reports with.
pub(crate) fn signature() -> String {
    // Without one the process alone has to do.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}#{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::{Report, signature};
    use crate::bounds::REASON_CHARACTERS_MAX;

    #[test]
    fn reads_what_it_writes() {
        let report = Report {
            url: "http://10.0.0.1#weight=2".into(),
            since: 1_700_000_000,
            by: "proxy1#42".into(),
            why: "refused \"it\"\n".into(),
        };
        assert_eq!(Report::from_field(&report.to_field()), Some(report.clone()));
        let long = Report { why: "ü".repeat(2 * REASON_CHARACTERS_MAX), ..report };
        let read = Report::from_field(&long.to_field()).unwrap();
        assert_eq!(read.why.chars().count(), REASON_CHARACTERS_MAX);
        for other in ["", "1", "{}", "http://10.0.0.1;1700000000"] {
            assert_eq!(Report::from_field(other), None, "{other}");
        }
    }

    #[test]
    fn a_signature_names_host_and_process() {
        let signature = signature();
        let (host, process) = signature.rsplit_once('#').unwrap();
        assert!(!host.is_empty());
        assert_eq!(process.parse(), Ok(std::process::id()));
    }
}
