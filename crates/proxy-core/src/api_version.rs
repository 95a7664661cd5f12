//! The first path segment that names an API version, for frontends that have one list for each. Pure.

/// The first segment of `target` where it has exactly three parts between dashes (`/12-01-31/users`), without its
/// slash.
pub(crate) fn segment(target: &[u8]) -> Option<&str> {
    let path = target.strip_prefix(b"/")?;
    let end = path.iter().position(|byte| b"/?".contains(byte)).unwrap_or(path.len());
    let segment = std::str::from_utf8(&path[..end]).ok()?;
    let mut parts = 0;
    let all_filled = segment.split('-').inspect(|_| parts += 1).all(|part| !part.is_empty());
    (all_filled && parts == 3).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_three_parts_between_dashes() {
        for (target, found) in [
            ("/12-01-31/users?x=1-2", Some("12-01-31")),
            ("/12-01-31", Some("12-01-31")),
            ("/12-01-31?x", Some("12-01-31")),
            ("/a-b-c/", Some("a-b-c")),
            ("/12-01/users", None),
            ("/12-01-31-02/users", None),
            ("/12--31/users", None),
            ("/-01-31/users", None),
            ("/", None),
            ("/users/12-01-31", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(segment(target.as_bytes()), found, "{target}");
        }
    }
}
