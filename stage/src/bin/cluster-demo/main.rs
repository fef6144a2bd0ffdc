//! `cluster-demo`: what a platform team sees of Holdfast, on a stage. Run by `./dev demo cluster`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use holdfast_stage::RunFolder;
use holdfast_stage::drive::{App, Cluster, Pod, doubled, verb};

/// A real cluster of two nodes, Holdfast installed by its chart, and an application that nothing happens to.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Leaves the cluster up at the end.
    #[arg(long)]
    keep: bool,
    /// The stage's name.
    #[arg(long, default_value = "demo")]
    name: String,
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let shown = show(&cli);
    let kept = cli.keep && shown.is_ok();
    let ended =
        if kept { Ok(()) } else { verb(&cli.root, &cli.name, &["down"]).map_err(anyhow::Error::from) };
    match shown.and(ended) {
        Ok(()) if kept => {
            println!("\nThe cluster is up. Try:\n");
            for command in [
                "kubectl --name NAME -- get pods -A -o wide",
                "exec --name NAME node-a ip rule",
                "down --name NAME",
            ] {
                println!("    ./dev stage {}", command.replace("NAME", &cli.name));
            }
            ExitCode::SUCCESS
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(cli: &Cli) -> anyhow::Result<()> {
    let begun = Instant::now();
    let told = |what: &str| println!("[{:6.1} s] {what}", begun.elapsed().as_secs_f64());
    told("A cluster of two nodes in a simulated VPC, and `helm install` of Holdfast with default values");
    verb(&cli.root, &cli.name, &["up", "--plugin", "chart", "--nodes", "2"])?;
    let root = std::path::absolute(&cli.root).context("the repository")?;
    let cluster = Cluster::new(&root, &RunFolder::new(&root, &cli.name)?);
    println!("{}", cluster.kubectl(&["--namespace=kube-system", "get", "daemonset,pods", "--output=wide"])?);

    told("A Deployment of six pods with readiness probes, a Service, a node port");
    let app = App::deploy(&cluster, "web", 6)?;
    app.settle()?;
    let pods = app.pods()?;
    print_pods(&pods);
    ensure!(doubled(&pods).is_empty(), "two pods have one address");

    told(
        "Its pods are replaced, twice, while a daemon is killed every two seconds and a client asks by both nodes' ports",
    );
    let rolled = app.roll(2, Duration::from_secs(2), &mut |what| told(what))?;
    println!(
        "    {} daemons killed; {} answers of {} pods, {} questions without an answer; {} pods in all, {} addresses doubled",
        rolled.kills,
        rolled.asked.answers(),
        rolled.asked.answered.len(),
        rolled.asked.failed.len(),
        rolled.pods,
        rolled.doubled.len(),
    );
    for trouble in &rolled.troubles {
        println!("    {trouble}");
    }
    if let Some((second, why)) = rolled.asked.failed.first() {
        bail!("the client had no answer {} times, first after {second} s: {why}", rolled.asked.failed.len());
    }
    ensure!(rolled.kills > 0, "no daemon was killed");
    ensure!(rolled.doubled.is_empty(), "addresses of two pods at once: {:?}", rolled.doubled);
    ensure!(rolled.troubles.is_empty(), "pods had troubles");

    told("node-b is drained");
    cluster.kubectl(&["drain", "node-b", "--ignore-daemonsets", "--timeout=120s"])?;
    app.settle()?;
    let pods: Vec<Pod> = app.pods()?.into_iter().filter(|pod| pod.ending.is_none()).collect();
    print_pods(&pods);
    ensure!(pods.iter().all(|pod| pod.node == "node-a"), "a pod stayed on node-b");
    cluster.kubectl(&["uncordon", "node-b"])?;
    told("Nothing was lost");
    Ok(())
}

fn print_pods(pods: &[Pod]) {
    for pod in pods {
        println!("    {:<24} {:<8} {}", pod.name, pod.node, pod.address);
    }
}
