//! Writes metrics as Prometheus reads them (text format 0.0.4). Pure: knows neither which metrics there are nor where
//! their numbers come from.

use std::fmt::{Display, Write};

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows while the process lives.
    Counter,
    Gauge,
    Histogram,
}

/// The text as far as it is written.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// One metric; its samples are written through this, so that they stand together as the format asks.
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// Names and values that tell samples of one metric apart.
pub(crate) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins the metric `name`, which nobody else may begin.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let text = &mut self.0;
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(text, help, false);
        put(text, format_args!("\n# TYPE {name} {kind}\n"));
        Family { text, name }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A histogram. `buckets` are upper bounds in microseconds and how many lie in each alone; those beyond all bounds
    /// are `rest`, and all values together make `sum` microseconds. Written in seconds.
    pub(crate) fn histogram(&mut self, buckets: impl Iterator<Item = (u64, u64)>, rest: u64, sum: u64) {
        let mut count = 0;
        for (bound, alone) in buckets {
            count += alone;
            self.line("_bucket", &[], Some(&seconds(bound)), count);
        }
        count += rest;
        self.line("_bucket", &[], Some("+Inf"), count);
        self.line("_sum", &[], None, seconds(sum));
        self.line("_count", &[], None, count);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let text = &mut *self.text;
        put(text, format_args!("{}{suffix}", self.name));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            put(text, format_args!("{before}{name}=\""));
            escape(text, value, true);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        put(text, format_args!(" {value}\n"));
    }
}

/// Microseconds as seconds, without what rounding of floats would add.
pub(crate) fn seconds(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let text = format!("{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a String takes everything");
}

fn escape(text: &mut String, value: &str, is_label: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if is_label => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        for (value, escaped) in [
            ("", ""),
            ("plain", "plain"),
            ("a\"b", "a\\\"b"),
            ("a\\b", "a\\\\b"),
            ("a\nb", "a\\nb"),
            ("\\\"\n", "\\\\\\\"\\n"),
            ("}, ü", "}, ü"),
        ] {
            let mut text = Exposition::default();
            text.family("x", Kind::Gauge, "").sample(&[("l", value)], 1);
            assert_eq!(text.into_text(), format!("# HELP x \n# TYPE x gauge\nx{{l=\"{escaped}\"}} 1\n"));
        }
    }

    #[test]
    fn help_keeps_its_quotes() {
        let mut text = Exposition::default();
        text.family("x_total", Kind::Counter, "a \"b\" \\ c\nd").sample(&[], 2);
        let expected = "# HELP x_total a \"b\" \\\\ c\\nd\n# TYPE x_total counter\nx_total 2\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn labels_stand_in_their_order() {
        let mut text = Exposition::default();
        text.family("x", Kind::Gauge, "h").sample(&[("b", "1"), ("a", "2")], 3).sample(&[], 4);
        assert!(text.into_text().ends_with("x{b=\"1\",a=\"2\"} 3\nx 4\n"));
    }

    #[test]
    fn buckets_add_up() {
        let mut text = Exposition::default();
        let buckets = [(1_000, 2), (2_500_000, 3)];
        text.family("x", Kind::Histogram, "h").histogram(buckets.into_iter(), 4, 10_000_001);
        let text = text.into_text();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "x_bucket{le=\"0.001\"} 2",
            "x_bucket{le=\"2.5\"} 5",
            "x_bucket{le=\"+Inf\"} 9",
            "x_sum 10.000001",
            "x_count 9",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn seconds_are_exact() {
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (100_000, "0.1"),
            (10_000_000, "10"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(seconds(micros), text);
        }
    }
}
