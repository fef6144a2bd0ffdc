//! The metadata service's hint. It leads to a read of EC2, never to a lease or a release.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniPhase, EniRecord, Management};
use holdfast_model::ids::{EniId, MacAddr, SecurityGroupId, SubnetId};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::Family;
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::{BootTime, Now};
use ipnet::{IpNet, Ipv4Net};

use crate::reading::TOMBSTONE;

#[cfg(test)]
mod tests;

/// The metadata service lags behind EC2; a difference is news only this long after our own last change.
const LAG: Duration = Duration::from_secs(60);

/// From when on a hint tells of ENIs that were changed too lately for it to; `None`: it tells of all.
pub fn hint_settles(ledger: &Ledger, now: &Now) -> Option<BootTime> {
    let at = ledger.enis.values().map(|eni| eni.changed.after(LAG));
    at.filter(|at| *at > now.boottime).max()
}

/// How the hint differs from the ledger.
///
/// It says what was shown, not only where: two differences on one ENI are two.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HintDiff {
    /// ENIs with other addresses than the ledger has, and the addresses that are shown.
    pub differing: BTreeMap<EniId, BTreeSet<IpAddr>>,
    /// ENIs that the hint lacks.
    pub missing: BTreeSet<EniId>,
    /// MACs that the ledger lacks, or has on ENIs that are not attached.
    pub unknown: BTreeSet<MacAddr>,
    /// Where there are any: ENIs that are gone and keep their place for their pods. Who sits in one of those is not taken in, however
    /// often it is read; when one of them has left, it is another difference.
    pub kept: BTreeSet<EniId>,
    /// ENIs with other delegated prefixes than the ledger has, and those that are shown.
    pub prefixes: BTreeMap<(EniId, Family), BTreeSet<IpNet>>,
    /// ENIs with other security groups than the ledger has, and those that are shown.
    pub groups: BTreeMap<EniId, BTreeSet<SecurityGroupId>>,
}

impl HintDiff {
    /// Whether the ledger has become what the hint showed.
    pub(crate) fn agrees_with(&self, ledger: &Ledger) -> bool {
        let managed = |id| ledger.enis.get(id).filter(|eni| eni.management == Management::Managed);
        let differing = self
            .differing
            .iter()
            .all(|(id, shown)| managed(id).is_none_or(|eni| *shown == expected(ledger, eni)))
            && self.prefixes.iter().all(|((id, family), shown)| {
                managed(id).is_none_or(|eni| *shown == expected_prefixes(ledger, eni, *family))
            });
        let missing = self.missing.iter().all(|id| {
            ledger.enis.get(id).is_none_or(|eni| eni.attachment().is_none() || is_away(ledger, eni))
        });
        let known = |mac| ledger.enis.values().any(|eni| eni.mac == mac && !is_away(ledger, eni));
        let unknown = self.unknown.iter().all(|mac| known(*mac));
        let has_others = |id, shown| {
            ledger
                .enis
                .get(id)
                .is_some_and(|eni| eni.management == Management::Managed && has_others(eni, shown))
        };
        let groups = !self.groups.iter().any(|(id, shown)| has_others(id, shown));
        differing && missing && unknown && groups
    }
}

/// Compares the hint (addresses by MAC, the ENI's own included; security groups; and prefixes, of ENIs of which it tells
/// them) with the ledger. Differences that a change
/// of ours younger than a minute explains are left out. `None`: they agree. Sets are compared, never counts: equal
/// counts hid a swap once (cni#3019).
pub fn compare_hint(
    ledger: &Ledger,
    enis: &BTreeMap<MacAddr, BTreeSet<IpAddr>>,
    groups: &BTreeMap<MacAddr, BTreeSet<SecurityGroupId>>,
    prefixes: &BTreeMap<(MacAddr, Family), BTreeSet<IpNet>>,
    now: &Now,
) -> Option<HintDiff> {
    let mut diff = HintDiff::default();
    let settled = |eni: &EniRecord| {
        now.boottime.since(eni.changed) >= LAG && ledger.intents_on(&eni.id).next().is_none()
    };
    let here = |eni: &EniRecord| eni.attachment().is_some() && !is_away(ledger, eni);
    for eni in ledger.enis.values().filter(|eni| here(eni) && settled(eni)) {
        match enis.get(&eni.mac) {
            None => {
                diff.missing.insert(eni.id.clone());
            }
            Some(shown) if eni.management == Management::Managed && *shown != expected(ledger, eni) => {
                diff.differing.insert(eni.id.clone(), shown.clone());
            }
            Some(_) => {}
        }
        for family in Family::ALL {
            if let Some(shown) = prefixes.get(&(eni.mac, family))
                && eni.management == Management::Managed
                && *shown != expected_prefixes(ledger, eni, family)
            {
                diff.prefixes.insert((eni.id.clone(), family), shown.clone());
            }
        }
    }
    // Those of the primary are never of our making, so no change of ours explains them.
    let told = |eni: &&EniRecord| {
        here(eni) && eni.management == Management::Managed && (eni.is_primary() || settled(eni))
    };
    for eni in ledger.enis.values().filter(told) {
        // An ENI has some: none is shown for one that the service knows nothing of yet.
        if let Some(shown) = groups.get(&eni.mac).filter(|shown| !shown.is_empty() && has_others(eni, shown))
        {
            diff.groups.insert(eni.id.clone(), shown.clone());
        }
    }
    let lately = |eni: &EniRecord| {
        // It may show what we detached for longer; and a read that comes sooner takes it for our own detachment.
        let lag = if eni.phase == EniPhase::Detached { TOMBSTONE } else { LAG };
        now.boottime.since(eni.since) < lag || !settled(eni)
    };
    let known = ledger.enis.values().filter(|eni| !is_away(ledger, eni) || lately(eni));
    let known: BTreeSet<MacAddr> = known.map(|eni| eni.mac).collect();
    // While an ENI is being made, a MAC that we have not been told yet is no news.
    let creating = ledger
        .intents
        .values()
        .any(|intent| matches!(intent.change, holdfast_model::cloud::CloudChange::CreateEni { .. }));
    if !creating {
        diff.unknown = enis.keys().filter(|mac| !known.contains(*mac)).copied().collect();
    }
    if !diff.unknown.is_empty() {
        let kept = ledger.enis.values().filter(|eni| eni.attachment().is_some() && is_away(ledger, eni));
        diff.kept = kept.map(|eni| eni.id.clone()).collect();
    }
    (diff != HintDiff::default()).then_some(diff)
}

/// Whether the ledger has an ENI that exists as attached to nothing here: unattached, or detached by others and kept for its
/// pods.
fn is_away(ledger: &Ledger, eni: &EniRecord) -> bool {
    match eni.phase {
        EniPhase::Available | EniPhase::Detached => true,
        EniPhase::Attached { .. } | EniPhase::Draining { .. } => ledger.is_known_gone(eni),
        EniPhase::Gone => false,
    }
}

fn has_others(eni: &EniRecord, shown: &BTreeSet<SecurityGroupId>) -> bool {
    eni.source.security_groups.as_ref().is_some_and(|known| known != shown)
}

/// The addresses that the hint would show if the ledger were right.
fn expected(ledger: &Ledger, eni: &EniRecord) -> BTreeSet<IpAddr> {
    there(ledger, eni)
        .filter(|block| block.is_host())
        .map(|block| block.net.addr())
        .chain(eni.primary_ipv4.map(IpAddr::V4))
        .collect()
}

/// The prefixes of a family that it would show.
fn expected_prefixes(ledger: &Ledger, eni: &EniRecord, family: Family) -> BTreeSet<IpNet> {
    let prefix = |block: &&Block| !block.is_host() && block.family() == family;
    there(ledger, eni).filter(prefix).map(|block| block.net).collect()
}

fn there<'a>(ledger: &'a Ledger, eni: &EniRecord) -> impl Iterator<Item = &'a Block> {
    let blocks = ledger.blocks_on(&eni.id);
    blocks.filter(|block| matches!(block.state, BlockState::Held | BlockState::Leaving(_)))
}

/// Fills in the subnet ranges that the ledger lacks from what the metadata service shows.
pub fn learn_cidrs(ledger: &Ledger, cidrs: &BTreeMap<MacAddr, Ipv4Net>) -> Vec<Change> {
    let mut learnt: BTreeMap<&SubnetId, SubnetRecord> = BTreeMap::new();
    for eni in ledger.enis.values() {
        let subnet = &eni.source.subnet;
        if let Some(range) = cidrs.get(&eni.mac)
            && ledger.subnets.get(subnet).is_none_or(|known| known.ipv4.is_none())
        {
            let ipv6 = ledger.subnets.get(subnet).and_then(|known| known.ipv6);
            learnt.entry(subnet).or_insert(SubnetRecord { id: subnet.clone(), ipv4: Some(*range), ipv6 });
        }
    }
    learnt.into_values().map(Change::PutSubnet).collect()
}

/// Fills in the subnet ranges that the ledger lacks from what EC2 was asked for.
pub fn adopt_subnets(ledger: &Ledger, shown: &[SubnetRecord]) -> Vec<Change> {
    let lacking = |subnet: &&SubnetRecord| {
        subnet.ipv4.is_some() && ledger.subnets.get(&subnet.id).is_none_or(|known| known.ipv4.is_none())
    };
    let filled = |subnet: &SubnetRecord| {
        let ipv6 = ledger.subnets.get(&subnet.id).and_then(|known| known.ipv6).or(subnet.ipv6);
        Change::PutSubnet(SubnetRecord { ipv6, ..subnet.clone() })
    };
    shown.iter().filter(lacking).map(filled).collect()
}
