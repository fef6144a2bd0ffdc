//! Settings, under upstream's names (reference: the Amazon VPC CNI's README), from [`layers`]: the cluster's ConfigMaps, the node's
//! groups, the environment.
//!
//! Upstream takes its default for most values that it cannot read, and refuses to start for some. Both are kept, so
//! that a manifest which works there works here; but every such value is reported, all at once. Of a list the entries
//! that cannot be used are left out and the others count: one mistake does not undo what was asked for beside it.

mod cluster;
mod config_map;
pub(crate) mod eni_config;
mod family;
mod layers;
mod node;
mod node_group;
mod not_yet;
mod ports;
mod reader;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_model::brake::Brake;
use holdfast_model::config::{AddressMode, Config, READ_INTERVALS, Setting, WarmTargets};
use holdfast_model::settings::{ClusterSettings, SettingsLayer, SettingsPlace};
use serde_json::{Map, Value};
use tracing_subscriber::filter::LevelFilter;

pub(crate) use cluster::ApiServer;
pub(crate) use config_map::{AMAZON_VPC_CNI, AWS_NODE};
pub(crate) use eni_config::Naming;
use family::{Beside, family};
pub(crate) use layers::Layers;
use layers::Place;
pub(crate) use node_group::NODE_GROUPS;
use not_yet::NOT_YET;
pub(crate) use ports::Ports;
pub(crate) use reader::Problem;
use reader::{Bad, Reader, Wrong};
use values::{
    absolute, boolean, brake, cluster_name, count, mtu, quantile, ranges, tags, veth_prefix, warm_mode,
};

use crate::install::Install;
use crate::logging;

#[cfg(test)]
mod tests;

/// Variables that a process has for itself: where its files are, of which another process has to know too.
const OF_THE_PROCESS: &[&str] = &[
    "HOLDFAST_ENI_CONFIG_FILE",
    "HOLDFAST_LEDGER",
    "HOLDFAST_PROC_SYS",
    "HOLDFAST_SOCKET",
    "HOLDFAST_SPOOL",
];

/// What may be said to a whole cluster, or to a group of nodes.
const OF_THE_CLUSTER: &[&str] = &[
    "ADDITIONAL_ENI_TAGS",
    "ANNOTATE_POD_IP",
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_ENI_MTU",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "CLUSTER_NAME",
    "DISABLE_LEAKED_ENI_CLEANUP",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "ENABLE_IMDS_ONLY_MODE",
    "ENABLE_IPv4",
    "ENABLE_IPv6",
    "ENABLE_MULTI_NIC",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    eni_config::ANNOTATION,
    eni_config::LABEL,
    "HOLDFAST_ADD_HOLD",
    "HOLDFAST_BRAKE",
    "HOLDFAST_EC2_READ_INTERVAL",
    "HOLDFAST_MAX_PODS",
    "HOLDFAST_WARM_MODE",
    "HOLDFAST_WARM_QUANTILE",
    "IP_COOLDOWN_PERIOD",
    "MANAGE_UNTAGGED_ENI",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "POD_MTU",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// Whether a variable is one that a cluster may set: those that are read, and those that are known and have no effect yet.
fn is_for_clusters(name: &str) -> bool {
    OF_THE_CLUSTER.contains(&name) || NOT_YET.iter().any(|known| known.0 == name)
}

/// What is wrong with a name that a cluster may not set.
fn not_for_clusters(name: &str) -> String {
    let of_the_process = [OF_THE_PROCESS, node::VARIABLES, cluster::VARIABLES, ports::VARIABLES];
    if of_the_process.iter().any(|names| names.contains(&name)) {
        "a setting of the environment only".to_owned()
    } else {
        "no setting that is read here".to_owned()
    }
}

/// The data of the cluster's ConfigMaps; `None`: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigMaps {
    pub(crate) amazon_vpc_cni: Option<BTreeMap<String, String>>,
    pub(crate) aws_node: Option<BTreeMap<String, String>>,
    pub(crate) node_groups: Option<BTreeMap<String, String>>,
}

/// What these ConfigMaps say to a node with these labels, and what is wrong with them.
pub(crate) fn of_cluster(
    maps: &ConfigMaps,
    labels: &BTreeMap<String, String>,
) -> (ClusterSettings, Vec<Problem>) {
    let [mut of_amazon, mut of_aws_node, mut of_groups, mut of_all] =
        std::array::from_fn(|_| Wrong::default());
    let amazon = maps.amazon_vpc_cni.as_ref().map(|data| config_map::amazon_vpc_cni(data, &mut of_amazon));
    let aws_node = maps.aws_node.as_ref().map(|data| config_map::aws_node(data, &mut of_aws_node));
    let groups = maps.node_groups.as_ref().map(|data| node_group::layers(data, labels, &mut of_groups));
    let layers = amazon.into_iter().chain(aws_node).chain(groups.into_iter().flatten());
    let mut said = ClusterSettings::default();
    for layer in layers.filter(|layer| !layer.values.is_empty()) {
        if said.bytes() + layer.bytes() > ClusterSettings::MOST {
            of_all.push(too_long(&layer));
        } else {
            said.layers.push(layer);
        }
    }
    let wrong = [of_amazon, of_aws_node, of_groups, of_all].into_iter().flat_map(Wrong::told);
    (said, wrong.collect())
}

/// What else is said, of an ENIConfig: it takes the place of what is said of another one.
pub(crate) fn with_eni_config(said: &mut ClusterSettings, layer: SettingsLayer) {
    said.layers.retain(|other| !matches!(other.place, SettingsPlace::EniConfig(_)));
    said.layers.push(layer);
}

/// Of a layer that the ledger has no room for all is left out: half of it was meant by nobody.
fn too_long(layer: &SettingsLayer) -> Problem {
    let wanted =
        format!("all that is said of a node's settings may have {} bytes together", ClusterSettings::MOST);
    let longest = layer.values.iter().max_by_key(|(_, given)| given.text.len());
    let (key, text) = longest.map_or(("", ""), |(_, given)| (given.key.as_str(), given.text.as_str()));
    Problem::new(&Place::Cluster(layer.place.clone()), key, text, wanted)
}

/// The configuration, and what is wrong with what is given.
#[derive(Debug)]
pub(crate) struct Read {
    /// What to run with.
    pub(crate) config: Arc<Config>,
    /// Whether pods are annotated with their address (`ANNOTATE_POD_IP`).
    pub(crate) annotates: bool,
    /// Where the node says which ENIConfig applies to it; nothing without custom networking.
    pub(crate) eni_config_names: Option<Naming>,
    /// The file that says what the ENIConfig does, where there is no API server.
    pub(crate) eni_config_file: Option<PathBuf>,
    /// Where the cluster's API server is; nothing outside a cluster.
    pub(crate) api_server: Option<ApiServer>,
    /// What to put onto the node.
    pub(crate) install: Install,
    /// Where the node tells of itself.
    pub(crate) ports: Ports,
    /// What to log.
    pub(crate) log_level: LevelFilter,
    /// Each variable that is read, with its value and where that comes from.
    pub(crate) by_name: Map<String, Value>,
    /// Values in whose place stands what would hold without them.
    pub(crate) ignored: Vec<Problem>,
    /// Parts of values that are left out.
    pub(crate) left_out: Vec<Problem>,
    /// Values that are well formed and ask for what this version does not do.
    pub(crate) unsupported: Vec<Problem>,
    /// Values with which the daemon does not start.
    pub(crate) refused: Vec<Problem>,
}

impl Read {
    /// What does not keep the daemon from starting, with what becomes of it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let all = [
            (&self.ignored, "what would hold without it holds"),
            (&self.left_out, "what is left is used"),
            (&self.unsupported, "it has no effect"),
        ];
        let told = |(problems, effect): (&Vec<Problem>, &str)| {
            problems.iter().map(|problem| format!("{problem}; {effect}")).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(told).collect()
    }
}

/// Reads all settings.
pub(crate) fn read<F: Fn(&str) -> Option<String>>(layers: &Layers<'_, F>) -> Read {
    let base = Config::default();
    let mut reader = Reader::new(layers);

    let mut unsupported = Vec::new();
    for (name, asks_for_it, severity, wanted) in NOT_YET {
        let counts = layers.of(name).into_iter().next();
        if let Some(given) = counts.filter(|given| asks_for_it(&given.text)) {
            let problem = Problem::of(&given, (*wanted).to_owned());
            match (severity, given.place) {
                (Bad::Refused, Place::Environment) => reader.refused.push(problem),
                _ => unsupported.push(problem),
            }
        }
    }

    let warm_enis = reader.get("WARM_ENI_TARGET", Bad::Ignored, 1, count);
    let warm_ips = reader.get("WARM_IP_TARGET", Bad::Ignored, 0, count);
    let minimum_ips = reader.get("MINIMUM_IP_TARGET", Bad::Ignored, 0, count);
    let warm_prefixes = reader.get("WARM_PREFIX_TARGET", Bad::Ignored, base.warm.value.warm_prefixes, count);
    let origin = [warm_enis.origin, warm_ips.origin, minimum_ips.origin, warm_prefixes.origin]
        .into_iter()
        .find(|origin| *origin != base.warm.origin)
        .unwrap_or(base.warm.origin);
    let warm = Setting {
        value: WarmTargets {
            warm_enis: warm_enis.value,
            warm_ips: warm_ips.value,
            minimum_ips: minimum_ips.value,
            warm_prefixes: warm_prefixes.value,
        },
        origin,
    };
    let eni_mtu = reader.get("AWS_VPC_ENI_MTU", Bad::Refused, base.eni_mtu.value, mtu);
    let pod_mtu = reader.get_in_part("POD_MTU", Bad::Refused, eni_mtu.value, |text| {
        let asked = mtu(text)?;
        let most = eni_mtu.value;
        // Pods would send what no ENI carries.
        let over = (asked > most).then(|| format!("no more than the ENI's {most} can be carried"));
        Ok((asked.min(most), over.into_iter().collect()))
    });
    let level = reader.get("AWS_VPC_K8S_CNI_LOGLEVEL", Bad::Ignored, "info".to_owned(), |text| {
        logging::level(text).map(|_known| text.to_ascii_lowercase())
    });
    let log_level = logging::level(&level.value).unwrap_or(LevelFilter::INFO);
    let prefixes = reader.get("ENABLE_PREFIX_DELEGATION", Bad::Ignored, false, boolean);
    let mode = if prefixes.value { AddressMode::Prefix } else { AddressMode::Secondary };
    let custom = reader.get("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", Bad::Ignored, false, boolean);
    let beside = Beside { prefixes: prefixes.value, eni_mtu: eni_mtu.value, pod_mtu: pod_mtu.value };
    let family = family(&mut reader, &beside);
    let config = Config {
        mode: Setting { value: mode, origin: prefixes.origin },
        eni_config: Setting {
            value: custom.value.then(|| eni_config::applied(layers.cluster())),
            origin: custom.origin,
        },
        subnet_discovery: reader.get("ENABLE_SUBNET_DISCOVERY", Bad::Ignored, true, boolean),
        family,
        warm,
        warm_mode: reader.get("HOLDFAST_WARM_MODE", Bad::Ignored, base.warm_mode.value, warm_mode),
        warm_quantile: reader.get("HOLDFAST_WARM_QUANTILE", Bad::Ignored, base.warm_quantile.value, quantile),
        max_enis: reader.get("MAX_ENI", Bad::Ignored, None, |text| {
            // Upstream's "no limit" is any number below one.
            text.parse::<i64>()
                .map(|limit| u32::try_from(limit).ok().filter(|limit| *limit >= 1))
                .map_err(|error| format!("want a whole number ({error})"))
        }),
        multi_nic: reader.get("ENABLE_MULTI_NIC", Bad::Ignored, false, boolean),
        max_pods: reader.get("HOLDFAST_MAX_PODS", Bad::Refused, None, |text| count(text).map(Some)),
        cooldown: reader.seconds("IP_COOLDOWN_PERIOD", base.cooldown.value),
        add_hold: reader.seconds("HOLDFAST_ADD_HOLD", base.add_hold.value),
        ec2_read_interval: reader.seconds_within(
            "HOLDFAST_EC2_READ_INTERVAL",
            base.ec2_read_interval.value,
            &READ_INTERVALS,
        ),
        eni_mtu,
        pod_mtu,
        veth_prefix: reader.get(
            "AWS_VPC_K8S_CNI_VETHPREFIX",
            Bad::Refused,
            base.veth_prefix.value,
            veth_prefix,
        ),
        external_snat: reader.get("AWS_VPC_K8S_CNI_EXTERNALSNAT", Bad::Ignored, false, boolean),
        node_ports: reader.get("AWS_VPC_CNI_NODE_PORT_SUPPORT", Bad::Ignored, true, boolean),
        snat_exclusions: reader.get_in_part(
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            Bad::Ignored,
            Vec::new(),
            |text| Ok(ranges(text)),
        ),
        cluster: reader.get("CLUSTER_NAME", Bad::Ignored, None, |text| cluster_name(text).map(Some)),
        extra_tags: reader.get_in_part("ADDITIONAL_ENI_TAGS", Bad::Ignored, BTreeMap::new(), tags),
        manage_untagged: reader.get("MANAGE_UNTAGGED_ENI", Bad::Ignored, true, boolean),
        provisioning_disabled: reader.get(
            "DISABLE_NETWORK_RESOURCE_PROVISIONING",
            Bad::Ignored,
            false,
            boolean,
        ),
        metadata_only: reader.get("ENABLE_IMDS_ONLY_MODE", Bad::Ignored, false, boolean),
        leaks_left: reader.get("DISABLE_LEAKED_ENI_CLEANUP", Bad::Ignored, false, boolean),
        brake: reader.get_in_part(Brake::SETTING, Bad::Ignored, base.brake.value, |text| Ok(brake(text))),
        manage_cordoned: reader.get("AWS_MANAGE_ENIS_NON_SCHEDULABLE", Bad::Ignored, false, boolean),
        ledger: reader.get("HOLDFAST_LEDGER", Bad::Refused, base.ledger.value, absolute),
        socket: reader.get("HOLDFAST_SOCKET", Bad::Refused, base.socket.value, absolute),
        spool: reader.get("HOLDFAST_SPOOL", Bad::Refused, base.spool.value, absolute),
        proc_sys: reader.get("HOLDFAST_PROC_SYS", Bad::Refused, base.proc_sys.value, absolute),
    };
    let install = node::install(&mut reader, &config);
    let api_server = cluster::api_server(&mut reader);
    let ports = ports::ports(&mut reader);
    let naming = Naming::read(&mut reader);
    let eni_config_file =
        reader.get("HOLDFAST_ENI_CONFIG_FILE", Bad::Refused, None, |text| absolute(text).map(Some)).value;
    let annotates = reader.get("ANNOTATE_POD_IP", Bad::Ignored, false, boolean).value;
    Read {
        eni_config_names: config.eni_config.value.is_some().then_some(naming),
        eni_config_file,
        config: Arc::new(config),
        annotates,
        api_server,
        install,
        ports,
        log_level,
        by_name: reader.by_name,
        ignored: reader.ignored,
        left_out: reader.left_out,
        unsupported,
        refused: reader.refused,
    }
}
