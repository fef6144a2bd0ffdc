//! `CreateNetworkInterface`, and the primary ENI of a new instance.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::wish::Wish;
use super::{Change, Due, Effect, check_tags, combination, invalid, missing, no_duplicates};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::family::Family;
use crate::vpc::ids::{EniId, Mac, SecurityGroupId, SubnetId, VpcId};
use crate::vpc::model::{Eni, EniState};
use crate::vpc::request::{ConnectionTracking, CreateNetworkInterface, Tags};
use crate::vpc::response::Created;
use crate::vpc::space::{Full, Holder, Holding};
use crate::vpc::tokens::TokenUse;
use crate::vpc::view::View;

/// EC2's default quota of security groups per ENI.
const MAX_GROUPS: usize = 5;
/// EC2's limit on a client token.
const MAX_TOKEN_LEN: usize = 64;
const INTERFACE_TYPES: [&str; 5] = ["interface", "efa", "efa-only", "trunk", "branch"];

/// An ENI to be made, in validated terms.
#[derive(Debug, Default)]
pub(in crate::vpc) struct NewEni {
    pub(in crate::vpc) subnet: SubnetId,
    pub(in crate::vpc) description: String,
    pub(in crate::vpc) groups: Vec<SecurityGroupId>,
    pub(in crate::vpc) interface_type: String,
    pub(in crate::vpc) primary: Option<Ipv4Addr>,
    pub(in crate::vpc) v4: Wish,
    pub(in crate::vpc) v6: Wish,
    pub(in crate::vpc) tags: Tags,
    pub(in crate::vpc) connection_tracking: Option<ConnectionTracking>,
}

impl Change<'_> {
    pub(super) fn create(&mut self, op: &CreateNetworkInterface) -> Result<Created, ApiError> {
        if let Some(answer) = self.answer_of_token(op)? {
            return Ok(answer);
        }
        let wanted = read(op)?;
        self.quota()?;
        let takes = self.timing.create_takes;
        let id = if takes.is_zero() {
            self.make_eni(wanted, EniState::Available)?
        } else {
            let id = self.make_eni(wanted, EniState::Pending)?;
            self.effects.push(Effect::Later(takes, Due::Created(id)));
            id
        };
        let made = Arc::clone(self.world.eni(&id)?);
        let network_interface = self.shown().eni(&made);
        if let Some(token) = &op.client_token {
            self.world.tokens.spend(token, TokenUse { request: op.clone(), made });
        }
        Ok(Created { network_interface, client_token: op.client_token.clone() })
    }

    fn shown(&self) -> View<'_> {
        View::of(self.world, self.account, self.now)
    }

    /// The account's quota of ENIs in the region. Code and words: EC2's list of errors; the words are assumed.
    fn quota(&self) -> Result<(), ApiError> {
        let quota = self.eni_quota;
        if self.world.enis.len() >= quota {
            return Err(ApiError::new(
                ErrorCode::NetworkInterfaceLimitExceeded,
                format!("You have reached the limit of {quota} network interfaces in this Region."),
            ));
        }
        Ok(())
    }

    fn answer_of_token(&self, op: &CreateNetworkInterface) -> Result<Option<Created>, ApiError> {
        let Some(token) = &op.client_token else { return Ok(None) };
        if token.is_empty() || token.len() > MAX_TOKEN_LEN || !token.is_ascii() {
            return Err(invalid(format!(
                "Value ({token}) for parameter clientToken is invalid. It must be 1 to 64 ASCII characters."
            )));
        }
        let Some(used) = self.world.tokens.get(token, self.now) else { return Ok(None) };
        if used.request != *op {
            return Err(ApiError::new(
                ErrorCode::IdempotentParameterMismatch,
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        let now = self.world.enis.get(&used.made.id).unwrap_or(&used.made);
        Ok(Some(Created { network_interface: self.shown().eni(now), client_token: Some(token.clone()) }))
    }

    /// Makes an ENI in this state.
    pub(in crate::vpc) fn make_eni(&mut self, wanted: NewEni, state: EniState) -> Result<EniId, ApiError> {
        let vpc = self.world.subnet(&wanted.subnet)?.vpc;
        let groups = self.groups(wanted.groups, vpc)?;
        let id = EniId::new(self.ids.id(EniId::PREFIX));
        let mac = self.new_mac();
        let mut v4 = Holding::default();
        if wanted.interface_type == "efa-only" {
            if wanted.primary.is_some() || wanted.v4.slots() + wanted.v6.slots() > 0 {
                return Err(combination("An EFA-only network interface does not support IP addresses"));
            }
        } else if let Some(primary) = wanted.primary {
            let primary = IpAddr::V4(primary);
            self.world.space_mut(wanted.subnet, Family::V4)?.take_this(primary, Holder::Eni(id))?;
            v4.addresses.push(primary);
        } else if self.world.subnet(&wanted.subnet)?.ipv4.is_some() {
            let space = self.world.space_mut(wanted.subnet, Family::V4)?;
            // Explicit addresses go first, so that a chosen primary cannot land on one of them.
            let named: &[IpAddr] = match &wanted.v4 {
                Wish::These(these) => these,
                _ => &[],
            };
            for address in named {
                space.take_this(*address, Holder::Eni(id))?;
            }
            let taken = space.take(id, 1, self.choice);
            v4.addresses.extend(taken.map_err(|Full| self.full_subnet.error(self.choice))?);
            let space = self.world.space_mut(wanted.subnet, Family::V4)?;
            for address in named {
                space.release(*address);
            }
        }
        let eni = Eni {
            id,
            subnet: wanted.subnet,
            description: wanted.description,
            requester: match &self.caller.instance {
                Some(instance) => format!("AROAVPCSIMNODEROLE000:{instance}"),
                None => format!("AIDAVPCSIM:{}", self.caller.name),
            },
            mac,
            state,
            v4,
            v6: Holding::default(),
            source_dest_check: true,
            groups,
            interface_type: wanted.interface_type,
            connection_tracking: wanted.connection_tracking,
            tags: wanted.tags,
        };
        self.world.enis.put(id, eni);
        self.grant(id, Family::V4, wanted.v4)?;
        self.grant(id, Family::V6, wanted.v6)?;
        Ok(id)
    }

    /// The groups asked for, or the VPC's default one; all of this VPC.
    pub(super) fn groups(
        &self,
        wanted: Vec<SecurityGroupId>,
        vpc: VpcId,
    ) -> Result<Vec<SecurityGroupId>, ApiError> {
        if wanted.is_empty() {
            return Ok(vec![self.world.vpc(&vpc)?.default_group]);
        }
        no_duplicates(&wanted)?;
        for id in &wanted {
            if self.world.group(id)?.vpc != vpc {
                return Err(ApiError::new(
                    ErrorCode::GroupNotFound,
                    format!("The security group '{id}' does not exist in VPC '{vpc}'"),
                ));
            }
        }
        if wanted.len() > MAX_GROUPS {
            return Err(ApiError::new(
                ErrorCode::SecurityGroupsPerInterfaceLimitExceeded,
                format!(
                    "You have exceeded the number of security groups allowed per interface ({MAX_GROUPS})"
                ),
            ));
        }
        Ok(wanted)
    }

    fn new_mac(&mut self) -> Mac {
        loop {
            // Locally administered, unicast.
            let mut mac = Mac([0x02; 6]);
            mac.0[1..].copy_from_slice(&self.ids.next().to_be_bytes()[..5]);
            if !self.world.has_mac(mac) {
                return mac;
            }
        }
    }
}

fn read(op: &CreateNetworkInterface) -> Result<NewEni, ApiError> {
    if op.subnet_id.as_str().is_empty() {
        return Err(missing("subnetId"));
    }
    let mut tags = Tags::new();
    for specification in &op.tag_specifications {
        if specification.resource_type != "network-interface" {
            return Err(invalid(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                specification.resource_type
            )));
        }
        tags.extend(specification.tags.clone());
    }
    check_tags(&tags)?;
    let interface_type = op.interface_type.clone().unwrap_or_else(|| "interface".to_owned());
    if !INTERFACE_TYPES.contains(&interface_type.as_str()) {
        return Err(invalid(format!("Value ({interface_type}) for parameter interfaceType is invalid.")));
    }
    let mut primaries: Vec<Ipv4Addr> =
        op.private_ip_addresses.iter().filter(|ip| ip.primary).map(|ip| ip.address).collect();
    primaries.extend(op.private_ip_address);
    if primaries.len() > 1 {
        return Err(combination("Only one primary private IP address can be specified."));
    }
    let explicit: Vec<Ipv4Addr> =
        op.private_ip_addresses.iter().filter(|ip| !ip.primary).map(|ip| ip.address).collect();
    Ok(NewEni {
        subnet: op.subnet_id,
        description: op.description.clone().unwrap_or_default(),
        groups: op.groups.clone(),
        interface_type,
        primary: primaries.pop(),
        v4: Wish::read(
            Family::V4,
            op.secondary_private_ip_address_count,
            &explicit,
            op.ipv4_prefix_count,
            &op.ipv4_prefixes,
        )?,
        v6: Wish::read(
            Family::V6,
            op.ipv6_address_count,
            &op.ipv6_addresses,
            op.ipv6_prefix_count,
            &op.ipv6_prefixes,
        )?,
        tags,
        connection_tracking: op.connection_tracking,
    })
}
