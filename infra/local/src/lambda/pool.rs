//! The environments of one function: who is idle, who waits, when another one starts.
//!
//! One lock guards it all and is never held over an await. Idle environments are used last in, first out, so that a
//! quiet function keeps few of them warm, as the platform does.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{
    Counts, InvokeError, Watchdog,
    environment::{Environment, Handed, Order, Waiting},
    process::{self, Ending},
};
use crate::identifier;

/// The first pause after a process that ended before its first `next`; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two processes that end before their first `next`.
const LONGEST_INIT_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause between two processes that end at their first invocation: its neighbours should not wait long.
const LONGEST_CRASH_PAUSE: Duration = Duration::from_secs(1);

/// One function: its binary and how it runs.
#[derive(Clone)]
pub(crate) struct FunctionSpec {
    /// The function's name.
    pub(crate) name: String,
    /// Its binary.
    pub(crate) program: PathBuf,
    /// The binary's arguments; a function has none.
    pub(crate) arguments: Vec<OsString>,
    /// Its whole environment, but for what the Runtime API adds.
    pub(crate) variables: Arc<Vec<(String, String)>>,
    /// How long a process may take until its first `next`.
    pub(crate) init_limit: Duration,
    /// How long an invocation may take.
    pub(crate) timeout: Duration,
    /// How many processes at most.
    pub(crate) maximum_count: usize,
    /// How many invocations each process takes at a time.
    pub(crate) concurrency: usize,
    /// Whether the process stands still between invocations.
    pub(crate) freeze: bool,
    /// What it counts about itself.
    pub(crate) counts: Counts,
    /// Whether the lines that carry counts are shown.
    pub(crate) shows_counts: bool,
}

/// The environments of one function.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    spec: FunctionSpec,
    watchdog: Option<Watchdog>,
    state: Mutex<State>,
    /// Counts changes, for those who wait for the first environment or for the last one's end.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    idle: Vec<Idle>,
    environments: BTreeMap<u64, Arc<Environment>>,
    next_id: u64,
    /// Processes in a row that ended without having answered anything.
    failure_count: u32,
    /// The last process ended before its first `next`.
    broken: bool,
    /// A process has reached its first `next`.
    proven: bool,
    /// Why the last process says that it cannot start.
    last_words: Option<String>,
    /// A pause before the next process is running.
    resting: bool,
    closing: bool,
}

/// An unanswered `next`.
struct Idle {
    environment: Arc<Environment>,
    next: oneshot::Sender<Handed>,
}

impl Pool {
    /// A pool with one environment on its way.
    pub(super) fn start(spec: FunctionSpec, watchdog: Option<Watchdog>) -> Self {
        let shared = Shared { spec, watchdog, state: Mutex::default(), changed: watch::Sender::new(0) };
        let pool = Self { shared: Arc::new(shared) };
        pool.fill(&mut pool.lock());
        pool
    }

    /// Waits for the first environment; false when it did not come up.
    pub(super) async fn ready(&self) -> bool {
        let mut ready = None;
        self.until(|state| {
            ready = if state.broken {
                Some(false)
            } else {
                state.environments.values().any(|environment| environment.is_ready()).then_some(true)
            };
            ready.is_some()
        })
        .await;
        ready == Some(true)
    }

    /// Why the last process that did not start says that it cannot.
    pub(super) fn last_words(&self) -> Option<String> {
        self.lock().last_words.clone()
    }

    /// A process says why it cannot start. Nobody needs to read it twice: false when whoever waits for the start will.
    pub(super) fn hear_last_words(&self, words: &str) -> bool {
        let mut state = self.lock();
        state.last_words = Some(words.to_owned());
        state.proven
    }

    /// Hands an event to an environment and waits for the answer.
    pub(super) async fn invoke(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Waiting { payload, answer });
        answered.await.unwrap_or(Err(InvokeError::Unavailable))
    }

    /// A process asks for its next invocation. The receiver stays open as long as the process lives.
    pub(super) fn next(&self, environment: &Arc<Environment>) -> oneshot::Receiver<Handed> {
        let (next, handed) = oneshot::channel();
        let mut state = self.lock();
        if !environment.is_ready() {
            environment.set_ready();
            state.broken = false;
            state.proven = true;
            self.announce();
        }
        state.idle.push(Idle { environment: Arc::clone(environment), next });
        self.hand_over(&mut state);
        let polls =
            state.idle.iter().filter(|idle| idle.environment.id == environment.id && !idle.next.is_closed()).count();
        if self.shared.spec.freeze && polls == self.shared.spec.concurrency {
            environment.freeze();
        }
        handed
    }

    /// The process of an environment ended.
    pub(super) fn ended(&self, environment: &Environment, ending: &Ending) {
        let mut state = self.lock();
        state.environments.remove(&environment.id);
        state.idle.retain(|idle| idle.environment.id != environment.id);
        environment.abandon();
        if !state.closing {
            self.replace(&mut state, environment, ending);
        }
        drop(state);
        self.announce();
    }

    /// The function's settings.
    pub(super) fn spec(&self) -> &FunctionSpec {
        &self.shared.spec
    }

    pub(super) fn watchdog(&self) -> Option<&Watchdog> {
        self.shared.watchdog.as_ref()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.lock().environments.values().filter_map(|environment| environment.pid()).collect()
    }

    /// Takes no more invocations, waits for those that run, ends the processes.
    pub(super) async fn stop(&self) {
        {
            let mut state = self.lock();
            state.closing = true;
            // Dropping an answer's sender answers `Unavailable`.
            state.waiting.clear();
        }
        let all_idle =
            self.until(|state| state.environments.values().all(|environment| environment.running_count() == 0));
        if tokio::time::timeout(self.shared.spec.timeout, all_idle).await.is_err() {
            tracing::warn!(function = self.shared.spec.name, "an invocation did not end in time; its process is ended");
        }
        for environment in self.lock().environments.values() {
            environment.order(Order::Terminate);
        }
        self.until(|state| state.environments.is_empty()).await;
    }

    #[cfg(test)]
    pub(super) fn busy_count(&self) -> usize {
        self.lock().environments.values().filter(|environment| environment.running_count() > 0).count()
    }

    /// Wakes those who wait for a change: an environment is ready, idle or gone.
    pub(super) fn announce(&self) {
        self.shared.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn until(&self, mut reached: impl FnMut(&State) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        while !reached(&self.lock()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn submit(&self, waiting: Waiting) {
        let mut state = self.lock();
        let hopeless = state.resting && state.broken && state.environments.is_empty();
        if state.closing || hopeless {
            // Dropping the answer's sender answers `Unavailable`.
            return;
        }
        state.waiting.push_back(waiting);
        self.hand_over(&mut state);
        self.fill(&mut state);
    }

    /// Brings waiting invocations and idle processes together.
    fn hand_over(&self, state: &mut State) {
        while let Some(idle) = state.idle.pop() {
            if idle.next.is_closed() {
                continue;
            }
            let Some(waiting) = next_wanted(&mut state.waiting) else {
                state.idle.push(idle);
                return;
            };
            if let Err(waiting) = self.hand(idle, waiting) {
                state.waiting.push_front(waiting);
            }
        }
    }

    fn hand(&self, idle: Idle, waiting: Waiting) -> Result<(), Waiting> {
        let Idle { environment, next } = idle;
        let timeout = self.shared.spec.timeout;
        let request_id = identifier::uuid();
        environment.hold(request_id.clone(), waiting.answer);
        environment.thaw();
        let handed =
            Handed { request_id: request_id.clone(), deadline: SystemTime::now() + timeout, payload: waiting.payload };
        if let Err(handed) = next.send(handed) {
            // The process hung up a moment ago.
            let Some(answer) = environment.take_back(&request_id) else { return Ok(()) };
            return Err(Waiting { payload: handed.payload, answer });
        }
        let timer = tokio::spawn({
            let (environment, request_id, function) =
                (Arc::clone(&environment), request_id.clone(), self.spec().name.clone());
            async move {
                tokio::time::sleep(timeout).await;
                if environment.answer(&request_id, Err(InvokeError::TimedOut)) {
                    tracing::warn!(function, request_id, "a function timed out; its process is ended");
                    environment.order(Order::Kill);
                }
            }
        });
        environment.watch(&request_id, timer.abort_handle());
        Ok(())
    }

    /// Starts as many environments as the waiting invocations need and the maximum allows, at least one. Processes that
    /// start, or that answered and will ask for the next invocation in a moment, are counted on.
    fn fill(&self, state: &mut State) {
        while !state.closing && !state.resting && state.environments.len() < self.shared.spec.maximum_count {
            if !state.environments.is_empty() && state.waiting.len() <= self.soon_idle_count(state) {
                return;
            }
            self.add(state);
        }
    }

    fn soon_idle_count(&self, state: &State) -> usize {
        let held: usize = state.environments.values().map(|environment| environment.running_count()).sum();
        let idle = state.idle.iter().filter(|idle| !idle.next.is_closed()).count();
        (state.environments.len() * self.shared.spec.concurrency).saturating_sub(held + idle)
    }

    fn add(&self, state: &mut State) {
        let environment = Arc::new(Environment::new(state.next_id));
        state.next_id += 1;
        state.environments.insert(environment.id, Arc::clone(&environment));
        tokio::spawn(process::run(self.clone(), environment));
    }

    fn replace(&self, state: &mut State, environment: &Environment, ending: &Ending) {
        let ready = environment.is_ready();
        state.broken = !ready;
        state.failure_count = if environment.answered_count() > 0 { 0 } else { state.failure_count.saturating_add(1) };
        let pause = pause(ready, state.failure_count);
        let name = &self.shared.spec.name;
        if ready {
            tracing::warn!(function = name, %ending, "a function's process ended; another one is started");
        } else {
            let retry_in_ms = pause.as_millis();
            // Whoever waits for the first start is told by its end.
            if state.proven {
                tracing::error!(function = name, %ending, retry_in_ms, "a function did not start");
            }
            if !state.environments.values().any(|other| other.is_ready()) {
                state.waiting.clear();
            }
        }
        if pause.is_zero() {
            if state.environments.len() < self.shared.spec.maximum_count {
                self.add(state);
            }
            self.fill(state);
        } else {
            state.resting = true;
            let pool = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let mut state = pool.lock();
                state.resting = false;
                pool.fill(&mut state);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first waiting invocation that somebody still waits for.
fn next_wanted(waiting: &mut VecDeque<Waiting>) -> Option<Waiting> {
    std::iter::from_fn(|| waiting.pop_front()).find(|waiting| !waiting.answer.is_closed())
}

/// How long to wait before the next process. One that worked before is replaced at once.
fn pause(ready: bool, failure_count: u32) -> Duration {
    let doubled = |count: u32| FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(count));
    match (ready, failure_count) {
        (true, 0 | 1) => Duration::ZERO,
        (true, count) => doubled(count - 2).min(LONGEST_CRASH_PAUSE),
        (false, count) => doubled(count.saturating_sub(1)).min(LONGEST_INIT_PAUSE),
    }
}
