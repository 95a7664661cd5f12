//! Tasks that do one job after the other. A task that serves a request is some kilobytes long: to keep it for the next
//! one costs less than to make it anew.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::bounds::WORKERS_KEPT;

/// Workers of one kind on one core, which are made as they are needed. Those that have nothing to do are kept, up to
/// [`WORKERS_KEPT`].
pub(crate) struct Workers<Job> {
    idle: RefCell<Vec<Rc<Desk<Job>>>>,
}

/// Where one worker gets its jobs.
struct Desk<Job> {
    state: Cell<State<Job>>,
    waker: Cell<Option<Waker>>,
}

/// ```text
///   Empty ──▶ Given ──▶ Empty     over and over
///     └─────▶ Closed              the worker ends
/// ```
enum State<Job> {
    Empty,
    Given(Job),
    Closed,
}

impl<Job: 'static> Workers<Job> {
    pub(crate) const fn new() -> Self {
        Self { idle: RefCell::new(Vec::new()) }
    }

    /// Has a worker do `work` on the job, with what it kept of the one before. A panic costs this job alone.
    pub(crate) fn give<Kept: Default + 'static, Work: Future<Output = Kept> + 'static>(
        self: &Rc<Self>,
        job: Job,
        work: impl Fn(Job, Kept) -> Work + 'static,
    ) {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(desk) => desk.leave(State::Given(job)),
            None => {
                monoio::spawn(serve(Rc::clone(self), job, work));
            }
        }
    }

    /// Ends those that have nothing to do.
    pub(crate) fn dismiss(&self) {
        self.idle.take().into_iter().for_each(|desk| desk.leave(State::Closed));
    }

    /// Whether there was a place for one more without work.
    fn keep(&self, desk: &Rc<Desk<Job>>) -> bool {
        let mut idle = self.idle.borrow_mut();
        let has_place = idle.len() < WORKERS_KEPT;
        if has_place {
            idle.push(Rc::clone(desk));
        }
        has_place
    }
}

impl<Job> Desk<Job> {
    fn leave(&self, state: State<Job>) {
        self.state.set(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the next job. `None`: there will be none.
    async fn next(&self) -> Option<Job> {
        poll_fn(|context| match self.state.replace(State::Empty) {
            State::Given(job) => Poll::Ready(Some(job)),
            State::Closed => Poll::Ready(None),
            State::Empty => {
                self.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

async fn serve<Job: 'static, Kept: Default, Work: Future<Output = Kept>>(
    workers: Rc<Workers<Job>>,
    job: Job,
    work: impl Fn(Job, Kept) -> Work,
) {
    let desk = Rc::new(Desk { state: Cell::new(State::Given(job)), waker: Cell::new(None) });
    let mut kept = Kept::default();
    while let Some(job) = desk.next().await {
        match contain_panic(pin!(work(job, kept))).await {
            Some(left) if workers.keep(&desk) => kept = left,
            _ => return,
        }
    }
}

/// Runs the task to its end. `None`: it panicked.
pub(crate) async fn contain_panic<T>(mut task: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let ended = poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        polled.map_or_else(|panic| Poll::Ready(Err(panic)), |poll| poll.map(Ok))
    })
    .await;
    if ended.is_err() {
        log::error!("a connection was given up: serving it panicked (the message above says where)");
    }
    ended.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Log = Rc<RefCell<Vec<(u32, u32)>>>;

    const PANICS: u32 = 1000;

    /// Notes the number behind how many this worker had before it.
    async fn note((number, log): (u32, Log), before: u32) -> u32 {
        assert_ne!(number, PANICS, "a panic that the test wants");
        log.borrow_mut().push((number, before));
        before + 1
    }

    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            monoio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not come to that");
    }

    fn on_a_core(test: impl Future<Output = ()>) {
        let (mut runtime, _) = crate::runtime::build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_worker_that_is_done_gets_the_next_job() {
        on_a_core(async {
            let (workers, log) = (Rc::new(Workers::new()), Log::default());
            for number in 0..3 {
                workers.give((number, Rc::clone(&log)), note);
                until(|| workers.idle.borrow().len() == 1).await;
            }
            assert_eq!(*log.borrow(), [(0, 0), (1, 1), (2, 2)]);
            workers.dismiss();
            until(|| Rc::strong_count(&workers) == 1).await;
        });
    }

    #[test]
    fn a_panic_costs_its_job_alone() {
        on_a_core(async {
            let (workers, log) = (Rc::new(Workers::new()), Log::default());
            for number in [1, PANICS, 2] {
                workers.give((number, Rc::clone(&log)), note);
            }
            until(|| workers.idle.borrow().len() == 2).await;
            assert_eq!(*log.borrow(), [(1, 0), (2, 0)]);
            assert_eq!(Rc::strong_count(&workers), 3, "the worker that panicked has ended");
        });
    }

    #[test]
    fn no_more_are_kept_than_there_are_places() {
        on_a_core(async {
            let (workers, log) = (Rc::new(Workers::new()), Log::default());
            for _ in 0..WORKERS_KEPT + 10 {
                workers.give((0, Rc::clone(&log)), note);
            }
            until(|| Rc::strong_count(&workers) == 1 + WORKERS_KEPT).await;
            assert_eq!(workers.idle.borrow().len(), WORKERS_KEPT);
        });
    }
}
