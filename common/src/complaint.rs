//! What an operator must set right, said once: a setting that leads nowhere fails every call, and one line that names it
//! is read where a thousand are not. The calls' own lines stand beside it. Where a success settles nothing, that is once in
//! the life of a process.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place where something may be set wrongly.
#[derive(Debug, Default)]
pub struct Complaint(Mutex<Option<&'static str>>);

impl Complaint {
    /// Nothing is wrong yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Logs what is wrong and what to do, unless that was said last.
    pub fn say(&self, sentence: &'static str) {
        if self.lock().replace(sentence) != Some(sentence) {
            tracing::error!("{sentence}");
        }
    }

    /// All is well (again): the next complaint is a new one.
    pub fn settle(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
