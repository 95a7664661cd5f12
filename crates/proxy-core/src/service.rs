//! What a service manager is told, and what it gives: systemd's notifications, watchdog and socket activation. Without
//! one all of it does nothing.

use std::time::{Duration, Instant};

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::listening::Given;

/// Sockets that the service manager listens on for this process (sd_listen_fds(3)).
pub(crate) fn sockets() -> Vec<Given> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for place in 0..given.len() {
        match given.take_tcp_listener(place) {
            Ok(socket) => sockets.extend(socket.map(|socket| Given { socket, purpose: None })),
            Err(error) => log::warn!("socket {place} of the service manager is not used: {error}"),
        }
    }
    sockets
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("the service manager was not told: {error}");
    }
}

/// This process serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It drains.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It reads its configuration; [`ready`] says when that is done.
pub(crate) fn reloading() {
    let since = NotifyState::monotonic_usec_now();
    tell(&since.map_or(vec![NotifyState::Reloading], |since| vec![NotifyState::Reloading, since]));
}

/// Another process has taken over.
pub(crate) fn succeeded_by(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

/// Signs of life, where the service manager wants them.
pub(crate) struct Watchdog {
    /// Between two signs; `None`: none are wanted.
    interval: Option<Duration>,
    said: Instant,
}

impl Watchdog {
    /// `now`: when the process began. The process that takes over in an upgrade is watched like the one before it, though
    /// `WATCHDOG_PID` names that one.
    pub(crate) fn new(now: Instant) -> Self {
        let wanted = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        Self {
            interval: wanted.filter(|&micros| micros > 0).map(|micros| Duration::from_micros(micros) / 2),
            said: now,
        }
    }

    /// Gives a sign where one is due. To be called about once a second, and only while connections are served.
    pub(crate) fn beat(&mut self, now: Instant) {
        // The caller comes by once a second: rather early than late.
        const SLACK: Duration = Duration::from_millis(1_100);
        if self.interval.is_some_and(|interval| now - self.said + SLACK >= interval) {
            self.said = now;
            tell(&[NotifyState::Watchdog]);
        }
    }
}
