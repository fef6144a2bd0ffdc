//! Building the account: VPCs, subnets, groups, instances; and filling subnets (F23).

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::{ApiError, ErrorCode};
use super::family::Family;
use super::ids::{AttachmentId, EniId, InstanceId, ReservationId, SecurityGroupId, SubnetId, VpcId};
use super::limits;
use super::model::{EniState, Instance, SecurityGroup, Subnet, Vpc, World};
use super::op::{Due, Effect, NewEni, Wish, check_tags, invalid};
use super::request::{Caller, Tags};
use super::response::{Attachment, AttachmentStatus, InstanceState};
use super::space::{Holder, ReservationKind, Space};
use super::{InstanceSpec, SimVpc, SubnetSpec};

/// EC2's bounds on the IPv4 block of a VPC or subnet.
const BLOCK_LENGTHS: std::ops::RangeInclusive<u8> = 16..=28;

fn check_block(net: Ipv4Net) -> Result<(), ApiError> {
    if BLOCK_LENGTHS.contains(&net.prefix_len()) && net.addr() == net.network() {
        return Ok(());
    }
    Err(invalid(format!("The CIDR '{net}' is invalid.")))
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

impl SimVpc {
    /// Makes a VPC with its default security group. The first block is the primary one.
    pub fn add_vpc(
        &mut self,
        ipv4: &[Ipv4Net],
        ipv6: Option<Ipv6Net>,
        tags: Tags,
    ) -> Result<VpcId, ApiError> {
        if ipv4.is_empty() {
            return Err(invalid("A VPC needs an IPv4 CIDR block"));
        }
        for (place, net) in ipv4.iter().enumerate() {
            check_block(*net)?;
            if ipv4[..place].iter().any(|other| overlap(*other, *net)) {
                return Err(invalid(format!("The CIDR '{net}' conflicts with another block")));
            }
        }
        check_tags(&tags)?;
        self.change(&Caller::named("setup"), |change| {
            let id = VpcId::new(change.ids.id(VpcId::PREFIX));
            let group = SecurityGroupId::new(change.ids.id(SecurityGroupId::PREFIX));
            let default = SecurityGroup { id: group, name: "default".to_owned(), vpc: id, tags: Tags::new() };
            change.world.groups.put(group, default);
            change.world.vpcs.put(id, Vpc { id, ipv4: ipv4.to_vec(), ipv6, default_group: group, tags });
            Ok(id)
        })
    }

    /// Makes a subnet.
    pub fn add_subnet(&mut self, spec: SubnetSpec) -> Result<SubnetId, ApiError> {
        let zone_id = zone_id(&self.config.region, &spec.availability_zone)?;
        check_tags(&spec.tags)?;
        self.change(&Caller::named("setup"), |change| {
            let vpc = change.world.vpc(&spec.vpc)?;
            if spec.ipv4.is_none() && spec.ipv6.is_none() {
                return Err(invalid("A subnet needs a CIDR block"));
            }
            if let Some(net) = spec.ipv4 {
                check_block(net)?;
                if !vpc.ipv4.iter().any(|block| block.contains(&net)) {
                    return Err(invalid(format!("The CIDR '{net}' is not within the VPC")));
                }
                let mut others = subnets_of(change.world, spec.vpc);
                if others.any(|other| other.ipv4.is_some_and(|other| overlap(other, net))) {
                    return Err(invalid(format!("The CIDR '{net}' conflicts with another subnet")));
                }
            }
            if let Some(net) = spec.ipv6 {
                let mut others = subnets_of(change.world, spec.vpc);
                let inside = vpc.ipv6.is_some_and(|block| block.contains(&net));
                if net.prefix_len() != 64 || !inside || others.any(|other| other.ipv6 == Some(net)) {
                    return Err(invalid(format!("The IPv6 CIDR '{net}' is invalid.")));
                }
            }
            let id = SubnetId::new(change.ids.id(SubnetId::PREFIX));
            let spaces = [spec.ipv4.map(Space::new), spec.ipv6.map(Space::new)];
            let free = spaces[0].as_ref().map_or(0, Space::free);
            for space in spaces.into_iter().flatten() {
                change.world.spaces.insert((id, space.family()), space);
            }
            let subnet = Subnet {
                id,
                vpc: spec.vpc,
                zone: spec.availability_zone,
                zone_id,
                ipv4: spec.ipv4,
                ipv6: spec.ipv6,
                tags: spec.tags,
                free: u32::try_from(free).unwrap_or(u32::MAX),
            };
            change.world.subnets.put(id, subnet);
            change.effects.push(Effect::SubnetAdded(id));
            Ok(id)
        })
    }

    /// Makes a security group.
    pub fn add_security_group(
        &mut self,
        vpc: &VpcId,
        name: &str,
        tags: Tags,
    ) -> Result<SecurityGroupId, ApiError> {
        check_tags(&tags)?;
        self.change(&Caller::named("setup"), |change| {
            change.world.vpc(vpc)?;
            let id = SecurityGroupId::new(change.ids.id(SecurityGroupId::PREFIX));
            let group = SecurityGroup { id, name: name.to_owned(), vpc: *vpc, tags };
            change.world.groups.put(id, group);
            Ok(id)
        })
    }

    /// Starts an instance. It runs at once; its primary ENI is attached and visible at device 0 of card 0 and is
    /// deleted with the instance.
    pub fn run_instance(&mut self, spec: InstanceSpec) -> Result<InstanceId, ApiError> {
        let kind = limits::instance_type(&spec.instance_type).ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidInstanceType,
                format!("The instance type '{}' does not exist", spec.instance_type),
            )
        })?;
        check_tags(&spec.tags)?;
        self.change(&Caller::named("setup"), |change| {
            let subnet = change.world.subnet(&spec.subnet)?;
            let (vpc, zone) = (subnet.vpc, subnet.zone.clone());
            let id = InstanceId::new(change.ids.id(InstanceId::PREFIX));
            let instance = Instance {
                id,
                reservation: ReservationId::new(change.ids.id(ReservationId::PREFIX)),
                kind: Arc::new(kind),
                state: InstanceState::Running,
                subnet: spec.subnet,
                vpc,
                zone,
                launched: change.now,
                tags: spec.tags,
                ghosts: Vec::new(),
                retirement: None,
                past_retirements: Vec::new(),
            };
            change.world.instances.put(id, instance);
            let attachment_id = AttachmentId::new(change.ids.id(AttachmentId::PREFIX));
            let state = EniState::Bound(Attachment {
                attachment_id,
                instance_id: id,
                instance_owner_id: change.account.to_owned(),
                device_index: 0,
                network_card_index: 0,
                status: AttachmentStatus::Attached,
                delete_on_termination: true,
                attach_time: change.now,
            });
            let primary = NewEni {
                subnet: spec.subnet,
                groups: spec.security_groups,
                interface_type: "interface".to_owned(),
                primary: spec.private_ip,
                v6: Wish::Count(spec.ipv6_address_count),
                ..NewEni::default()
            };
            change.make_eni(primary, state)?;
            change.effects.push(Effect::Later(std::time::Duration::ZERO, Due::LinkAppears(attachment_id)));
            Ok(id)
        })
    }

    /// The primary ENI of an instance that has not ended.
    pub fn primary_eni(&self, instance: &InstanceId) -> Option<EniId> {
        self.world.enis_of(*instance).first().map(|eni| eni.id)
    }

    /// The account may have so many ENIs in the region from now on.
    pub fn set_eni_quota(&mut self, quota: usize) {
        self.config.eni_quota = quota;
    }

    /// Lets something outside the box hold these addresses.
    pub fn occupy(&mut self, subnet: &SubnetId, addresses: &[Ipv4Addr]) -> Result<(), ApiError> {
        self.on_subnet(subnet, |subnet| {
            addresses.iter().try_for_each(|address| subnet.take_this((*address).into(), Holder::Foreign))
        })
    }

    /// Lets something outside the box hold free addresses, lowest first, until at most `leave` are free (F23).
    pub fn occupy_all_but(&mut self, subnet: &SubnetId, leave: u32) -> Result<(), ApiError> {
        self.on_subnet(subnet, |subnet| {
            subnet.occupy_all_but(leave.into());
            Ok(())
        })
    }

    /// Lets something outside the box hold one address in every wholly free /28, so that no prefix can be
    /// assigned (F23).
    pub fn fragment(&mut self, subnet: &SubnetId) -> Result<(), ApiError> {
        self.on_subnet(subnet, |subnet| {
            subnet.fragment();
            Ok(())
        })
    }

    /// Gives back everything that is held from outside the box.
    pub fn vacate(&mut self, subnet: &SubnetId) -> Result<(), ApiError> {
        self.on_subnet(subnet, |subnet| {
            subnet.vacate();
            Ok(())
        })
    }

    fn on_subnet(
        &mut self,
        id: &SubnetId,
        work: impl FnOnce(&mut Space) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        self.change(&Caller::named("setup"), |change| work(change.world.space_mut(*id, Family::V4)?))
    }

    /// Keeps a part of a subnet for prefixes, or from being chosen at all (a "subnet CIDR reservation").
    pub fn reserve(&mut self, subnet: &SubnetId, net: IpNet, kind: ReservationKind) -> Result<(), ApiError> {
        self.change(&Caller::named("setup"), |change| {
            change.world.space_mut(*subnet, Family::of(net.addr()))?.reserve(net, kind)
        })
    }

    /// Adds a block to a VPC while it runs (`AssociateVpcCidrBlock`).
    pub fn add_vpc_cidr(&mut self, vpc: &VpcId, net: Ipv4Net) -> Result<(), ApiError> {
        check_block(net)?;
        self.change(&Caller::named("setup"), |change| {
            let id = *vpc;
            let vpc = change.world.vpc_mut(&id)?;
            if vpc.ipv4.iter().any(|other| overlap(*other, net)) {
                return Err(invalid(format!("The CIDR '{net}' conflicts with another block")));
            }
            vpc.ipv4.push(net);
            change.effects.push(Effect::CidrAdded(id, net));
            Ok(())
        })
    }

    /// Ends an instance (F09): its delete-on-termination ENIs go with it, the others become available. Ending an
    /// ended one again does nothing.
    pub fn terminate_instance(&mut self, instance: &InstanceId) -> Result<(), ApiError> {
        self.change(&Caller::named("ec2"), |change| change.terminate(*instance))
    }

    /// Stops an instance: its links go, its ENIs and addresses stay, and what forced detachments left is cleared.
    pub fn stop_instance(&mut self, instance: &InstanceId) -> Result<(), ApiError> {
        self.change(&Caller::named("ec2"), |change| change.stop(*instance))
    }

    /// Starts a stopped instance.
    pub fn start_instance(&mut self, instance: &InstanceId) -> Result<(), ApiError> {
        self.change(&Caller::named("ec2"), |change| change.start(*instance))
    }

    /// Boots a running instance again.
    pub fn reboot_instance(&mut self, instance: &InstanceId) -> Result<(), ApiError> {
        self.change(&Caller::named("ec2"), |change| change.reboot(*instance))
    }
}

fn subnets_of(world: &World, vpc: VpcId) -> impl Iterator<Item = &Arc<Subnet>> {
    world.subnets.iter().map(|(_, subnet)| subnet).filter(move |subnet| subnet.vpc == vpc)
}

/// `us-west-2a` in `us-west-2` is `usw2-az1`.
fn zone_id(region: &str, zone: &str) -> Result<String, ApiError> {
    let letter = zone.strip_prefix(region).and_then(|rest| match rest.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        _ => None,
    });
    let Some(number) = letter else {
        return Err(invalid(format!("Value ({zone}) for parameter availabilityZone is invalid.")));
    };
    let mut parts = region.split('-');
    let continent = parts.next().unwrap_or_default();
    let short: String = parts.filter_map(|part| part.chars().next()).collect();
    Ok(format!("{continent}{short}-az{number}"))
}
