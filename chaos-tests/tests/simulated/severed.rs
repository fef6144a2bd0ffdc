//! Pods that live and lose what reaches them: what can be put back is, and what cannot is told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::lease::LeasePhase;
use holdfast_sim::vpc as sim;
use holdfast_sim::vpc::request::UnassignPrivateIpAddresses;

use crate::box_of::{one_node, warm};
use crate::crash::quiet_deaths;
use crate::kernel::{Kernel, Step};
use crate::node::{Life, Outcome};
use crate::steps::Steps;

/// More than a look takes, and what is done upon it.
const SOON: Duration = Duration::from_secs(2);

async fn impairment(life: &Life) -> Option<String> {
    match life.engine.status().await.unwrap() {
        Status::Impaired(cause) => Some(cause),
        _ => None,
    }
}

#[test]
fn a_live_pod_whose_link_was_taken_away_is_wired_anew() {
    let node = one_node("m5.large", warm(1, 0, 0), 71);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.add("b", "b").await.unwrap();
        life.quiet().await;
        node.kernel.cut_link_of(lease.netns.inode);
        assert_eq!(node.kernel.reaches(lease.faces[0].address), None);
        tokio::time::sleep(SOON).await;
        assert_eq!(node.kernel.reaches(lease.faces[0].address), Some(lease.netns.inode));
        let dump = life.engine.dump().await.unwrap();
        assert_eq!(dump.ledger.leases[&lease.sandbox].faces, lease.faces, "the same address, the same MAC");
        assert!(dump.journal.iter().any(|entry| entry.what.contains("was wired anew")), "{:?}", dump.journal);
        assert_eq!((dump.cut_off, impairment(&life).await), (Vec::new(), None));
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn a_pod_that_cannot_be_wired_anew_is_told_of_and_is_when_it_can() {
    let node = one_node("m5.large", warm(1, 0, 0), 72);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.kernel.set_trouble(BTreeMap::from([(Step::Wire, 1000)]), 1);
        node.kernel.cut_link_of(lease.netns.inode);
        tokio::time::sleep(SOON).await;
        let cause = impairment(&life).await.unwrap();
        for words in ["1 pod is cut off: default/a", "cannot be wired anew", "No buffer space"] {
            assert!(cause.contains(words), "{words}: {cause}");
        }
        assert_eq!(life.engine.dump().await.unwrap().cut_off.len(), 1);
        node.kernel.set_trouble(BTreeMap::new(), 1);
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(node.kernel.reaches(lease.faces[0].address), Some(lease.netns.inode));
        assert_eq!(impairment(&life).await, None);
    })
    .unwrap();
}

/// Whatever the moment of the DEL is.
#[test]
fn a_pod_that_is_deleted_while_it_is_wired_anew_is_gone() {
    for delay in [0, 400, 500, 510, 519, 520, 521, 530, 600] {
        let node = one_node("m5.large", warm(1, 0, 0), 73);
        node.live(&Steps::default(), async |life| {
            let lease = life.add("a", "a").await.unwrap();
            life.quiet().await;
            node.kernel.cut_link_of(lease.netns.inode);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            life.del("a").await;
            let ledger = life.quiet().await;
            assert!(ledger.leases.is_empty(), "after {delay} ms");
            assert_eq!(node.kernel.reaches(lease.faces[0].address), None, "after {delay} ms");
            assert_eq!(node.faults(&ledger), Vec::<String>::new());
        })
        .unwrap();
    }
}

/// The daemon dies when the pod is wired and its lease is not `Active` on the disk, and the next one sees nothing of the
/// runtime's mounts.
#[test]
fn a_pod_whose_namespace_the_next_daemon_cannot_see_keeps_its_network() {
    quiet_deaths();
    let recorded = Steps::default();
    let node = || one_node("m5.large", warm(1, 0, 0), 74);
    node().live(&recorded, async |life| drop(life.add("a", "a").await.unwrap())).unwrap();
    let wired = recorded.names().iter().position(|name| name == "after wiring").unwrap();
    let node = node();
    let died = node.live(&Steps::dying_at(Some(wired)), async |life| {
        drop(life.add("a", "a").await);
        std::future::pending::<()>().await;
    });
    assert_eq!(died.unwrap(), Outcome::Killed);
    let inode = node.pods()["a"].netns.inode;
    node.kernel.unbind(inode);
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(SOON).await;
        let ledger = life.quiet().await;
        let lease = ledger.leases.values().next().expect("its lease is kept");
        assert_eq!(lease.phase, LeasePhase::Active);
        assert_eq!(node.kernel.reaches(lease.faces[0].address), Some(inode));
        // Its sandbox ends, and its link with it.
        node.kernel.end_sandbox(inode);
        tokio::time::sleep(SOON).await;
        assert!(life.quiet().await.leases.is_empty());
    })
    .unwrap();
}

/// An address that an operator's script has put onto the node: it is free in the ledger, and in use.
#[test]
pub(crate) fn cilium_30682_an_address_that_the_host_bears_is_given_to_nobody_until_it_is_taken_off() {
    let node = one_node("m5.large", warm(1, 0, 0), 75);
    node.live(&Steps::default(), async |life| {
        let ledger = life.quiet().await;
        let IpAddr::V4(borne) = ledger.blocks.values().next().unwrap().net.addr() else { panic!("IPv4") };
        node.kernel.host_bears(borne, true);
        tokio::time::sleep(SOON).await;
        // All of the first ENI and some of the second.
        for number in 0..12 {
            let lease = life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            assert_ne!(lease.faces[0].address, IpAddr::V4(borne));
        }
        let ledger = life.quiet().await;
        assert!(ledger.is_held(borne.into()), "nor is it given back while somebody uses it");
        node.kernel.host_bears(borne, false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut got = Vec::new();
        for number in 12..18 {
            let lease = life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            got.push(lease.faces[0].address);
        }
        assert!(got.contains(&IpAddr::V4(borne)), "{borne}: {got:?}");
    })
    .unwrap();
}

#[test]
fn a_pod_whose_address_the_host_bears_is_told_of() {
    let node = one_node("m5.large", warm(1, 0, 0), 76);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.quiet().await;
        let IpAddr::V4(address) = lease.faces[0].address else { panic!("IPv4") };
        node.kernel.host_bears(address, true);
        tokio::time::sleep(SOON).await;
        let cause = impairment(&life).await.unwrap();
        assert!(cause.contains(&format!("the host itself bears {address}")), "{cause}");
        node.kernel.host_bears(address, false);
        tokio::time::sleep(SOON).await;
        assert_eq!(impairment(&life).await, None);
    })
    .unwrap();
}

#[test]
fn a_pod_whose_address_was_taken_away_in_ec2_is_told_of() {
    let node = one_node("m5.large", warm(1, 0, 0), 77);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.quiet().await;
        let IpAddr::V4(address) = lease.faces[0].address else { panic!("IPv4") };
        let taken = UnassignPrivateIpAddresses {
            network_interface_id: sim::EniId::new(lease.faces[0].eni.as_str()),
            private_ip_addresses: vec![address],
            ..UnassignPrivateIpAddresses::default()
        };
        node.shared.now(|vpc| vpc.foreign(taken)).unwrap();
        // The metadata service tells of it once a minute; absence is believed half a minute after a change.
        let mut told = None;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            told = told.or(impairment(&life).await);
        }
        let cause = told.expect("it is told");
        assert!(cause.contains(&format!("{address} was taken off its ENI in EC2")), "{cause}");
        life.del("a").await;
        life.quiet().await;
        assert_eq!(impairment(&life).await, None);
    })
    .unwrap();
}

/// Pods come and go while somebody else's changes have the host looked at all the time.
#[test]
fn nothing_is_put_right_that_was_being_made_or_taken_away_as_the_look_began() {
    let node = one_node("m5.xlarge", warm(1, 0, 0), 78);
    node.kernel.set_look_takes(Duration::from_millis(20));
    let steps = Steps::default();
    node.live(&steps, async |life| {
        life.quiet().await;
        for round in 0..6 {
            let lives: Vec<_> = (0..8)
                .map(|number| tokio::spawn(come_and_go(life.clone(), node.kernel.clone(), round, number)))
                .collect();
            for life in lives {
                life.await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    })
    .unwrap();
    let repairs = ["EnsurePod", "RemoveRule", "RemoveRoute"].map(|action| format!("before mending {action}"));
    let needless: Vec<_> = steps
        .names()
        .into_iter()
        .filter(|name| repairs.iter().any(|repair| name.starts_with(repair.as_str())))
        .collect();
    assert_eq!(needless, Vec::<String>::new());
}

async fn come_and_go(life: Life, kernel: Kernel, round: u64, number: u64) {
    let name = format!("r{round}-{number}");
    tokio::time::sleep(Duration::from_millis(3 * number)).await;
    kernel.disturb();
    life.add(&name, &name).await.unwrap();
    tokio::time::sleep(Duration::from_millis(480 + 7 * number)).await;
    kernel.disturb();
    life.del(&name).await;
}
