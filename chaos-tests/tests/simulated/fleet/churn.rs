//! Pods come and go on a fleet at rest.

use std::time::Duration;

use holdfast_ports::Clock;
use holdfast_sim::vpc::Action;
use tokio::time::Instant;

use super::{Fleet, serve};
use crate::box_of::warm;

const NODES: usize = 2000;
/// Pods replaced a second, of all nodes together.
const RATE: u32 = 30;
const LASTS: Duration = Duration::from_secs(300);
const AT_ONCE: Duration = Duration::from_millis(2500);

#[test]
fn thirty_pods_a_second_are_replaced_without_a_change_in_ec2() {
    let fleet = Fleet::new(NODES, "10.0.0.0/16", warm(1, 0, 0), 13);
    let replaced = fleet.live(async |_, node, life| {
        for pod in 0..3 {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
        // All have come to rest.
        tokio::time::sleep(Duration::from_secs(300)).await;
        if node.instance == fleet.nodes[0].instance {
            fleet.limit();
        }
        let (begun, every) = (Instant::now(), Duration::from_secs(1) * NODES as u32 / RATE);
        let (mut slowest, mut served) = (Duration::ZERO, 0);
        let turn = every * u32::try_from(node.clock.random() % 1000).unwrap() / 1000;
        tokio::time::sleep(turn).await;
        while begun.elapsed() < LASTS {
            life.del(&format!("p{served}")).await;
            slowest = slowest.max(serve(&life, &format!("p{}", served + 3)).await);
            served += 1;
            tokio::time::sleep(every).await;
        }
        (served, slowest)
    });
    let served: usize = replaced.iter().map(|(served, _)| served).sum();
    let slowest = replaced.iter().map(|(_, slowest)| slowest).max().unwrap();
    let (calls, refused) = fleet.calls();
    println!("{served} pods replaced, slowest ADD {slowest:?}, {calls} calls, {refused} refused");
    fleet.assert_sound();
    let expected = RATE as usize * LASTS.as_secs() as usize;
    assert!(served >= expected * 9 / 10, "{served} pods were replaced, of {expected}");
    assert!(*slowest <= AT_ONCE, "an ADD took {slowest:?}");
    // What ended nodes left is looked for meanwhile, in each node's turn.
    let changes: usize =
        Action::ALL.iter().filter(|action| !action.is_read()).map(|action| fleet.count(*action)).sum();
    assert_eq!(changes, 0, "a pod that is replaced changes nothing in EC2");
    assert!(calls <= NODES / 5, "{calls} calls by {NODES} nodes at rest");
}
