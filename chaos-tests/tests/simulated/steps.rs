//! Every step at which a process can die, counted. A run without a target records them; a run with one dies there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Thrown at the chosen step: the process is dead from that instant on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Killed;

/// No life takes so many steps.
const WITHOUT_END: usize = 50_000;

#[derive(Debug, Default)]
struct Inner {
    names: Vec<String>,
    target: Option<usize>,
}

/// Looks around at a step of this name.
type Look = dyn Fn(&str) + Send + Sync;

/// Who looks at every step.
#[derive(Clone, Default)]
struct Onlooker(Option<Arc<Look>>);

impl std::fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Onlooker")
    }
}

/// The steps of one life of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    inner: Arc<Mutex<Inner>>,
    death: CancellationToken,
    onlooker: Onlooker,
}

impl Steps {
    /// Dies at the step with this number, counted from zero; never without one.
    pub(crate) fn dying_at(target: Option<usize>) -> Self {
        let inner = Inner { target, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), ..Self::default() }
    }

    /// The same, and at each step that is passed this looks around.
    pub(crate) fn seen_by(self, look: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { onlooker: Onlooker(Some(Arc::new(look))), ..self }
    }

    /// The process is about to pass a step; or it dies here.
    pub(crate) fn pass(&self, name: impl Into<String>) {
        if self.is_dead() {
            std::panic::panic_any(Killed);
        }
        let mut inner = self.lock();
        let number = inner.names.len();
        // Whoever does things again and again without a pause stops the virtual clock.
        assert!(number < WITHOUT_END, "the daemon does not come to rest: {:?}", &inner.names[number - 9..]);
        let name = name.into();
        inner.names.push(name.clone());
        let last = inner.target == Some(number);
        drop(inner);
        if let Some(look) = &self.onlooker.0 {
            look(&name);
        }
        if last {
            self.kill();
            std::panic::panic_any(Killed);
        }
    }

    /// Whether the process is dead: whatever it still does on its way out reaches nobody.
    pub(crate) fn is_dead(&self) -> bool {
        self.death.is_cancelled()
    }

    /// Resolves when the process is dead.
    pub(crate) async fn died(&self) {
        self.death.cancelled().await;
    }

    /// Work of the process: it goes no further once that is dead.
    pub(crate) async fn while_alive(&self, work: impl Future<Output = ()>) {
        let _cut_short: Option<()> = self.death.run_until_cancelled(work).await;
    }

    /// The process is dead, wherever it stands.
    pub(crate) fn kill(&self) {
        self.death.cancel();
    }

    /// The steps passed, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
