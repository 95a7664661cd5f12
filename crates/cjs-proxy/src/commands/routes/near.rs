//! "Did you mean" for hosts and backends.

/// Names that are told at most.
const NAMES_MAX: usize = 3;

/// The question that follows an unknown `name`; empty where no known one is near.
pub(super) fn question(name: &str, known: &[String]) -> String {
    let near = near(name, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// The nearest of `known`, quoted, nearest first.
fn near(name: &str, known: &[String]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let tolerance = (wanted.chars().count() / 3).clamp(1, 4);
    let distance = |one: &String| {
        let other = one.to_lowercase();
        // A part of the name, or more than the name, may be all that is remembered.
        let holds =
            wanted.len() > 3 && (other.contains(&wanted) || wanted.contains(&*other) && other.len() > 3);
        let distance = strsim::damerau_levenshtein(&wanted, &other);
        (holds || distance <= tolerance).then_some(if holds { distance.min(tolerance) } else { distance })
    };
    let mut near: Vec<(usize, &String)> =
        known.iter().filter_map(|one| Some((distance(one)?, one))).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(NAMES_MAX).map(|(_, one)| format!("{one:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::question;

    #[test]
    fn the_nearest_come_first() {
        let known: Vec<String> =
            ["www.example.tld", "ww.example.tld", "*.example.tld", "other", "http://10.0.0.1:80#weight=2"]
                .map(Into::into)
                .into();
        let table = [
            (
                "WWW.example.tld",
                "; did you mean \"www.example.tld\" or \"ww.example.tld\" or \"*.example.tld\"?",
            ),
            ("othr", "; did you mean \"other\"?"),
            ("http://10.0.0.1:80", "; did you mean \"http://10.0.0.1:80#weight=2\"?"),
            ("nothing.like.it", ""),
            ("x", ""),
        ];
        for (name, expected) in table {
            assert_eq!(question(name, &known), expected, "{name}");
        }
    }
}
