//! Reads Prometheus' text format 0.0.4, strictly. Written independently of the proxy.

use std::collections::{BTreeMap, BTreeSet};

/// What one scrape came to.
pub(crate) struct Metrics {
    families: Vec<Family>,
}

struct Family {
    name: String,
    kind: String,
    help: String,
    /// Suffix, labels as they stand, value.
    samples: Vec<(String, Vec<String>, f64)>,
}

impl Metrics {
    /// Panics where anything is not as the format asks.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut families: Vec<Family> = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").expect(line).split_once(' ').expect(line);
            let kind =
                lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(name);
            assert!(is_name(name) && name.starts_with("cjs_proxy_"), "{name}");
            assert!(families.iter().all(|known| known.name != name), "{name} stands twice");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line, name, kind));
            }
            let family = Family { name: name.into(), kind: kind.into(), help: help.into(), samples };
            family.check();
            families.push(family);
        }
        Self { families }
    }

    /// The sum of the samples called `name` that have all `labels`; an empty label is had by all.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let has = |found: &[String], label: &&str| label.is_empty() || found.iter().any(|one| one == label);
        let mut found = Vec::new();
        for family in &self.families {
            let named = family.samples.iter().filter(|sample| family.name.clone() + &sample.0 == name);
            found.extend(named.filter(|sample| labels.iter().all(|label| has(&sample.1, label))));
        }
        assert!(!found.is_empty(), "no sample {name} {labels:?}");
        found.iter().map(|sample| sample.2).sum()
    }

    /// Names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let of = |family: &Family| -> Vec<_> {
            family.samples.iter().map(|(suffix, ..)| family.name.clone() + suffix).collect()
        };
        self.families.iter().flat_map(of).collect()
    }

    /// Labels of all samples with their values.
    pub(crate) fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found = BTreeMap::<_, BTreeSet<_>>::new();
        let samples = self.families.iter().flat_map(|family| &family.samples);
        for label in samples.flat_map(|(_, labels, _)| labels) {
            let (name, value) = label.split_once('=').unwrap();
            found.entry(name.into()).or_default().insert(value.trim_matches('"').into());
        }
        found
    }

    /// A row of docs/METRICS.md for each metric.
    pub(crate) fn rows(&self) -> Vec<String> {
        let row = |family: &Family| {
            let names =
                family.samples.iter().flat_map(|sample| &sample.1).filter_map(|label| label.split_once('='));
            let names: BTreeSet<&str> = names.map(|(name, _)| name).filter(|name| *name != "le").collect();
            let labels = names.into_iter().collect::<Vec<_>>().join(", ");
            let row = format!("| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help);
            row.replace("|  |", "| |")
        };
        self.families.iter().map(row).collect()
    }
}

fn sample(line: &str, family: &str, kind: &str) -> (String, Vec<String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
        None => (series, ""),
    };
    let suffix = name.strip_prefix(family).expect(line);
    let allowed = if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
    assert!(allowed.contains(&suffix), "{line}");
    (suffix.into(), split(labels), value.parse().expect(line))
}

/// Labels, each as it stands.
fn split(labels: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), labels);
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(is_name(name), "{labels}");
        let mut escaped = false;
        let is_end = |character: char| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        };
        let end = value.find(is_end).expect(labels);
        found.push(format!("{name}=\"{}\"", &value[..end]));
        rest = &value[end + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').expect(labels);
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

impl Family {
    fn check(&self) {
        let mut seen = BTreeMap::new();
        for (suffix, labels, value) in &self.samples {
            assert!(
                seen.insert((suffix, labels), value).is_none(),
                "{suffix}{labels:?} of {} twice",
                self.name
            );
            assert!(*value >= 0.0, "{}", self.name);
        }
        if self.kind == "histogram" {
            let of = |wanted: &'static str| self.samples.iter().filter(move |sample| sample.0 == wanted);
            let buckets: Vec<f64> = of("_bucket").map(|sample| sample.2).collect();
            assert!(buckets.is_sorted(), "{}: {buckets:?}", self.name);
            assert_eq!(of("_bucket").next_back().unwrap().1, ["le=\"+Inf\""]);
            assert_eq!(of("_count").next().unwrap().2, *buckets.last().unwrap());
            assert_eq!(of("_sum").count(), 1);
        }
    }
}
