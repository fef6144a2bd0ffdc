//! Schema 1 and schema 2: an address with its state becomes a block with what EC2 gave, and a use with what we do
//! with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::step::{Codec, Row, StepError, Table};
use crate::{v1, v2};

#[cfg(test)]
mod tests;

/// Rows of schema 1 as rows of schema 2.
pub(crate) fn forward<C: Codec>(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    let mut subnets = BTreeMap::new();
    let mut changed = BTreeMap::new();
    let mut holders = BTreeMap::new();
    for row in &rows {
        match row.table {
            Table::Node => {
                let node: v1::Node = row.record::<C, _>()?;
                subnets.insert(node.subnet, Some(node.subnet_cidr));
            }
            Table::Enis => {
                let eni: v1::Eni = row.record::<C, _>()?;
                let range = subnets.entry(eni.subnet).or_insert(None);
                *range = range.take().or(eni.subnet_cidr);
                changed.insert(eni.id, eni.changed);
            }
            Table::Leases => {
                let lease: v1::Lease = row.record::<C, _>()?;
                holders.insert(lease.address, sandbox_of(&lease));
            }
            _ => {}
        }
    }
    let mut next = Vec::with_capacity(2 * rows.len());
    for (id, ipv4) in subnets {
        let key = id.as_bytes().to_vec();
        next.push(Row::of::<C>(Table::Subnets, key, &v2::Subnet { id, ipv4, ipv6: None })?);
    }
    for row in rows {
        match row.table {
            Table::Enis => next.push(row.with::<C, _, _>(|eni| Ok(eni_forward(eni)))?),
            Table::Addresses => {
                let address: v1::Address = row.record::<C, _>()?;
                let shown = changed.get(&address.eni).copied().unwrap_or(0);
                let (block, what) = address_forward(address, shown, &holders);
                if let Some(block) = block {
                    next.push(Row::of::<C>(Table::Blocks, v2::block_key(&block.net), &block)?);
                }
                if let Some(what) = what {
                    next.push(Row::of::<C>(Table::Uses, v2::use_key(what.ip), &what)?);
                }
            }
            Table::Leases => next.push(row.with::<C, _, _>(|lease| Ok(lease_forward(lease)))?),
            Table::Intents => {
                let intent: v1::Intent = row.record::<C, _>()?;
                if let Some(intent) = intent_forward(intent) {
                    next.push(Row::of::<C>(Table::Intents, row.key, &intent)?);
                }
            }
            _ => next.push(row),
        }
    }
    Ok(next)
}

/// Rows of schema 2 as rows of schema 1, so that the version before takes over with all its pods.
pub(crate) fn back<C: Codec>(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    let mut subnets = BTreeMap::new();
    let mut blocks = BTreeMap::new();
    let mut uses = BTreeMap::new();
    let mut primary = None;
    for row in &rows {
        match row.table {
            Table::Subnets => {
                let subnet: v2::Subnet = row.record::<C, _>()?;
                subnets.insert(subnet.id, subnet.ipv4);
            }
            Table::Enis => {
                let eni: v2::Eni = row.record::<C, _>()?;
                if eni.place == v2::Place::Device(v2::Slot { card: 0, device: 0 }) {
                    primary = Some(eni.id);
                }
            }
            Table::Blocks => {
                let block: v2::Block = row.record::<C, _>()?;
                let ip = host_of(&block.net)
                    .ok_or_else(|| unsayable(format!("{:?} is a delegated prefix", block.net)))?;
                blocks.insert(ip, block);
            }
            Table::Uses => {
                let what: v2::Use = row.record::<C, _>()?;
                uses.insert(what.ip, what.state);
            }
            _ => {}
        }
    }
    let mut before = Vec::with_capacity(rows.len());
    let all: BTreeSet<IpAddr> = blocks.keys().chain(uses.keys()).copied().collect();
    for ip in all {
        if let Some(address) = address_back(ip, blocks.remove(&ip), uses.remove(&ip), primary.as_ref()) {
            before.push(Row::of::<C>(Table::Addresses, v2::use_key(ip), &address)?);
        }
    }
    for row in rows {
        match row.table {
            Table::Subnets | Table::Blocks | Table::Uses => {}
            Table::Enis => before.push(row.with::<C, _, _>(|eni| eni_back(eni, &subnets))?),
            Table::Leases => before.push(row.with::<C, _, _>(lease_back)?),
            Table::Intents => {
                if let Some(intent) = intent_back(row.record::<C, _>()?) {
                    before.push(Row::of::<C>(Table::Intents, row.key, &intent)?);
                }
            }
            _ => before.push(row),
        }
    }
    Ok(before)
}

fn unsayable(what: String) -> StepError {
    StepError::Unsayable { schema: 1, what }
}

fn sandbox_of(lease: &v1::Lease) -> v2::Sandbox {
    v2::Sandbox {
        container_id: lease.container_id.clone(),
        ifname: lease.ifname.clone(),
        network: lease.network.clone(),
    }
}

/// `shown`: an address that schema 1 had was shown by EC2; when, it did not say. No later than its ENI's last change is
/// the careful answer.
fn address_forward(
    address: v1::Address,
    shown: u64,
    holders: &BTreeMap<IpAddr, v2::Sandbox>,
) -> (Option<v2::Block>, Option<v2::Use>) {
    let ip = address.ip;
    let here = if address.assigned { v2::BlockState::Held } else { v2::BlockState::Withdrawn };
    let (block, what) = match address.state {
        v1::AddressState::Free => (Some(here), None),
        // Nobody holds it, although it is marked so: whoever did may live still.
        v1::AddressState::Leased => (
            Some(here),
            Some(match holders.get(&ip) {
                Some(sandbox) => v2::UseState::Leased(sandbox.clone()),
                None => v2::UseState::Suspect(v2::Suspicion::LedgerRebuilt),
            }),
        ),
        v1::AddressState::Cooling { boot, since, period_ms } => {
            // What EC2 took away while it rested is not ours any more, and the rest is owed all the same.
            (address.assigned.then_some(here), Some(v2::UseState::Cooling { boot, since, period_ms }))
        }
        v1::AddressState::Quarantined(reason) => (
            Some(here),
            Some(v2::UseState::Suspect(match reason {
                v1::QuarantineReason::MaybeInUse => v2::Suspicion::MaybeInUse,
                v1::QuarantineReason::LedgerRebuilt => v2::Suspicion::LedgerRebuilt,
            })),
        ),
        v1::AddressState::Departing { intent } => (Some(v2::BlockState::Leaving { intent }), None),
        v1::AddressState::Gone { since } => (Some(v2::BlockState::Gone { since }), None),
    };
    let block = block.map(|state| v2::Block { net: v2::host(ip), eni: address.eni, state, shown });
    (block, what.map(|state| v2::Use { ip, state }))
}

fn address_back(
    ip: IpAddr,
    block: Option<v2::Block>,
    what: Option<v2::UseState>,
    primary: Option<&String>,
) -> Option<v1::Address> {
    let in_use = |what| match what {
        v2::UseState::Leased(_) => v1::AddressState::Leased,
        v2::UseState::Cooling { boot, since, period_ms } => {
            v1::AddressState::Cooling { boot, since, period_ms }
        }
        v2::UseState::Suspect(reason) => v1::AddressState::Quarantined(match reason {
            v2::Suspicion::MaybeInUse => v1::QuarantineReason::MaybeInUse,
            v2::Suspicion::LedgerRebuilt => v1::QuarantineReason::LedgerRebuilt,
        }),
    };
    let Some(block) = block else {
        // Schema 1 knows a rest only where an ENI is; which one does not matter for one that EC2 took away.
        let (what, eni) = (what?, primary?.clone());
        return Some(v1::Address { ip, eni, state: in_use(what), assigned: false });
    };
    let (state, assigned) = match (block.state, what) {
        (v2::BlockState::Leaving { intent }, _) => (v1::AddressState::Departing { intent }, true),
        (v2::BlockState::Gone { since }, _) => (v1::AddressState::Gone { since }, true),
        (v2::BlockState::Held, what) => (what.map_or(v1::AddressState::Free, in_use), true),
        (v2::BlockState::Withdrawn, what) => (what.map_or(v1::AddressState::Free, in_use), false),
    };
    Some(v1::Address { ip, eni: block.eni, state, assigned })
}

fn host_of(net: &v2::Cidr) -> Option<IpAddr> {
    match net {
        v2::Cidr::V4(net) => (net.length == 32).then(|| IpAddr::from(net.address)),
        v2::Cidr::V6(net) => (net.length == 128).then(|| IpAddr::from(net.address)),
    }
}

fn eni_forward(eni: v1::Eni) -> v2::Eni {
    v2::Eni {
        id: eni.id,
        mac: eni.mac,
        place: v2::Place::Device(eni.slot),
        kind: eni.kind,
        management: eni.management,
        phase: eni.phase,
        subnet: eni.subnet,
        security_groups: None,
        primary_ipv4: eni.primary_ipv4,
        created_by: eni.created_by,
        since: eni.since,
        changed: eni.changed,
    }
}

fn eni_back(eni: v2::Eni, subnets: &BTreeMap<String, Option<v2::Cidr4>>) -> Result<v1::Eni, StepError> {
    let slot = slot_of(eni.place, &eni.id)?;
    Ok(v1::Eni {
        subnet_cidr: subnets.get(&eni.subnet).cloned().flatten(),
        id: eni.id,
        mac: eni.mac,
        slot,
        kind: eni.kind,
        management: eni.management,
        phase: eni.phase,
        subnet: eni.subnet,
        primary_ipv4: eni.primary_ipv4,
        created_by: eni.created_by,
        since: eni.since,
        changed: eni.changed,
    })
}

fn slot_of(place: v2::Place, eni: &str) -> Result<v1::Slot, StepError> {
    match place {
        v2::Place::Device(slot) => Ok(slot),
        v2::Place::Branch { .. } => Err(unsayable(format!("{eni} is a branch ENI"))),
    }
}

fn lease_forward(lease: v1::Lease) -> v2::Lease {
    v2::Lease {
        sandbox: sandbox_of(&lease),
        pod_namespace: lease.pod_namespace,
        pod_name: lease.pod_name,
        pod_uid: lease.pod_uid,
        netns_path: lease.netns_path,
        netns_inode: lease.netns_inode,
        faces: vec![v2::Face {
            ifname: lease.ifname,
            address: lease.address,
            eni: lease.eni,
            place: v2::Place::Device(lease.slot),
            host_veth: lease.host_veth,
            host_mac: lease.host_mac,
            mtu: lease.mtu,
        }],
        phase: lease.phase,
        created: lease.created,
    }
}

fn lease_back(mut lease: v2::Lease) -> Result<v1::Lease, StepError> {
    let (Some(face), true) = (lease.faces.pop(), lease.faces.is_empty()) else {
        return Err(unsayable(format!("sandbox {} has several addresses", lease.sandbox.container_id)));
    };
    let slot = slot_of(face.place, &face.eni)?;
    Ok(v1::Lease {
        container_id: lease.sandbox.container_id,
        ifname: lease.sandbox.ifname,
        network: lease.sandbox.network,
        pod_namespace: lease.pod_namespace,
        pod_name: lease.pod_name,
        pod_uid: lease.pod_uid,
        netns_path: lease.netns_path,
        netns_inode: lease.netns_inode,
        address: face.address,
        eni: face.eni,
        slot,
        host_veth: face.host_veth,
        host_mac: face.host_mac,
        mtu: face.mtu,
        phase: lease.phase,
        created: lease.created,
    })
}

/// `None` for a change that no version ever planned.
fn intent_forward(intent: v1::Intent) -> Option<v2::Intent> {
    use v1::CloudChange as Old;
    use v2::CloudChange as New;
    let change = match intent.change {
        Old::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags } => {
            New::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags }
        }
        Old::AttachEni { eni, instance, slot } => New::AttachEni { eni, instance, slot },
        Old::SetDeleteOnTermination { eni, attachment } => New::SetDeleteOnTermination { eni, attachment },
        Old::AssignAddresses { eni, count } => New::AssignAddresses { eni, count },
        Old::UnassignAddresses { eni, addresses } => New::UnassignAddresses { eni, addresses },
        Old::DetachEni { eni, attachment } => New::DetachEni { eni, attachment },
        Old::DeleteEni { eni } => New::DeleteEni { eni },
        Old::TagEni { .. } => return None,
    };
    Some(v2::Intent { id: intent.id, change, sending: v2::Sending::Unanswered, planned: intent.planned })
}

/// `None` for a change that the version before does not know and that nothing depends on: its outcome is in what EC2
/// shows, and a version that knows it makes it again.
fn intent_back(intent: v2::Intent) -> Option<v1::Intent> {
    use v1::CloudChange as Old;
    use v2::CloudChange as New;
    let change = match intent.change {
        New::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags } => {
            Old::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags }
        }
        New::AttachEni { eni, instance, slot } => Old::AttachEni { eni, instance, slot },
        New::SetDeleteOnTermination { eni, attachment } => Old::SetDeleteOnTermination { eni, attachment },
        New::AssignAddresses { eni, count } => Old::AssignAddresses { eni, count },
        New::UnassignAddresses { eni, addresses } => Old::UnassignAddresses { eni, addresses },
        New::DetachEni { eni, attachment } => Old::DetachEni { eni, attachment },
        New::DeleteEni { eni } => Old::DeleteEni { eni },
        New::SetSecurityGroups { .. } => return None,
    };
    Some(v1::Intent { id: intent.id, change, planned: intent.planned })
}
