//! The cluster that the node is of: what it says of the settings, in three ConfigMaps and the node's own labels, and what it is told.
//! Nothing waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdfast_cluster::watch::objects::{
    CniNodeView, ConfigMapObject, ConfigMapView, DaemonSetObject, EniConfigObject, EniConfigView, NodeObject,
    NodeView, PodObject, PodView, config_map, daemon_set, eni_configs, local_pods, own_node,
};
use holdfast_cluster::watch::{ObjectKey, View, follow};
use holdfast_cluster::write::{Sources, Wanted, WriterSettings, write};
use holdfast_cluster::{Deadlines, Door, DoorSettings};
use holdfast_engine::EngineHandle;
use holdfast_metrics::ViewFigures;
use holdfast_model::settings::{ClusterSettings, SettingsLayer};
use holdfast_model::time::BootTime;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::aside;
use crate::clock::KernelClock;
use crate::keeper::Keeper;
use crate::removal::Removal;
use crate::settings::{
    AMAZON_VPC_CNI, AWS_NODE, ApiServer, ConfigMaps, NODE_GROUPS, Read, eni_config, of_cluster,
    with_eni_config,
};
use crate::telling::tell;
use crate::troubles::Troubles;

/// How soon it is tried again what the files of the service account do not allow.
const RETRY: Duration = Duration::from_secs(30);

/// Follows what the cluster says, and has the engine go by it; tells the cluster how things stand; for as long as the engine lives.
pub(crate) async fn join(
    place: ApiServer,
    clock: Arc<KernelClock>,
    keeper: Keeper,
    engine: EngineHandle,
    troubles: Arc<Troubles>,
    removal: Removal,
    views: Arc<Views>,
) {
    let (door, namespace) = loop {
        let (place, runtime) = (place.clone(), Handle::current());
        // Files are read, whose disk may hang; and what is opened belongs to this runtime.
        let opened = aside::look(move || {
            let _within = runtime.enter();
            door(&place)
        });
        match opened.await {
            Some(Ok(door)) => break door,
            Some(Err(error)) => {
                tracing::warn!(error = %format!("{error:#}"), "the cluster cannot be asked; trying again");
            }
            // A panic, which the log has.
            None => {}
        }
        tokio::time::sleep(RETRY).await;
    };
    let [amazon_vpc_cni, aws_node, node_groups] = [AMAZON_VPC_CNI, AWS_NODE, NODE_GROUPS].map(|name| {
        let known = views.map_of(name).clone();
        follow::<ConfigMapObject>(door.clone(), config_map(&namespace, name), Arc::clone(&clock), known)
    });
    let node =
        follow::<NodeObject>(door.clone(), own_node(&place.node), Arc::clone(&clock), views.node.clone());
    let removed =
        follow_daemon_set(place.daemon_set.as_deref(), &door, &namespace, Arc::clone(&clock), removal);
    let wanted = watch::Sender::<Wanted>::default();
    // Nothing is asked of it yet.
    let cni_node = watch::Sender::<View<CniNodeView>>::default();
    let sources = Sources {
        wanted: wanted.subscribe(),
        pods: views.pods.subscribe(),
        node: views.node.subscribe(),
        cni_node: cni_node.subscribe(),
    };
    // The node's name as instance: what a token of another node's writes says so.
    let settings = WriterSettings { node: place.node.clone(), instance: place.node.clone() };
    let writing = write(door.clone(), settings, sources, Arc::clone(&clock));
    let current = keeper.current();
    let pods =
        follow_pods(current.clone(), door.clone(), &place.node, Arc::clone(&clock), views.pods.clone());
    let own_pod = place.pod.map(|name| ObjectKey::new(&namespace, name));
    let eni_configs =
        follow_eni_configs(current.clone(), door.clone(), Arc::clone(&clock), views.eni_configs.clone());
    let telling = tell(engine.clone(), troubles, current, own_pod, clock, wanted);
    tokio::select! {
        _never = async { tokio::join!(amazon_vpc_cni, aws_node, node_groups, node, pods, eni_configs, removed) } => {}
        () = go_by(&views, keeper, &engine) => {}
        () = tell_cordoned(&views, &engine) => {}
        () = writing => {}
        () = telling => {}
    }
}

/// The own one, where it is told which that is.
async fn follow_daemon_set(
    name: Option<&str>,
    door: &Door,
    namespace: &str,
    clock: Arc<KernelClock>,
    removal: Removal,
) {
    let Some(name) = name else { return };
    let known = watch::Sender::default();
    let hearing = removal.hear(known.subscribe());
    tokio::join!(follow::<DaemonSetObject>(door.clone(), daemon_set(namespace, name), clock, known), hearing);
}

/// From the time on that they are to be annotated: nobody else needs them.
async fn follow_pods(
    mut settings: watch::Receiver<Arc<Read>>,
    door: Door,
    node: &str,
    clock: Arc<KernelClock>,
    known: watch::Sender<View<PodView>>,
) {
    if settings.wait_for(|read| read.annotates).await.is_ok() {
        follow::<PodObject>(door, local_pods(node), clock, known).await;
    }
}

/// From the time on that custom networking is on: without it a role need not allow it.
async fn follow_eni_configs(
    mut settings: watch::Receiver<Arc<Read>>,
    door: Door,
    clock: Arc<KernelClock>,
    known: watch::Sender<View<EniConfigView>>,
) {
    if settings.wait_for(|read| read.eni_config_names.is_some()).await.is_ok() {
        follow::<EniConfigObject>(door, eni_configs(), clock, known).await;
    }
}

/// The connection to make, and the namespace that the process is in.
pub(crate) fn door(place: &ApiServer) -> anyhow::Result<(Door, String)> {
    let in_account = |name: &str| place.account.join(name);
    let file = in_account("namespace");
    let namespace = std::fs::read_to_string(&file)
        .with_context(|| format!("reading {}", file.display()))?
        .trim()
        .to_owned();
    let door = Door::open(DoorSettings {
        server: place.server.parse().with_context(|| format!("{} is no address", place.server))?,
        ca_file: in_account("ca.crt"),
        token_file: in_account("token"),
        deadlines: Deadlines::USUAL,
    })?;
    Ok((door, namespace))
}

/// What is known of the objects that are followed.
#[derive(Default)]
pub(crate) struct Views {
    amazon_vpc_cni: watch::Sender<View<ConfigMapView>>,
    aws_node: watch::Sender<View<ConfigMapView>>,
    node_groups: watch::Sender<View<ConfigMapView>>,
    node: watch::Sender<View<NodeView>>,
    /// Looked at before they are written; followed while they are annotated only.
    pods: watch::Sender<View<PodView>>,
    /// Followed with custom networking only.
    eni_configs: watch::Sender<View<EniConfigView>>,
}

/// What they say, as far as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    maps: ConfigMaps,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Views {
    fn map_of(&self, name: &str) -> &watch::Sender<View<ConfigMapView>> {
        match name {
            AMAZON_VPC_CNI => &self.amazon_vpc_cni,
            AWS_NODE => &self.aws_node,
            _ => &self.node_groups,
        }
    }

    /// How old each is.
    pub(crate) fn figures(&self, with_pods: bool, now: BootTime) -> Vec<ViewFigures> {
        fn of<V>(name: &'static str, known: &watch::Sender<View<V>>, now: BootTime) -> ViewFigures {
            let view = known.borrow();
            let stale_for = view.stale.as_ref().map(|stale| now.since(stale.since));
            ViewFigures { name, complete: view.complete, stale_for }
        }
        let pods = with_pods.then(|| of("pods", &self.pods, now));
        let settings = [
            of("amazon_vpc_cni", &self.amazon_vpc_cni, now),
            of("aws_node", &self.aws_node, now),
            of("node_groups", &self.node_groups, now),
            of("node", &self.node, now),
        ];
        settings.into_iter().chain(pods).collect()
    }

    /// Nothing, until each of them was read whole and the node is known: what counts may be what lacks yet.
    fn heard(&self) -> Option<Heard> {
        let data = |known: &watch::Sender<View<ConfigMapView>>| {
            let view = known.borrow();
            view.complete.then(|| view.only().map(|map| map.data.clone()))
        };
        let maps = ConfigMaps {
            amazon_vpc_cni: data(&self.amazon_vpc_cni)?,
            aws_node: data(&self.aws_node)?,
            node_groups: data(&self.node_groups)?,
        };
        let node = self.node.borrow();
        let node = node.only()?;
        Some(Heard { maps, labels: node.labels.clone(), annotations: node.annotations.clone() })
    }

    /// What is said of the ENIConfig of this name; while they were not read whole, what was said of it before.
    fn eni_config(&self, name: &str, before: &ClusterSettings) -> Option<SettingsLayer> {
        let view = self.eni_configs.borrow();
        let known = view.objects.get(&ObjectKey { namespace: String::new(), name: name.to_owned() });
        match known {
            None if !view.complete => eni_config::kept(before, name).cloned(),
            known => Some(eni_config::layer(name, known.map(|known| &known.source))),
        }
    }
}

/// Tells the engine whether the node takes new pods, whenever that changes. What the API server does not say any more still holds: of
/// a node that is not known, as before anything was said, pods may come.
async fn tell_cordoned(views: &Views, engine: &EngineHandle) {
    let mut node = views.node.subscribe();
    let mut told = false;
    loop {
        let cordoned = node.borrow_and_update().only().map_or(told, |node| node.unschedulable);
        if cordoned != told {
            tracing::info!(cordoned, "whether this node takes new pods has changed");
            if engine.cordon(cordoned).await.is_err() {
                return;
            }
            told = cordoned;
        }
        // Its sender lives as long as this.
        let _changed = node.changed().await;
    }
}

/// Has the engine go by each new word.
async fn go_by(views: &Views, mut keeper: Keeper, engine: &EngineHandle) {
    let mut maps = [&views.amazon_vpc_cni, &views.aws_node, &views.node_groups].map(watch::Sender::subscribe);
    let mut node = views.node.subscribe();
    let mut eni_configs = views.eni_configs.subscribe();
    let mut before = None;
    loop {
        if let Some(heard) = views.heard() {
            let (mut said, wrong) = of_cluster(&heard.maps, &heard.labels);
            if let Some(names) = keeper.would_read(&said).eni_config_names {
                let name = names.name_of(&heard.labels, &heard.annotations);
                if let Some(layer) = views.eni_config(name, keeper.said()) {
                    with_eni_config(&mut said, layer);
                }
            }
            let now = (said.clone(), wrong.clone());
            if before.as_ref() == Some(&now) {
                changed(&mut maps, &mut node, &mut eni_configs).await;
                continue;
            }
            let read = keeper.hear(&said, &wrong);
            if engine.configure(Arc::clone(&read.config), said).await.is_err() {
                return;
            }
            before = Some(now);
        }
        changed(&mut maps, &mut node, &mut eni_configs).await;
    }
}

/// Until one of them has changed.
async fn changed(
    maps: &mut [watch::Receiver<View<ConfigMapView>>; 3],
    node: &mut watch::Receiver<View<NodeView>>,
    eni_configs: &mut watch::Receiver<View<EniConfigView>>,
) {
    let [first, second, third] = maps;
    // Their senders live as long as the engine does.
    let _changed = tokio::select! {
        changed = first.changed() => changed,
        changed = second.changed() => changed,
        changed = third.changed() => changed,
        changed = node.changed() => changed,
        changed = eni_configs.changed() => changed,
    };
}

#[cfg(test)]
mod tests {
    use holdfast_cluster::watch::objects::EniSource;

    use super::*;

    fn read<V: Clone>(known: &watch::Sender<View<V>>, complete: bool, object: Option<V>) {
        known.send_modify(|view| {
            view.complete = complete;
            view.objects = object.into_iter().map(|object| (ObjectKey::default(), object)).collect();
        });
    }

    fn map(key: &str, value: &str) -> ConfigMapView {
        ConfigMapView {
            data: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..ConfigMapView::default()
        }
    }

    /// What has not been read may say the opposite.
    #[test]
    fn nothing_is_gone_by_before_everything_was_read_whole() {
        let views = Views::default();
        read(&views.amazon_vpc_cni, true, Some(map("warm-ip-target", "5")));
        read(&views.aws_node, true, None);
        read(&views.node, true, Some(NodeView::default()));
        assert_eq!(views.heard(), None, "the groups were not read");
        read(&views.node_groups, false, Some(map("a", "selector=x\nWARM_IP_TARGET=1")));
        assert_eq!(views.heard(), None, "not whole");
        read(&views.node_groups, true, None);
        let heard = views.heard().unwrap();
        assert_eq!(heard.maps.amazon_vpc_cni.unwrap()["warm-ip-target"], "5");
        assert_eq!((heard.maps.aws_node, heard.maps.node_groups), (None, None));
        read(&views.node, true, None);
        assert_eq!(views.heard(), None, "of a node that is not known it is not known which groups it is of");
    }

    /// Of what was not read whole it is not said that it is not there.
    #[test]
    fn an_eni_config_is_missing_only_when_all_were_read() {
        let views = Views::default();
        let source = Ok(EniSource { subnet: "subnet-1".to_owned(), security_groups: None });
        let said = eni_config::layer("zone-a", Some(&source));
        let before = ClusterSettings { layers: vec![said.clone()] };
        assert_eq!(views.eni_config("zone-a", &before), Some(said.clone()), "what was said before");
        assert_eq!(views.eni_config("zone-b", &before), None, "nothing was said of this one");
        read(&views.eni_configs, true, None);
        assert_eq!(views.eni_config("zone-a", &before), Some(eni_config::layer("zone-a", None)));
        let version = ConfigMapView::default().version;
        views.eni_configs.send_modify(|view| {
            let config = EniConfigView { version, source };
            view.objects =
                [(ObjectKey { namespace: String::new(), name: "zone-a".to_owned() }, config)].into();
        });
        assert_eq!(views.eni_config("zone-a", &ClusterSettings::default()), Some(said));
    }
}
