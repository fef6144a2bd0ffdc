//! The state of the simulated account. A [`World`] is cheap to clone: its objects are shared until they change, so
//! that every past state can be kept for the views that lag.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::{ApiError, ErrorCode};
use super::event::EniAddresses;
use super::ids::{EniId, InstanceId, Mac, ReservationId, SecurityGroupId, SubnetId, VpcId};
use super::limits::InstanceType;
use super::request::{ConnectionTracking, CreateNetworkInterface, Tags};
use super::response::{Attachment, AttachmentStatus, EniStatus, InstanceState, NetworkInterface};
use super::subnet::Subnet;
use super::time::Micros;

/// Everything that exists at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct World {
    pub(super) vpcs: BTreeMap<VpcId, Arc<Vpc>>,
    pub(super) subnets: BTreeMap<SubnetId, Arc<Subnet>>,
    pub(super) groups: BTreeMap<SecurityGroupId, Arc<SecurityGroup>>,
    pub(super) instances: BTreeMap<InstanceId, Arc<Instance>>,
    pub(super) enis: BTreeMap<EniId, Arc<Eni>>,
    /// Client tokens of creations that succeeded. They never expire.
    pub(super) tokens: BTreeMap<String, Arc<TokenUse>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vpc {
    pub(super) id: VpcId,
    /// Never empty; the first is the primary one.
    pub(super) ipv4: Vec<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
    pub(super) default_group: SecurityGroupId,
    pub(super) tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecurityGroup {
    pub(super) id: SecurityGroupId,
    pub(super) name: String,
    pub(super) vpc: VpcId,
    pub(super) tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) reservation: ReservationId,
    pub(super) kind: InstanceType,
    pub(super) state: InstanceState,
    pub(super) subnet: SubnetId,
    pub(super) vpc: VpcId,
    pub(super) zone: String,
    pub(super) launched: Micros,
    pub(super) tags: Tags,
}

/// Where an ENI is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EniState {
    Pending,
    Available,
    Bound(Attachment),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Eni {
    pub(super) id: EniId,
    pub(super) subnet: SubnetId,
    pub(super) description: String,
    pub(super) requester: String,
    pub(super) mac: Mac,
    pub(super) state: EniState,
    /// Primary first. Empty for IPv6-only subnets and for `efa-only`.
    pub(super) ipv4: Vec<Ipv4Addr>,
    pub(super) ipv4_prefixes: Vec<Ipv4Net>,
    pub(super) ipv6: Vec<Ipv6Addr>,
    pub(super) ipv6_prefixes: Vec<Ipv6Net>,
    pub(super) source_dest_check: bool,
    pub(super) groups: Vec<SecurityGroupId>,
    pub(super) interface_type: String,
    pub(super) connection_tracking: Option<ConnectionTracking>,
    pub(super) tags: Tags,
}

/// What a client token was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenUse {
    pub(super) request: CreateNetworkInterface,
    /// The answer then: repeated when the ENI is gone by now.
    pub(super) answer: NetworkInterface,
}

impl Eni {
    pub(super) fn attachment(&self) -> Option<&Attachment> {
        match &self.state {
            EniState::Bound(attachment) => Some(attachment),
            EniState::Pending | EniState::Available => None,
        }
    }

    pub(super) fn status(&self) -> EniStatus {
        match &self.state {
            EniState::Pending => EniStatus::Pending,
            EniState::Available => EniStatus::Available,
            EniState::Bound(attachment) => match attachment.status {
                AttachmentStatus::Attaching => EniStatus::Attaching,
                AttachmentStatus::Attached => EniStatus::InUse,
                AttachmentStatus::Detaching => EniStatus::Detaching,
            },
        }
    }

    pub(super) fn addresses(&self) -> EniAddresses {
        EniAddresses {
            ipv4: self.ipv4.clone(),
            ipv4_prefixes: self.ipv4_prefixes.clone(),
            ipv6: self.ipv6.clone(),
            ipv6_prefixes: self.ipv6_prefixes.clone(),
        }
    }
}

macro_rules! lookup {
    ($get:ident, $get_mut:ident, $field:ident, $id:ty, $object:ty, $noun:literal, $malformed:ident, $missing:ident) => {
        /// The object, or EC2's error for an id that is malformed or unknown.
        pub(super) fn $get(&self, id: &$id) -> Result<&$object, ApiError> {
            if !id.is_well_formed() {
                return Err(ApiError::new(ErrorCode::$malformed, format!("Invalid id: \"{id}\"")));
            }
            self.$field.get(id).map(AsRef::as_ref).ok_or_else(|| {
                ApiError::new(
                    ErrorCode::$missing,
                    format!(concat!("The ", $noun, " '{}' does not exist"), id),
                )
            })
        }

        /// The same, to change it.
        pub(super) fn $get_mut(&mut self, id: &$id) -> Result<&mut $object, ApiError> {
            self.$get(id)?;
            Ok(Arc::make_mut(self.$field.get_mut(id).expect("it was found a line above")))
        }
    };
}

impl World {
    lookup!(vpc, vpc_mut, vpcs, VpcId, Vpc, "vpc ID", VpcIdMalformed, VpcIdNotFound);
    lookup!(subnet, subnet_mut, subnets, SubnetId, Subnet, "subnet ID", SubnetIdMalformed, SubnetIdNotFound);
    lookup!(
        group,
        group_mut,
        groups,
        SecurityGroupId,
        SecurityGroup,
        "security group",
        GroupIdMalformed,
        GroupNotFound
    );
    lookup!(
        instance,
        instance_mut,
        instances,
        InstanceId,
        Instance,
        "instance ID",
        InstanceIdMalformed,
        InstanceIdNotFound
    );
    lookup!(
        eni,
        eni_mut,
        enis,
        EniId,
        Eni,
        "networkInterface ID",
        NetworkInterfaceIdMalformed,
        NetworkInterfaceIdNotFound
    );

    /// The ENIs bound to an instance, by card and device index.
    pub(super) fn enis_of(&self, instance: &InstanceId) -> Vec<&Eni> {
        let mut found: Vec<(&Attachment, &Eni)> = self
            .enis
            .values()
            .filter_map(|eni| Some((eni.attachment()?, eni.as_ref())))
            .filter(|(attachment, _)| attachment.instance_id == *instance)
            .collect();
        found.sort_by_key(|(attachment, _)| (attachment.network_card_index, attachment.device_index));
        found.into_iter().map(|(_, eni)| eni).collect()
    }

    /// The limits of the instance that an ENI is bound to.
    pub(super) fn limits_of(&self, eni: &Eni) -> Option<&InstanceType> {
        let attachment = eni.attachment()?;
        Some(&self.instances.get(&attachment.instance_id)?.kind)
    }

    /// Removes an ENI and gives its addresses back to its subnet.
    pub(super) fn remove_eni(&mut self, id: &EniId) {
        let Some(eni) = self.enis.remove(id) else { return };
        if let Some(subnet) = self.subnets.get_mut(&eni.subnet) {
            Arc::make_mut(subnet).release_all(id);
        }
    }
}
