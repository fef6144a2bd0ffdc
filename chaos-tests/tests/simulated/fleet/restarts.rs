//! All daemons are started anew within a minute: an upgrade that went to the whole fleet at once.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_sim::vpc::request::UnassignPrivateIpAddresses;
use tokio::time::Instant;

use super::{Fleet, others_call, serve};
use crate::box_of::warm;
use crate::node::{Life, Node};

const NODES: usize = 2000;
const WITHIN: Duration = Duration::from_secs(60);
/// An address that is free is given at once: the disk is waited for, and the kernel.
const AT_ONCE: Duration = Duration::from_millis(1500);
/// What others did while no daemon ran is known so soon.
const VIEW: Duration = Duration::from_secs(40);

/// On one node in so many somebody takes an address away meanwhile.
const TOUCHED: usize = 10;

struct Told {
    added: Duration,
    noticed: Option<Duration>,
}

/// Takes a free address of the node away in EC2: the one that is given last.
fn take_one(node: &Node) -> IpAddr {
    let used: Vec<_> = node.pods().into_values().filter_map(|pod| pod.address).collect();
    node.shared.now(|vpc| {
        let enis = vpc.authoritative().network_interfaces_of(&node.instance);
        let free = enis.iter().find_map(|eni| {
            let address = eni.secondary_ips().filter(|address| !used.contains(&(*address).into())).max()?;
            Some((eni.network_interface_id, address))
        });
        let (eni, address) = free.expect("a node has spares");
        vpc.foreign(UnassignPrivateIpAddresses {
            network_interface_id: eni,
            private_ip_addresses: vec![address],
            ..UnassignPrivateIpAddresses::default()
        })
        .unwrap();
        address.into()
    })
}

/// Waits until the daemon knows that this address is not the node's any more.
async fn noticed(life: &Life, address: IpAddr) -> Duration {
    let begun = Instant::now();
    loop {
        let ledger = life.engine.dump().await.unwrap().ledger;
        if ledger.blocks.keys().all(|net| net.addr() != address) {
            return begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn restart(seed: u64, others: bool) {
    let fleet = Fleet::new(NODES, "10.0.0.0/16", warm(1, 0, 0), seed);
    fleet.live(async |_, _, life| {
        for pod in 0..3 {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
        // No change of ours explains any more what the metadata service shows.
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
    let taken: Vec<_> = fleet
        .nodes
        .iter()
        .enumerate()
        .map(|(number, node)| (number % TOUCHED == 0).then(|| take_one(node)))
        .collect();
    fleet.limit();
    let (done, left) = (Cell::new(false), Cell::new(NODES));
    let all = async |number: usize, _: &Node, life: Life| {
        let added = serve(&life, "new").await;
        let noticed = match taken[number] {
            Some(address) => Some(noticed(&life, address).await),
            None => None,
        };
        // The reads of EC2 that nothing waits for come meanwhile.
        tokio::time::sleep(Duration::from_secs(25 * 60)).await;
        left.set(left.get() - 1);
        done.set(left.get() == 0);
        Told { added, noticed }
    };
    let (told, theirs) = fleet.stage.block_on(async {
        let beside = async { if others { others_call(&fleet.stage, &done).await } else { (0, 0) } };
        tokio::join!(fleet.lives(WITHIN, all), beside)
    });
    let (calls, refused) = fleet.calls();
    let (calls, refused) = (calls - theirs.0, refused - theirs.1);
    let added = told.iter().map(|told| told.added).max().unwrap();
    let noticed = told.iter().filter_map(|told| told.noticed).max().unwrap();
    println!("{:?}", fleet.ec2(|vpc| vpc.log().counts().clone()));
    println!("slowest ADD {added:?}, view {noticed:?}, {calls} calls, {refused} refused");
    fleet.assert_sound();
    assert!(added <= AT_ONCE, "an ADD took {added:?}");
    assert!(noticed <= VIEW, "what others did was noticed after {noticed:?}");
    // Both listings of ENIs and the subnets' once, that of what ended nodes left for those whose turn came, and once more where
    // something was noticed.
    let most = 4 * NODES + 2 * NODES / TOUCHED;
    assert!(calls <= most + refused, "{calls} calls, {most} would do");
    assert!(refused * 100 <= calls, "{refused} of {calls} calls came to an empty bucket");
}

#[test]
pub(crate) fn cni_873_a_fleet_restarted_within_a_minute_serves_at_once_and_stays_within_its_calls() {
    restart(7, false);
}

#[test]
fn a_fleet_restarts_beside_others_that_take_half_of_the_calls() {
    restart(8, true);
}
