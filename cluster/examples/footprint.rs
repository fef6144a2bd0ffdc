//! What following a node's objects costs: everything that the daemon follows, and the writer, against the API server given.
//! Prints the resident memory once all is known, and again each time a line comes in; ends with its input.
//!
//!     footprint SERVER CA_FILE TOKEN_FILE NODE

use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use holdfast_cluster::watch::objects::{
    self, CniNodeObject, ConfigMapObject, EniConfigObject, NodeObject, PodObject,
};
use holdfast_cluster::watch::{Trimmed, View, follow};
use holdfast_cluster::write::{Sources, Wanted, WriterSettings, write};
use holdfast_cluster::{Deadlines, Door, DoorSettings, request::Selection};
use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::Clock;
use tokio::sync::watch;

struct Uptime(Instant);

impl Clock for Uptime {
    fn now(&self) -> Now {
        let millis = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { boot: BootId::new("this"), boottime: BootTime(millis), wall: WallTime(millis) }
    }

    fn random(&self) -> u128 {
        self.0.elapsed().as_nanos()
    }
}

fn start<T: Trimmed>(
    door: &Door,
    clock: &Arc<Uptime>,
    selection: Selection,
) -> watch::Receiver<View<T::View>> {
    let (sender, receiver) = watch::channel(View::default());
    tokio::spawn(follow::<T>(door.clone(), selection, clock.clone(), sender));
    receiver
}

fn resident() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM") || line.starts_with("RssAnon"));
    Ok(lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "))
}

fn main() -> anyhow::Result<()> {
    // As the daemon does it: one thread for all of this.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, ca_file, token_file, node] = &arguments[..] else {
        anyhow::bail!("footprint SERVER CA_FILE TOKEN_FILE NODE")
    };
    let clock = Arc::new(Uptime(Instant::now()));
    println!("at rest: {}", resident()?);
    let door = Door::open(DoorSettings {
        server: server.parse().context("SERVER")?,
        ca_file: ca_file.into(),
        token_file: token_file.into(),
        deadlines: Deadlines::USUAL,
    })?;
    let mut pods = start::<PodObject>(&door, &clock, objects::local_pods(node));
    let own = start::<NodeObject>(&door, &clock, objects::own_node(node));
    let cni_node = start::<CniNodeObject>(&door, &clock, objects::own_cni_node(node));
    let _enis = start::<EniConfigObject>(&door, &clock, objects::eni_configs());
    let _settings =
        start::<ConfigMapObject>(&door, &clock, objects::config_map("kube-system", "amazon-vpc-cni"));
    let (_wanted, receiver) = watch::channel(Wanted::default());
    let sources = Sources { wanted: receiver, pods: pods.clone(), node: own, cni_node };
    let settings = WriterSettings { node: node.clone(), instance: "footprint".to_owned() };
    tokio::spawn(write(door, settings, sources, clock.clone()));
    let known = pods.wait_for(|view| view.complete).await?.objects.len();
    println!("{known} pods known after {:?}: {}", clock.0.elapsed(), resident()?);
    loop {
        let line =
            tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next().transpose()).await??;
        if line.is_none() {
            return Ok(());
        }
        println!("{} pods known after {:?}: {}", pods.borrow().objects.len(), clock.0.elapsed(), resident()?);
    }
}
