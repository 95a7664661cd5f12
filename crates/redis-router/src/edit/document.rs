//! The text of a JSON object whose members can be changed while all else in it keeps its bytes: order, indentation, line
//! ends. Pure.

/// A JSON object as text.
pub(crate) struct Document {
    /// Up to and with the opening brace.
    head: String,
    /// `None`: was taken out.
    members: Vec<Option<Member>>,
    /// Behind the last value.
    tail: String,
}

/// One member: `before"key": value` and what stands behind it up to the comma.
struct Member {
    before: String,
    key: String,
    colon: String,
    value: String,
    after: String,
}

/// How a list is laid out.
struct Layout<'a> {
    open: &'a str,
    separator: String,
    close: &'a str,
}

impl Document {
    /// Takes an object apart; `text` is one, as the JSON parser has found.
    pub(crate) fn new(text: &str) -> Document {
        let open = text.find('{').map_or(text.len(), |brace| brace + 1);
        let (head, mut rest) = text.split_at(open);
        let mut members = Vec::new();
        loop {
            let (before, from_key) = split_space(rest);
            if !from_key.starts_with('"') {
                return Document { head: head.into(), members, tail: rest.into() };
            }
            let (key, from_colon) = from_key.split_at(value_end(from_key));
            let behind_key = from_colon.trim_start_matches([' ', '\t', '\r', '\n', ':']);
            let (colon, from_value) = from_colon.split_at(from_colon.len() - behind_key.len());
            let (value, behind) = from_value.split_at(value_end(from_value));
            let (after, from_comma) = split_space(behind);
            let is_last = !from_comma.starts_with(',');
            members.push(Some(Member {
                before: before.into(),
                key: key.into(),
                colon: colon.into(),
                value: value.into(),
                after: if is_last { String::new() } else { after.into() },
            }));
            rest = if is_last { behind } else { &from_comma[1..] };
            if is_last {
                return Document { head: head.into(), members, tail: rest.into() };
            }
        }
    }

    /// Puts a list of these JSON texts in the place of the value of the member at `place`, laid out as that was.
    pub(crate) fn set_list(&mut self, place: usize, elements: &[String]) {
        if let Some(member) = &mut self.members[place] {
            member.value = laid_out(Some(&member.value), &member.colon, elements);
        }
    }

    /// Puts a JSON text in the place of the value of the member at `place`.
    pub(crate) fn set(&mut self, place: usize, value: String) {
        if let Some(member) = &mut self.members[place] {
            member.value = value;
        }
    }

    /// Takes out the member at `place`.
    pub(crate) fn delete(&mut self, place: usize) {
        self.members[place] = None;
    }

    /// Appends a member laid out as the one before it; `key` is a JSON text.
    pub(crate) fn append(&mut self, key: String, value: Value<'_>) -> usize {
        let mut there = self.members.iter().flatten();
        let alone = there.clone().count() == 1;
        let (before, colon, sample) = match there.next_back() {
            Some(last) if alone && last.before.is_empty() => {
                (if last.colon == ":" { "" } else { " " }.into(), last.colon.clone(), self.sample())
            }
            Some(last) => (last.before.clone(), last.colon.clone(), self.sample()),
            None => {
                if split_space(&self.tail).0.is_empty() {
                    self.tail.insert(0, '\n');
                }
                ("\n  ".into(), ": ".into(), None)
            }
        };
        let value = match value {
            Value::List(elements) => laid_out(sample, &colon, elements),
            Value::Text(text) => text,
        };
        self.members.push(Some(Member { before, key, colon, value, after: String::new() }));
        self.members.len() - 1
    }

    /// The last list.
    fn sample(&self) -> Option<&str> {
        self.members.iter().flatten().rev().map(|member| &*member.value).find(|value| value.starts_with('['))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.head.clone();
        for (number, member) in self.members.iter().flatten().enumerate() {
            if number > 0 {
                text.push(',');
            }
            for part in [&member.before, &member.key, &member.colon, &member.value, &member.after] {
                text.push_str(part);
            }
        }
        text + &self.tail
    }
}

/// The value of a new member.
pub(crate) enum Value<'a> {
    /// A list of these JSON texts.
    List(&'a [String]),
    /// A JSON text.
    Text(String),
}

/// A list as `sample` is laid out; without one on a single line.
fn laid_out(sample: Option<&str>, colon: &str, elements: &[String]) -> String {
    let layout = layout(sample.unwrap_or("[]"), colon);
    format!("[{}{}{}]", layout.open, elements.join(&layout.separator), layout.close)
}

fn layout<'a>(list: &'a str, colon: &str) -> Layout<'a> {
    let inside = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
    let open = split_space(inside).0;
    let close = &inside[inside.trim_end().len()..];
    let first_end = open.len() + value_end(&inside[open.len()..]);
    let behind = inside[first_end..].trim_start();
    let space = match behind.strip_prefix(',') {
        Some(rest) => split_space(rest).0,
        None if open.contains('\n') => open,
        None if colon == ":" => "",
        None => " ",
    };
    Layout { open, separator: format!(",{space}"), close }
}

/// Leading white space, and the rest.
fn split_space(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len())
}

/// Length of the JSON value that `text` begins with.
fn value_end(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' if in_string => {
                in_string = false;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ if in_string => {}
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return at,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, proptest};

    use super::{Document, Value};

    fn list(elements: &[&str]) -> Vec<String> {
        elements.iter().map(|one| format!("\"{one}\"")).collect()
    }

    fn changed(text: &str, change: impl FnOnce(&mut Document)) -> String {
        let mut document = Document::new(text);
        assert_eq!(document.text(), text, "it keeps its bytes");
        change(&mut document);
        document.text()
    }

    fn appended(text: &str) -> String {
        changed(text, |document| {
            document.append("\"new\"".into(), Value::List(&list(&["i", "u"])));
        })
    }

    #[test]
    fn new_members_look_like_those_before() {
        for (text, expected) in [
            ("{}", "{\n  \"new\": [\"i\", \"u\"]\n}"),
            ("{\n}\n", "{\n  \"new\": [\"i\", \"u\"]\n}\n"),
            (r#"{"a":["i","u"]}"#, r#"{"a":["i","u"],"new":["i","u"]}"#),
            (r#"{"a": ["i"]}"#, r#"{"a": ["i"], "new": ["i", "u"]}"#),
            (r#"{ "a": ["i"], "b": ["i"] }"#, r#"{ "a": ["i"], "b": ["i"], "new": ["i", "u"] }"#),
            ("{\n\t\"a\" : [\"i\"]\n}\n", "{\n\t\"a\" : [\"i\"],\n\t\"new\" : [\"i\", \"u\"]\n}\n"),
            (
                "{\r\n  \"a\": [\r\n    \"i\",\r\n    \"u\"\r\n  ]\r\n}",
                "{\r\n  \"a\": [\r\n    \"i\",\r\n    \"u\"\r\n  ],\r\n  \"new\": [\r\n    \"i\",\r\n    \"u\"\r\n  ]\r\n}",
            ),
            (
                "{\n  \"a\": [\"i\"],\n  \"options:a\": {\"sticky\": \"cookie\"}\n}",
                "{\n  \"a\": [\"i\"],\n  \"options:a\": {\"sticky\": \"cookie\"},\n  \"new\": [\"i\", \"u\"]\n}",
            ),
        ] {
            assert_eq!(appended(text), expected);
            serde_json::from_str::<serde_json::Value>(expected).unwrap();
        }
    }

    #[test]
    fn a_member_is_replaced_or_taken_out_and_the_rest_stays() {
        let text =
            "{ \"a\" :[ \"x,\\\"]}\" ] ,\n\n \"b\": {\"c\": [1, {\"d\": \"}\"}]},\"e\":[\n \"i\" ]\n\n}\n";
        type Change = &'static dyn Fn(&mut Document);
        let cases: [(Change, &str); 5] = [
            (
                &|document| document.set_list(0, &list(&["i", "u"])),
                "{ \"a\" :[ \"i\", \"u\" ] ,\n\n \"b\": {\"c\": [1, {\"d\": \"}\"}]},\"e\":[\n \"i\" ]\n\n}\n",
            ),
            (
                &|document| document.set_list(2, &list(&["i", "u"])),
                "{ \"a\" :[ \"x,\\\"]}\" ] ,\n\n \"b\": {\"c\": [1, {\"d\": \"}\"}]},\"e\":[\n \"i\",\n \"u\" ]\n\n}\n",
            ),
            (
                &|document| document.delete(0),
                "{\n\n \"b\": {\"c\": [1, {\"d\": \"}\"}]},\"e\":[\n \"i\" ]\n\n}\n",
            ),
            (
                &|document| {
                    document.delete(1);
                    document.delete(2);
                },
                "{ \"a\" :[ \"x,\\\"]}\" ] \n\n}\n",
            ),
            (
                &|document| {
                    (0..3).for_each(|place| document.delete(place));
                    document.append("\"f\"".into(), Value::Text("[]".into()));
                },
                "{\n  \"f\": []\n\n}\n",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(changed(text, change), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn any_object_keeps_its_bytes_and_takes_changes(
            members in proptest::collection::vec((".{0,8}", proptest::collection::vec(".{0,8}", 0..4)), 0..5),
            pretty in any::<bool>(),
            deleted in 0_usize..5,
        ) {
            let object: serde_json::Map<_, _> =
                members.into_iter().map(|(key, list)| (key, serde_json::Value::from(list))).collect();
            let (count, whole) = (object.len(), serde_json::Value::from(object));
            let text = if pretty { format!("{whole:#}\n") } else { whole.to_string() };
            let text = changed(&text, |document| {
                (0..count).filter(|place| *place == deleted).for_each(|place| document.delete(place));
                document.append("\"a longer key\"".into(), Value::List(&list(&["i"])));
            });
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let kept = count - usize::from(deleted < count);
            assert_eq!(read.as_object().unwrap().len(), kept + 1, "{text}");
        }
    }
}
