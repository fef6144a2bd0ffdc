//! The daemon dies while it is asked for something, and while nobody hears what it is asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::latency::Latencies;
use holdfast_chaos_tests::packets::{Control, Pinger, Pings};
use holdfast_chaos_tests::report::Report;

use crate::Arguments;
use crate::dice::Dice;
use crate::stage::{Place, Stage, start_pods};
use crate::summary::Summary;

/// ADDs under way when the daemon is killed.
const IN_FLIGHT: usize = 2;

/// The daemon is killed at most this long after they were asked for: about as long as they take.
const WINDOW: Duration = Duration::from_millis(12);

/// A ping so often, from every pod, while all this happens.
const PING_EVERY: Duration = Duration::from_millis(50);

/// How long a killed daemon may take to serve: a hundredth of it in life.
const BACK_WITHIN: Duration = Duration::from_secs(4);

/// How long it may then take to serve its first ADD, which may have to wait until an address has rested.
const SERVED_WITHIN: Duration = Duration::from_secs(6);

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
    let pings = Pinging::start(stage, 0)?;
    let mut dice = Dice::new(arguments.seed);
    for kill in 0..usize::from(arguments.kills) {
        let turn = kill % stage.places.len();
        let known = stage.addresses()?;
        let struck = kill_in_the_middle(stage, turn, kill, &mut dice, &mut summary.adds)?;
        summary.kills += 1;
        summary.starts += 1;
        summary.cut_off += struck.cut_off;
        let now = stage.addresses()?;
        ensure!(now.is_superset(&known), "a pod lost its address");
        summary.pods += (now.len() - known.len()) / stage.places[turn].pods[0].addresses.len();
        keep_their_leases(stage, turn)?;
        report.held(&format!(
            "{}: killed {:.1} ms into {} ADDs, back after {} ms, next ADD {} ms later; {} cut off",
            stage.places[turn].node.name(),
            struck.after.as_secs_f64() * 1000.0,
            struck.in_flight,
            struck.back.as_millis(),
            struck.served.as_millis(),
            struck.cut_off,
        ));
    }
    ensure!(summary.cut_off > 0, "no ADD was cut off by any kill: choose another --seed");
    pings.stop(report, summary)
}

struct Struck {
    after: Duration,
    in_flight: usize,
    /// From the daemon's death until it answered.
    back: Duration,
    /// When that was.
    serving: Instant,
    /// From then until the first ADD was served.
    served: Duration,
    /// ADDs that the daemon had not answered when it died.
    cut_off: usize,
}

/// Asks for pods on a node and kills its daemon before it has answered.
fn kill_in_the_middle(
    stage: &mut Stage,
    turn: usize,
    kill: usize,
    dice: &mut Dice,
    adds: &mut Latencies,
) -> anyhow::Result<Struck> {
    let runner = stage.places[turn].runner();
    let (rig, Place { node, pods, rests, .. }) = (&stage.rig, &mut stage.places[turn]);
    let rests = &*rests;
    for attempt in 0..ATTEMPTS {
        let names: Vec<String> =
            (0..IN_FLIGHT).map(|n| format!("{}-crash-{kill}-{attempt}-{n}", node.name())).collect();
        let under_way = AtomicUsize::new(0);
        let moment = dice.moment(WINDOW);
        let (struck, started) = std::thread::scope(|scope| {
            let runtime = scope.spawn(|| start_pods(rig, &runner, &names, IN_FLIGHT, &under_way, rests));
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
                node.kill().and_then(|()| {
                    let died = Instant::now();
                    node.start_serving()?;
                    let (back, serving) = (died.elapsed(), Instant::now());
                    // Asked of the dead one, and not answered by it: their plugins ask the next.
                    let cut_off = in_flight.min(under_way.load(Ordering::SeqCst));
                    Ok(Some(Struck { after, in_flight, back, serving, served: Duration::ZERO, cut_off }))
                })
            };
            (struck, runtime.join())
        });
        let struck = struck?;
        let started = started.map_err(|_panic| anyhow::anyhow!("the runtime's thread panicked"))??;
        if let Some(mut struck) = struck {
            let name = node.name();
            ensure!(struck.back <= BACK_WITHIN, "{name} was away for {} ms", struck.back.as_millis());
            started.none_refused_since(struck.serving).with_context(|| format!("{name}, after a kill"))?;
            let first = started.served.iter().filter(|served| **served > struck.serving).min();
            struck.served = first.map_or(Duration::ZERO, |first| *first - struck.serving);
            ensure!(
                struck.served <= SERVED_WITHIN,
                "{name} served no ADD for {} ms after a kill",
                struck.served.as_millis()
            );
            adds.extend(started.adds);
            pods.extend(started.pods);
            return Ok(struck);
        }
        // All were served before the blow; their pods make room for the next attempt.
        for pod in started.pods {
            pod.goes(rests);
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
            lease.addresses().eq(pod.addresses.iter().copied()),
            "{} had {:?} and has {:?}",
            pod.pod.name,
            pod.addresses,
            lease.addresses().collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// Every pod asks one of the other node, and a control asks itself.
struct Pinging {
    control: Control,
    pingers: Vec<Pinger>,
}

impl Pinging {
    /// All but the last `spared` pods of each node ask and are asked.
    fn start(stage: &Stage, spared: usize) -> anyhow::Result<Self> {
        let of = |place: &crate::stage::Place| place.pods.len().saturating_sub(spared).max(1);
        let mut pingers = Vec::new();
        for (place, other) in stage.places.iter().zip(stage.places.iter().rev()) {
            for (number, pod) in place.pods.iter().take(of(place)).enumerate() {
                let to = other.pods.get(number % of(other)).context("each node has pods")?;
                pingers.push(Pinger::start(pod.pod.netns(), to.address, PING_EVERY)?);
            }
        }
        Ok(Self { control: Control::start(PING_EVERY)?, pingers })
    }

    fn stop(self, report: &mut Report, summary: &mut Summary) -> anyhow::Result<()> {
        let mut all = Pings::default();
        let pods = self.pingers.len();
        for pinger in self.pingers {
            all.add(pinger.stop()?);
        }
        let control = self.control.stop()?;
        all.hold(&control)?;
        summary.pings += all.sent;
        report.held(&format!(
            "{pods} other pods noticed nothing: {} pings, 0 lost, the slowest answered after {} ms (control {} ms)",
            all.sent,
            all.slowest.as_millis(),
            control.slowest.as_millis()
        ));
        Ok(())
    }
}

/// Deletes pods with the daemons dead; they carry it out when they live again.
pub(super) fn delete_unheard(
    report: &mut Report,
    stage: &mut Stage,
    count: usize,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let pings = Pinging::start(stage, count)?;
    for at in 0..stage.places.len() {
        let place = &mut stage.places[at];
        let name = place.node.name().to_owned();
        place.node.kill()?;
        let runner = place.runner();
        // Not those that are being pinged.
        let keep = place.pods.len().saturating_sub(count).max(1);
        let (mut gone, mut linger) = (Vec::new(), Vec::new());
        for (number, pod) in place.pods.split_off(keep).into_iter().enumerate() {
            pod.goes(&place.rests);
            let called = runner.del(&pod.pod)?;
            summary.dels.push(called.took);
            called.ok().with_context(|| format!("DEL of {} without a daemon", pod.pod.name))?;
            gone.push(pod.address);
            // Its network namespace goes, as the runtime takes it away. Of some it takes a while to: of those nothing but
            // the DEL tells that they are over.
            if number % 2 == 1 {
                linger.push(pod);
            }
        }
        summary.unheard += gone.len();
        report.held(&format!("{name}: DEL of {} pods succeeds without a daemon", gone.len()));
        place.node.start_serving()?;
        summary.starts += 1;
        let is_gone = |ledger: &holdfast_model::ledger::Ledger| {
            !ledger.leases.values().any(|lease| gone.iter().any(|address| lease.faces[0].address == *address))
        };
        place.node.wait_state("rid of the deleted pods", is_gone)?;
        stage.wait_sound()?;
        drop(linger);
        report.held(&format!("{name}: carried out at its start: leases, rules, routes and links are gone"));
    }
    pings.stop(report, summary)
}
