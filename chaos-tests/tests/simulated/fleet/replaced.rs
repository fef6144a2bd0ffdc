//! Every node is replaced, ten at a time: pods go, the daemon ends, the instance goes, another comes.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Fleet, lived, serve};
use crate::box_of::warm;
use crate::node::Node;

const NODES: usize = 200;
const AT_ONCE: usize = 10;
const PODS: usize = 5;
/// EC2 shows a new node its ENI and gives it addresses.
const FIRST: Duration = Duration::from_secs(5);

/// The pods of a node go, its daemon ends in order, and its instance ends with it.
async fn end(fleet: &Fleet, node: &Node) {
    lived(node, async |life| {
        for pod in 0..PODS {
            life.del(&format!("p{pod}")).await;
        }
    })
    .await;
    fleet.stage.shared.now(|vpc| vpc.terminate_instance(&node.instance).unwrap());
}

async fn begin(node: &Node) -> Duration {
    lived(node, async |life| {
        let first = serve(&life, "p0").await;
        for pod in 1..PODS {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
        first
    })
    .await
}

#[test]
fn a_fleet_is_replaced_node_by_node_and_leaves_nothing() {
    let mut fleet = Fleet::new(NODES, "10.0.0.0/18", warm(1, 0, 0), 19);
    fleet.stage.block_on(join_all(fleet.nodes.iter().map(|node| Box::pin(begin(node)))));
    fleet.limit();
    let mut slowest = Duration::ZERO;
    for batch in 0..NODES / AT_ONCE {
        let came: Vec<Node> = (0..AT_ONCE).map(|_| fleet.another()).collect();
        let places = batch * AT_ONCE..(batch + 1) * AT_ONCE;
        let (first, _) = fleet.stage.block_on(async {
            tokio::join!(
                join_all(came.iter().map(|node| Box::pin(begin(node)))),
                join_all(fleet.nodes[places.clone()].iter().map(|node| Box::pin(end(&fleet, node)))),
            )
        });
        slowest = slowest.max(first.into_iter().max().unwrap());
        for (place, node) in places.zip(came) {
            fleet.nodes[place] = node;
        }
    }
    // Instances take their time to end.
    fleet.stage.block_on(async { tokio::time::sleep(Duration::from_secs(120)).await });
    let (calls, refused) = fleet.calls();
    println!("first pod {slowest:?}, {calls} calls, {refused} refused");
    fleet.assert_sound();
    assert!(slowest <= FIRST, "a node's first pod waited {slowest:?}");
    assert_eq!(refused, 0, "calls that came to an empty bucket, of {calls}");
    let theirs: usize = fleet
        .nodes
        .iter()
        .map(|node| fleet.ec2(|vpc| vpc.authoritative().network_interfaces_of(&node.instance).len()))
        .sum();
    let all = fleet.ec2(|vpc| vpc.authoritative().network_interfaces().len());
    assert_eq!(all, theirs, "ENIs that belong to no node");
}
