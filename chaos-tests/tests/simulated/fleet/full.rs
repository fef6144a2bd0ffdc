//! A subnet runs full under a fleet.

use std::cell::Cell;
use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_sim::vpc::Action;
use tokio::time::Instant;

use super::{Fleet, serve};
use crate::box_of::warm;
use crate::node::Life;

const NODES: usize = 100;
/// With one spare each they take seven addresses a node of the 1,019 that the subnet has: 700.
const PODS: usize = 5;
/// Which is more than there are.
const SURGE: usize = 6;
/// An ADD is answered within this time, and when there is an address again within that.
const DEADLINE: Duration = Duration::from_secs(61);
const SERVED_AGAIN: Duration = Duration::from_secs(120);

/// Pods that are served, and of those that are not the last cause.
async fn surge(life: &Life) -> (Vec<String>, Vec<(String, AddError)>) {
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for pod in 0..SURGE {
        let name = format!("more{pod}");
        let begun = Instant::now();
        match life.add(&name, &name).await {
            Ok(_) => served.push(name),
            Err(error) => refused.push((name, error)),
        }
        assert!(begun.elapsed() <= DEADLINE, "an ADD was answered after {:?}", begun.elapsed());
    }
    (served, refused)
}

#[test]
fn a_subnet_that_runs_full_is_named_and_pods_are_served_again_when_others_go() {
    let fleet = Fleet::new(NODES, "10.0.0.0/22", warm(0, 1, 0), 17);
    fleet.live(async |_, _, life| {
        for pod in 0..PODS {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
    });
    fleet.limit();
    let refused_at_all = Cell::new(0);
    let full_calls = Cell::new(0);
    fleet.live(async |number, node, life| {
        let (_, refused) = surge(&life).await;
        refused_at_all.set(refused_at_all.get() + refused.len());
        for (name, error) in &refused {
            let told = error.to_string();
            assert!(told.contains("subnet"), "{name} was refused, and not for the subnet: {told}");
        }
        // For ten minutes kubelet asks again, in vain.
        let before =
            fleet.count(Action::AssignPrivateIpAddresses) + fleet.count(Action::CreateNetworkInterface);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(600) {
            for (name, _) in &refused {
                drop(life.add_again(name).await);
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        if number == 0 {
            let after =
                fleet.count(Action::AssignPrivateIpAddresses) + fleet.count(Action::CreateNetworkInterface);
            full_calls.set(after - before);
        }
        // Every second node gives its first pods up, and with them their addresses.
        if number % 2 == 0 {
            for pod in 0..PODS {
                life.del(&format!("p{pod}")).await;
            }
            tokio::time::sleep(Duration::from_secs(900)).await;
            return;
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
        for (name, _) in refused {
            let begun = Instant::now();
            while node.pods()[&name].address.is_none() {
                drop(life.add_again(&name).await);
                tokio::time::sleep(Duration::from_secs(5)).await;
                assert!(begun.elapsed() <= SERVED_AGAIN, "{name} waits although there are addresses");
            }
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
    let (calls, throttled) = fleet.calls();
    let asked = full_calls.get();
    println!(
        "{} refused, {asked} in ten full minutes, {calls} calls, {throttled} throttled",
        refused_at_all.get()
    );
    fleet.assert_sound();
    assert!(refused_at_all.get() >= 50, "the subnet was not full");
    assert!(asked <= NODES * 20, "{asked} changes were asked for in ten minutes in which none could be made");
}
