//! `CreateNetworkInterface`, and the primary ENI of a new instance.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Change, Due, Effect, check_tags, combination, count, invalid, missing, no_duplicates};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::{EniId, Mac, SecurityGroupId, SubnetId, VpcId};
use crate::vpc::model::{Eni, EniState, TokenUse};
use crate::vpc::request::{ConnectionTracking, CreateNetworkInterface, Tags};
use crate::vpc::response::Created;
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
    pub(in crate::vpc) secondary: Ipv4Wish,
    pub(in crate::vpc) ipv6: Ipv6Wish,
    pub(in crate::vpc) tags: Tags,
    pub(in crate::vpc) connection_tracking: Option<ConnectionTracking>,
}

/// IPv4 beyond the primary address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::vpc) enum Ipv4Wish {
    #[default]
    Nothing,
    Count(u32),
    These(Vec<Ipv4Addr>),
    PrefixCount(u32),
    Prefixes(Vec<Ipv4Net>),
}

/// IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::vpc) enum Ipv6Wish {
    #[default]
    Nothing,
    Count(u32),
    These(Vec<Ipv6Addr>),
    PrefixCount(u32),
    Prefixes(Vec<Ipv6Net>),
}

impl Ipv4Wish {
    /// At most one of the four may be given.
    pub(super) fn read(
        number: Option<i64>,
        these: Vec<Ipv4Addr>,
        prefix_number: Option<i64>,
        prefixes: Vec<Ipv4Net>,
    ) -> Result<Self, ApiError> {
        no_duplicates(&these)?;
        no_duplicates(&prefixes)?;
        Ok(match (number, these.is_empty(), prefix_number, prefixes.is_empty()) {
            (None, true, None, true) => Self::Nothing,
            (Some(n), true, None, true) => Self::Count(count(n, "secondaryPrivateIpAddressCount")?),
            (None, false, None, true) => Self::These(these),
            (None, true, Some(n), true) => Self::PrefixCount(count(n, "ipv4PrefixCount")?),
            (None, true, None, false) => Self::Prefixes(prefixes),
            _ => {
                return Err(combination(
                    "You can specify only one of private IPv4 addresses, a number of them, IPv4 prefixes, or a \
                     number of those",
                ));
            }
        })
    }

    /// Slots that it takes on the ENI.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Count(n) | Self::PrefixCount(n) => *n as usize,
            Self::These(these) => these.len(),
            Self::Prefixes(prefixes) => prefixes.len(),
        }
    }
}

impl Ipv6Wish {
    /// At most one of the four may be given.
    pub(super) fn read(
        number: Option<i64>,
        these: Vec<Ipv6Addr>,
        prefix_number: Option<i64>,
        prefixes: Vec<Ipv6Net>,
    ) -> Result<Self, ApiError> {
        no_duplicates(&these)?;
        no_duplicates(&prefixes)?;
        Ok(match (number, these.is_empty(), prefix_number, prefixes.is_empty()) {
            (None, true, None, true) => Self::Nothing,
            (Some(n), true, None, true) => Self::Count(count(n, "ipv6AddressCount")?),
            (None, false, None, true) => Self::These(these),
            (None, true, Some(n), true) => Self::PrefixCount(count(n, "ipv6PrefixCount")?),
            (None, true, None, false) => Self::Prefixes(prefixes),
            _ => {
                return Err(combination(
                    "You can specify only one of IPv6 addresses, a number of them, IPv6 prefixes, or a number of \
                     those",
                ));
            }
        })
    }

    /// Slots that it takes on the ENI.
    pub(super) fn slots(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Count(n) | Self::PrefixCount(n) => *n as usize,
            Self::These(these) => these.len(),
            Self::Prefixes(prefixes) => prefixes.len(),
        }
    }
}

impl Change<'_> {
    pub(super) fn create(&mut self, op: &CreateNetworkInterface) -> Result<Created, ApiError> {
        if let Some(answer) = self.answer_of_token(op)? {
            return Ok(answer);
        }
        let wanted = read(op)?;
        let takes = self.timing.create_takes;
        let id = if takes.is_zero() {
            self.make_eni(wanted, EniState::Available)?
        } else {
            let id = self.make_eni(wanted, EniState::Pending)?;
            self.effects.push(Effect::Later(takes, Due::Created(id.clone())));
            id
        };
        let answer = View { world: self.world, account: self.account }.network_interface(&id)?;
        if let Some(token) = &op.client_token {
            let used = TokenUse { request: op.clone(), answer: answer.clone() };
            self.world.tokens.insert(token.clone(), Arc::new(used));
        }
        Ok(Created { network_interface: answer, client_token: op.client_token.clone() })
    }

    fn answer_of_token(&self, op: &CreateNetworkInterface) -> Result<Option<Created>, ApiError> {
        let Some(token) = &op.client_token else { return Ok(None) };
        if token.is_empty() || token.len() > MAX_TOKEN_LEN || !token.is_ascii() {
            return Err(invalid(format!(
                "Value ({token}) for parameter clientToken is invalid. It must be 1 to 64 ASCII characters."
            )));
        }
        let Some(used) = self.world.tokens.get(token) else { return Ok(None) };
        if used.request != *op {
            return Err(ApiError::new(
                ErrorCode::IdempotentParameterMismatch,
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            ));
        }
        let view = View { world: self.world, account: self.account };
        let now = view.network_interface(&used.answer.network_interface_id);
        Ok(Some(Created {
            network_interface: now.unwrap_or_else(|_gone| used.answer.clone()),
            client_token: Some(token.clone()),
        }))
    }

    /// Makes an ENI in this state.
    pub(in crate::vpc) fn make_eni(&mut self, wanted: NewEni, state: EniState) -> Result<EniId, ApiError> {
        let vpc = self.world.subnet(&wanted.subnet)?.vpc.clone();
        let groups = self.groups(wanted.groups, &vpc)?;
        let id = EniId::new(self.ids.id(EniId::PREFIX));
        let mac = self.new_mac();
        let subnet = self.world.subnet_mut(&wanted.subnet)?;
        let mut ipv4 = Vec::new();
        if wanted.interface_type == "efa-only" {
            if wanted.primary.is_some() || wanted.secondary.slots() + wanted.ipv6.slots() > 0 {
                return Err(combination("An EFA-only network interface does not support IP addresses"));
            }
        } else if let Some(primary) = wanted.primary {
            subnet.take_this(&id, primary)?;
            ipv4.push(primary);
        } else if subnet.ipv4.is_some() {
            // Explicit addresses go first, so that a chosen primary cannot land on one of them.
            if let Ipv4Wish::These(these) = &wanted.secondary {
                for address in these {
                    subnet.take_this(&id, *address)?;
                }
                ipv4.extend(subnet.take(&id, 1, self.choice)?);
                for address in these {
                    subnet.release(*address);
                }
            } else {
                ipv4.extend(subnet.take(&id, 1, self.choice)?);
            }
        }
        let eni = Eni {
            id: id.clone(),
            subnet: wanted.subnet,
            description: wanted.description,
            requester: match &self.caller.instance {
                Some(instance) => format!("AROAVPCSIMNODEROLE000:{instance}"),
                None => format!("AIDAVPCSIM:{}", self.caller.name),
            },
            mac,
            state,
            ipv4,
            ipv4_prefixes: Vec::new(),
            ipv6: Vec::new(),
            ipv6_prefixes: Vec::new(),
            source_dest_check: true,
            groups,
            interface_type: wanted.interface_type,
            connection_tracking: wanted.connection_tracking,
            tags: wanted.tags,
        };
        self.world.enis.insert(id.clone(), Arc::new(eni));
        self.grant_v4(&id, wanted.secondary)?;
        self.grant_v6(&id, wanted.ipv6)?;
        Ok(id)
    }

    /// The groups asked for, or the VPC's default one; all of this VPC.
    pub(super) fn groups(
        &self,
        wanted: Vec<SecurityGroupId>,
        vpc: &VpcId,
    ) -> Result<Vec<SecurityGroupId>, ApiError> {
        if wanted.is_empty() {
            return Ok(vec![self.world.vpc(vpc)?.default_group.clone()]);
        }
        no_duplicates(&wanted)?;
        for id in &wanted {
            if self.world.group(id)?.vpc != *vpc {
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
            if self.world.enis.values().all(|eni| eni.mac != mac) {
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
        subnet: op.subnet_id.clone(),
        description: op.description.clone().unwrap_or_default(),
        groups: op.groups.clone(),
        interface_type,
        primary: primaries.pop(),
        secondary: Ipv4Wish::read(
            op.secondary_private_ip_address_count,
            explicit,
            op.ipv4_prefix_count,
            op.ipv4_prefixes.clone(),
        )?,
        ipv6: Ipv6Wish::read(
            op.ipv6_address_count,
            op.ipv6_addresses.clone(),
            op.ipv6_prefix_count,
            op.ipv6_prefixes.clone(),
        )?,
        tags,
        connection_tracking: op.connection_tracking,
    })
}
