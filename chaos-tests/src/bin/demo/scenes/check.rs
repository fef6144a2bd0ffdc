//! CHECK: a pod that was broken on purpose must fail it, and pass again once mended.

use anyhow::{Context, ensure};
use holdfast_chaos_tests::report::Report;
use holdfast_datapath::netlink::{
    AddressFamily, Change, LinkRef, NeighbourState, RouteFilter, RouteType, Socket,
};
use holdfast_datapath::netns;

use crate::stage::{LivePod, Stage};

/// What is taken out of a sandbox, and how it is put back.
struct Wound {
    what: &'static str,
    inflict: Vec<Change>,
    heal: Vec<Change>,
}

/// On each node, the first pod and the last: of the primary ENI and of another.
pub(super) fn tell_apart(report: &mut Report, stage: &Stage) -> anyhow::Result<()> {
    for place in &stage.places {
        let runner = place.runner();
        for pod in &place.pods {
            well(&runner, pod)?;
        }
        let (first, last) = (place.pods.first(), place.pods.last());
        let mut failed = 0;
        for pod in first.into_iter().chain(last) {
            let mut socket = netns::socket_in(pod.pod.netns())?;
            for wound in wounds(&mut socket, pod.address.is_ipv4())? {
                socket.apply_all(&wound.inflict).with_context(|| format!("taking {}", wound.what))?;
                let checked = runner.check(&pod.pod)?;
                socket.apply_all(&wound.heal).with_context(|| format!("putting back {}", wound.what))?;
                ensure!(
                    checked.result.is_err(),
                    "CHECK passed {} although its {} was taken away",
                    pod.address,
                    wound.what
                );
                failed += 1;
                well(&runner, pod)?;
            }
        }
        report.held(&format!(
            "{}: CHECK passes all pods, and none of {failed} times that one is broken",
            place.node.name()
        ));
    }
    Ok(())
}

fn well(runner: &holdfast_chaos_tests::cni::Runner, pod: &LivePod) -> anyhow::Result<()> {
    let checked = runner.check(&pod.pod)?.ok();
    checked.with_context(|| format!("CHECK of {}, which is well", pod.address)).map(drop)
}

fn wounds(socket: &mut Socket, ipv4: bool) -> anyhow::Result<Vec<Wound>> {
    let family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let link = socket.link(&LinkRef::Name("eth0".to_owned()))?.context("a pod has a link")?.index;
    let routes = socket.routes(family, RouteFilter::default())?;
    let default = routes
        .into_iter()
        .find(|route| route.kind == RouteType::Unicast && route.to.prefix_len() == 0)
        .context("a pod has a default route")?;
    let neighbours = socket.neighbours(family)?;
    let gateway = neighbours
        .into_iter()
        .find(|neighbour| neighbour.link == link && neighbour.state == NeighbourState::Permanent)
        .context("a pod knows its gateway's link-layer address")?;
    Ok(vec![
        Wound {
            what: "default route",
            inflict: vec![Change::DeleteRoute(default.clone())],
            heal: vec![Change::AddRoute(default)],
        },
        Wound {
            what: "gateway's link-layer address",
            inflict: vec![Change::DeleteNeighbour(gateway)],
            heal: vec![Change::PutNeighbour(gateway)],
        },
    ])
}
