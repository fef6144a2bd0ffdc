//! A stretch of a runtime's work, as impatient and as forgetful as runtimes are.

use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_model::invariants;
use tokio::task::JoinSet;

use super::Chance;
use crate::gc;
use crate::node::{Life, Node};

/// How long after an ADD was asked for its twin or its DEL comes at the latest, in milliseconds: about as long as it
/// takes.
const IN_ITS_MIDDLE: u64 = 1500;

/// How often the runtime did what is not just one ADD or DEL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    /// ADDs that were asked for a second time before they were answered.
    joined_adds: u32,
    /// DELs of sandboxes whose ADD was not answered.
    dels_of_adds: u32,
    /// DELs that were asked for a second time before they were answered.
    joined_dels: u32,
    /// Sandboxes that were lost without a DEL.
    forgotten: u32,
    /// GCs that were judged.
    collected: u32,
}

impl Deeds {
    /// Whether each kind was done often.
    pub(super) fn all_done(&self) -> bool {
        let Self { joined_adds, dels_of_adds, joined_dels, forgotten, collected } = *self;
        [joined_adds, dels_of_adds, joined_dels, forgotten, collected].iter().all(|often| *often >= 20)
    }
}

impl std::iter::Sum for Deeds {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            joined_adds: sum.joined_adds + one.joined_adds,
            dels_of_adds: sum.dels_of_adds + one.dels_of_adds,
            joined_dels: sum.joined_dels + one.joined_dels,
            forgotten: sum.forgotten + one.forgotten,
            collected: sum.collected + one.collected,
        })
    }
}

/// What is under way at once.
struct Doing {
    life: Life,
    tasks: JoinSet<Result<(), AddError>>,
}

impl Doing {
    fn add(&mut self, container: &str, after: Duration) {
        let (life, container) = (self.life.clone(), container.to_owned());
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            // A runtime asks for nothing that it has deleted.
            if life.is_deleted(&container) {
                return Ok(());
            }
            life.add_again(&container).await.map(drop)
        });
    }

    fn del(&mut self, container: &str, after: Duration, lingers: bool) {
        let (life, container) = (self.life.clone(), container.to_owned());
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            if lingers {
                life.del_and_linger(&container).await;
            } else {
                life.del(&container).await;
            }
            Ok(())
        });
    }

    /// Waits until all is answered. Refusals are no failures here: EC2 may not let anything through.
    async fn all(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                // Its process dies: the runtime hears nothing.
                Ok(Err(AddError::Stopping)) => std::future::pending().await,
                Ok(_) => {}
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    }
}

pub(super) async fn work(life: &Life, node: &Node, chance: &Chance, life_number: u64, deeds: &mut Deeds) {
    let moment = || Duration::from_millis(chance.below(IN_ITS_MIDDLE));
    let mut disk_was_well = false;
    for round in 0..6 {
        let (full, stuck) = (chance.one_in(10), chance.one_in(10));
        node.disk.set_full(full);
        node.disk.set_stuck(stuck);
        // A DEL that the disk did not take is found out anew by the namespace, which must be gone then: see `found`.
        // A disk that has room again is not tried at once.
        let disk_is_well = !full && !stuck;
        let lingers = || chance.one_in(3) && disk_is_well && disk_was_well;
        let mut doing = Doing { life: life.clone(), tasks: JoinSet::new() };
        for (container, pod) in node.pods() {
            if pod.address.is_none() || pod.deleting || chance.one_in(3) {
                doing.del(&container, moment(), lingers());
                if chance.one_in(3) {
                    doing.del(&container, moment(), false);
                    deeds.joined_dels += 1;
                }
            }
        }
        for number in 0..=chance.below(6) {
            let container = format!("c{life_number}-{round}-{number}");
            // Names recur: a pod that comes back is another sandbox.
            life.make_sandbox(&format!("web-{}", chance.below(8)), &container);
            let begins = moment();
            doing.add(&container, begins);
            if chance.one_in(4) {
                doing.add(&container, begins + moment());
                deeds.joined_adds += 1;
            }
            if chance.one_in(4) {
                doing.del(&container, begins + moment(), lingers());
                deeds.dels_of_adds += 1;
            }
        }
        doing.all().await;
        disk_was_well = disk_is_well;
        rest(life, node, chance).await;
        if chance.one_in(3) {
            forget_and_collect(life, node, chance, deeds).await;
        }
    }
}

async fn rest(life: &Life, node: &Node, chance: &Chance) {
    tokio::time::sleep(Duration::from_millis(chance.below(60_000))).await;
    if let Ok(dump) = life.engine.dump().await {
        let broken = invariants::check(&dump.ledger, None);
        assert!(broken.is_empty(), "in the middle of a life: {broken:?}");
    }
    let broken = node.broken_promises();
    assert!(broken.is_empty(), "in the middle of a life: {broken:?}");
}

/// The runtime loses some sandboxes, and then says what it has.
async fn forget_and_collect(life: &Life, node: &Node, chance: &Chance, deeds: &mut Deeds) {
    for (container, _) in node.pods().into_iter().filter(|(_, pod)| pod.address.is_some() && !pod.deleting) {
        if chance.one_in(4) {
            life.forget(&container);
            deeds.forgotten += 1;
        }
    }
    // A GC at which something is in the way may leave things to the next one.
    node.disk.set_full(false);
    node.disk.set_stuck(false);
    node.kernel.pause_trouble(true);
    let wrong = gc::collect(life, node).await;
    node.kernel.pause_trouble(false);
    assert!(wrong.is_empty(), "in the middle of a life: {wrong:?}");
    deeds.collected += 1;
}
