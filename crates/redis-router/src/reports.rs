//! Reads what was told of deaths beside their marks (`report.rs`), for people who ask why a backend is dead.

use std::collections::HashMap;

use redis::{Value, cmd, from_redis_value};

use crate::bounds::REPORTS_WAIT;
use crate::connection::Pipeline;
use crate::report::Report;
use crate::store::Store;

/// The reports on each of the frontends `keys`, by index; none where the store does not answer within `REPORTS_WAIT`.
pub(crate) async fn read(store: &Store, keys: &[&str]) -> Vec<Vec<(usize, Report)>> {
    let Some(in_use) = store.in_use().filter(|_| !keys.is_empty()) else { return Vec::new() };
    let mut pipeline = Pipeline::default();
    for key in keys {
        pipeline.push(cmd("HGETALL").arg(format!("{}{key}", store.prefixes.reports)));
    }
    let replies = monoio::time::timeout(REPORTS_WAIT, in_use.connection.call(pipeline)).await;
    replies.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(reports).collect()
}

/// What another program wrote there is passed over.
fn reports(reply: Value) -> Vec<(usize, Report)> {
    let fields: HashMap<String, String> = from_redis_value(reply).unwrap_or_default();
    let report = |(index, text): (String, String)| Some((index.parse().ok()?, Report::from_field(&text)?));
    fields.into_iter().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::reports;

    #[test]
    fn what_is_no_report_is_passed_over() {
        let text = |text: &str| Value::BulkString(text.into());
        let report = r#"{"url":"http://h","since":7,"by":"p#1","why":"refused"}"#;
        for (fields, read) in [
            (vec![("0", report), ("x", report), ("1", "{}"), ("2", "")], 1),
            (vec![("0", report), ("7", report)], 2),
            (vec![], 0),
        ] {
            let flat = fields.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
            let pairs = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
            assert_eq!(reports(Value::Array(flat)).len(), read);
            assert_eq!(reports(Value::Map(pairs)).len(), read);
        }
        assert_eq!(reports(Value::Okay).len(), 0);
        assert_eq!(reports(Value::Nil).len(), 0);
    }
}
