//! Configuration as one immutable value, with the origin of each setting. Reading the environment is the
//! daemon's work.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::brake::Brake;
use crate::eni_config::AppliedEniConfig;
use crate::pool::Family;
use crate::warm::{Quantile, WarmMode};

/// Where a setting's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The environment of the process.
    Environment,
    /// A ConfigMap of the cluster.
    ConfigMap,
    /// A group of nodes that this one is of.
    NodeGroup,
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value that nobody set.
    pub fn default_of(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// A value from the environment.
    pub fn from_environment(value: T) -> Self {
        Self { value, origin: Origin::Environment }
    }
}

/// How much to keep ready. Upstream's variables and meanings (reference: vpc-cni 1.1 and 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmTargets {
    /// `WARM_ENI_TARGET`: spare ENIs' worth of addresses; ignored as soon as one of the next two is set.
    pub warm_enis: u32,
    /// `WARM_IP_TARGET`: spare free addresses. Zero means unset.
    pub warm_ips: u32,
    /// `MINIMUM_IP_TARGET`: floor on all addresses of the node. Zero means unset.
    pub minimum_ips: u32,
    /// `WARM_PREFIX_TARGET`: spare prefixes' worth of addresses, in place of the ENI target where prefixes are delegated.
    pub warm_prefixes: u32,
}

/// In what a node's pods get their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AddressMode {
    /// Secondary addresses, one by one.
    #[default]
    Secondary,
    /// Out of delegated prefixes.
    Prefix,
}

impl WarmTargets {
    /// Whether the address targets rule instead of the ENI target and the prefix target.
    pub fn by_address(&self) -> bool {
        self.warm_ips != 0 || self.minimum_ips != 0
    }
}

impl Default for WarmTargets {
    fn default() -> Self {
        Self { warm_enis: 1, warm_ips: 0, minimum_ips: 0, warm_prefixes: 1 }
    }
}

/// What an interval between reads of EC2 may be, in seconds. A node that read more often would take from the account's rate what
/// its neighbours need; one that read more seldom would not be told of for days.
pub const READ_INTERVALS: RangeInclusive<u64> = 60..=24 * 3600;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `ENABLE_PREFIX_DELEGATION`. Default single addresses.
    pub mode: Setting<AddressMode>,
    /// `AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG`: the ENIConfig from which ENIs for pods are made; `None`: custom networking is off, the
    /// default.
    pub eni_config: Setting<Option<AppliedEniConfig>>,
    /// `ENABLE_SUBNET_DISCOVERY`: whether subnets tagged for it serve beside the node's own. Default true.
    pub subnet_discovery: Setting<bool>,
    /// `ENABLE_IPv6`: of which family pods' addresses are. Default IPv4. IPv6 is out of prefixes only.
    pub family: Setting<Family>,
    /// `WARM_ENI_TARGET`, `WARM_IP_TARGET`, `MINIMUM_IP_TARGET`, `WARM_PREFIX_TARGET`.
    pub warm: Setting<WarmTargets>,
    /// `HOLDFAST_WARM_MODE`: whether the warm targets say how much to keep free, or what the node has seen. Default static.
    pub warm_mode: Setting<WarmMode>,
    /// `HOLDFAST_WARM_QUANTILE`: with `HOLDFAST_WARM_MODE=adaptive` the part of all ADDs that are to find a free address.
    /// Default 99.9 %.
    pub warm_quantile: Setting<Quantile>,
    /// `MAX_ENI`: at most this many ENIs per network card; `None` leaves the instance's limit.
    pub max_enis: Setting<Option<u32>>,
    /// `ENABLE_MULTI_NIC`: whether pods may have an interface on every network card. Default false: the first card only.
    pub multi_nic: Setting<bool>,
    /// `HOLDFAST_MAX_PODS`: no growth beyond this many addresses; `None` leaves the instance's own figure.
    pub max_pods: Setting<Option<u32>>,
    /// `IP_COOLDOWN_PERIOD`: how long a freed address rests. Default 30 s.
    pub cooldown: Setting<Duration>,
    /// `HOLDFAST_ADD_HOLD`: how long an ADD may wait for addresses that are on their way. Default 60 s.
    pub add_hold: Setting<Duration>,
    /// `HOLDFAST_EC2_READ_INTERVAL`: within this time what others do that no hint tells is noticed, such as a tag on an ENI.
    /// Default six hours; within [`READ_INTERVALS`].
    pub ec2_read_interval: Setting<Duration>,
    /// `AWS_VPC_ENI_MTU`: MTU of ENI links. Default 9001.
    pub eni_mtu: Setting<u32>,
    /// `POD_MTU`: MTU of pod links; default the ENI's.
    pub pod_mtu: Setting<u32>,
    /// `AWS_VPC_K8S_CNI_VETHPREFIX`: what the names of pods' links begin with that the Amazon VPC CNI left; ours are
    /// called as the plugin says. Default `eni`.
    pub veth_prefix: Setting<String>,
    /// `AWS_VPC_K8S_CNI_EXTERNALSNAT`: leave source addresses alone. Default false.
    pub external_snat: Setting<bool>,
    /// `AWS_VPC_CNI_NODE_PORT_SUPPORT`: have answers of NodePorts leave by the primary ENI. Default true.
    pub node_ports: Setting<bool>,
    /// `AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS`: further destinations that keep the pod's source address.
    pub snat_exclusions: Setting<Vec<ipnet::Ipv4Net>>,
    /// `CLUSTER_NAME`: adds the cluster tags to ENIs.
    pub cluster: Setting<Option<String>>,
    /// `ADDITIONAL_ENI_TAGS`.
    pub extra_tags: Setting<BTreeMap<String, String>>,
    /// `MANAGE_UNTAGGED_ENI`: whether ENIs without our instance tag are ours. Default true.
    pub manage_untagged: Setting<bool>,
    /// `DISABLE_NETWORK_RESOURCE_PROVISIONING`: change nothing in EC2. Default false.
    pub provisioning_disabled: Setting<bool>,
    /// `ENABLE_IMDS_ONLY_MODE`: EC2 is never called. What there is the metadata service tells. Default false.
    pub metadata_only: Setting<bool>,
    /// `DISABLE_LEAKED_ENI_CLEANUP`: leave what ended instances of the cluster have left behind. Default false.
    pub leaks_left: Setting<bool>,
    /// `HOLDFAST_BRAKE`: what the operator keeps us from doing to EC2. Default nothing.
    pub brake: Setting<Brake>,
    /// `AWS_MANAGE_ENIS_NON_SCHEDULABLE`: whether the pool grows, and gives ENIs back, on a cordoned node, too. Default false.
    pub manage_cordoned: Setting<bool>,
    /// `HOLDFAST_LEDGER`: the ledger's file. Default `/var/lib/holdfast/ledger.redb`.
    pub ledger: Setting<PathBuf>,
    /// `HOLDFAST_SOCKET`: where the plugin finds the daemon. Default `/run/holdfast/cni.sock`.
    pub socket: Setting<PathBuf>,
    /// `HOLDFAST_SPOOL`: where the plugin leaves tombstones. Default `/var/lib/holdfast/spool`.
    pub spool: Setting<PathBuf>,
    /// `HOLDFAST_PROC_SYS`: where the kernel's settings are. Default `/proc/sys`.
    pub proc_sys: Setting<PathBuf>,
}

impl Config {
    /// Whether there is anything for a NAT table of ours to do: with neither, there is none, and no rule for marks. IPv6 pods
    /// leave the VPC as themselves, by the primary ENI.
    pub fn wants_nat_table(&self) -> bool {
        self.family.value == Family::V4 && self.wants_nat_for_ipv4()
    }

    /// The same of a node that has IPv4 pods, whatever new ones get.
    pub fn wants_nat_for_ipv4(&self) -> bool {
        self.node_ports.value || !self.external_snat.value
    }
}

impl Default for Config {
    /// What holds when nobody sets anything.
    fn default() -> Self {
        Self {
            mode: Setting::default_of(AddressMode::default()),
            eni_config: Setting::default_of(None),
            subnet_discovery: Setting::default_of(true),
            family: Setting::default_of(Family::V4),
            warm: Setting::default_of(WarmTargets::default()),
            warm_mode: Setting::default_of(WarmMode::default()),
            warm_quantile: Setting::default_of(Quantile::default()),
            max_enis: Setting::default_of(None),
            multi_nic: Setting::default_of(false),
            max_pods: Setting::default_of(None),
            cooldown: Setting::default_of(Duration::from_secs(30)),
            add_hold: Setting::default_of(Duration::from_secs(60)),
            ec2_read_interval: Setting::default_of(Duration::from_secs(6 * 3600)),
            eni_mtu: Setting::default_of(9001),
            pod_mtu: Setting::default_of(9001),
            veth_prefix: Setting::default_of("eni".to_owned()),
            external_snat: Setting::default_of(false),
            node_ports: Setting::default_of(true),
            snat_exclusions: Setting::default_of(Vec::new()),
            cluster: Setting::default_of(None),
            extra_tags: Setting::default_of(BTreeMap::new()),
            manage_untagged: Setting::default_of(true),
            provisioning_disabled: Setting::default_of(false),
            metadata_only: Setting::default_of(false),
            leaks_left: Setting::default_of(false),
            brake: Setting::default_of(Brake::None),
            manage_cordoned: Setting::default_of(false),
            ledger: Setting::default_of(PathBuf::from("/var/lib/holdfast/ledger.redb")),
            socket: Setting::default_of(PathBuf::from("/run/holdfast/cni.sock")),
            spool: Setting::default_of(PathBuf::from("/var/lib/holdfast/spool")),
            proc_sys: Setting::default_of(PathBuf::from("/proc/sys")),
        }
    }
}
