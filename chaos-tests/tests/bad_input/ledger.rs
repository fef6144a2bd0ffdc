//! A ledger's file that is damaged, another's, of a newer version, or none at all.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, wait_for};
use holdfast_store::Store;
use redb::{Database, TableDefinition};

use crate::{code, new_node, one_node, refused, still_serves};

/// The ledger cannot be opened: the daemon stays and says why; DELs are kept; it goes on when the cause is gone.
pub(crate) fn refuses_and_recovers(
    rig: &Rig,
    node: &mut NodeUnderTest,
    leased: Option<&Pod>,
    cause: &str,
    mend: impl FnOnce(),
) {
    node.start_serving().unwrap();
    let runner = node.runner();
    let pod = rig.pod("refused").unwrap();
    let failure = refused(runner.add(&pod).unwrap());
    assert_eq!(failure.code, code::TRY_AGAIN, "{failure:?}");
    assert!(failure.details.contains(cause), "{cause:?} is not in {failure:?}");
    let status = refused(runner.status().unwrap());
    assert_eq!(status.code, code::NOT_AVAILABLE, "{status:?}");
    let health = node.health().unwrap();
    assert!(health["alive"] == true && health["cause"].as_str().unwrap().contains(cause), "{health}");
    let dump = node.dump().unwrap();
    assert!(dump["refusing"].as_str().unwrap().contains(cause), "{dump}");
    if let Some(leased) = leased {
        runner.del(leased).unwrap().ok().unwrap();
    }
    // Stays, and does not fill the log.
    std::thread::sleep(Duration::from_millis(4500));
    assert!(node.is_running().unwrap(), "the daemon ended:\n{}", node.log());
    assert_eq!(node.log().matches("the ledger cannot be opened").count(), 1, "{}", node.log());
    mend();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    if let Some(leased) = leased {
        let gone = |ledger: &holdfast_model::ledger::Ledger| {
            !ledger.leases.values().any(|lease| lease.sandbox.container_id == leased.container_id)
        };
        node.wait_state("released", gone).unwrap();
    }
    still_serves(rig, node);
}

#[test]
fn a_ledger_of_a_newer_version_is_not_touched() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let [stays, goes] = ["stays", "goes"].map(|name| rig.run_pod(&runner, name).unwrap());
    assert!(node.terminate().unwrap().success());
    let write_schema = |schema: u8| {
        let database = Database::open(node.ledger()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(TableDefinition::<&str, &[u8]>::new("meta"))
            .unwrap()
            .insert("schema", [schema].as_slice())
            .unwrap();
        txn.commit().unwrap();
    };
    let own_schema = Store::inspect(&node.ledger(), 0).unwrap().schema;
    write_schema(200);
    let (ledger, spare) = (node.ledger(), rig.dir().join("spare.redb"));
    let before = fs::read(&ledger).unwrap();
    let check = ledger.clone();
    fs::copy(&ledger, &spare).unwrap();
    refuses_and_recovers(&rig, &mut node, Some(&goes.pod), "run the newer version again", || {
        assert!(fs::read(&check).unwrap() == before, "the file was touched");
        // An operator brings the version's own file back.
        let database = Database::open(&spare).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(TableDefinition::<&str, &[u8]>::new("meta"))
            .unwrap()
            .insert("schema", [own_schema].as_slice())
            .unwrap();
        txn.commit().unwrap();
        drop(database);
        fs::copy(&spare, &ledger).unwrap();
    });
    let held = node.state().unwrap();
    assert!(
        held.leases.values().any(|lease| lease.faces[0].address == IpAddr::V4(stays.address)),
        "{held:#?}"
    );
}

#[test]
fn a_directory_in_the_ledgers_place_is_said_and_waited_out() {
    let (rig, mut node) = new_node();
    let ledger = node.ledger();
    fs::create_dir_all(ledger.join("not-ours")).unwrap();
    refuses_and_recovers(&rig, &mut node, None, "not a plain file", || fs::remove_dir_all(&ledger).unwrap());
}

#[test]
fn a_ledger_in_use_by_another_daemon_is_left_to_it_with_its_socket() {
    let (rig, mut node) = one_node();
    let pod = rig.run_pod(&node.runner(), "pod").unwrap();
    let mut second = rig.node("node-a").unwrap();
    second.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "6");
    second.start().unwrap();
    let told = || second.log().contains("in use by another process");
    wait_for("told that the ledger is in use", Duration::from_secs(10), told).unwrap();
    assert!(second.is_running().unwrap());
    // The first still serves, on its own socket.
    still_serves(&rig, &mut node);
    // It stops: the second takes over, with all that is leased, and its sockets stay.
    let handed_over = Instant::now();
    assert!(node.terminate().unwrap().success());
    second.wait_serving().unwrap();
    println!("handed over within {} ms", handed_over.elapsed().as_millis());
    assert_eq!(second.runner().add(&pod.pod).unwrap().ok().unwrap(), pod.result);
    still_serves(&rig, &mut second);
}

/// Bytes that are no ledger, or one that was cut off: kept, and the ledger rebuilt without giving an address twice.
#[test]
fn a_damaged_ledger_is_set_aside_and_rebuilt() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let pods = ["a", "b"].map(|name| rig.run_pod(&runner, name).unwrap());
    assert!(node.terminate().unwrap().success());
    let whole = fs::read(node.ledger()).unwrap();
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(4096).step_by(97) {
        *byte ^= 0x55;
    }
    for (what, bytes) in [
        ("foreign", b"#!/bin/sh\necho I am no ledger\n".to_vec()),
        ("empty", Vec::new()),
        ("cut", whole[..whole.len() / 3].to_vec()),
        ("flipped", flipped),
    ] {
        fs::write(node.ledger(), &bytes).unwrap();
        node.start_serving().unwrap();
        let kept = fs::read_dir(node.ledger().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("damaged"))
            .filter(|path| fs::read(path).unwrap() == bytes)
            .count();
        assert_eq!(kept, 1, "{what}: the file is kept as it was");
        // What runs goes on, and its address is nobody else's.
        assert_eq!(pods[0].ask(pods[1].address).unwrap(), pods[0].address, "{what}");
        let new = rig.run_pod(&runner, "new").unwrap();
        assert!(
            pods.iter().all(|pod| pod.address != new.address),
            "{what}: an address in use was given again"
        );
        runner.del(&new.pod).unwrap().ok().unwrap();
        assert!(node.terminate().unwrap().success(), "{what}");
    }
}
