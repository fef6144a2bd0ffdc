//! Which ENIs may match a filter: an index over what they are and were, so that no call looks at the whole account.
//!
//! It only narrows: an ENI found here may have matched at another time, and is looked at again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::filter::is_plain;
use super::ids::{AttachmentId, EniId, InstanceId, Mac, SecurityGroupId, SubnetId};
use super::model::Eni;
use super::request::Filter;
use super::response::EniStatus;

/// Something that an ENI can be found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Term<'a> {
    Instance(InstanceId),
    Attachment(AttachmentId),
    Subnet(SubnetId),
    Group(SecurityGroupId),
    Mac(Mac),
    Address(IpAddr),
    Tag(&'a str, &'a str),
    Status(EniStatus),
}

impl<'a> Term<'a> {
    /// What a filter on this one value looks for; `None` where it must look at every ENI.
    fn of_filter(name: &'a str, value: &'a str) -> Option<Self> {
        if let Some(key) = name.strip_prefix("tag:") {
            return Some(Self::Tag(key, value));
        }
        Some(match name {
            "attachment.instance-id" => Self::Instance(InstanceId::new(value)),
            "attachment.attachment-id" => Self::Attachment(AttachmentId::new(value)),
            "subnet-id" => Self::Subnet(SubnetId::new(value)),
            "group-id" => Self::Group(SecurityGroupId::new(value)),
            "mac-address" => Self::Mac(Mac::try_from(value.to_owned()).ok()?),
            "addresses.private-ip-address" | "private-ip-address" | "ipv6-addresses.ipv6-address" => {
                Self::Address(value.parse().ok()?)
            }
            "status" => Self::Status(EniStatus::from_text(value)?),
            _ => return None,
        })
    }

    /// A number for it, the same in every run. Two terms may share one, which costs a second look.
    fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// All terms of one ENI.
fn terms(eni: &Eni) -> impl Iterator<Item = Term<'_>> {
    let attachment = eni.attachment();
    let bound = attachment.map(|a| [Term::Instance(a.instance_id), Term::Attachment(a.attachment_id)]);
    let addresses = eni.v4.addresses.iter().chain(&eni.v6.addresses);
    bound
        .into_iter()
        .flatten()
        .chain([Term::Subnet(eni.subnet), Term::Mac(eni.mac), Term::Status(eni.status())])
        .chain(eni.groups.iter().map(|group| Term::Group(*group)))
        .chain(addresses.map(|address| Term::Address(*address)))
        .chain(eni.tags.iter().map(|(key, value)| Term::Tag(key, value)))
}

/// The index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Index {
    /// How many states, present and past, of an ENI have a term.
    states: BTreeMap<(u64, EniId), u32>,
}

impl Index {
    pub(super) fn add(&mut self, eni: &Eni) {
        for term in terms(eni) {
            *self.states.entry((term.number(), eni.id)).or_insert(0) += 1;
        }
    }

    pub(super) fn remove(&mut self, eni: &Eni) {
        for term in terms(eni) {
            let key = (term.number(), eni.id);
            if let Some(count) = self.states.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.states.remove(&key);
                }
            }
        }
    }

    /// The ENIs that have or had this, in order.
    pub(super) fn having(&self, term: &Term<'_>) -> impl Iterator<Item = EniId> + '_ {
        let number = term.number();
        let first = (number, EniId::default());
        self.states.range(first..).take_while(move |((n, _), _)| *n == number).map(|((_, eni), _)| *eni)
    }

    /// The ENIs that may match all of these filters, in order: those of the filter that leaves fewest. `None` where
    /// no filter narrows.
    pub(super) fn candidates(&self, filters: &[Filter]) -> Option<Vec<EniId>> {
        /// A filter that leaves more is not worth listing.
        const MANY: usize = 5000;
        let of_filter = |filter: &Filter| -> Option<Vec<EniId>> {
            let mut found = Vec::new();
            for value in &filter.values {
                if !is_plain(value) {
                    return None;
                }
                let term = Term::of_filter(&filter.name, value)?;
                found.extend(self.having(&term).take(MANY - found.len()));
                if found.len() >= MANY {
                    return None;
                }
            }
            found.sort_unstable();
            found.dedup();
            Some(found)
        };
        filters.iter().filter_map(of_filter).min_by_key(Vec::len)
    }
}
