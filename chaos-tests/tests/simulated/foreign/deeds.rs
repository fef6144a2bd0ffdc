//! What others do to a node, and how one sees that the daemon has noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use holdfast_chaos_tests::oracle::picture::{Eni, MAIN_TABLE};
use holdfast_engine::Dump;
use holdfast_model::block::BlockState;
use holdfast_model::cloud::TAG_NO_MANAGE;
use holdfast_model::eni::{EniPhase, Management};
use holdfast_model::ids::MacAddr;
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentChange, CreateNetworkInterface, CreateTags,
    DeleteNetworkInterface, DetachNetworkInterface, ModifyNetworkInterfaceAttribute,
    UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::{AttachmentId, EniId, SecurityGroupId, Tags};

use super::Chance;
use crate::kernel::LinkOf;
use crate::node::{Node, Pod};

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Menu {
    /// One ENI may be changed in EC2 more than once.
    pub(crate) again: bool,
    /// ENIs may be taken away.
    pub(crate) takes_enis: bool,
    /// ENIs may be marked as not to be managed, which only a read of EC2 shows: EC2 is read every two minutes.
    pub(crate) marks: bool,
}

/// What somebody else does.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Takes an address away that no pod has.
    UnassignSpare(EniId, Ipv4Addr),
    /// Takes a pod's address away.
    UnassignUsed(EniId, Ipv4Addr),
    /// Puts another address onto an ENI.
    Assign(EniId),
    /// Takes one away and puts another there: as many as before.
    Swap(EniId, Ipv4Addr),
    /// Attaches an ENI of his own.
    Attach(u32),
    /// Detaches an ENI, by force or not.
    Detach(EniId, AttachmentId, bool),
    /// Detaches an ENI and deletes it.
    Delete(EniId, AttachmentId),
    /// Takes an ENI's link down.
    EniDown(MacAddr),
    /// Calls an ENI's link something else.
    EniRenamed(MacAddr),
    /// Removes an ENI's routes.
    EniRoutes(u32),
    /// Removes an ENI's rule.
    EniRule(Ipv4Addr),
    /// Takes the host's end of a pod down.
    PodDown(u64),
    /// Removes the rule to a pod.
    PodRuleTo(IpAddr),
    /// Removes the rule from a pod.
    PodRuleFrom(IpAddr),
    /// Removes the route to a pod.
    PodRoute(IpAddr),
    /// Removes the NAT table.
    Nat,
    /// Gives an ENI other security groups than the primary one has, which are left.
    Groups(EniId),
    /// Gives it the primary's again.
    GroupsBack(EniId),
    /// Marks an ENI as not to be managed, or takes that back.
    Mark(EniId, bool),
}

/// What of a node can be changed.
struct Target {
    attached: Vec<(Eni, EniId, AttachmentId)>,
    free_devices: Vec<u32>,
    used: BTreeMap<Ipv4Addr, Pod>,
    room: usize,
}

impl Target {
    fn primary(node: &Node) -> EniId {
        let target = Self::of(node);
        let primary = target.attached.iter().find(|(eni, ..)| eni.is_primary());
        primary.expect("a node has one").1
    }

    fn of(node: &Node) -> Self {
        let cloud = node.shared.cloud_of(&node.instance);
        let truth = node.shared.now(|vpc| vpc.authoritative().network_interfaces_of(&node.instance));
        let attached: Vec<_> = cloud
            .enis
            .iter()
            .filter_map(|eni| {
                let seen = truth.iter().find(|seen| seen.network_interface_id.as_str() == eni.id)?;
                Some((eni.clone(), seen.network_interface_id, seen.attachment.as_ref()?.attachment_id))
            })
            .collect();
        let instance_type =
            node.shared.now(|vpc| vpc.authoritative().instances())[0].instance.instance_type.clone();
        let limits = holdfast_sim::vpc::limits::instance_type(&instance_type).unwrap();
        let taken: BTreeSet<u32> = cloud.enis.iter().map(|eni| eni.device).collect();
        let used = node.pods().into_values().filter_map(|pod| match pod.address {
            Some(IpAddr::V4(address)) => Some((address, pod)),
            _ => None,
        });
        Self {
            attached,
            free_devices: (1..limits.max_enis).filter(|device| !taken.contains(device)).collect(),
            used: used.collect(),
            room: limits.ipv4_per_eni as usize - 1,
        }
    }
}

impl Deed {
    /// How many kinds there are.
    pub(crate) const KINDS: usize = 18;

    /// So many of them come only where the menu says so.
    pub(crate) const ON_THE_MENU: usize = 3;

    /// One that can be done now; nothing, where the one that was drawn cannot.
    pub(crate) fn draw(
        menu: Menu,
        chance: &Chance,
        node: &Node,
        dump: &Dump,
        touched: &[EniId],
    ) -> Option<Self> {
        let target = Target::of(node);
        // One that is being given back, or comes, is the daemon's own affair.
        let settled = |eni: &EniId| {
            let known = dump.ledger.enis.values().find(|known| known.id.as_str() == eni.as_str());
            known.is_some_and(|known| matches!(known.phase, EniPhase::Attached { .. }))
                && dump.ready_enis.iter().any(|ready| ready == eni.as_str())
        };
        let fresh = |eni: &EniId| menu.again || !touched.contains(eni);
        let enis: Vec<_> = target.attached.iter().filter(|(_, id, _)| settled(id)).collect();
        let open: Vec<_> = enis.iter().filter(|(_, id, _)| fresh(id)).copied().collect();
        let secondary: Vec<_> = enis.iter().filter(|(eni, ..)| !eni.is_primary()).copied().collect();
        let open_secondary: Vec<_> = open.iter().filter(|(eni, ..)| !eni.is_primary()).copied().collect();
        let pods: Vec<&Pod> = target.used.values().collect();
        let (eni, id, _) = chance.pick(&open).copied()?;
        let (spare, used): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) =
            eni.secondary.iter().partition(|address| !target.used.contains_key(*address));
        Some(match chance.below(Self::KINDS as u64) {
            0 => Self::UnassignSpare(*id, *chance.pick(&spare)?),
            1 => Self::UnassignUsed(*id, *chance.pick(&used)?),
            2 if eni.secondary.len() < target.room => Self::Assign(*id),
            3 => Self::Swap(*id, *chance.pick(&spare)?),
            4 => Self::Attach(*chance.pick(&target.free_devices)?),
            5 if menu.takes_enis => {
                let (_, id, at) = chance.pick(&open_secondary).copied()?;
                Self::Detach(*id, *at, chance.below(2) == 0)
            }
            6 if menu.takes_enis => chance.pick(&open_secondary).map(|(_, id, at)| Self::Delete(*id, *at))?,
            7 => chance.pick(&secondary).map(|(eni, ..)| Self::EniDown(eni.mac))?,
            8 => chance.pick(&secondary).map(|(eni, ..)| Self::EniRenamed(eni.mac))?,
            9 => chance.pick(&secondary).map(|(eni, ..)| Self::EniRoutes(eni.table()))?,
            10 => chance.pick(&secondary).map(|(eni, ..)| Self::EniRule(eni.primary))?,
            11 => chance.pick(&pods).map(|pod| Self::PodDown(pod.netns.inode))?,
            12 => chance.pick(&pods).and_then(|pod| pod.address).map(Self::PodRuleTo)?,
            13 => chance.pick(&pods).and_then(|pod| pod.address).map(Self::PodRuleFrom)?,
            14 => chance.pick(&pods).and_then(|pod| pod.address).map(Self::PodRoute)?,
            15 => Self::Nat,
            16 => chance.pick(&open_secondary).map(|(_, id, _)| Self::Groups(*id))?,
            17 if menu.marks => chance.pick(&open_secondary).map(|(_, id, _)| Self::Mark(*id, true))?,
            _ => return None,
        })
    }

    /// A word for its kind.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::UnassignSpare(..) => "unassign spare",
            Self::UnassignUsed(..) => "unassign used",
            Self::Assign(_) => "assign",
            Self::Swap(..) => "swap",
            Self::Attach(_) => "attach",
            Self::Detach(..) => "detach",
            Self::Delete(..) => "delete",
            Self::EniDown(_) => "ENI down",
            Self::EniRenamed(_) => "ENI renamed",
            Self::EniRoutes(_) => "ENI's routes",
            Self::EniRule(_) => "ENI's rule",
            Self::PodDown(_) => "pod down",
            Self::PodRuleTo(_) => "rule to pod",
            Self::PodRuleFrom(_) => "rule from pod",
            Self::PodRoute(_) => "route to pod",
            Self::Nat => "NAT",
            Self::Groups(_) | Self::GroupsBack(_) => "groups",
            Self::Mark(..) => "mark",
        }
    }

    /// The ENI that it changes in EC2.
    pub(crate) fn eni(&self) -> Option<EniId> {
        match self {
            Self::UnassignSpare(id, _)
            | Self::UnassignUsed(id, _)
            | Self::Assign(id)
            | Self::Swap(id, _)
            | Self::Detach(id, ..)
            | Self::Delete(id, _)
            | Self::Groups(id)
            | Self::GroupsBack(id)
            | Self::Mark(id, _) => Some(*id),
            _ => None,
        }
    }

    /// What is done later on, when this was noticed.
    pub(crate) fn taken_back(&self) -> Option<Self> {
        match self {
            Self::Mark(id, true) => Some(Self::Mark(*id, false)),
            Self::Groups(id) => Some(Self::GroupsBack(*id)),
            _ => None,
        }
    }

    /// It happens; unless the daemon has just taken the place.
    pub(crate) fn carry_out(&self, node: &Node) -> bool {
        let unassign = |id: EniId, address: Ipv4Addr| {
            node.shared.now(|vpc| {
                vpc.foreign(UnassignPrivateIpAddresses {
                    network_interface_id: id,
                    private_ip_addresses: vec![address],
                    ..UnassignPrivateIpAddresses::default()
                })
                .unwrap();
            });
        };
        let assign = |id: EniId| {
            node.shared.now(|vpc| {
                vpc.foreign(AssignPrivateIpAddresses {
                    network_interface_id: id,
                    secondary_private_ip_address_count: Some(1),
                    ..AssignPrivateIpAddresses::default()
                })
                .unwrap();
            });
        };
        let detach = |at: AttachmentId, force: bool| {
            let detach = DetachNetworkInterface { attachment_id: at, force };
            node.shared.now(|vpc| vpc.foreign(detach)).unwrap();
        };
        match self {
            Self::UnassignSpare(id, address) | Self::UnassignUsed(id, address) => unassign(*id, *address),
            Self::Assign(id) => assign(*id),
            Self::Swap(id, address) => {
                // The same one is not given again so soon.
                assign_other(node, *id, *address);
            }
            Self::Attach(device) => return attach(node, *device),
            Self::Detach(_, at, force) => detach(*at, *force),
            Self::Delete(id, at) => {
                detach(*at, false);
                delete_soon(node, *id);
            }
            Self::EniDown(mac) => node.kernel.take_down(&LinkOf::Eni(*mac)),
            Self::EniRenamed(mac) => {
                node.kernel.rename(&LinkOf::Eni(*mac), &format!("net{:02x}{:02x}", mac.0[4], mac.0[5]));
            }
            Self::EniRoutes(table) if *table != MAIN_TABLE => node.kernel.empty_table(*table),
            Self::EniRoutes(_) => {}
            Self::EniRule(address) => node.kernel.remove_rules_from((*address).into()),
            Self::PodDown(inode) => node.kernel.take_down(&LinkOf::Pod(*inode)),
            Self::PodRuleTo(address) => node.kernel.remove_rules_to(*address),
            Self::PodRuleFrom(address) => node.kernel.remove_rules_from(*address),
            Self::PodRoute(address) => node.kernel.remove_routes_to(*address),
            Self::Nat => node.kernel.remove_nat(),
            Self::Groups(id) => give_other_groups(node, *id),
            // It may have been given back meanwhile.
            Self::GroupsBack(id) if groups_of(node, *id).is_empty() => return false,
            Self::GroupsBack(id) => set_groups(node, *id, groups_of(node, Target::primary(node))),
            Self::Mark(id, marked) => {
                let tags = [(TAG_NO_MANAGE.to_owned(), marked.to_string())].into();
                let mark = CreateTags { resources: vec![id.to_string()], tags };
                node.shared.now(|vpc| vpc.foreign(mark)).unwrap();
            }
        }
        true
    }

    /// The ENI that it takes from the node.
    pub(crate) fn takes_away(&self) -> Option<EniId> {
        match self {
            Self::Detach(id, ..) | Self::Delete(id, _) => Some(*id),
            _ => None,
        }
    }

    /// What the daemon has not noticed of it. In EC2: its ledger has something else, or it serves from an ENI that is gone.
    /// In the kernel: what is not right again. Of ENIs that were `taken` away before, the ledger learns later.
    pub(crate) fn unnoticed(&self, node: &Node, dump: &Dump, taken: &[EniId]) -> Vec<String> {
        match self {
            Self::UnassignSpare(..)
            | Self::UnassignUsed(..)
            | Self::Assign(_)
            | Self::Swap(..)
            | Self::Attach(_) => differences(node, dump, taken),
            Self::Detach(id, ..) | Self::Delete(id, _) => {
                let serves = dump.ready_enis.iter().filter(|ready| *ready == id.as_str());
                serves.map(|id| format!("{id} is taken for ready")).collect()
            }
            Self::Groups(id) => {
                let [own, wanted] = [id, &Target::primary(node)].map(|id| groups_of(node, *id));
                let overwritten = own == wanted && !own.is_empty();
                let overwritten = overwritten.then(|| format!("{id} has the primary's groups again"));
                let known = dump.ledger.enis.values().find(|known| known.id.as_str() == id.as_str());
                let taken = known.and_then(|known| known.source.security_groups.as_ref());
                let unseen = taken.map(|groups| format!("{id} is taken to have {groups:?}"));
                overwritten.into_iter().chain(unseen).collect()
            }
            // Nobody is told, and nothing is to be done.
            Self::GroupsBack(_) => Vec::new(),
            Self::Mark(id, marked) => {
                let known = dump.ledger.enis.values().find(|known| known.id.as_str() == id.as_str());
                let management = known.map(|known| known.management);
                let noticed = management.is_none_or(|is| (is == Management::Unmanaged) == *marked);
                (!noticed).then(|| format!("{id} is {management:?}")).into_iter().collect()
            }
            _ => node.disorder(),
        }
    }

    /// Pods that cannot live on.
    pub(crate) fn ended(node: &Node) -> Vec<String> {
        let has: BTreeSet<Ipv4Addr> =
            node.shared.cloud_of(&node.instance).enis.into_iter().flat_map(|eni| eni.secondary).collect();
        let pods = node.pods();
        let over = pods.iter().filter(|(_, pod)| match pod.address {
            Some(IpAddr::V4(address)) => !has.contains(&address),
            _ => true,
        });
        over.map(|(container, _)| container.clone()).collect()
    }
}

fn groups_of(node: &Node, id: EniId) -> Vec<SecurityGroupId> {
    let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces());
    let eni = enis.iter().find(|eni| eni.network_interface_id == id);
    eni.into_iter().flat_map(|eni| &eni.groups).map(|group| group.group_id).collect()
}

fn give_other_groups(node: &Node, id: EniId) {
    let group = node.shared.now(|vpc| {
        let net = vpc.authoritative().subnets()[0].vpc_id;
        let name = format!("others-{}", vpc.authoritative().security_groups().len());
        vpc.add_security_group(&net, &name, Tags::new()).unwrap()
    });
    set_groups(node, id, vec![group]);
}

fn set_groups(node: &Node, id: EniId, groups: Vec<SecurityGroupId>) {
    node.shared.now(|vpc| {
        vpc.foreign(ModifyNetworkInterfaceAttribute {
            network_interface_id: id,
            groups,
            ..ModifyNetworkInterfaceAttribute::default()
        })
        .unwrap();
    });
}

/// What is being made or detached cannot be deleted yet; whoever wants to tries again.
fn delete_soon(node: &Node, network_interface_id: EniId) {
    let shared = node.shared.clone();
    tokio::spawn(async move {
        for _ in 0..60 {
            let delete = DeleteNetworkInterface { network_interface_id };
            if shared.now(|vpc| vpc.foreign(delete)).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Another address than this one comes in its place.
fn assign_other(node: &Node, id: EniId, address: Ipv4Addr) {
    node.shared.now(|vpc| {
        vpc.foreign(UnassignPrivateIpAddresses {
            network_interface_id: id,
            private_ip_addresses: vec![address],
            ..UnassignPrivateIpAddresses::default()
        })
        .unwrap();
        // From the end of the subnet, where EC2's choice seldom falls.
        let enis = vpc.authoritative().network_interfaces();
        let taken: BTreeSet<Ipv4Addr> =
            enis.iter().flat_map(|eni| eni.private_ip_addresses.iter().map(|ip| ip.address)).collect();
        let last = Ipv4Addr::new(10, 0, 15, 254).to_bits();
        let other = (0..200).map(|down| Ipv4Addr::from_bits(last - down));
        let other = other.into_iter().find(|other| !taken.contains(other) && *other != address).unwrap();
        vpc.foreign(AssignPrivateIpAddresses {
            network_interface_id: id,
            private_ip_addresses: vec![other],
            ..AssignPrivateIpAddresses::default()
        })
        .unwrap();
    });
}

fn attach(node: &Node, device: u32) -> bool {
    let instance_id = node.instance;
    let (network_interface_id, attached) = node.shared.now(|vpc| {
        let subnet_id = vpc.authoritative().subnets()[0].subnet_id;
        let made = vpc.foreign(CreateNetworkInterface {
            subnet_id,
            secondary_private_ip_address_count: Some(2),
            ..CreateNetworkInterface::default()
        });
        let network_interface_id = made.unwrap().network_interface.network_interface_id;
        let attached = vpc.foreign(AttachNetworkInterface {
            network_interface_id,
            instance_id,
            device_index: device.into(),
            network_card_index: None,
        });
        let Ok(attached) = attached else { return (network_interface_id, false) };
        // Whether it ends with the node is its maker's business, and so is it his to say so.
        vpc.foreign(ModifyNetworkInterfaceAttribute {
            network_interface_id,
            attachment: Some(AttachmentChange {
                attachment_id: Some(attached.attachment_id),
                delete_on_termination: Some(true),
            }),
            ..ModifyNetworkInterfaceAttribute::default()
        })
        .unwrap();
        (network_interface_id, true)
    });
    if !attached {
        delete_soon(node, network_interface_id);
    }
    attached
}

/// Where the ledger has something else than EC2 on the ENIs of the node, but for those that were taken away.
pub(crate) fn differences(node: &Node, dump: &Dump, taken: &[EniId]) -> Vec<String> {
    let ledger = &dump.ledger;
    let mut differences = Vec::new();
    let cloud = node.shared.cloud_of(&node.instance);
    for eni in cloud.usable() {
        let Some(known) = ledger.enis.values().find(|known| known.id.as_str() == eni.id) else {
            differences.push(format!("{} is not known", eni.id));
            continue;
        };
        if known.attachment().is_none() || known.management != Management::Managed {
            differences.push(format!("{} is {:?} and {:?}", eni.id, known.phase, known.management));
        }
        let blocks = ledger.blocks_on(&known.id);
        let has = blocks.filter(|block| matches!(block.state, BlockState::Held | BlockState::Leaving(_)));
        let has: BTreeSet<IpAddr> = has.map(|block| block.net.addr()).collect();
        let truth: BTreeSet<IpAddr> = eni.secondary.iter().map(|address| IpAddr::V4(*address)).collect();
        for address in has.symmetric_difference(&truth) {
            let whose = if truth.contains(address) { "EC2 only" } else { "the ledger only" };
            differences.push(format!("{address} on {} has {whose}", eni.id));
        }
    }
    for known in ledger.enis.values().filter(|known| known.attachment().is_some()) {
        if taken.iter().any(|id| id.as_str() == known.id.as_str()) {
            continue;
        }
        if !cloud.enis.iter().any(|eni| eni.id == known.id.as_str()) {
            differences.push(format!("{} is not attached any more", known.id));
        }
    }
    differences
}
