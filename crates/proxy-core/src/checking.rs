//! The built-in health checker's life: begun where the settings ask for it, begun anew where they change or where it has
//! died, told to stop with the process.

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use redis_router::Source;

use crate::bounds::CHECKER_PAUSE;
use crate::event::Event;
use crate::fleet::Supplies;
use crate::inbox::{Message, Outbox, inbox};
use crate::settings::Settings;
use crate::{checker, clock};

/// The checker of this process, where it has one.
#[derive(Default)]
pub(crate) struct Checking {
    running: Option<(u64, Outbox)>,
    lives: u64,
    /// The settings it was begun by.
    by: Option<Arc<Settings>>,
    /// When it is begun anew, having died.
    again_at: Option<Instant>,
}

impl Checking {
    /// Has a checker run as the settings say now.
    pub(crate) fn follow(&mut self, supplies: &Supplies) {
        let settings = &supplies.settings;
        if self.by.as_ref().is_some_and(|by| is_same(by, settings)) {
            return;
        }
        self.stop();
        self.by = Some(Arc::clone(settings));
        self.begin(supplies);
    }

    /// To be called about once a second.
    pub(crate) fn look(&mut self, supplies: &Supplies) {
        if self.again_at.is_some_and(|at| at <= clock::now()) {
            self.begin(supplies);
        }
    }

    /// A checker has ended; one that was not told to has died.
    pub(crate) fn ended(&mut self, life: u64, ended: io::Result<()>) {
        if self.running.as_ref().is_none_or(|(running, _)| *running != life) {
            return;
        }
        self.running = None;
        let why = ended.err().map_or_else(|| "for no reason".into(), |error| error.to_string());
        log::error!("the health checker has died ({why}); another begins in {} s", CHECKER_PAUSE.as_secs());
        self.again_at = Some(clock::now() + CHECKER_PAUSE);
    }

    /// Tells it to stop. It is not waited for: what it holds in the store expires.
    pub(crate) fn stop(&mut self) {
        self.again_at = None;
        self.by = None;
        if let Some((_, outbox)) = self.running.take() {
            outbox.send(Message::Drain { hurry: true });
        }
    }

    fn begin(&mut self, supplies: &Supplies) {
        self.again_at = None;
        let settings = Arc::clone(&supplies.settings);
        let (Some(check), Source::Redis(redis)) = (settings.health_check.clone(), settings.routes.clone())
        else {
            return;
        };
        let life = self.lives;
        self.lives += 1;
        let tell = supplies.tell.clone();
        let begun = inbox().and_then(|(outbox, inbox)| {
            let questions = supplies.questions.clone();
            let start = checker::Start { settings, check, redis, outbox: outbox.clone(), inbox, questions };
            let work = move || {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| checker::run(start)));
                let panicked = || Err(io::Error::other("it panicked (the message above says where)"));
                // A supervisor that has ended needs no telling.
                let _ = tell.send(Event::CheckerEnded(life, ended.unwrap_or_else(|_| panicked())));
            };
            Builder::new().name("checker".into()).spawn(work)?;
            Ok(outbox)
        });
        match begun {
            Ok(outbox) => self.running = Some((life, outbox)),
            Err(error) => {
                log::error!("the health checker cannot be started: {error}; trying again");
                self.again_at = Some(clock::now() + CHECKER_PAUSE);
            }
        }
    }
}

/// Whether a checker that goes by `by` does what `settings` say.
fn is_same(by: &Settings, settings: &Settings) -> bool {
    by.health_check == settings.health_check
        && by.deaths == settings.deaths
        && by.upstream.trust == settings.upstream.trust
}
