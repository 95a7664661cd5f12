//! What an exchange with a backend says of the backend: whether it counts as dead. What a mark does is the business of
//! `redis_router`.

use redis_router::{Backend, Route};

use super::Exchange;
use crate::choice::Choice;
use crate::error::Failure;
use crate::http::response::ResponseHead;

impl Exchange<'_> {
    /// A frontend's only backend is never marked: there would be nobody left to ask.
    pub(super) fn mark_dead(&self, route: &Route, backend: &Backend, failure: &Failure) {
        if route.frontend.backends.len() > 1 {
            self.count_death(self.core.router.backend_died(route, backend, failure));
        }
    }

    /// What the status of a backend's answer says of the backend, as Hipache reads it: 501 to 599 is death, 500 as well
    /// where that is asked for and an external checker can bring it back. A 503 that says when to come back is
    /// maintenance, and the last live backend stays.
    pub(super) fn judge(&self, (route, backend): (&Route, &Backend), head: &ResponseHead, bytes: &[u8]) {
        let is_death = match head.status {
            500 => self.rules.settings.deaths.on_500 && self.core.router.checker_is_active(),
            503 => !head.has("retry-after", bytes),
            status => status > 500,
        };
        if is_death && Choice::has_another_live(route, backend) {
            let why = format_args!("it answered with status {}", head.status);
            self.count_death(self.core.router.backend_died_unless_last(route, backend, why));
        } else if !is_death && !route.is_unmarked() {
            route.backend_answered(backend);
        }
    }

    fn count_death(&self, is_news: bool) {
        self.core.account.deaths.add(u64::from(is_news));
    }
}
