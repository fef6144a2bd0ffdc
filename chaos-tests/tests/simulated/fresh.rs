//! A fresh node gets all its pods at once: how many calls that takes, and how much longer than the box itself.

use std::time::Duration;

use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_sim::vpc::{Outcome, Timing};
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::kernel::NFT_TAKES;
use crate::node::Node;
use crate::prefixes::add_all;
use crate::steps::Steps;

const PODS: usize = 110;

/// Other addresses of each of its ENIs.
const PER_ENI: usize = 29;

/// What the daemon may add to that. A disk that is busy now and then is not the daemon's doing, and is left out.
const BESIDES: Duration = Duration::from_secs(1);

fn in_mode(mode: AddressMode) -> Config {
    Config { mode: Setting::default_of(mode), ..warm(1, 0, 0) }
}

/// Calls that change something, and those that were refused.
fn writes(node: &Node) -> (usize, usize) {
    node.shared.now(|vpc| {
        let log = vpc.log();
        let writes =
            log.counts().iter().filter(|(action, _)| !action.is_read()).map(|(_, count)| count).sum();
        (writes, log.records().filter(|record| record.outcome != Outcome::Done).count())
    })
}

/// From the first ADD, which comes with the daemon's start, to the last answer.
fn all_served(mode: AddressMode, seed: u64) -> (Duration, (usize, usize)) {
    let mut node = one_node("m5.4xlarge", in_mode(mode), seed);
    node.calm_disk = true;
    let mut took = Duration::ZERO;
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        add_all(&life, 0..PODS).await;
        took = begun.elapsed();
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
    (took, writes(&node))
}

/// What the box takes for prefixes: EC2 is read, and one call asks for all of them; beside that `nft` writes its table, without
/// which no pod is answered for.
fn of_prefixes(timing: &Timing) -> Duration {
    (timing.read_latency + timing.write_latency).max(NFT_TAKES)
}

/// What the box takes for single addresses: EC2 is read, ENIs are created with theirs and attached, side by side, and their
/// links appear. That they are `pending` and `attaching` for seconds holds nobody up.
fn of_addresses(timing: &Timing) -> Duration {
    timing.read_latency + timing.write_latency + timing.attach_latency + timing.link_appears
}

/// As many whole ENIs as the pods and one ENI's worth of spare addresses need: what is there is filled by one call, and each
/// further one is created with its addresses, attached, and told to end with the instance.
const fn fewest_writes() -> usize {
    1 + 3 * ((PODS + PER_ENI).div_ceil(PER_ENI) - 1)
}

#[test]
fn a_fresh_node_is_at_110_pods_within_a_second_of_what_the_box_takes() {
    let timing = Timing::life();
    for seed in 900..916 {
        for (mode, most_writes, takes) in [
            (AddressMode::Prefix, 2, of_prefixes(&timing)),
            (AddressMode::Secondary, fewest_writes() + 2, of_addresses(&timing)),
        ] {
            let (took, (writes, refused)) = all_served(mode, seed);
            assert!(writes <= most_writes, "{mode:?}, seed {seed}: {writes} writes");
            assert_eq!(refused, 0, "{mode:?}, seed {seed}");
            assert!(took >= timing.read_latency + timing.write_latency, "{mode:?}: the box takes its time");
            assert!(took <= takes + BESIDES, "{mode:?}, seed {seed}: {took:?}, the box {takes:?}");
        }
    }
}
