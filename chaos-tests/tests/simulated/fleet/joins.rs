//! A hundred nodes join within two minutes, each with pods that wait for it.

use std::time::Duration;

use super::{Fleet, serve};
use crate::box_of::warm;

const NODES: usize = 100;
const WITHIN: Duration = Duration::from_secs(120);
const PODS: usize = 10;
/// EC2 shows the node its ENI and gives it addresses; with those of the primary all pods are served.
const FIRST: Duration = Duration::from_secs(5);
/// The last one waits for a second ENI: it is made, attached, and appears.
const LAST: Duration = Duration::from_secs(15);

#[test]
fn a_hundred_nodes_join_in_two_minutes_and_none_waits_for_the_others() {
    let fleet = Fleet::new(NODES, "10.0.0.0/16", warm(1, 0, 0), 11);
    fleet.limit();
    let waited = fleet.stage.block_on(fleet.lives(WITHIN, async |_, _, life| {
        let mut waited = Vec::new();
        for pod in 0..PODS {
            waited.push(serve(&life, &format!("p{pod}")).await);
        }
        life.quiet().await;
        waited
    }));
    let (calls, refused) = fleet.calls();
    let first = waited.iter().map(|waited| waited[0]).max().unwrap();
    let last = waited.iter().flatten().max().unwrap();
    println!("first pod {first:?}, slowest {last:?}, {calls} calls, {refused} refused");
    fleet.assert_sound();
    assert!(first <= FIRST, "a node's first pod waited {first:?}");
    assert!(*last <= LAST, "a pod waited {last:?}");
    assert_eq!(refused, 0, "calls that came to an empty bucket, of {calls}");
}
