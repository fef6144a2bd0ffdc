//! Schema 3 and schema 4: changes of EC2 speak of single addresses and of delegated prefixes, and what EC2 told of the
//! instance's type is kept.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::step::{Codec, Row, StepError, Table};
use crate::{v3, v4};

#[cfg(test)]
mod tests;

/// Rows of schema 3 as rows of schema 4.
pub(crate) fn forward<C: Codec>(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    rows.into_iter()
        .map(|row| match row.table {
            Table::Intents => row.with::<C, _, _>(|intent| Ok(intent_forward(intent))),
            _ => Ok(row),
        })
        .collect()
}

/// Rows of schema 4 as rows of schema 3. The version before takes a prefix for what takes up room on an ENI, and knows no
/// change of one: an open one is left out, and what it named for leaving stays. What became of it is in what EC2 shows; an
/// ENI that it may have made is found by its tags.
pub(crate) fn back<C: Codec>(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    let mut left_out = BTreeSet::new();
    let mut older = Vec::with_capacity(rows.len());
    for row in rows {
        match row.table {
            Table::Intents => {}
            // The version before asks EC2 in each process.
            Table::Limits => continue,
            _ => {
                older.push(row);
                continue;
            }
        }
        let intent: v4::Intent = row.record::<C, _>()?;
        let id = intent.id;
        match intent_back(intent) {
            Some(intent) => older.push(Row::of::<C>(Table::Intents, row.key, &intent)?),
            None => {
                left_out.insert(id);
            }
        }
    }
    older
        .into_iter()
        .map(|row| match row.table {
            Table::Blocks => row.with::<C, _, _>(|block: v3::Block| Ok(kept(block, &left_out))),
            _ => Ok(row),
        })
        .collect()
}

/// Schema 3 says all but what EC2 told of the type, changes of prefixes, and blocks that are prefixes: the version before has
/// no pods in these.
pub(crate) fn exact<C: Codec>(row: &Row) -> Result<Option<Cow<'_, Row>>, StepError> {
    Ok(match row.table {
        Table::Limits => None,
        Table::Blocks => {
            let block: v4::Block = row.record::<C, _>()?;
            address_of(&block.net).map(|_address| Cow::Borrowed(row))
        }
        Table::Intents => match intent_back(row.record::<C, _>()?) {
            Some(intent) => Some(Cow::Owned(Row::of::<C>(Table::Intents, row.key.clone(), &intent)?)),
            None => None,
        },
        _ => Some(Cow::Borrowed(row)),
    })
}

fn kept(mut block: v3::Block, left_out: &BTreeSet<[u8; 16]>) -> v3::Block {
    if matches!(&block.state, v3::BlockState::Leaving { intent } if left_out.contains(intent)) {
        block.state = v3::BlockState::Held;
    }
    block
}

fn addresses(count: u32) -> v4::Ask {
    v4::Ask { unit: v4::Unit::Address, count }
}

fn intent_forward(intent: v3::Intent) -> v4::Intent {
    use v3::CloudChange as Old;
    use v4::CloudChange as New;
    let change = match intent.change {
        Old::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags } => {
            New::CreateEni {
                subnet,
                security_groups,
                ask: addresses(secondary_addresses),
                slot,
                description,
                tags,
            }
        }
        Old::AttachEni { eni, instance, slot } => New::AttachEni { eni, instance, slot },
        Old::SetDeleteOnTermination { eni, attachment } => New::SetDeleteOnTermination { eni, attachment },
        Old::AssignAddresses { eni, count } => New::Assign { eni, ask: addresses(count) },
        Old::UnassignAddresses { eni, addresses } => {
            New::Unassign { eni, nets: addresses.into_iter().map(host).collect() }
        }
        Old::DetachEni { eni, attachment } => New::DetachEni { eni, attachment },
        Old::DeleteEni { eni } => New::DeleteEni { eni },
        Old::SetSecurityGroups { eni, groups } => New::SetSecurityGroups { eni, groups },
    };
    v4::Intent { id: intent.id, change, sending: intent.sending, planned: intent.planned }
}

/// `None` for what the version before has no words for.
fn intent_back(intent: v4::Intent) -> Option<v3::Intent> {
    use v3::CloudChange as Old;
    use v4::CloudChange as New;
    let change = match intent.change {
        New::CreateEni { subnet, security_groups, ask, slot, description, tags } => Old::CreateEni {
            subnet,
            security_groups,
            secondary_addresses: count_of(&ask)?,
            slot,
            description,
            tags,
        },
        New::AttachEni { eni, instance, slot } => Old::AttachEni { eni, instance, slot },
        New::SetDeleteOnTermination { eni, attachment } => Old::SetDeleteOnTermination { eni, attachment },
        New::Assign { eni, ask } => Old::AssignAddresses { eni, count: count_of(&ask)? },
        New::Unassign { eni, nets } => {
            Old::UnassignAddresses { eni, addresses: nets.iter().map(address_of).collect::<Option<_>>()? }
        }
        New::DetachEni { eni, attachment } => Old::DetachEni { eni, attachment },
        New::DeleteEni { eni } => Old::DeleteEni { eni },
        New::SetSecurityGroups { eni, groups } => Old::SetSecurityGroups { eni, groups },
    };
    Some(v3::Intent { id: intent.id, change, sending: intent.sending, planned: intent.planned })
}

fn count_of(ask: &v4::Ask) -> Option<u32> {
    match ask.unit {
        v4::Unit::Address => Some(ask.count),
        v4::Unit::Prefix => None,
    }
}

fn host(address: IpAddr) -> v4::Cidr {
    match address {
        IpAddr::V4(ip) => v4::Cidr::V4(v4::Cidr4 { address: ip.octets(), length: 32 }),
        IpAddr::V6(ip) => v4::Cidr::V6(v4::Cidr6 { address: ip.octets(), length: 128 }),
    }
}

fn address_of(net: &v4::Cidr) -> Option<IpAddr> {
    match net {
        v4::Cidr::V4(net) if net.length == 32 => Some(IpAddr::from(net.address)),
        v4::Cidr::V6(net) if net.length == 128 => Some(IpAddr::from(net.address)),
        v4::Cidr::V4(_) | v4::Cidr::V6(_) => None,
    }
}
