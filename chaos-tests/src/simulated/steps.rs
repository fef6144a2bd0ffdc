//! Every step at which a process can die, counted. A run without a target records them; a run with one dies there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Thrown at the chosen step: the process is dead from that instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

#[derive(Debug, Default)]
struct Inner {
    names: Vec<String>,
    target: Option<usize>,
    dead: bool,
}

/// The steps of one life of the process.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    inner: Arc<Mutex<Inner>>,
}

impl Steps {
    /// Dies at the step with this number, counted from zero; never without one.
    pub fn dying_at(target: Option<usize>) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { target, ..Inner::default() })) }
    }

    /// The process is about to pass a step; or it dies here.
    pub fn pass(&self, name: impl Into<String>) {
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
            std::panic::panic_any(Killed);
        }
    }

    /// Whether the process is dead: whatever it still does on its way out reaches nobody.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The process is dead, wherever it stands.
    pub fn kill(&self) {
        self.lock().dead = true;
    }

    /// The steps passed, in order.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
