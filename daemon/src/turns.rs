//! One at a time per sandbox.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_model::sandbox::SandboxKey;
use tokio::sync::Notify;

/// Hands out turns. Cheap to clone: clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Turns {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<HashSet<SandboxKey>>,
    freed: Notify,
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, HashSet<SandboxKey>> {
        // Nothing panics with the lock held.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sandbox's turn, until it is dropped.
pub(crate) struct Turn {
    sandbox: SandboxKey,
    shared: Arc<Shared>,
}

impl Turns {
    /// Waits for the sandbox's turn.
    pub(crate) async fn take(&self, sandbox: &SandboxKey) -> Turn {
        loop {
            let mut freed = std::pin::pin!(self.shared.freed.notified());
            // Listens before it looks: a turn given back in between is not missed.
            freed.as_mut().enable();
            if self.shared.taken().insert(sandbox.clone()) {
                return Turn { sandbox: sandbox.clone(), shared: Arc::clone(&self.shared) };
            }
            freed.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.taken().remove(&self.sandbox);
        self.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use holdfast_model::sandbox::SandboxNames;

    use super::*;

    fn sandbox(container_id: &str) -> SandboxKey {
        SandboxKey::from(SandboxNames {
            container_id: container_id.to_owned(),
            ifname: "eth0".to_owned(),
            network: "aws-cni".to_owned(),
        })
    }

    #[tokio::test]
    async fn a_turn_is_had_by_one_and_by_another_sandbox_meanwhile() {
        let turns = Turns::default();
        let first = turns.take(&sandbox("a")).await;
        let _other = timeout(Duration::from_secs(5), turns.take(&sandbox("b"))).await.unwrap();
        assert!(timeout(Duration::from_millis(20), turns.take(&sandbox("a"))).await.is_err(), "taken");
        let again = turns.clone();
        let waiting = tokio::spawn(async move { drop(again.take(&sandbox("a")).await) });
        tokio::task::yield_now().await;
        drop(first);
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!(turns.shared.taken().len(), 1, "only what is held is kept");
    }
}
