//! What is said to `lease.lua`, and what it says.

use std::sync::LazyLock;

use redis::{Cmd, Script, Value};

use super::lease::{Answer, Ask, Grant, Quota};

/// The script's text.
pub(super) const SOURCE: &str = include_str!("lease.lua");

/// Counts cores.
pub(super) const PRESENCE: &str = include_str!("presence.lua");

/// Forgets what a client has used.
pub(super) const RESET: &str = include_str!("reset.lua");

/// What EVALSHA calls `SOURCE`.
pub(super) fn digest() -> &'static str {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SOURCE));
    SCRIPT.get_hash()
}

/// The arguments behind the key.
pub(super) fn arguments(call: &mut Cmd, quota: &Quota, ask: &Ask) {
    call.arg(quota.bucket()).arg(quota.limit).arg(ask.rate).arg(ask.must).arg(ask.life);
    call.arg(ask.generation).arg(u8::from(ask.restoring));
    for (bucket, tokens) in &ask.back {
        call.arg(bucket).arg(-i64::try_from(*tokens).unwrap_or(i64::MAX));
    }
    for (age, tokens) in &ask.spent {
        call.arg(age).arg(tokens);
    }
}

/// What was answered; `None`: nothing that the script would say.
pub(super) fn answer(reply: &Value) -> Option<Answer> {
    let Value::Array(fields) = reply else { return None };
    let number = |field: &Value| match field {
        Value::Int(number) => Some(u64::try_from(*number).unwrap_or(0)),
        _ => None,
    };
    let numbers: Option<Vec<u64>> = fields.iter().map(number).collect();
    let [code, generation, tokens, bucket, lives, retry, leaves, left] = *numbers?.as_slice() else {
        return None;
    };
    match code {
        0 => Some(Answer::Restore),
        1 | 2 => {
            let was_reset = code == 2;
            Some(Answer::Lease(Grant { was_reset, generation, tokens, bucket, lives, retry, leaves, left }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::answer;
    use crate::limits::lease::Answer;

    #[test]
    fn what_the_script_would_not_say_is_no_answer() {
        let list = |numbers: &[i64]| Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect());
        assert_eq!(answer(&list(&[0, 0, 0, 7, 0, 0, 0, 0])), Some(Answer::Restore));
        let good = answer(&list(&[1, 5, 4, 7, 100, 10, 20, -3]));
        assert!(matches!(good, Some(Answer::Lease(grant)) if grant.tokens == 4 && grant.left == 0));
        for bad in [list(&[]), list(&[1, 2, 3]), list(&[3, 5, 4, 7, 1, 1, 1, 1]), Value::Okay, Value::Nil] {
            assert_eq!(answer(&bad), None, "{bad:?}");
        }
        assert_eq!(answer(&Value::Array(vec![Value::Okay; 8])), None);
    }
}
