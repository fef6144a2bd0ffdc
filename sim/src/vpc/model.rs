//! The state of the simulated account: its objects with their past, and the addresses of its subnets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::{ApiError, ErrorCode};
use super::event::EniAddresses;
use super::family::Family;
use super::ids::{AttachmentId, EniId, InstanceId, Mac, ReservationId, SecurityGroupId, SubnetId, VpcId};
use super::index::{Index, Term};
use super::limits::InstanceType;
use super::request::{ConnectionTracking, Tags};
use super::response::{Attachment, AttachmentStatus, EniStatus, InstanceState};
use super::retirement::{PastRetirement, Retirement};
use super::space::{Holding, Space};
use super::table::Table;
use super::time::Micros;
use super::tokens::Tokens;

/// Everything that exists, and what existed within [`super::HORIZON`].
///
/// Changes become the present by [`World::commit`] or are undone by [`World::rollback`], all together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct World {
    pub(super) vpcs: Table<VpcId, Vpc>,
    pub(super) subnets: Table<SubnetId, Subnet>,
    pub(super) groups: Table<SecurityGroupId, SecurityGroup>,
    pub(super) instances: Table<InstanceId, Instance>,
    pub(super) enis: Table<EniId, Eni>,
    /// Finds ENIs by what they are and were; brought up to date at each commit.
    pub(super) index: Index,
    /// The truth about addresses, which has no past.
    pub(super) spaces: BTreeMap<(SubnetId, Family), Space>,
    touched: BTreeSet<SubnetId>,
    pub(super) tokens: Tokens,
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
pub(super) struct Subnet {
    pub(super) id: SubnetId,
    pub(super) vpc: VpcId,
    pub(super) zone: String,
    pub(super) zone_id: String,
    pub(super) ipv4: Option<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
    pub(super) tags: Tags,
    /// Free IPv4 addresses, as Describe shows them.
    pub(super) free: u32,
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
    pub(super) kind: Arc<InstanceType>,
    pub(super) state: InstanceState,
    pub(super) subnet: SubnetId,
    pub(super) vpc: VpcId,
    pub(super) zone: String,
    pub(super) launched: Micros,
    pub(super) tags: Tags,
    /// Interfaces that were detached by force. Their places stay taken, and metadata goes on showing them, until the
    /// instance is stopped.
    pub(super) ghosts: Vec<Ghost>,
    /// Announced, and not carried out yet.
    pub(super) retirement: Option<Retirement>,
    /// Those that are over, the earliest first.
    pub(super) past_retirements: Vec<PastRetirement>,
}

/// What a forced detachment leaves in the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ghost {
    pub(super) card: u32,
    pub(super) device: u32,
    pub(super) was: Arc<Eni>,
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
    /// The primary address first. No address in IPv6-only subnets and for `efa-only`.
    pub(super) v4: Holding,
    pub(super) v6: Holding,
    pub(super) source_dest_check: bool,
    pub(super) groups: Vec<SecurityGroupId>,
    pub(super) interface_type: String,
    pub(super) connection_tracking: Option<ConnectionTracking>,
    pub(super) tags: Tags,
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

    pub(super) fn holding(&self, family: Family) -> &Holding {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(super) fn holding_mut(&mut self, family: Family) -> &mut Holding {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The primary IPv4 address.
    pub(super) fn primary(&self) -> Option<Ipv4Addr> {
        self.v4.ipv4().first().copied()
    }

    pub(super) fn addresses(&self) -> EniAddresses {
        EniAddresses {
            ipv4: self.v4.ipv4(),
            ipv4_prefixes: self.v4.ipv4_prefixes(),
            ipv6: self.v6.ipv6(),
            ipv6_prefixes: self.v6.ipv6_prefixes(),
        }
    }
}

macro_rules! lookup {
    ($get:ident, $edit:ident, $field:ident, $id:ty, $object:ty, $noun:literal, $malformed:ident, $missing:ident) => {
        /// The object, or EC2's error for an id that is malformed or unknown.
        pub(super) fn $get(&self, id: &$id) -> Result<&Arc<$object>, ApiError> {
            if !id.is_well_formed() {
                return Err(ApiError::new(ErrorCode::$malformed, format!("Invalid id: \"{id}\"")));
            }
            self.$field.get(id).ok_or_else(|| {
                ApiError::new(
                    ErrorCode::$missing,
                    format!(concat!("The ", $noun, " '{}' does not exist"), id),
                )
            })
        }

        /// The same, to change it.
        pub(super) fn $edit(&mut self, id: &$id) -> Result<&mut $object, ApiError> {
            self.$get(id)?;
            Ok(self.$field.edit(id).expect("it was found a line above"))
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
    pub(super) fn enis_of(&self, instance: InstanceId) -> Vec<&Arc<Eni>> {
        let mut found: Vec<(&Attachment, &Arc<Eni>)> = self
            .index
            .having(&Term::Instance(instance))
            .filter_map(|id| self.enis.get(&id))
            .filter_map(|eni| Some((eni.attachment()?, eni)))
            .filter(|(attachment, _)| attachment.instance_id == instance)
            .collect();
        found.sort_by_key(|(attachment, _)| (attachment.network_card_index, attachment.device_index));
        found.into_iter().map(|(_, eni)| eni).collect()
    }

    /// The ENI that an attachment binds.
    pub(super) fn eni_of_attachment(&self, id: AttachmentId) -> Option<&Arc<Eni>> {
        self.index
            .having(&Term::Attachment(id))
            .filter_map(|eni| self.enis.get(&eni))
            .find(|eni| eni.attachment().is_some_and(|attachment| attachment.attachment_id == id))
    }

    /// Whether an ENI bears this MAC.
    pub(super) fn has_mac(&self, mac: Mac) -> bool {
        self.index.having(&Term::Mac(mac)).next().is_some()
    }

    /// The limits of the instance that an ENI is bound to.
    pub(super) fn limits_of(&self, eni: &Eni) -> Option<&InstanceType> {
        let attachment = eni.attachment()?;
        Some(&self.instances.get(&attachment.instance_id)?.kind)
    }

    /// The addresses of a subnet in one family, to be changed; EC2's error where it has none.
    pub(super) fn space_mut(&mut self, subnet: SubnetId, family: Family) -> Result<&mut Space, ApiError> {
        self.subnet(&subnet)?;
        self.touched.insert(subnet);
        self.spaces.get_mut(&(subnet, family)).ok_or_else(|| {
            let message = match family {
                Family::V4 => "The subnet does not have an IPv4 CIDR block",
                Family::V6 => "The subnet does not have an IPv6 CIDR block associated with it",
            };
            ApiError::new(ErrorCode::InvalidParameterValue, message)
        })
    }

    /// Removes an ENI and gives its addresses back to its subnet.
    pub(super) fn remove_eni(&mut self, id: &EniId) {
        let Some(eni) = self.enis.remove(id) else { return };
        for holding in [&eni.v4, &eni.v6] {
            for address in &holding.addresses {
                self.release(eni.subnet, Family::of(*address), |space| space.release(*address));
            }
            for prefix in &holding.prefixes {
                self.release(eni.subnet, Family::of(prefix.addr()), |space| space.release_prefix(*prefix));
            }
        }
    }

    fn release(&mut self, subnet: SubnetId, family: Family, release: impl FnOnce(&mut Space)) {
        self.touched.insert(subnet);
        if let Some(space) = self.spaces.get_mut(&(subnet, family)) {
            release(space);
        }
    }

    /// Makes the change under way the present from `now` on.
    pub(super) fn commit(&mut self, now: Micros) {
        for subnet in std::mem::take(&mut self.touched) {
            for family in [Family::V4, Family::V6] {
                if let Some(space) = self.spaces.get_mut(&(subnet, family)) {
                    space.commit();
                }
            }
            let free = self.spaces.get(&(subnet, Family::V4)).map_or(0, Space::free);
            let free = u32::try_from(free).unwrap_or(u32::MAX);
            if self.subnets.get(&subnet).is_some_and(|shown| shown.free != free)
                && let Some(subnet) = self.subnets.edit(&subnet)
            {
                subnet.free = free;
            }
        }
        for changed in self.enis.commit(now) {
            match (&changed.is, &changed.was) {
                (Some(is), _) => self.index.add(is),
                (None, Some(was)) => self.tokens.outlive(was.id, now),
                (None, None) => {}
            }
            if let Some(was) = changed.was.as_ref().filter(|_| !changed.kept) {
                self.index.remove(was);
            }
        }
        self.tokens.commit(now);
        for forgotten in self.enis.forget(now) {
            self.index.remove(&forgotten);
        }
        self.instances.commit(now);
        self.instances.forget(now);
        self.subnets.commit(now);
        self.subnets.forget(now);
        self.groups.commit(now);
        self.groups.forget(now);
        self.vpcs.commit(now);
        self.vpcs.forget(now);
    }

    /// Undoes the change under way.
    pub(super) fn rollback(&mut self) {
        for subnet in std::mem::take(&mut self.touched) {
            for family in [Family::V4, Family::V6] {
                if let Some(space) = self.spaces.get_mut(&(subnet, family)) {
                    space.rollback();
                }
            }
        }
        self.tokens.rollback();
        self.enis.rollback();
        self.instances.rollback();
        self.subnets.rollback();
        self.groups.rollback();
        self.vpcs.rollback();
    }
}
