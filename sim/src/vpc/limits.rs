//! Real instance types with their real network limits, and one that EC2 has not.

use serde::{Deserialize, Serialize};

use super::family::Family;

/// What an instance type allows. Facts: AWS's published instance type tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Name, such as `m5.large`.
    pub name: String,
    /// ENIs over all cards.
    pub max_enis: u32,
    /// IPv4 slots per ENI: addresses, the primary one included, and prefixes.
    pub ipv4_per_eni: u32,
    /// IPv6 slots per ENI: addresses and prefixes; 0 where IPv6 is not supported.
    pub ipv6_per_eni: u32,
    /// ENIs that each network card takes; the index is the card's.
    pub network_cards: Vec<u32>,
    /// `nitro`, `xen`, or empty for bare metal.
    pub hypervisor: String,
    /// No hypervisor.
    pub bare_metal: bool,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Elastic Fabric Adapter.
    pub efa_supported: bool,
    /// Trunk interfaces. Fact: the VPC resource controller's table of limits; of the types here all of Nitro's but the
    /// burstable ones.
    pub trunking_supported: bool,
}

impl InstanceType {
    /// Slots of one ENI in a family.
    pub(super) fn per_eni(&self, family: Family) -> u32 {
        match family {
            Family::V4 => self.ipv4_per_eni,
            Family::V6 => self.ipv6_per_eni,
        }
    }

    /// Whether delegated prefixes can be used.
    pub fn supports_prefixes(&self) -> bool {
        self.hypervisor == "nitro" || self.bare_metal
    }
}

/// Name, ENIs, IPv4 and IPv6 per ENI, cards, ENIs per card, hypervisor, architecture, vCPU, GiB, EFA.
type Row = (&'static str, u32, u32, u32, usize, u32, &'static str, &'static str, u32, u32, bool);

const X86: &str = "x86_64";
const ARM: &str = "arm64";

const TABLE: &[Row] = &[
    ("c5.large", 3, 10, 10, 1, 3, "nitro", X86, 2, 4, false),
    ("c5.4xlarge", 8, 30, 30, 1, 8, "nitro", X86, 16, 32, false),
    ("c6in.32xlarge", 16, 50, 50, 2, 8, "nitro", X86, 128, 256, true),
    ("c7gn.16xlarge", 15, 50, 50, 1, 15, "nitro", ARM, 64, 128, true),
    ("g4dn.metal", 15, 50, 50, 1, 15, "", X86, 96, 384, true),
    ("g5.48xlarge", 7, 50, 50, 1, 7, "nitro", X86, 192, 768, true),
    ("m4.4xlarge", 8, 30, 30, 1, 8, "xen", X86, 16, 64, false),
    ("m5.large", 3, 10, 10, 1, 3, "nitro", X86, 2, 8, false),
    ("m5.xlarge", 4, 15, 15, 1, 4, "nitro", X86, 4, 16, false),
    ("m5.2xlarge", 4, 15, 15, 1, 4, "nitro", X86, 8, 32, false),
    ("m5.4xlarge", 8, 30, 30, 1, 8, "nitro", X86, 16, 64, false),
    ("m5.24xlarge", 15, 50, 50, 1, 15, "nitro", X86, 96, 384, false),
    ("m7g.large", 3, 10, 10, 1, 3, "nitro", ARM, 2, 8, false),
    ("m8a.48xlarge", 24, 64, 64, 1, 24, "nitro", X86, 192, 768, true),
    ("p3dn.24xlarge", 15, 50, 50, 1, 15, "nitro", X86, 96, 768, true),
    ("p4d.24xlarge", 60, 50, 50, 4, 15, "nitro", X86, 96, 1152, true),
    ("p5.48xlarge", 64, 50, 50, 32, 2, "nitro", X86, 192, 2048, true),
    ("t3.nano", 2, 2, 2, 1, 2, "nitro", X86, 2, 0, false),
    ("t3.small", 3, 4, 4, 1, 3, "nitro", X86, 2, 2, false),
    ("t3.medium", 3, 6, 6, 1, 3, "nitro", X86, 2, 4, false),
    ("t3.large", 3, 12, 12, 1, 3, "nitro", X86, 2, 8, false),
    ("t3.xlarge", 4, 15, 15, 1, 4, "nitro", X86, 4, 16, false),
    ("t4g.micro", 2, 2, 2, 1, 2, "nitro", ARM, 2, 1, false),
    ("trn1.32xlarge", 40, 50, 50, 8, 5, "nitro", X86, 128, 512, true),
    // What a type is that came after the program that meets it.
    ("z9.large", 3, 12, 12, 1, 3, "nitro", X86, 2, 8, false),
];

/// Every type the box knows, by name.
pub fn instance_types() -> Vec<InstanceType> {
    let mut types: Vec<_> = TABLE.iter().map(from_row).collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    types
}

/// The type of this name.
pub fn instance_type(name: &str) -> Option<InstanceType> {
    TABLE.iter().find(|row| row.0 == name).map(from_row)
}

fn from_row(row: &Row) -> InstanceType {
    let (name, max_enis, ipv4, ipv6, cards, per_card, hypervisor, architecture, vcpus, gib, efa) = *row;
    InstanceType {
        name: name.to_owned(),
        max_enis,
        ipv4_per_eni: ipv4,
        ipv6_per_eni: ipv6,
        network_cards: vec![per_card; cards],
        hypervisor: hypervisor.to_owned(),
        bare_metal: hypervisor.is_empty(),
        architecture: architecture.to_owned(),
        vcpus,
        memory_mib: if gib == 0 { 512 } else { gib * 1024 },
        efa_supported: efa,
        trunking_supported: hypervisor != "xen" && !name.starts_with("t3") && !name.starts_with("t4g"),
    }
}
