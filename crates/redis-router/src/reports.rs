//! Reads what was told of deaths beside their marks (`report.rs`), for people who ask why a backend is dead.

use redis::{Value, cmd};

use crate::bounds::REPORTS_WAIT;
use crate::connection::Pipeline;
use crate::report::Report;
use crate::store::Store;

/// The report on each mark, a frontend's key and an index; none at all where the store does not answer within
/// `REPORTS_WAIT`.
pub(crate) async fn read(store: &Store, marks: &[(&str, usize)]) -> Vec<Option<Report>> {
    let Some(in_use) = store.in_use().filter(|_| !marks.is_empty()) else { return Vec::new() };
    let mut pipeline = Pipeline::default();
    for (key, index) in marks {
        pipeline.push(cmd("HGET").arg(format!("{}{key}", store.prefixes.reports)).arg(*index));
    }
    let replies = monoio::time::timeout(REPORTS_WAIT, in_use.connection.call(pipeline)).await;
    replies.ok().and_then(Result::ok).unwrap_or_default().iter().map(report).collect()
}

/// What another program wrote there is passed over.
fn report(reply: &Value) -> Option<Report> {
    match reply {
        Value::BulkString(bytes) => Report::from_field(str::from_utf8(bytes).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::report;

    #[test]
    fn what_is_no_report_is_passed_over() {
        let text = |text: &str| Value::BulkString(text.into());
        assert!(report(&text(r#"{"url":"http://h","since":7,"by":"p#1","why":"refused"}"#)).is_some());
        for other in [text(""), text("{}"), Value::BulkString(vec![0xff]), Value::Nil, Value::Okay] {
            assert!(report(&other).is_none(), "{other:?}");
        }
    }
}
