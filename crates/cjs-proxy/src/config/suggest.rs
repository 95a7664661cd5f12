//! "Did you mean": the known spelling next to one that is not known.

use super::schema;

/// The closest spelling or group, if one is close.
pub(crate) fn closest(path: &str) -> Option<String> {
    let wanted = path.to_lowercase();
    let name = last(&wanted);
    let mut best: Option<(usize, String)> = None;
    for candidate in candidates() {
        let known = candidate.to_lowercase();
        // The right name in the wrong place comes before a wrong name in the right place.
        let whole = strsim::damerau_levenshtein(&wanted, &known);
        let distance = if last(&known) == name { whole.min(1) } else { whole };
        if distance <= tolerance(name) && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Typing errors forgiven in a name.
fn tolerance(name: &str) -> usize {
    (name.chars().count() / 3).clamp(1, 3)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Every spelling and every group of them (`server.limits`).
fn candidates() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for spelling in schema::suggestions() {
        let ends = spelling.match_indices('.').map(|(end, _)| end).chain([spelling.len()]);
        for end in ends {
            let candidate = &spelling[..end];
            if !all.iter().any(|known| known == candidate) {
                all.push(candidate.to_owned());
            }
        }
    }
    all
}
