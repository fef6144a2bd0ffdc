//! The node's page, and subnets.

use holdfast_migrations::v2;
use holdfast_model::ids::{BootId, InstanceId, MacAddr, SubnetId, VpcId};
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::subnet::SubnetRecord;

use super::{BadRecord, Record, freeze_groups, freeze_net4, freeze_net6, thaw_groups, thaw_net4, thaw_net6};

impl Record for NodeRecord {
    type Frozen = v2::Node;

    fn freeze(&self) -> v2::Node {
        let Self { identity, boot } = self;
        v2::Node {
            instance: identity.instance.to_string(),
            instance_type: identity.instance_type.clone(),
            region: identity.region.clone(),
            zone: identity.zone.clone(),
            vpc: identity.vpc.to_string(),
            vpc_cidrs: identity.vpc_cidrs.iter().copied().map(freeze_net4).collect(),
            primary_mac: identity.primary_mac.0,
            primary_ipv4: identity.primary_ipv4,
            subnet: identity.subnet.to_string(),
            subnet_cidr: freeze_net4(identity.subnet_cidr),
            security_groups: freeze_groups(&identity.security_groups),
            boot: boot.to_string(),
        }
    }

    fn thaw(frozen: v2::Node) -> Result<Self, BadRecord> {
        Ok(Self {
            identity: NodeIdentity {
                instance: InstanceId::new(frozen.instance),
                instance_type: frozen.instance_type,
                region: frozen.region,
                zone: frozen.zone,
                vpc: VpcId::new(frozen.vpc),
                vpc_cidrs: frozen.vpc_cidrs.into_iter().map(thaw_net4).collect::<Result<_, _>>()?,
                primary_mac: MacAddr(frozen.primary_mac),
                primary_ipv4: frozen.primary_ipv4,
                subnet: SubnetId::new(frozen.subnet),
                subnet_cidr: thaw_net4(frozen.subnet_cidr)?,
                security_groups: thaw_groups(frozen.security_groups),
            },
            boot: BootId::new(frozen.boot),
        })
    }
}

impl Record for SubnetRecord {
    type Frozen = v2::Subnet;

    fn freeze(&self) -> v2::Subnet {
        v2::Subnet {
            id: self.id.to_string(),
            ipv4: self.ipv4.map(freeze_net4),
            ipv6: self.ipv6.map(freeze_net6),
        }
    }

    fn thaw(frozen: v2::Subnet) -> Result<Self, BadRecord> {
        Ok(Self {
            id: SubnetId::new(frozen.id),
            ipv4: frozen.ipv4.map(thaw_net4).transpose()?,
            ipv6: frozen.ipv6.map(thaw_net6).transpose()?,
        })
    }
}
