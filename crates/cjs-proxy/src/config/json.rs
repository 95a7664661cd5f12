//! JSON as it was written: order kept, a name given twice kept twice, so that both can be reported. Knows no key.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::store_url::StoreUrl;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Longest excerpt of a value in a message, in characters.
const EXCERPT: usize = 60;

impl Node {
    /// Parses a whole text; anything after the value is an error.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value at a path of names with dots between them, unless it is null.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        let found = path.split('.').try_fold(self, |node, name| {
            let Self::Object(members) = node else { return None };
            members.iter().find(|(known, _)| known == name).map(|(_, member)| member)
        });
        found.filter(|node| **node != Self::Null)
    }

    /// Whether the value says "not wanted": null, false, 0, an empty text or an empty list.
    pub(crate) fn is_off(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) => true,
            Self::Number(number) => number.as_f64() == Some(0.0),
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Bool(true) | Self::Object(_) => false,
        }
    }

    /// The value as one line of JSON for a message, shortened; what may be a password in a URL is hidden.
    pub(crate) fn excerpt(&self) -> String {
        let text = self.to_value().to_string();
        if text.chars().count() <= EXCERPT {
            return text;
        }
        text.chars().take(EXCERPT).chain("...".chars()).collect()
    }

    fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(StoreUrl::masked(text)),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, node)| (name.clone(), node.to_value())).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Number::from_f64(number).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}
