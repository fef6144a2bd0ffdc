//! A real runtime as the client: Debian's containerd and runc call the plugin, told to by what kubelet would tell
//! them.
//!
//! Every test runs in a box of its own (see [`boxed`]). They need root and the packages containerd, runc,
//! busybox-static and containernetworking-plugins, and fail without them.

mod boxed;
mod cri;
mod grpc;
mod image;
mod runtime;
mod stage;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::packets::{Echo, Prober, ask_internet};
use holdfast_chaos_tests::rig::scenario;
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netns;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use nix::sys::signal::Signal;

use crate::cri::PodSpec;
use crate::stage::{Sandbox, Stage};

/// How long a packet may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// On a node with room for plenty of pods.
fn on_a_node(test: &str, body: impl FnOnce(&mut Stage) -> anyhow::Result<()>) {
    stage::on_a_node(test, &scenario(&[("node-a", "m5.large")]), &[], body);
}

#[test]
fn pods_run_stop_and_are_removed() {
    on_a_node("pods_run_stop_and_are_removed", |stage| {
        let mut pods = vec![stage.run("first")?];
        pods.extend(eight_at_once(stage)?);
        for pod in &pods {
            stage.works(pod)?;
        }
        everybody_asks_everybody(stage, &pods)?;
        stage.is_sound(&pods.iter().collect::<Vec<_>>())?;
        orders_differ(stage)?;

        let leases: Vec<_> = pods.iter().map(|pod| stage.lease(&pod.id)).collect::<Result<_, _>>()?;
        for (pod, lease) in pods.iter().zip(&leases) {
            ensure!(stage.traces(lease)?.len() >= 3, "looking for traces finds those of a live pod");
            let runtime = stage.runtime();
            runtime.stop(&pod.id)?;
            ensure!(!runtime.status(&pod.id)?.ready, "{} was stopped", pod.id);
            ensure!(stage.dels(&pod.id)? == [None], "the daemon carried out {:?}", stage.dels(&pod.id)?);
            stage.is_released(lease)?;
        }
        // As kubelet does: again and again, and in the end the runtime calls DEL without a namespace.
        for (pod, lease) in pods.iter().zip(&leases) {
            let runtime = stage.runtime();
            runtime.stop(&pod.id)?;
            runtime.remove(&pod.id)?;
            runtime.remove(&pod.id)?;
            let calls = stage.containerd.calls_for(&pod.id)?;
            let late = calls.iter().filter(|call| call.command == "DEL" && call.netns.is_empty());
            ensure!(late.count() >= 1, "no DEL without a namespace: {calls:#?}");
            let dels = stage.dels(&pod.id)?;
            ensure!(
                dels.len() >= 2 && dels.iter().all(Option::is_none),
                "the daemon takes late DELs: {dels:?}"
            );
            ensure!(!pod.path.exists(), "{} is left", pod.path.display());
            stage.is_released(lease)?;
        }
        ensure!(stage.runtime().sandboxes()?.is_empty(), "sandboxes are left");
        ensure!(stage.node.state()?.leases.is_empty(), "leases are left");
        let broken = stage.rig.admin().broken_rules()?;
        ensure!(broken.is_empty(), "{broken:?}");
        stage.is_sound(&[])
    });
}

/// As after a node's start.
fn eight_at_once(stage: &Stage) -> anyhow::Result<Vec<Sandbox>> {
    let begun = Instant::now();
    let pods = std::thread::scope(|scope| {
        let run = |n: u32| scope.spawn(move || stage.run(&format!("pod-{n}")));
        let threads: Vec<_> = (0..8).map(run).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic in it"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    println!("8 sandboxes at once: {} ms", begun.elapsed().as_millis());
    Ok(pods)
}

fn everybody_asks_everybody(stage: &Stage, pods: &[Sandbox]) -> anyhow::Result<()> {
    let echoes: Vec<Echo> = pods.iter().map(|pod| Echo::serve(&pod.netns)).collect::<Result<_, _>>()?;
    for pod in pods {
        let mut prober = Prober::new(&pod.netns)?;
        for other in pods {
            let seen = prober.ask(other.address, PATIENCE)?;
            ensure!(seen == pod.address, "{} was seen as {seen}", pod.address);
        }
        let seen = ask_internet(&pod.netns, stage.rig.internet(), PATIENCE)?;
        ensure!(seen == stage.node.address()?, "the internet saw {seen}");
    }
    drop(echoes);
    Ok(())
}

/// What has worked so far did not depend on the order of `CNI_ARGS`, because there was none.
fn orders_differ(stage: &Stage) -> anyhow::Result<()> {
    let calls = stage.containerd.calls()?;
    let orders: BTreeSet<_> = calls.iter().map(|call| &call.keys).collect();
    println!("CNI_ARGS came in {} orders in {} calls", orders.len(), calls.len());
    ensure!(orders.len() > 1, "CNI_ARGS had one order only: {orders:?}");
    Ok(())
}

#[test]
fn without_a_daemon_pods_stop_and_new_ones_are_told_to_come_again() {
    on_a_node("without_a_daemon_pods_stop_and_new_ones_are_told_to_come_again", |stage| {
        let (gone, stays) = (stage.run("gone")?, stage.run("stays")?);
        let lease = stage.lease(&gone.id)?;
        stage.node.kill()?;

        let runtime = stage.runtime();
        runtime.stop(&gone.id)?;
        runtime.remove(&gone.id)?;
        ensure!(stage.lease(&gone.id)?.phase == LeasePhase::Active, "nobody was there to release it");
        ensure!(spooled(stage)? >= 1, "DEL left no tombstone");
        let dels = stage.dels(&gone.id)?;
        ensure!(dels.len() >= 2 && all_recorded(&dels), "DEL succeeds without a daemon: {dels:?}");
        let refused = runtime.run(&stage::pod("new")?).expect_err("nobody gives addresses");
        let words = format!("{refused:#}");
        println!("without a daemon: {words}");
        ensure!(words.contains("the node's network daemon did not answer"), "no cause in: {words}");
        ensure!(
            words.contains(&stage.node.socket().display().to_string()),
            "no place to look at in: {words}"
        );

        stage.node.start_ready()?;
        stage.is_released(&lease)?;
        let begun = Instant::now();
        while spooled(stage)? > 0 {
            ensure!(begun.elapsed() < Duration::from_secs(10), "tombstones are left");
            std::thread::sleep(Duration::from_millis(10));
        }
        let new = stage.run("new")?;
        stage.works(&new)?;
        stage.works(&stays)?;
        ensure!(stage.node.state()?.leases.len() == 2, "the refused sandbox left a lease");
        stage.is_sound(&[&new, &stays])
    });
}

/// Whether every DEL ended as one does without a daemon: with success, and a tombstone.
fn all_recorded(dels: &[Option<String>]) -> bool {
    let mut said = dels.iter().map(|del| del.as_deref().unwrap_or_default());
    said.all(|said| said.starts_with("done: recorded in "))
}

/// Tombstones that wait for the daemon. The spool is made with the first.
fn spooled(stage: &Stage) -> anyhow::Result<usize> {
    let spool = stage.node.spool();
    if !spool.exists() {
        return Ok(0);
    }
    let names = spool.read_dir().with_context(|| format!("listing {}", spool.display()))?;
    Ok(names.filter_map(Result::ok).filter(|entry| entry.path().is_file()).count())
}

#[test]
fn a_runtime_killed_in_the_middle_of_a_run_loses_nothing() {
    on_a_node("a_runtime_killed_in_the_middle_of_a_run_loses_nothing", |stage| {
        let before = stage.run("before")?;
        let (runtime, pod) = (stage.runtime(), stage::pod("torn")?);
        let lease = tear(stage, &pod, &before)?;
        let torn = lease.sandbox.container_id.clone();
        stage.works(&before)?;

        stage.containerd.start()?;
        let sandboxes = runtime.sandboxes()?;
        ensure!(sandboxes.get(&before.id) == Some(&true), "{} is ready: {sandboxes:?}", before.id);
        ensure!(sandboxes.get(&torn) == Some(&false), "{torn} is not ready: {sandboxes:?}");
        // Its namespace lives, so its lease does, over a restart of the daemon too.
        stage.node.kill()?;
        stage.node.start_ready()?;
        ensure!(stage.lease(&torn)? == lease, "{:?} was {lease:?}", stage.lease(&torn)?);
        ensure!(!stage.traces(&lease)?.is_empty(), "its wiring was kept");

        // Kubelet stops the torn sandbox, starts another for the same pod, and removes the torn one some time later.
        runtime.stop(&torn)?;
        ensure!(stage.dels(&torn)? == [None], "the daemon carried out {:?}", stage.dels(&torn)?);
        stage.is_released(&lease)?;
        let id = runtime.run(&PodSpec { attempt: 1, ..pod })?;
        let again = stage.sandbox(&id)?;
        stage.works(&again)?;
        let kept = stage.lease(&again.id)?;
        runtime.remove(&torn)?;
        ensure!(stage.lease(&again.id)? == kept, "a late DEL touched a newer sandbox of the same pod");
        stage.works(&again)?;
        stage.works(&before)?;
        stage.is_sound(&[&again, &before])
    });
}

/// Runs a pod whose runtime dies after ADD was asked for and before it has the answer: its lease.
fn tear(stage: &mut Stage, pod: &PodSpec, before: &Sandbox) -> anyhow::Result<Lease> {
    // ADD hangs in the daemon while the runtime dies.
    stage.node.daemon()?.signal(Signal::SIGSTOP)?;
    let asking = std::thread::spawn({
        let (runtime, pod) = (stage.runtime(), pod.clone());
        move || runtime.run(&pod)
    });
    let torn = stage.wait_add(&[&before.id])?;
    stage.wait_asked()?;
    stage.containerd.kill()?;
    let outcome = asking.join().expect("no panic in it");
    ensure!(outcome.is_err(), "the runtime was killed before the plugin answered: {outcome:?}");
    stage.node.daemon()?.signal(Signal::SIGCONT)?;
    // The plugin runs on without its runtime.
    let active = |lease: &&Lease| lease.sandbox.container_id == torn && lease.phase == LeasePhase::Active;
    let with_it = |ledger: &Ledger| ledger.leases.values().find(active).cloned();
    let ledger = stage.node.wait_state("holding the torn pod's lease", |ledger| with_it(ledger).is_some())?;
    with_it(&ledger).context("it was there a moment ago")
}

#[test]
fn a_lease_whose_del_never_comes_ends_when_its_sandbox_is_proven_dead_and_not_before() {
    let test = "a_lease_whose_del_never_comes_ends_when_its_sandbox_is_proven_dead_and_not_before";
    on_a_node(test, |stage| {
        let before = stage.run("before")?;
        let torn = tear(stage, &stage::pod("torn")?, &before)?;
        // Somebody keeps its namespace, and in it the link.
        let kept = netns::open(Path::new(&torn.netns.path))?;
        stage.containerd.swallow_dels()?;
        stage.containerd.start()?;
        let runtime = stage.runtime();
        runtime.stop(&torn.sandbox.container_id)?;
        runtime.remove(&torn.sandbox.container_id)?;
        let calls = stage.containerd.calls_for(&torn.sandbox.container_id)?;
        ensure!(calls.iter().any(|call| call.command == "DEL"), "the runtime calls DEL: {calls:#?}");
        ensure!(stage.dels(&torn.sandbox.container_id)?.is_empty(), "and it reaches nobody");
        ensure!(!Path::new(&torn.netns.path).exists(), "the runtime has taken the namespace's name away");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(45) {
            ensure!(
                stage.find_lease(&torn.sandbox.container_id)?.is_some(),
                "given up after {:?} although its link lives",
                begun.elapsed()
            );
            std::thread::sleep(Duration::from_secs(1));
        }
        drop(kept);
        let dead = Instant::now();
        while stage.find_lease(&torn.sandbox.container_id)?.is_some() {
            ensure!(
                dead.elapsed() < Duration::from_secs(60),
                "still leased {:?} after its end",
                dead.elapsed()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("ended {:.1} s after its namespace", dead.elapsed().as_secs_f64());
        stage.is_released(&torn)?;
        stage.works(&before)?;
        stage.is_sound(&[&before])
    });
}

#[test]
fn a_caller_that_gives_up_leaves_nothing() {
    on_a_node("a_caller_that_gives_up_leaves_nothing", |stage| {
        stage.node.daemon()?.signal(Signal::SIGSTOP)?;
        let pod = stage::pod("late")?;
        let refused = stage.runtime().run_within(&pod, Duration::from_secs(4)).expect_err("the daemon hangs");
        println!("given up: {refused:#}");
        let sandbox = stage.wait_add(&[])?;
        let calls = stage.containerd.calls_for(&sandbox)?;
        ensure!(
            calls.iter().any(|call| call.command == "DEL"),
            "the runtime takes back what it began: {calls:#?}"
        );
        let dels = stage.dels(&sandbox)?;
        ensure!(dels.len() == 1 && all_recorded(&dels), "DEL succeeds without an answer: {dels:?}");
        stage.node.daemon()?.signal(Signal::SIGCONT)?;
        // The daemon finds an ADD that nobody waits for, and the DEL of the same sandbox.
        stage.node.wait_serving()?;
        let begun = Instant::now();
        while stage.find_lease(&sandbox)?.is_some() || spooled(stage)? > 0 {
            ensure!(begun.elapsed() < Duration::from_secs(15), "{:?}", stage.find_lease(&sandbox)?);
            std::thread::sleep(Duration::from_millis(10));
        }
        let id = stage.runtime().run(&pod)?;
        let served = stage.sandbox(&id)?;
        stage.works(&served)?;
        ensure!(stage.node.state()?.leases.len() == 1, "a lease of nobody is left");
        stage.is_sound(&[&served])
    });
}

#[test]
fn a_full_subnet_is_named_as_the_cause_until_an_address_has_rested() {
    // No warm addresses beyond the first.
    let variables = [
        ("WARM_ENI_TARGET", "0"),
        ("WARM_IP_TARGET", "0"),
        ("MINIMUM_IP_TARGET", "1"),
        ("IP_COOLDOWN_PERIOD", "2"),
    ];
    let scenario = scenario(&[("node-a", "m5.large")]);
    stage::on_a_node(
        "a_full_subnet_is_named_as_the_cause_until_an_address_has_rested",
        &scenario,
        &variables,
        |stage| {
            let first = stage.run("first")?;
            let subnet = stage.rig.admin().enis_of(stage.node.instance())?[0].subnet_id;
            stage.rig.admin().occupy(&subnet, 0)?;
            let words = refusal(stage, "second")?;
            ensure!(words.contains(subnet.as_str()), "not the true cause: {words}");
            ensure!(words.contains("default/second"), "not the pod it is about: {words}");
            stage.works(&first)?;
            // Kubelet tries again and again, and is served once the one address has rested.
            stage.runtime().stop(&first.id)?;
            let begun = Instant::now();
            let second = loop {
                match stage.run("second") {
                    Ok(second) => break second,
                    Err(error) => ensure!(begun.elapsed() < Duration::from_secs(15), "still: {error:#}"),
                }
                std::thread::sleep(Duration::from_millis(200));
            };
            ensure!(begun.elapsed() > Duration::from_secs(1), "the address was given away without a rest");
            ensure!(second.address == first.address, "{} out of a full subnet", second.address);
            stage.works(&second)
        },
    );
}

/// What a pod's event would say.
fn refusal(stage: &Stage, pod: &str) -> anyhow::Result<String> {
    let begun = Instant::now();
    let refused = stage.runtime().run(&stage::pod(pod)?).expect_err("there is no address");
    let words = format!("{refused:#}");
    println!("after {} ms: {words}", begun.elapsed().as_millis());
    Ok(words)
}

/// Told by the outermost program to the one that it kills.
const STAY: &str = "HOLDFAST_CONTAINERD_STAY";
/// Printed when there is something to leave behind.
const RUNNING: &str = "pods are running in ";

#[test]
fn a_killed_run_leaves_nothing_on_the_machine() {
    let test = "a_killed_run_leaves_nothing_on_the_machine";
    if std::env::var_os(STAY).is_some() {
        return on_a_node(test, |stage| {
            let _pod = stage.run("left-behind")?;
            println!("{RUNNING}{}", boxed::name()?);
            std::thread::sleep(Duration::from_secs(60));
            anyhow::bail!("nobody killed this run")
        });
    }
    if let Err(error) = killed_run(test) {
        panic!("{error:#}");
    }
}

fn killed_run(test: &str) -> anyhow::Result<()> {
    let mounts = || std::fs::read_to_string("/proc/self/mounts");
    let before = mounts()?;
    let mut run = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(STAY, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(run.stdout.take().context("stdout is a pipe")?);
    let name =
        output.lines().map_while(Result::ok).find_map(|line| Some(line.split_once(RUNNING)?.1.to_owned()));
    let (processes, cgroups) = match &name {
        Some(name) => (boxed::processes(name)?, boxed::cgroups(name)?),
        None => (Vec::new(), Vec::new()),
    };
    run.kill()?;
    run.wait()?;
    let name = name.context("the run that was to be killed ended early: see above")?;
    let programs: BTreeSet<&str> = processes.iter().map(|process| process.program.as_str()).collect();
    for program in ["vpcsim", "containerd", "containerd-shim"] {
        ensure!(programs.contains(program), "{program} is not among {programs:?}");
    }
    ensure!(!cgroups.is_empty(), "a sandbox has cgroups");
    let begun = Instant::now();
    loop {
        let left = (boxed::processes(&name)?, boxed::cgroups(&name)?);
        if left.0.is_empty() && left.1.is_empty() {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(15), "left on the machine: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!(
        "{} processes and {} cgroups were gone after {} ms",
        processes.len(),
        cgroups.len(),
        begun.elapsed().as_millis()
    );
    ensure!(mounts()? == before, "mounts are left");
    Ok(())
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            ("pods_run_stop_and_are_removed", sabotage::NO_NAT, &["no answer from 198.51.100.10"]),
            ("pods_run_stop_and_are_removed", sabotage::DEL_DOES_NOTHING, &["the daemon carried out []"]),
            (
                "pods_run_stop_and_are_removed",
                sabotage::WRONG_NEIGHBOUR,
                &["from the node: no answer from 10."],
            ),
            (
                "without_a_daemon_pods_stop_and_new_ones_are_told_to_come_again",
                sabotage::DEL_NEEDS_A_DAEMON,
                &["a saboteur wants one"],
            ),
            (
                "without_a_daemon_pods_stop_and_new_ones_are_told_to_come_again",
                sabotage::REFUSES_WITHOUT_CAUSE,
                &["no cause in"],
            ),
            (
                "a_runtime_killed_in_the_middle_of_a_run_loses_nothing",
                sabotage::LOSES_A_LEASE,
                &["has no lease"],
            ),
            (
                "a_full_subnet_is_named_as_the_cause_until_an_address_has_rested",
                sabotage::REFUSES_WITHOUT_CAUSE,
                &["not the true cause"],
            ),
        ],
    );
}
