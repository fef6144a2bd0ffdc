//! What the daemon gave up by itself: a DEL that comes for it later is answered all the same.

use std::time::Duration;

use holdfast_engine::AddError;

use crate::box_of::{one_node, warm};
use crate::crash::quiet_deaths;
use crate::gc;
use crate::node::Outcome;
use crate::steps::Steps;

/// An ADD was cut off by the daemon's death. The next life undoes it by itself; its release cannot be written, so it is
/// owed, and its rules and routes and its link go. From then on the lease is `Releasing` and nothing is under way for it:
/// a DEL waits for somebody to answer it, and nobody does before the disk has room.
#[test]
fn a_del_is_answered_on_a_full_disk_also_where_the_daemon_gave_the_sandbox_up_before() {
    quiet_deaths();
    let recorded = Steps::default();
    let node = || one_node("m5.large", warm(1, 0, 0), 50);
    node().live(&recorded, async |life| drop(life.add("a", "a").await.unwrap())).unwrap();
    let wiring = recorded.names().iter().position(|name| name == "wiring: the pair is there").unwrap();
    let node = node();
    let died = node.live(&Steps::dying_at(Some(wiring)), async |life| {
        assert_eq!(life.add("a", "a").await, Err(AddError::Stopping));
        std::future::pending::<()>().await;
    });
    assert_eq!(died.unwrap(), Outcome::Killed);
    node.live(&Steps::default(), async |life| {
        node.disk.set_full(true);
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::time::timeout(Duration::from_secs(10), life.del("a")).await.expect("a DEL is always answered");
    })
    .unwrap();
}

/// A full disk does not take a release; its DEL succeeds, and the debt is kept in memory and by the plugin. The daemon ends
/// before it is paid, and somebody holds the namespace open: nothing but the plugin's note tells that the pod is gone.
#[test]
fn a_pod_that_was_deleted_on_a_full_disk_is_released_in_the_next_life_also_where_its_namespace_lives() {
    let node = one_node("m5.large", warm(1, 0, 0), 52);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.disk.set_full(true);
        assert!(life.del_and_linger("a").await.is_some(), "a DEL is always answered");
    })
    .unwrap();
    node.disk.set_full(false);
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(gc::collect(&life, &node).await, Vec::<String>::new());
    })
    .unwrap();
}
