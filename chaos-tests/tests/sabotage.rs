//! The demo finds each of these broken programs, and says what is wrong. Two runs at a time.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use holdfast_chaos_tests::sabotage::{self, Sabotage, Wrapped};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dev");

const AT_ONCE: usize = 2;

const LIST: &[(Sabotage, &str)] = &[
    // A plugin that lies about what it did.
    (sabotage::TELLS_A_NETWORK, "/8\"] and bears"),
    (sabotage::TELLS_A_GATEWAY, "the gateway \"169.254.1.1\"; it is null"),
    (sabotage::TELLS_A_MAC, "the MAC \"de:ad:be:ef:00:00\""),
    (sabotage::ANSWERS_EARLY, "is not wired as its ADD was answered: its eth0 is down"),
    (sabotage::CHECK_SAYS_YES, "CHECK passed"),
    (sabotage::DEL_DOES_NOTHING, "not rid of the deleted pods within"),
    // One that wires pods wrongly.
    (sabotage::GIVES_ONE_TWICE, "was given to two pods"),
    (sabotage::GIVES_AN_UNKNOWN_ONE, "EC2 does not show"),
    (sabotage::SMALL_MTU, "MTU 1400 on its eth0"),
    (sabotage::WRONG_NEIGHBOUR, "its gateway is"),
    (sabotage::BLACKHOLE_INSIDE, "it has 3 routes"),
    (sabotage::SMALL_ROUTE_INSIDE, "dev eth0 mtu 1400 in table 254"),
    (sabotage::TWO_GATEWAYS_INSIDE, "nexthop via 169.254.1.1 link"),
    (sabotage::NEIGHBOUR_V6_INSIDE, "has the permanent neighbour 2001:db8:99::1 inside"),
    // One that is slow, or away.
    (sabotage::SLOW_ADDS, "the median ADD took"),
    (sabotage::SLOW_DELS, "the median DEL took"),
    (sabotage::REFUSES_AFTER_KILLS, "was refused with all parts well"),
    (sabotage::DEL_NEEDS_A_DAEMON, "a saboteur wants one"),
    // A daemon that leaves something behind.
    (sabotage::LEAVES_A_RULE, "rule 700 to 10.99.0.0/16 lookup 77 belongs to nobody"),
    (sabotage::LEAVES_A_DROPPING_RULE, "rule 90 to 10.98.0.0/16 blackhole belongs to nobody"),
    (sabotage::LEAVES_A_BLACKHOLE, "blackhole route to 10.99.0.0/16 in table 254 belongs to nobody"),
    (sabotage::LEAVES_A_ROUTE_V6, "route to 2001:db8:99::/48 dev lo in table 254 belongs to nobody"),
    (sabotage::LEAVES_A_NEIGHBOUR, "the permanent neighbour 10.99.0.1 came or went"),
    (sabotage::LEAVES_A_NEIGHBOUR_V6, "the permanent neighbour 2001:db8:99::1 came or went"),
    (sabotage::LEAVES_A_TABLE, "the packet filter table ip leftover belongs to nobody"),
    (sabotage::LEAVES_A_VETH, "the link eni0123456789a belongs to nobody"),
    (sabotage::LEAVES_A_SETTING, "the setting ipv4/conf/all/arp_announce was 0 and is 2"),
    // One that routes, translates or remembers wrongly.
    // As early as it can be, the daemon finds it when it asks the kernel, and refuses the ADD.
    (sabotage::SENDS_BY_THE_PRIMARY, "table 254"),
    (sabotage::SOURCES_OF_ROUTES, "read-back after set-up differs: route to"),
    (sabotage::STRICT_PRIMARY, "(ens5) checks the way back strictly"),
    (sabotage::STRICT_SECONDARY, "(ens6) checks the way back strictly"),
    (sabotage::NARROWS_RULES, "ipproto [17] lookup"),
    (sabotage::NO_NAT, "leaves with its own source, not with"),
    (sabotage::NO_NODE_PORTS, "belongs to a connection that is not marked"),
    (sabotage::LOSES_A_LEASE, "has lost its lease"),
    (sabotage::NO_REST, " was given again "),
    (sabotage::NO_CLUSTER, "has the tag cluster.k8s.amazonaws.com/name=None"),
    (sabotage::NO_EXTRA_TAGS, "has the tag team=None"),
    (sabotage::SLOW_RESTART, "was away for"),
    // Without spare addresses each ADD waits for EC2: the bound on ADDs may find it before the one on calls.
    (sabotage::MANY_CALLS, "are allowed"),
    // A network and an EC2 that are not as they must be.
    (sabotage::CHECKS_NO_SOURCE, "came through the router"),
    (sabotage::STALE_OWNER, "no answer from"),
    (sabotage::LEAKS_AN_ENI, "which belongs to nobody"),
];

#[test]
fn the_demo_finds_every_broken_program() {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((sabotage, words)) = LIST.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            match find(*sabotage, words) {
                Ok(how) => println!("{} in {:.1} s: {how}", sabotage.name, began.elapsed().as_secs_f64()),
                Err(error) => failures.lock().unwrap().push(format!("{error:#}")),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), LIST.len(), failures.join("\n"));
}

/// A benchmark that misses its aim by more than noise ends badly, and says by how much.
#[test]
fn a_missed_aim_ends_a_benchmark_badly() {
    let saboteur = Path::new(env!("CARGO_BIN_EXE_saboteur"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wrapped = Wrapped::make(sabotage::SLOW_ADDS, saboteur, place).unwrap();
    let mut bench = Command::new(SCRIPT);
    bench.arg("boxed").arg(env!("CARGO_BIN_EXE_bench")).args(["recovery", "--times", "1"]);
    wrapped.is_found(bench, &["missed by more than noise: the median: "]).unwrap();
}

/// The line that says it.
fn find(sabotage: Sabotage, words: &str) -> anyhow::Result<String> {
    let saboteur = Path::new(env!("CARGO_BIN_EXE_saboteur"));
    let wrapped = Wrapped::make(sabotage, saboteur, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut demo = Command::new(SCRIPT);
    demo.arg("boxed").arg(env!("CARGO_BIN_EXE_demo"));
    let said = wrapped.is_found(demo, &[words])?;
    let line = said.lines().find(|line| line.contains("BROKEN")).unwrap_or_default().trim();
    anyhow::ensure!(line.contains(words), "{}: the verdict is another: {line}", sabotage.name);
    Ok(line.chars().take(200).collect())
}
