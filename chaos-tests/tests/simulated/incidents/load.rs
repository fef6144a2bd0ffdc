//! What a fleet costs the account that it shares with others.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::config::{Config, Setting};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{Action, SimVpc};
use tokio::time::{Instant, sleep, sleep_until};

use super::{all_are_reached, come};
use crate::box_of::{one_node, warm};
use crate::fleet::{Fleet, serve};
use crate::steps::Steps;

const HOUR: Duration = Duration::from_secs(3600);

/// Calls of each action up to now, all nodes together.
fn counts(fleet: &Fleet) -> BTreeMap<Action, usize> {
    fleet.ec2(|vpc| vpc.log().counts().clone())
}

/// Of the node that asks.
fn described(calls: &BTreeMap<Action, usize>) -> usize {
    calls.iter().filter(|(action, _)| action.is_read()).map(|(_, count)| count).sum()
}

#[test]
pub(crate) fn cni_617_five_hundred_nodes_at_rest_hardly_call() {
    const NODES: usize = 500;
    let fleet = Fleet::new(NODES, "10.0.0.0/16", warm(1, 0, 0), 617);
    fleet.live(async |number, _, life| {
        let settled = Instant::now() + Duration::from_secs(900);
        for pod in 0..3 {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
        sleep_until(settled).await;
        if number == 0 {
            fleet.limit();
        }
        sleep(2 * HOUR).await;
    });
    let (calls, refused) = fleet.calls();
    println!("{calls} calls of {NODES} nodes in two hours: {:?}", counts(&fleet));
    fleet.assert_sound();
    assert!(calls < 2 * NODES, "{calls} calls in two hours: {:?}", counts(&fleet));
    assert_eq!(refused, 0, "nobody else is refused either");
}

/// About 500 reads in five minutes were seen on five such clusters.
#[test]
pub(crate) fn cni_887_small_clusters_at_rest_are_quiet_after_the_next_release_too() {
    const NODES: usize = 5;
    let fleet = Fleet::new(NODES, "10.0.0.0/20", warm(1, 0, 0), 887);
    let settle = async |life: &crate::node::Life| {
        let settled = Instant::now() + Duration::from_secs(900);
        life.quiet().await;
        sleep_until(settled).await;
    };
    fleet.live(async |number, _, life| {
        for pod in 0..3 {
            serve(&life, &format!("p{pod}")).await;
        }
        settle(&life).await;
        if number == 0 {
            fleet.limit();
        }
        sleep(2 * HOUR).await;
    });
    let before = described(&counts(&fleet));
    fleet.limit();
    fleet.live(async |number, node, life| {
        sleep(2 * HOUR).await;
        if number == 0 {
            // Somebody else uses the account up: for an hour every call is refused.
            fleet.ec2(|vpc| vpc.set_fault(Fault::new(FaultKind::Throttle))).unwrap();
        }
        sleep(Duration::from_secs(5)).await;
        let called = node.calls();
        for pod in 0..30 {
            life.del(&format!("p{pod}")).await;
            let waited = serve(&life, &format!("p{}", pod + 3)).await;
            assert!(waited < Duration::from_millis(1500), "pod {pod} waited {waited:?}");
            sleep(Duration::from_secs(90)).await;
        }
        assert!(node.calls() - called <= 6, "{} calls for 30 pods that were replaced", node.calls() - called);
    });
    let after = described(&counts(&fleet));
    println!("{before} reads in two hours, {after} from the next start on");
    fleet.assert_sound();
    assert!(before <= 2 * NODES, "{before}");
    // What a start costs, and the hours.
    assert!(after <= (4 + 3 + 6) * NODES, "{after}: {:?}", counts(&fleet));
}

#[test]
pub(crate) fn cni_6106a6d_reads_that_hang_or_are_slow_do_not_stop_the_pool() {
    let slow = Duration::from_secs(7);
    for kind in [FaultKind::RequestLost, FaultKind::AnswerLate { by: slow }] {
        let node = one_node("m5.large", warm(0, 2, 0), 6106);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 4).await;
            life.quiet().await;
        })
        .unwrap();
        let fault =
            Fault::new(kind.clone()).on(Action::DescribeNetworkInterfaces).of_instance(&node.instance);
        let fault = node.shared.now(|vpc| vpc.set_fault(fault)).unwrap();
        node.live(&Steps::default(), async |life| {
            let begun = Instant::now();
            // Over the primary, onto an ENI that is made meanwhile.
            for number in 0..12 {
                let asked = Instant::now();
                come(&life, &node, &format!("new{number}-"), 1).await;
                assert!(
                    asked.elapsed() < Duration::from_secs(20),
                    "{kind:?}: {number}: {:?}",
                    asked.elapsed()
                );
            }
            sleep_until(begun + Duration::from_secs(600)).await;
            let hits = node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied()).unwrap_or(0);
            // Three kinds of reads, each given up after its deadline, and again after a pause of half a minute at most.
            let most = if kind == FaultKind::RequestLost { 100 } else { 6 };
            println!("{kind:?}: {hits} reads in ten minutes");
            assert!((1..=most).contains(&hits), "{kind:?}: {hits} reads in ten minutes");
            node.shared.now(SimVpc::clear_faults);
            all_are_reached(&node, Duration::from_secs(900)).await;
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "{kind:?}");
        })
        .unwrap();
    }
}

/// The release before did not look for subnets; the next one does by default.
#[test]
pub(crate) fn cni_3719_a_release_that_looks_for_subnets_reads_each_once() {
    const NODES: usize = 200;
    let config = |discovers| Config { subnet_discovery: Setting::default_of(discovers), ..warm(1, 0, 0) };
    let mut fleet = Fleet::new(NODES, "10.0.0.0/16", config(false), 3719);
    fleet.live(async |_, _, life| {
        for pod in 0..3 {
            serve(&life, &format!("p{pod}")).await;
        }
        life.quiet().await;
    });
    for node in &mut fleet.nodes {
        node.config = config(true);
    }
    fleet.limit();
    fleet.stage.block_on(fleet.lives(Duration::from_secs(60), async |_, _, life| {
        serve(&life, "new").await;
        sleep(HOUR).await;
    }));
    let calls = counts(&fleet);
    println!("in the hour after the release: {calls:?}");
    fleet.assert_sound();
    let of = |action: Action| calls.get(&action).copied().unwrap_or(0);
    assert_eq!(of(Action::DescribeSecurityGroups), 0);
    assert!((1..=NODES).contains(&of(Action::DescribeSubnets)), "{calls:?}");
    assert!(calls.values().sum::<usize>() <= 5 * NODES, "{calls:?}");
    assert_eq!(fleet.calls().1, 0, "nobody is throttled");
}

/// Reads show nothing of the last quarter of a minute: a list of what there is lacks the ENI that a node has just made.
#[test]
pub(crate) fn cilium_46513_four_hundred_nodes_in_two_minutes_all_get_addresses() {
    const NODES: usize = 400;
    const PODS: usize = 12;
    let fleet = Fleet::new(NODES, "10.0.0.0/16", warm(1, 0, 0), 46513);
    fleet.limit();
    let lags = Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(15) });
    fleet.ec2(|vpc| vpc.set_fault(lags)).unwrap();
    let waited = fleet.stage.block_on(fleet.lives(Duration::from_secs(120), async |_, node, life| {
        let mut longest = Duration::ZERO;
        for pod in 0..PODS {
            longest = longest.max(serve(&life, &format!("p{pod}")).await);
        }
        life.quiet().await;
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        longest
    }));
    let (calls, refused) = fleet.calls();
    let longest = waited.iter().max().unwrap();
    println!("slowest pod {longest:?}, {calls} calls, {refused} refused");
    fleet.assert_sound();
    assert_eq!(fleet.nodes.iter().map(|node| node.pods().len()).sum::<usize>(), NODES * PODS);
    assert!(*longest <= Duration::from_secs(61), "{longest:?}");
}
