//! GC: the runtime says which sandboxes it has. What it does not name, and what is over, goes; what it names stays.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Ledger;

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

/// After its answer: far less than the time between two looks of the daemon's own.
const SOON: Duration = Duration::from_secs(5);

/// Leases of sandboxes that the runtime has not got.
fn unnamed(node: &Node, ledger: &Ledger) -> Vec<String> {
    let pods = node.pods();
    let held = ledger.leases.values().filter(|lease| lease.phase != LeasePhase::Releasing);
    let unnamed = held.filter(|lease| !pods.contains_key(&lease.sandbox.container_id));
    unnamed.map(|lease| format!("{} of {}", lease.faces[0].address, lease.sandbox)).collect()
}

/// GC with all that the runtime has; what is wrong a little later. Nothing, where the daemon has died by then.
pub(crate) async fn collect(life: &Life, node: &Node) -> Vec<String> {
    life.gc().await;
    tokio::time::sleep(SOON).await;
    let Ok(dump) = life.engine.dump().await else { return Vec::new() };
    let mut wrong = node.broken_promises();
    let left = unnamed(node, &dump.ledger);
    wrong.extend(
        left.into_iter().map(|left| format!("GC did not release {left}, which the runtime has not got")),
    );
    wrong
}

#[test]
fn gc_releases_what_the_runtime_has_not_got_and_keeps_what_it_has() {
    let node = one_node("m5.large", warm(1, 0, 0), 42);
    node.live(&Steps::default(), async |life| {
        for name in ["lives", "forgotten", "named"] {
            life.add(name, name).await.unwrap();
        }
        life.quiet().await;
        // A look at the host's network would find out by itself; the one that follows from the ADDs is over by then.
        tokio::time::sleep(Duration::from_secs(15)).await;
        life.forget("forgotten");
        // Its namespace is gone and its DEL is still to come.
        node.kernel.end_sandbox_unseen(node.pods()["named"].netns.inode);
        life.gc().await;
        tokio::time::sleep(SOON).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        let held: BTreeSet<&str> =
            ledger.leases.keys().map(|sandbox| sandbox.container_id.as_str()).collect();
        assert_eq!(held, BTreeSet::from(["lives", "named"]));
        life.del("named").await;
        assert_eq!(collect(&life, &node).await, Vec::<String>::new());
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}
