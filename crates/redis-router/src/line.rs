//! An open connection with the two tasks that read and write it.

use std::rc::Rc;
use std::time::Duration;

use monoio::task::JoinHandle;
use redis::{PushKind, Value};

use crate::connection::{Connection, Dialect};
use crate::dial::Dialer;
use crate::source::Endpoint;
use crate::store::Store;

pub(crate) struct Line {
    pub(crate) connection: Rc<Connection>,
    /// Reading and writing; empty once they are waited for.
    tasks: Vec<JoinHandle<()>>,
}

/// Why there is no line.
pub(crate) enum NoLine {
    Failed(String),
    Stopped,
}

impl Line {
    /// Connects to `endpoint` within `patience` and begins to read; what the server says unasked goes to `on_push`. Must be
    /// ended.
    ///
    /// # Errors
    /// Why it was not to be had.
    pub(crate) async fn open<D: Dialer>(
        store: &Store,
        dialer: &D,
        (endpoint, patience, dialect): (&Endpoint, Duration, Dialect),
        on_push: impl Fn(PushKind, &[Value]) + 'static,
    ) -> Result<Line, NoLine> {
        let dialling = monoio::time::timeout(patience, dialer.dial(endpoint));
        let link = match store.unless_stopped(dialling).await {
            None => return Err(NoLine::Stopped),
            Some(Err(_)) => {
                let hint = if endpoint.tls { "; does it speak TLS on this port?" } else { "" };
                let problem = format!("no connection within {} ms{hint}", patience.as_millis());
                return Err(NoLine::Failed(problem));
            }
            Some(Ok(Err(error))) => return Err(NoLine::Failed(error.to_string())),
            Some(Ok(Ok(link))) => link,
        };
        let connection = Rc::new(Connection::new(link.hang_up, dialect));
        let (receiver, sender) = (connection.clone(), connection.clone());
        let receiving = monoio::spawn(async move { receiver.receive(link.read, on_push).await });
        let sending = monoio::spawn(async move { sender.send(link.write).await });
        Ok(Line { connection, tasks: vec![receiving, sending] })
    }

    /// Hangs up and waits for the tasks.
    pub(crate) async fn end(mut self) {
        self.connection.close(UNUSED.into());
        for task in std::mem::take(&mut self.tasks) {
            task.await;
        }
    }
}

const UNUSED: &str = "no longer used";

/// One that is dropped on the way, without being ended, does not stay open.
impl Drop for Line {
    fn drop(&mut self) {
        self.connection.close(UNUSED.into());
    }
}
