//! One environment: what the pool knows of a function's process, and the invocations it holds.
//!
//! The pool hands invocations in, the Runtime API takes answers out, the process's own task says when it ends. An
//! invocation is in [`Environment::running`] from the moment it is handed over until it is answered, so whoever
//! removes it there is the one who answers it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
};

use super::InvokeError;

/// An invocation that no environment has yet.
pub(super) struct Waiting {
    /// The event.
    pub(super) payload: Bytes,
    /// Where its answer goes.
    pub(super) answer: Answer,
}

/// Where the answer of an invocation goes.
pub(super) type Answer = oneshot::Sender<Result<Bytes, InvokeError>>;

/// An invocation on its way to a process, as `next` tells it.
pub(super) struct Handed {
    /// The invocation's id.
    pub(super) request_id: String,
    /// When the process is ended if it has not answered.
    pub(super) deadline: SystemTime,
    /// The event.
    pub(super) payload: Bytes,
}

struct Running {
    answer: Answer,
    /// Watches the deadline; stopped by the answer.
    timer: Option<AbortHandle>,
}

/// What a process is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve invocations.
    Serve,
    /// End by SIGTERM, within the platform's two seconds.
    Terminate,
    /// End at once.
    Kill,
}

/// One environment of a function.
pub(super) struct Environment {
    /// Unique in its pool.
    pub(super) id: u64,
    pid: AtomicU32,
    ready: AtomicBool,
    frozen: AtomicBool,
    answered_count: AtomicU64,
    running: Mutex<HashMap<String, Running>>,
    order: watch::Sender<Order>,
}

impl Environment {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            pid: AtomicU32::new(0),
            ready: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            answered_count: AtomicU64::new(0),
            running: Mutex::default(),
            order: watch::Sender::new(Order::Serve),
        }
    }

    /// The process id, `None` before it starts and after it ended.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(super) fn set_pid(&self, pid: Option<u32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether the process ever asked for an invocation.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// How many invocations this environment answered.
    pub(super) fn answered_count(&self) -> u64 {
        self.answered_count.load(Ordering::Relaxed)
    }

    /// Gives the process an order; a later one only ever is a stricter one.
    pub(super) fn order(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let stricter = (*now == Order::Serve) || (*now == Order::Terminate && order == Order::Kill);
            if stricter {
                *now = order;
            }
            stricter
        });
    }

    pub(super) fn orders(&self) -> watch::Receiver<Order> {
        self.order.subscribe()
    }

    /// Notes that the process now holds an invocation.
    pub(super) fn hold(&self, request_id: String, answer: Answer) {
        self.lock().insert(request_id, Running { answer, timer: None });
    }

    /// Notes who watches the deadline of an invocation; an answered one needs nobody.
    pub(super) fn watch(&self, request_id: &str, timer: AbortHandle) {
        match self.lock().get_mut(request_id) {
            Some(running) => running.timer = Some(timer),
            None => timer.abort(),
        }
    }

    /// Answers an invocation that this process holds; false when it does not hold it (any more).
    pub(super) fn answer(&self, request_id: &str, result: Result<Bytes, InvokeError>) -> bool {
        let Some(running) = self.lock().remove(request_id) else { return false };
        if let Some(timer) = running.timer {
            timer.abort();
        }
        self.answered_count.fetch_add(1, Ordering::Relaxed);
        // Whoever asked may have left; then the answer is nobody's.
        drop(running.answer.send(result));
        true
    }

    /// The process ended: nobody will answer what it held.
    pub(super) fn abandon(&self) {
        let abandoned: Vec<Running> = self.lock().drain().map(|(_, running)| running).collect();
        for running in abandoned {
            if let Some(timer) = running.timer {
                timer.abort();
            }
            drop(running.answer.send(Err(InvokeError::Crashed)));
        }
    }

    /// Takes an invocation back that could not be handed over.
    pub(super) fn take_back(&self, request_id: &str) -> Option<Answer> {
        self.lock().remove(request_id).map(|running| running.answer)
    }

    /// How many invocations the process holds.
    pub(super) fn running_count(&self) -> usize {
        self.lock().len()
    }

    /// Stops the process until the next invocation, as the platform does.
    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
        self.signal(Signal::STOP);
    }

    /// Lets the process go on.
    pub(super) fn thaw(&self) {
        if self.frozen.swap(false, Ordering::Relaxed) {
            self.signal(Signal::CONT);
        }
    }

    /// Sends the process a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            // It ended by itself a moment ago; its own task will see that.
            tracing::debug!(%error, "a signal reached no process");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
