//! Every step at which a process can die, counted. A run without a target records them; a run with one dies there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Thrown at the chosen step: the process is dead from that instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killed;

#[derive(Debug, Default)]
struct Inner {
    names: Vec<String>,
    target: Option<usize>,
    dead: bool,
}

/// The steps of one life of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    inner: Arc<Mutex<Inner>>,
    died: Arc<Notify>,
}

impl Steps {
    /// Dies at the step with this number, counted from zero; never without one.
    pub(crate) fn dying_at(target: Option<usize>) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { target, ..Inner::default() })), died: Arc::default() }
    }

    /// The process is about to pass a step; or it dies here.
    pub(crate) fn pass(&self, name: impl Into<String>) {
        let mut inner = self.lock();
        if inner.dead {
            drop(inner);
            std::panic::panic_any(Killed);
        }
        let number = inner.names.len();
        inner.names.push(name.into());
        if inner.target == Some(number) {
            inner.dead = true;
            drop(inner);
            self.died.notify_one();
            std::panic::panic_any(Killed);
        }
    }

    /// Whether the process is dead: whatever it still does on its way out reaches nobody.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Resolves when the process is dead.
    pub(crate) async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// The process is dead, wherever it stands.
    pub(crate) fn kill(&self) {
        self.lock().dead = true;
    }

    /// The steps passed, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
