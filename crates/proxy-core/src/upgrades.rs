//! When the executable is replaced, and what follows from how that came out.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Builder;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::admin::Admin;
use crate::bounds::HANGS_MAX;
use crate::control::Control;
use crate::event::{Event, Outcome};
use crate::fleet::Fleet;
use crate::handover::Origin;
use crate::listening::{Given, Purpose};
use crate::service;

const STOPPING: &str = "the proxy is stopping";

/// The upgrades of this process: one at a time.
pub(crate) struct Upgrades {
    origin: Arc<Origin>,
    tell: Sender<Event>,
    control: Option<Control>,
    under_way: bool,
    /// Too many cores hung, and another process was asked for because of it.
    weary: bool,
}

impl Upgrades {
    pub(crate) fn new(origin: Origin, tell: Sender<Event>, control: Option<Control>) -> Self {
        Self { origin: Arc::new(origin), tell, control, under_way: false, weary: false }
    }

    /// Starts the executable that stands there now. How it came out is told as an event, and to `asker`.
    pub(crate) fn begin(&mut self, fleet: &Fleet, admin: Option<&Admin>, asker: Option<Sender<Outcome>>) {
        let refused = match bequest(fleet, admin) {
            _ if fleet.is_stopping() => STOPPING.to_owned(),
            _ if self.under_way => "an upgrade is under way already".to_owned(),
            Err(error) => format!("cannot hand over the listening sockets: {error}"),
            Ok(sockets) => {
                log::info!("upgrade: starting another process, which takes over the listening sockets");
                let (origin, tell, waits) = (Arc::clone(&self.origin), self.tell.clone(), asker.clone());
                let wait = move || drop(tell.send(Event::Succeeded(origin.succeed(&sockets), waits)));
                match Builder::new().name("upgrade".into()).spawn(wait) {
                    Ok(_) => {
                        self.under_way = true;
                        return;
                    }
                    Err(error) => format!("cannot start a thread: {error}"),
                }
            }
        };
        log::error!("upgrade: {refused}");
        reply(asker, Err(refused));
    }

    /// Whether another process is starting: it has to be heard of before this one ends.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Another process serves: this one drains; told to stop meanwhile it stops the other as well. Or it does not: this one
    /// goes on as if nothing had been.
    pub(crate) fn came_out(&mut self, fleet: &mut Fleet, outcome: Outcome, asker: Option<Sender<Outcome>>) {
        self.under_way = false;
        match &outcome {
            Ok(process) if fleet.is_stopping() => {
                log::info!("upgrade: told to stop meanwhile, so process {process} stops as well");
                let told =
                    i32::try_from(*process).map(Pid::from_raw).map(|process| kill(process, Signal::SIGTERM));
                if !matches!(told, Ok(Ok(()))) {
                    log::error!("upgrade: process {process} cannot be told to stop");
                }
                return reply(asker, Err(STOPPING.to_owned()));
            }
            Ok(process) => {
                log::info!("upgrade: process {process} serves; this one answers what is in flight and ends");
                service::succeeded_by(*process);
                self.control.iter().for_each(Control::release);
                fleet.stop(false);
            }
            Err(why) => log::error!("upgrade: {why}; this process goes on"),
        }
        reply(asker, outcome);
    }

    /// Threads that hang cannot be ended: after some of them only another process helps.
    pub(crate) fn consider_hangs(&mut self, fleet: &Fleet, admin: Option<&Admin>) {
        if fleet.hangs() >= HANGS_MAX && !self.weary {
            self.weary = true;
            log::error!("{HANGS_MAX} cores hung: the process is replaced by a new one");
            self.begin(fleet, admin, None);
        }
    }
}

/// Every listening socket of the process.
fn bequest(fleet: &Fleet, admin: Option<&Admin>) -> io::Result<Vec<Given>> {
    let doors = fleet.sockets()?.into_iter();
    let mut sockets: Vec<Given> =
        doors.map(|door| Given { socket: door.socket, purpose: Some(Purpose::of(door.speech)) }).collect();
    if let Some(admin) = admin {
        let given = |socket| Given { socket, purpose: Some(Purpose::Admin) };
        sockets.extend(admin.sockets()?.into_iter().map(given));
    }
    Ok(sockets)
}

fn reply(asker: Option<Sender<Outcome>>, outcome: Outcome) {
    if let Some(asker) = asker {
        // One that has gone away is told nothing.
        let _ = asker.send(outcome);
    }
}
