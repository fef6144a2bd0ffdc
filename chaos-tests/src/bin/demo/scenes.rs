//! The scenes, in order. Each ends with what was seen to hold; the first promise that is broken ends the demo.

mod bounds;
mod check;
mod crash;
mod eni_configs;
mod packets;
mod rest;
mod truth;

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_chaos_tests::look::Watched;
use holdfast_chaos_tests::report::Report;
use holdfast_chaos_tests::rig::Rig;
use holdfast_model::eni::{EniPhase, EniRecord};
use holdfast_model::ledger::Ledger;
use serde_json::json;

use crate::Arguments;
use crate::mode::Mode;
use crate::rests::Rests;
use crate::stage::{Place, Stage, start_pods};
use crate::summary::Summary;

/// How many scenes there are.
pub(crate) const STEPS: usize = 10;

/// Pods that a runtime starts at once on one node.
const AT_ONCE: usize = 4;

/// Seconds that a freed address rests. Each ADD that is cut off may cost a rest, and an m5.large has 27 addresses: with
/// the default a run would now and then wait for half a minute.
const COOLDOWN: Duration = Duration::from_secs(2);

/// Tags that ENIs which are made for a node must have: those of its cluster, and one of the cluster's owner.
const CLUSTER: &str = "demo";
const TEAM: (&str, &str) = ("team", "network");

/// Pods of each node that are deleted while no daemon runs.
const DELETED_UNHEARD: usize = 3;

/// Plays all scenes.
pub(crate) fn play(report: &mut Report, arguments: &Arguments) -> anyhow::Result<()> {
    let mut summary = Summary::default();
    report.step("A VPC in a box");
    let mut stage = raise(report, arguments.mode)?;
    let played = perform(report, &mut stage, arguments, &mut summary)
        .and_then(|()| take_down_pods(report, &mut stage, arguments.mode, &mut summary));
    if played.is_err() {
        stage.last_words(report);
    }
    played?;
    drop(stage);
    truth::nobody_left()?;
    report.held("the box is gone: no process, no interface and no other namespace is left");
    summary.tell(report);
    Ok(())
}

fn perform(
    report: &mut Report,
    stage: &mut Stage,
    arguments: &Arguments,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    report.step("The daemon on both nodes, through the real AWS SDK");
    start_daemons(report, stage, arguments.mode, summary)?;

    report.step("The CNI plugin gives addresses to pods");
    fill(report, stage, arguments.pods.into(), summary)?;

    report.step("CHECK tells a pod that is well from one that is not");
    check::tell_apart(report, stage)?;

    report.step("Packets");
    packets::flow(report, stage, arguments.mode, summary)?;
    if arguments.mode == Mode::Custom {
        eni_configs::hold(report, stage)?;
    }
    packets::spoof(report, stage)?;
    packets::by_each_card(report, stage, summary)?;

    report.step("SIGKILL in the middle of ADD");
    crash::strike(report, stage, arguments, summary)?;

    report.step("DEL while no daemon runs");
    crash::delete_unheard(report, stage, DELETED_UNHEARD, summary)?;

    if let Some(room) = arguments.mode.room() {
        report.step("A full node gives no address before it has rested");
        rest::wait_for_one(report, stage, room, summary)?;
    } else {
        report.step("A freed address comes back last");
        rest::comes_back_last(report, stage, summary)?;
    }

    report.step("What the daemon believes, EC2 and the kernel agree");
    truth::agree(report, stage)
}

fn raise(report: &mut Report, mode: Mode) -> anyhow::Result<Stage> {
    let rig = Rig::up(&format!("{}{}", mode.scenario(), mode.subnets()))?;
    report.held("EC2, IMDS, a router that forwards only what EC2 shows, an internet host");
    let mut places = Vec::new();
    for name in rig.node_names().map(str::to_owned).collect::<Vec<_>>() {
        let node = rig.node(&name)?;
        report.note(&format!("{name}: {}, {}, {}", mode.type_of(&name), node.instance(), node.address()?));
        let rests = Rests::of(COOLDOWN);
        let mut watched = Watched::before(&node)?;
        if mode == Mode::Ipv6 {
            watched.expect_ipv6();
        }
        places.push(Place { pods: Vec::new(), rests, watched, node, mode });
    }
    Ok(Stage { places, rig })
}

fn start_daemons(
    report: &mut Report,
    stage: &mut Stage,
    mode: Mode,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    if mode == Mode::Custom {
        eni_configs::write(report, stage)?;
    }
    for place in &mut stage.places {
        for (name, value) in mode.settings() {
            place.node.set(name, value);
        }
        place.node.set("IP_COOLDOWN_PERIOD", &COOLDOWN.as_secs().to_string());
        place.node.set("CLUSTER_NAME", CLUSTER);
        place.node.set("ADDITIONAL_ENI_TAGS", &json!({ TEAM.0: TEAM.1 }).to_string());
        let tags = [
            ("node.k8s.amazonaws.com/instance_id", place.node.instance().as_str()),
            ("cluster.k8s.amazonaws.com/name", CLUSTER),
            ("eks:eni:owner", "amazon-vpc-cni"),
            TEAM,
        ];
        place.watched.expect_tags(tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        place.node.start()?;
        summary.starts += 1;
    }
    report.note(&format!(
        "settings are the defaults, but freed addresses rest for {} s in place of 30, and ENIs have the cluster's tags",
        COOLDOWN.as_secs()
    ));
    for (name, value) in mode.settings() {
        report.note(&format!("and {name} is {value}"));
    }
    for Place { node, .. } in &mut stage.places {
        node.wait_until("ready", |health| health["serving"] == "ready")?;
        let ledger = node.state()?;
        let eni = ledger.enis.len();
        let listed = ledger.blocks.values().map(|block| block.addresses().count()).sum::<usize>();
        let prefix = ledger.blocks.values().find(|block| !block.is_listable());
        report.held(&format!(
            "{} is ready: {} on {eni} ENI{}, each shown by EC2",
            node.name(),
            prefix.map_or_else(|| format!("{listed} addresses"), |prefix| prefix.net.to_string()),
            if eni == 1 { "" } else { "s" },
        ));
    }
    Ok(())
}

fn fill(report: &mut Report, stage: &mut Stage, pods: usize, summary: &mut Summary) -> anyhow::Result<()> {
    for place in &mut stage.places {
        let name = place.node.name().to_owned();
        let names: Vec<String> = (0..pods).map(|number| format!("{name}-web-{number}")).collect();
        let runner = place.runner();
        let began = Instant::now();
        let started = start_pods(&stage.rig, &runner, &names, AT_ONCE, &AtomicUsize::new(0), &place.rests)?;
        started.none_refused_since(began)?;
        let enis: std::collections::BTreeSet<_> = place
            .node
            .state()?
            .leases
            .values()
            .flat_map(|lease| lease.faces.clone())
            .map(|face| face.eni)
            .collect();
        place.pods.extend(started.pods);
        summary.adds.extend(started.adds);
        report.held(&format!("{name}: {pods} pods have addresses of {} ENIs", enis.len()));
    }
    let all = stage.addresses()?;
    summary.pods += stage.places.iter().map(|place| place.pods.len()).sum::<usize>();
    report.held(&format!("{} addresses, each given once", all.len()));
    let mode = stage.places[0].mode;
    bounds::adds(&stage.rig, mode, &summary.adds)?;
    stage.wait_sound()?;
    report.held(
        "EC2, results and both ways of each pod in the kernel are as they must be, and nothing else is there",
    );
    Ok(())
}

fn take_down_pods(
    report: &mut Report,
    stage: &mut Stage,
    mode: Mode,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    report.step("Taking everything down");
    let mut sandboxes = Vec::new();
    for place in &mut stage.places {
        let runner = place.runner();
        for pod in std::mem::take(&mut place.pods) {
            let called = runner.del(&pod.pod)?;
            summary.dels.push(called.took);
            called.ok().with_context(|| format!("DEL of {}", pod.pod.name))?;
            sandboxes.push(pod);
        }
    }
    // Their namespaces still live: nothing has gone but by DEL.
    stage.wait_sound()?;
    // A daemon that is stopped in the middle of giving an ENI back does the rest at its next start, of which there is none
    // here.
    let at_rest = |ledger: &Ledger| {
        let whole = |eni: &EniRecord| matches!(eni.phase, EniPhase::Attached { .. } | EniPhase::Gone);
        ledger.leases.is_empty() && ledger.intents.is_empty() && ledger.enis.values().all(whole)
    };
    for place in &stage.places {
        place.node.wait_state("without leases and with no ENI on its way", at_rest)?;
    }
    drop(sandboxes);
    report.held("all pods are deleted");
    bounds::dels(&summary.dels)?;
    for place in &mut stage.places {
        let status = place.node.terminate()?;
        ensure!(status.success(), "the daemon of {} ended with {status}", place.node.name());
    }
    report.held("both daemons stopped in order");
    stage.wait_sound()?;
    report.held("both nodes are as they were before their first pod; what is new belongs to their ENIs");
    bounds::adds(&stage.rig, mode, &summary.adds)?;
    let counts = stage.rig.admin().counts()?;
    summary.count_calls(&counts);
    bounds::calls(stage, mode.later_blocks(), summary)
}
