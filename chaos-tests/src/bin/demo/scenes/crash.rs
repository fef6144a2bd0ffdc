//! The daemon dies while it is asked for something, and while nobody hears what it is asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::orphans::PodPieces;
use holdfast_chaos_tests::packets::{Pinger, Pings};
use holdfast_chaos_tests::report::Report;

use crate::Arguments;
use crate::dice::Dice;
use crate::stage::{Stage, start_pods};
use crate::summary::Summary;

/// ADDs under way when the daemon is killed.
const IN_FLIGHT: usize = 2;

/// The daemon is killed at most this long after they were asked for: about as long as they take.
const WINDOW: Duration = Duration::from_millis(12);

/// A ping so often while all this happens.
const PING_EVERY: Duration = Duration::from_millis(10);

/// Tries to hit the middle of an ADD once.
const ATTEMPTS: usize = 20;

/// How long something may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kills daemons, turn by turn, while ADDs are under way.
pub(super) fn strike(
    report: &mut Report,
    stage: &mut Stage,
    arguments: &Arguments,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let pingers = start_pings(stage)?;
    let mut dice = Dice::new(arguments.seed);
    for kill in 0..usize::from(arguments.kills) {
        let turn = kill % stage.places.len();
        let known = stage.addresses()?;
        let struck = kill_in_the_middle(stage, turn, kill, &mut dice)?;
        summary.kills += 1;
        summary.cut_off += struck.cut_off;
        let now = stage.addresses()?;
        ensure!(now.is_superset(&known), "a pod lost its address");
        summary.pods += now.len() - known.len();
        keep_their_leases(stage, turn)?;
        report.held(&format!(
            "{}: killed {:.1} ms into {} ADDs, back after {} ms; {} cut off and served on retry",
            stage.places[turn].node.name(),
            struck.after.as_secs_f64() * 1000.0,
            struck.in_flight,
            struck.back.as_millis(),
            struck.cut_off,
        ));
    }
    ensure!(summary.cut_off > 0, "no ADD was cut off by any kill: choose another --seed");
    stop_pings(report, pingers, summary)
}

struct Struck {
    after: Duration,
    in_flight: usize,
    back: Duration,
    cut_off: usize,
}

/// Asks for pods on a node and kills its daemon before it has answered.
fn kill_in_the_middle(
    stage: &mut Stage,
    turn: usize,
    kill: usize,
    dice: &mut Dice,
) -> anyhow::Result<Struck> {
    let (rig, place) = (&stage.rig, &mut stage.places[turn]);
    let runner = place.node.runner();
    for attempt in 0..ATTEMPTS {
        let names: Vec<String> =
            (0..IN_FLIGHT).map(|n| format!("{}-crash-{kill}-{attempt}-{n}", place.node.name())).collect();
        let under_way = AtomicUsize::new(0);
        let moment = dice.moment(WINDOW);
        let (struck, started) = std::thread::scope(|scope| {
            let runtime = scope.spawn(|| start_pods(rig, &runner, &names, IN_FLIGHT, &under_way));
            let asked = Instant::now();
            while under_way.load(Ordering::SeqCst) == 0 && asked.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            let began = Instant::now();
            std::thread::sleep(moment);
            let in_flight = under_way.load(Ordering::SeqCst);
            let struck = if in_flight == 0 {
                Ok(None)
            } else {
                let after = began.elapsed();
                place.node.kill().and_then(|()| {
                    let died = Instant::now();
                    place.node.start_serving()?;
                    Ok(Some(Struck { after, in_flight, back: died.elapsed(), cut_off: 0 }))
                })
            };
            (struck, runtime.join())
        });
        let struck = struck?;
        let started = started.map_err(|_panic| anyhow::anyhow!("the runtime's thread panicked"))??;
        if let Some(mut struck) = struck {
            struck.cut_off = started.retries.min(IN_FLIGHT);
            place.pods.extend(started.pods);
            return Ok(struck);
        }
        // All were served before the blow; their pods make room for the next attempt.
        for pod in started.pods {
            runner.del(&pod.pod)?.ok()?;
        }
    }
    anyhow::bail!("no ADD was under way at any of {ATTEMPTS} moments")
}

/// Every pod of a node still has the lease that it was answered with.
fn keep_their_leases(stage: &Stage, turn: usize) -> anyhow::Result<()> {
    let place = &stage.places[turn];
    let ledger = place.node.state()?;
    for pod in &place.pods {
        let lease = ledger
            .leases
            .values()
            .find(|lease| lease.sandbox.container_id == pod.pod.container_id)
            .with_context(|| format!("{} has lost its lease", pod.pod.name))?;
        ensure!(
            lease.address == pod.address,
            "{} had {} and has {}",
            pod.pod.name,
            pod.address,
            lease.address
        );
    }
    Ok(())
}

/// From the first pod of each node to the first of the next.
fn start_pings(stage: &Stage) -> anyhow::Result<Vec<Pinger>> {
    let firsts: Vec<_> = stage
        .places
        .iter()
        .map(|place| place.pods.first().context("each node has pods"))
        .collect::<Result<_, _>>()?;
    let next = firsts.iter().cycle().skip(1);
    firsts
        .iter()
        .zip(next)
        .map(|(from, to)| Pinger::start(from.pod.netns(), to.address, PING_EVERY))
        .collect()
}

fn stop_pings(report: &mut Report, pingers: Vec<Pinger>, summary: &mut Summary) -> anyhow::Result<()> {
    let mut all = Pings::default();
    for pinger in pingers {
        let pings = pinger.stop()?;
        all.sent += pings.sent;
        all.lost += pings.lost;
    }
    ensure!(all.lost == 0, "{} of {} pings were lost", all.lost, all.sent);
    summary.pings += all.sent;
    report.held(&format!("other pods noticed nothing: {} pings, one each 10 ms both ways, 0 lost", all.sent));
    Ok(())
}

/// Deletes pods with the daemons dead; they carry it out when they live again.
pub(super) fn delete_unheard(
    report: &mut Report,
    stage: &mut Stage,
    count: usize,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let pingers = start_pings(stage)?;
    for place in &mut stage.places {
        let name = place.node.name().to_owned();
        place.node.kill()?;
        let runner = place.node.runner();
        // Not the first one, which is being pinged.
        let keep = place.pods.len().saturating_sub(count).max(1);
        let mut gone = Vec::new();
        for pod in place.pods.split_off(keep) {
            runner
                .del(&pod.pod)?
                .ok()
                .with_context(|| format!("DEL of {} without a daemon", pod.pod.name))?;
            gone.push(pod.address);
            // Its network namespace goes, as the runtime takes it away.
            drop(pod);
        }
        summary.unheard += gone.len();
        report.held(&format!("{name}: DEL of {} pods succeeds without a daemon", gone.len()));
        place.node.start_serving()?;
        let is_gone = |ledger: &holdfast_model::ledger::Ledger| {
            !ledger.leases.values().any(|lease| gone.iter().any(|address| lease.address == *address))
        };
        place.node.wait_state("rid of the deleted pods", is_gone)?;
        let netns = place.node.netns()?;
        let began = Instant::now();
        loop {
            let pieces = PodPieces::observe(&netns)?;
            if gone.iter().all(|address| !pieces.ruled.contains(&(*address).into())) {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "rules of deleted pods are still there: {pieces:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        report.held(&format!("{name}: carried out at its start: leases, rules, routes and links are gone"));
    }
    stop_pings(report, pingers, summary)
}
