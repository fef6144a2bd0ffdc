//! What one life of a node has running: all of it ends at once, while other nodes go on.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_ports::Spawner;
use tokio::task::{JoinError, JoinSet};

use crate::steps::{Killed, Steps};

#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    /// What a task said that panicked otherwise than by the appointed death.
    panics: Vec<String>,
}

impl Running {
    fn note(&mut self, ended: Result<(), JoinError>) {
        let Some(payload) = ended.err().and_then(|error| error.try_into_panic().ok()) else { return };
        if !payload.is::<Killed>() {
            self.panics.push(words(&*payload));
        }
    }
}

/// The tasks of one life. None of them takes another step once [`Steps`] says that the process is dead.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    steps: Steps,
    running: Arc<Mutex<Running>>,
}

impl Tasks {
    /// Of a process that dies by these steps.
    pub(crate) fn of(steps: &Steps) -> Self {
        Self { steps: steps.clone(), running: Arc::default() }
    }

    /// Ends all of them, and returns when nothing of them is left. Gives what went wrong in any.
    pub(crate) async fn end(&self) -> Vec<String> {
        let mut tasks = std::mem::take(&mut self.lock().tasks);
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            self.lock().note(ended);
        }
        std::mem::take(&mut self.lock().panics)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawner for Tasks {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let steps = self.steps.clone();
        let mut running = self.lock();
        while let Some(ended) = running.tasks.try_join_next() {
            running.note(ended);
        }
        running.tasks.spawn(async move { steps.while_alive(work).await });
    }
}

/// What a panic said.
pub(crate) fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
