//! A daemon that is killed every two seconds and comes back each time, while a runtime starts pods: they do not notice.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::packets::Prober;
use holdfast_chaos_tests::rig::{Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_model::lease::Lease;
use holdfast_sim::vpc::Timing;

/// How many pods come.
const PODS: usize = 160;

/// How many of them at a time.
const AT_A_TIME: usize = 16;

/// How often the daemon is killed.
const EVERY: Duration = Duration::from_secs(2);

/// How many pods may see a failed ADD.
const FAILED: usize = 2;

/// With fewer kills, and fewer ADDs under way at them, nothing was tried.
const KILLS: usize = 8;

/// A pod that was refused so often will never be there.
const TRIES: usize = 20;

/// How long a worker of the runtime is busy with other things between two sandboxes (images, containers), in
/// milliseconds: at most.
const BETWEEN: u64 = 3000;

/// From the first pod to the last, on a busy machine.
const ALL_TAKE: Duration = Duration::from_secs(150);

/// What the runtime sees.
#[derive(Debug, Default)]
struct Seen {
    /// ADDs under way now.
    under_way: AtomicUsize,
    /// Workers that have nothing left to do, or gave up.
    done: AtomicUsize,
}

/// Leaves when its worker does, also by a panic.
struct AtWork<'a>(&'a Seen);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pod that is there, and what was said to it before.
type Started = (RunningPod, Vec<String>);

/// As a runtime does it: a failed ADD is a failed sandbox. It is deleted, and the pod gets a new one.
fn start(rig: &Rig, runner: &Runner, seen: &Seen, name: &str) -> Started {
    let mut refusals = Vec::new();
    loop {
        let pod = rig.pod(name).unwrap();
        seen.under_way.fetch_add(1, Ordering::SeqCst);
        let called = runner.add(&pod).unwrap();
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        match called.result {
            Ok(result) => return (rig.serve(pod, result).unwrap(), refusals),
            Err(failure) => refusals.push(format!("{name} after {:?}: {failure:?}", called.took)),
        }
        assert!(refusals.len() < TRIES, "{name} never came: {refusals:#?}");
        runner.del(&pod).unwrap().ok().unwrap();
        drop(pod);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn pods_start_on_a_node_whose_daemon_is_killed_every_two_seconds() {
    // 232 addresses on eight ENIs, few of them ahead of need: ADDs wait for EC2, and kills find them waiting.
    let rig = Rig::up(&scenario(&[("node-a", "m5.4xlarge")])).unwrap();
    rig.admin().set_timing(&Timing::measured()).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "2").start_ready().unwrap();
    let runner = node.runner();
    let seen = Seen::default();
    let (mut kills, mut hit, begun) = (0, 0, Instant::now());
    let started: Vec<Started> = std::thread::scope(|scope| {
        let (rig, runner, seen) = (&rig, &runner, &seen);
        let worker = |worker: usize| {
            scope.spawn(move || -> Vec<Started> {
                let _at_work = AtWork(seen);
                (worker..PODS)
                    .step_by(AT_A_TIME)
                    .map(|number| {
                        // Spread, and the same in each run.
                        let pause = number as u64 * 7919 % BETWEEN;
                        std::thread::sleep(Duration::from_millis(pause));
                        start(rig, runner, seen, &format!("pod-{number}"))
                    })
                    .collect()
            })
        };
        let workers: Vec<_> = (0..AT_A_TIME).map(worker).collect();
        while seen.done.load(Ordering::SeqCst) < AT_A_TIME {
            let next = EVERY * (u32::try_from(kills).unwrap() + 1);
            if begun.elapsed() < next {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            hit += seen.under_way.load(Ordering::SeqCst);
            node.kill().unwrap();
            node.start().unwrap();
            kills += 1;
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let took = begun.elapsed();
    let failed: Vec<&[String]> = started
        .iter()
        .map(|(_, refusals)| refusals.as_slice())
        .filter(|refusals| !refusals.is_empty())
        .collect();
    println!(
        "{PODS} pods in {took:?}, {kills} kills with {hit} ADDs under way, {} saw a failed ADD: {failed:#?}",
        failed.len()
    );
    assert!(failed.len() <= FAILED, "{} of {PODS} pods saw a failed ADD: {failed:#?}", failed.len());
    assert!(kills >= KILLS && hit >= KILLS, "{kills} kills with {hit} ADDs under way try nothing");
    assert!(took < ALL_TAKE, "{PODS} pods took {took:?}");

    // Each address once, EC2 has it on this node, the ledger knows it for this sandbox, and the pod answers there.
    let mut owners: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
    for (pod, _) in &started {
        let other = owners.insert(pod.address, &pod.pod.name);
        assert_eq!(other, None, "an address was given twice: {} to {} too", pod.address, pod.pod.name);
    }
    let enis = rig.admin().enis_of(node.instance()).unwrap();
    let of_ec2: Vec<Ipv4Addr> = enis.iter().flat_map(|eni| eni.secondary_ips().collect::<Vec<_>>()).collect();
    node.wait_serving().unwrap();
    let ledger = node.wait_state("settled", |ledger| ledger.leases.len() == PODS).unwrap();
    let mut prober = Prober::new(started[0].0.pod.netns()).unwrap();
    for (pod, _) in &started {
        assert!(of_ec2.contains(&pod.address), "EC2 does not have {} here", pod.address);
        let holds = |lease: &Lease| lease.sandbox.container_id == pod.pod.container_id;
        let lease = ledger.leases.values().find(|lease| holds(lease)).expect("the ledger has its lease");
        assert_eq!(lease.faces[0].address, pod.address);
        let asker = prober.ask(pod.address, Duration::from_secs(2)).unwrap();
        assert_eq!(asker, started[0].0.address, "asking {}", pod.pod.name);
    }
    assert_eq!(rig.admin().broken_rules().unwrap(), Vec::<String>::new());
}

/// What a broken program makes of it.
#[test]
fn broken_programs_are_found() {
    let test = "pods_start_on_a_node_whose_daemon_is_killed_every_two_seconds";
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (test, sabotage::DOES_NOT_WAIT, &["pods saw a failed ADD"]),
            (test, sabotage::GIVES_ONE_TWICE, &["an address was given twice"]),
        ],
    );
}
