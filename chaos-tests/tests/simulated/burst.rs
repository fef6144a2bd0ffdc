//! A burst of pods on a large instance, while EC2 throttles.

use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::steps::Steps;

const PODS: usize = 400;
/// How much longer a burst may take because EC2 refuses the first call of each kind, or all that leave with it.
const LATER: Duration = Duration::from_secs(3);

/// The time from the first ADD to the last answer. The first calls of these actions, so many of each, are throttled.
fn burst(seed: u64, throttled: &[(Action, u32)]) -> Duration {
    let node = one_node("m5.24xlarge", warm(1, 0, 0), seed);
    let mut took = Duration::ZERO;
    node.shared.now(|vpc| {
        for (action, calls) in throttled {
            vpc.set_fault(Fault::new(FaultKind::Throttle).on(*action).times(*calls)).unwrap();
        }
    });
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        let adds: Vec<_> = (0..PODS)
            .map(|number| {
                let life = life.clone();
                tokio::spawn(async move { life.add(&format!("p{number}"), &format!("p{number}")).await })
            })
            .collect();
        for add in adds {
            add.await.unwrap().unwrap();
        }
        took = begun.elapsed();
        assert_eq!(node.broken_promises(), Vec::<String>::new());
    })
    .unwrap();
    took
}

#[test]
fn a_burst_whose_first_calls_are_throttled_is_served_hardly_later() {
    use Action::{
        AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, DescribeNetworkInterfaces,
        ModifyNetworkInterfaceAttribute,
    };
    let one_of_each = [
        (DescribeNetworkInterfaces, 1),
        (AssignPrivateIpAddresses, 1),
        (CreateNetworkInterface, 1),
        (AttachNetworkInterface, 1),
        (ModifyNetworkInterfaceAttribute, 1),
    ];
    let whole_volleys = [
        (DescribeNetworkInterfaces, 2),
        (AssignPrivateIpAddresses, 1),
        (CreateNetworkInterface, 8),
        (AttachNetworkInterface, 8),
        (ModifyNetworkInterfaceAttribute, 8),
    ];
    for seed in 40..44 {
        let calm = burst(seed, &[]);
        for throttled in [&one_of_each, &whole_volleys] {
            let took = burst(seed, throttled);
            assert!(took <= calm + LATER, "seed {seed}: {took:?}, unthrottled {calm:?}: {throttled:?}");
        }
    }
}
