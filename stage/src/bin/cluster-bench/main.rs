//! `cluster-bench`: what pods wait for, with Holdfast installed by its chart and with the reference plugin `ptp`. Run by
//! `./dev bench cluster`.
//!
//! One stage of one node after the other, the two networks in turn. Nothing is judged here but that all pods start.

mod figures;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use holdfast_stage::RunFolder;
use holdfast_stage::drive::{Cluster, verb};
use serde_json::{Value, json};

use figures::{Figures, first_pod, mean, median, percentile, timer_lines};

/// Start of pods beside the reference plugin's.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// How many pods are created at once.
    #[arg(long, default_value_t = 30)]
    pods: u16,
    /// How often that is done on each stage.
    #[arg(long, default_value_t = 2)]
    bursts: u16,
    /// How often on each stage kubelet is started anew, so that it has a first pod again.
    #[arg(long, default_value_t = 5)]
    first_pods: u16,
    /// How many stages of each network are brought up, in turn.
    #[arg(long, default_value_t = 2)]
    rounds: u16,
    /// The node's instance type: one whose first ENIs have addresses for two bursts, of which one rests.
    #[arg(long = "type", default_value = "m5.4xlarge")]
    instance_type: String,
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

const NODE: &str = "node-a";
const NAME: &str = "bench";
const NAMESPACE: &str = "default";

/// A network, and the plugin of it that is timed.
const NETWORKS: [(&str, &str); 2] = [("ptp", "ptp"), ("chart", "aws-cni")];

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut figures = [Figures::default(), Figures::default()];
    for round in 1..=cli.rounds {
        for (at, (network, plugin)) in NETWORKS.iter().enumerate() {
            println!("round {round} of {}: {network}", cli.rounds);
            let measured = on_stage(cli, network, plugin);
            let ended = verb(&cli.root, NAME, &["down"]).map_err(anyhow::Error::from);
            figures[at].add(measured.and_then(|figures| ended.map(|()| figures))?);
        }
    }
    let [ptp, ours] = &figures;
    let row = |what: &str, of: fn(&[f64]) -> f64, ptp: &[f64], ours: &[f64]| {
        println!("{what:<58} {:>9.1} {:>9.1} {:>6.2}", of(ptp), of(ours), of(ours) / of(ptp));
    };
    println!("\n{:<58} {:>9} {:>9} {:>6}", "milliseconds", "ptp", "holdfast", "ratio");
    row("ADD of the plugin, median", median, &ptp.adds, &ours.adds);
    row("ADD of the plugin, 99th percentile", |of| percentile(of, 99), &ptp.adds, &ours.adds);
    row("DEL of the plugin, median", median, &ptp.dels, &ours.dels);
    row("all pods of a burst running, median", median, &ptp.bursts, &ours.bursts);
    row("first pod of a fresh node, kubelet's account, median", median, &ptp.first_pod, &ours.first_pod);
    row("first pod of a kubelet started anew, mean", mean, &ptp.first_again, &ours.first_again);
    println!(
        "{:<58} {:>9} {:>9.1}",
        "start of the daemon's process to network ready, median",
        "",
        median(&ours.ready)
    );
    println!("({} ADDs with ptp, {} with Holdfast)", ptp.adds.len(), ours.adds.len());
    println!("(first pods: {:.0?} and {:.0?}", ptp.first_pod, ours.first_pod);
    println!(" of kubelets started anew: {:.0?} and {:.0?})", ptp.first_again, ours.first_again);
    Ok(())
}

fn on_stage(cli: &Cli, network: &str, plugin: &str) -> anyhow::Result<Figures> {
    verb(&cli.root, NAME, &["up", "--nodes", "1", "--type", &cli.instance_type, "--plugin", network])?;
    let root = std::path::absolute(&cli.root).context("the repository")?;
    let cluster = Cluster::new(&root, &RunFolder::new(&root, NAME)?);
    let mut figures = Figures::default();
    if network == "chart" {
        figures.ready.push(ready_after(&cluster)?);
    }
    // The first pod is the cluster's DNS.
    cluster.kubectl(&[
        "--namespace=kube-system",
        "rollout",
        "status",
        "deployment/coredns",
        "--timeout=120s",
    ])?;
    figures.first_pod.extend(first_pod_of(&cluster)?);
    for number in 0..cli.first_pods {
        start_kubelet_anew(&cluster)?;
        // Kubelet looks at its pods once a second, counted from its start. All parts of that second are to have a pod.
        std::thread::sleep(Duration::from_secs(1) * u32::from(number) / u32::from(cli.first_pods));
        burst(&cluster, 1)?;
        figures.first_again.extend(first_pod_of(&cluster)?);
    }
    put_the_timer_before(&cluster, plugin)?;
    for _ in 0..cli.bursts {
        figures.bursts.push(burst(&cluster, cli.pods)?);
    }
    let log = cluster.exec(NODE, &["sh", "-c", "touch /run/cni-timer.log; cat /run/cni-timer.log"])?;
    figures.adds = timer_lines(&log, "ADD");
    figures.dels = timer_lines(&log, "DEL");
    ensure!(figures.adds.len() == usize::from(cli.pods * cli.bursts), "not each pod had one ADD: {log}");
    let (adds, bursts) = (median(&figures.adds), &figures.bursts);
    println!("ADD {adds:.0} ms, bursts {bursts:.0?} ms, first pod {:.0?} ms", figures.first_pod);
    Ok(figures)
}

/// Milliseconds from the start of the daemon's process to the moment at which the runtime finds its configuration.
fn ready_after(cluster: &Cluster) -> anyhow::Result<f64> {
    // Both by the wall clock; the kernel tells starts in hundredths of a second since the boot.
    let ask = "pid=$(pidof holdfast); start=$(cut -d' ' -f22 /proc/$pid/stat); \
               echo $start $(cut -d' ' -f1 /proc/uptime) $(date +%s.%N) $(stat --format=%.9Y /etc/cni/net.d/10-aws.conflist)";
    let said = cluster.exec(NODE, &["sh", "-c", ask])?;
    let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
    match numbers.with_context(|| format!("reading {said:?}"))?[..] {
        [start, uptime, now, ready] => Ok((ready - (now - uptime + start / 100.0)) * 1000.0),
        _ => anyhow::bail!("no times: {said:?}"),
    }
}

/// Milliseconds, by kubelet's own account; `None` while it has not started any pod with a network.
fn first_pod_of(cluster: &Cluster) -> anyhow::Result<Option<f64>> {
    let metrics = cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{NODE}/proxy/metrics")])?;
    Ok(first_pod(&metrics))
}

/// Ends kubelet, starts it as it was started, and waits until it takes pods.
fn start_kubelet_anew(cluster: &Cluster) -> anyhow::Result<()> {
    let again = "set -e; pid=$(pidof kubelet); line=$(tr '\\0' ' ' < /proc/$pid/cmdline); kill $pid; \
                 for i in $(seq 100); do [ -e /proc/$pid ] || break; sleep 0.1; done; \
                 setsid $line < /dev/null >> /var/log/kubelet-again.log 2>&1 &";
    cluster.exec(NODE, &["sh", "-c", again])?;
    let begun = Instant::now();
    // It answers here only once it runs.
    while first_pod_of(cluster).is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(60), "kubelet does not answer again");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn put_the_timer_before(cluster: &Cluster, plugin: &str) -> anyhow::Result<()> {
    let timer = std::env::current_exe().context("the path of this program")?.with_file_name("cni-timer");
    let move_it = format!(
        "set -e; cd /opt/cni/bin; mkdir -p timed; cp -L {plugin} timed/{plugin}; cp {} new; mv new {plugin}",
        timer.display()
    );
    cluster.exec(NODE, &["sh", "-c", &move_it])?;
    Ok(())
}

/// Creates pods at once, waits until all run, and deletes them; gives the milliseconds until all ran.
fn burst(cluster: &Cluster, pods: u16) -> anyhow::Result<f64> {
    let pod = |number: u16| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("burst-{number}"), "namespace": NAMESPACE, "labels": { "app": "burst" } },
            "spec": {
                "nodeName": NODE, "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "pause", "image": "stage.invalid/pause:1", "imagePullPolicy": "Never" }],
            },
        })
    };
    let list: Vec<Value> = (0..pods).map(pod).collect();
    let begun = Instant::now();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": list }))?;
    let timeout = "--timeout=170s";
    cluster.kubectl(&[
        "wait",
        "pods",
        "--selector=app=burst",
        "--for=jsonpath={.status.phase}=Running",
        timeout,
    ])?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    cluster.kubectl(&["delete", "pods", "--selector=app=burst", "--wait=true", timeout])?;
    Ok(took)
}
