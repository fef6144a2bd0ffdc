//! From what the ENIs of this node are to be made. One answer for new ENIs and for those that are there.
//!
//! | | new ENIs | those that are there |
//! |---|---|---|
//! | neither | the node's own subnet | all serve |
//! | subnet discovery | tagged subnets too, that with most free addresses first | those in an excluded subnet are closed |
//! | custom networking | the ENIConfig's subnet; with discovery, tagged ones when it runs low | all others are closed, the primary too |
//!
//! A closed ENI keeps its pods and takes no new ones; it goes when they have gone. While it is not known what is wanted,
//! nothing goes on that account.

use std::collections::BTreeSet;

use holdfast_model::cloud::{Api, CloudChange, EniView};
use holdfast_model::eni::{EniPhase, EniRecord, EniSource, Management};
use holdfast_model::eni_config::{AppliedEniConfig, EniConfig};
use holdfast_model::ids::{SecurityGroupId, SubnetId};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::node::NodeIdentity;
use holdfast_model::refusal::Refusal;
use holdfast_model::subnet::{SubnetRecord, SubnetView};
use holdfast_model::time::Now;

use crate::desired::Desired;
use crate::hint::adopt_subnets;
use crate::looks::Looks;
use crate::observed::Observed;
use crate::reading::{ABSENCE_BELIEVED_AFTER, Reading};
use crate::step::Step;
use crate::subnets::{Candidate, Tagged};

#[cfg(test)]
mod tests;

/// What an ENI is to the pool, by what it is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is made from what is wanted.
    Wanted,
    /// It serves who waits, grows no more, and no target counts on it.
    Leftover,
    /// No new pod gets an address of it.
    Closed,
}

/// From what ENIs are to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Where new ones may be made, the best first.
    subnets: Vec<Candidate>,
    /// Their groups; `None`: not known.
    groups: Option<BTreeSet<SecurityGroupId>>,
    /// Why none can be made.
    refusal: Option<Refusal>,
    /// Whether it is known for sure what is wanted.
    settled: bool,
    /// Subnets of which it was said that they are not for pods of this cluster.
    excluded: BTreeSet<SubnetId>,
    /// The node's own, where that is known.
    own: Option<SubnetId>,
    custom: bool,
}

/// What a read of the zone's subnets tells of the ranges of those in which ENIs may be made: an ENI that is made there needs no
/// further read before it is set up. Call it after [`Observed::subnets_shown`].
pub fn adopt_zone(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    shown: &[SubnetView],
    now: &Now,
) -> Vec<Change> {
    let sources = Sources::of(desired, ledger, observed, now);
    let candidates = sources.subnets().unwrap_or_default();
    let wanted = |view: &&SubnetView| candidates.iter().any(|candidate| candidate.subnet == view.id);
    let record = |view: &SubnetView| SubnetRecord { id: view.id.clone(), ipv4: view.ipv4, ipv6: None };
    adopt_subnets(ledger, &shown.iter().filter(wanted).map(record).collect::<Vec<_>>())
}

impl Sources {
    pub(crate) fn of(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Self {
        let mut sources = Self {
            subnets: Vec::new(),
            groups: None,
            refusal: Some(Refusal::NotReady),
            settled: false,
            excluded: BTreeSet::new(),
            own: None,
            custom: false,
        };
        let Some(node) = ledger.node.as_ref().map(|node| &node.identity) else { return sources };
        sources.own = Some(node.subnet.clone());
        let tagged = Tagged::of(desired, observed, node, now);
        let of_primary = || groups_of_primary(ledger, node);
        match &desired.config.eni_config.value {
            None => {
                sources.groups = Some(of_primary());
                sources.take_nodes(tagged, node);
            }
            Some(applied) => {
                sources.custom = true;
                match refusal_of(applied) {
                    Ok(config) => {
                        let groups = Some(&config.security_groups).filter(|groups| !groups.is_empty());
                        sources.groups = Some(groups.cloned().unwrap_or_else(of_primary));
                        sources.take_configs(tagged, config);
                    }
                    Err(refusal) => sources.refusal = Some(refusal),
                }
            }
        }
        sources
    }

    fn take_nodes(&mut self, tagged: Tagged, node: &NodeIdentity) {
        match tagged {
            Tagged::Off | Tagged::NotAllowed => {
                self.subnets = vec![Candidate::unseen(node.subnet.clone())];
                (self.refusal, self.settled) = (None, true);
            }
            Tagged::Unread(cause) => self.refusal = Some(cause),
            Tagged::Seen { usable, excluded } => {
                (self.subnets, self.excluded, self.settled) = (usable, excluded, true);
                let none = || Refusal::NoSubnet { subnet: node.subnet.clone() };
                self.refusal = self.subnets.is_empty().then(none);
            }
        }
    }

    fn take_configs(&mut self, tagged: Tagged, config: &EniConfig) {
        self.refusal = None;
        let named = |usable: &[Candidate]| {
            let seen = usable.iter().find(|other| other.subnet == config.subnet);
            seen.cloned().unwrap_or_else(|| Candidate::unseen(config.subnet.clone()))
        };
        match tagged {
            Tagged::Off | Tagged::NotAllowed => {
                (self.subnets, self.settled) = (vec![named(&[])], true);
            }
            // What else there is does not matter before this one runs low.
            Tagged::Unread(_) => self.subnets = vec![named(&[])],
            Tagged::Seen { usable, .. } => {
                let others = usable.iter().filter(|other| other.explicit && other.subnet != config.subnet);
                self.subnets = std::iter::once(named(&usable)).chain(others.cloned()).collect();
                self.settled = true;
            }
        }
    }

    /// Where ENIs may be made, the best first, and why none can be made.
    pub(crate) fn subnets(&self) -> Result<&[Candidate], &Refusal> {
        self.refusal.as_ref().map_or(Ok(&self.subnets), Err)
    }

    /// The groups of ENIs; `None`: not known.
    pub(crate) fn groups(&self) -> Option<&BTreeSet<SecurityGroupId>> {
        self.groups.as_ref()
    }

    /// Whether what is closed may go.
    pub(crate) fn are_settled(&self) -> bool {
        self.settled
    }

    /// What an ENI is to the pool.
    pub(crate) fn fit(&self, eni: &EniRecord) -> Fit {
        if self.custom && eni.is_primary() {
            return Fit::Closed;
        }
        let fit = self.fit_in(&eni.source.subnet);
        // One that somebody else has made there is as it should be.
        if fit == Fit::Leftover && eni.created_by.is_none() { Fit::Wanted } else { fit }
    }

    /// What an ENI of ours in this subnet is to the pool, the primary aside.
    pub(crate) fn fit_in(&self, subnet: &SubnetId) -> Fit {
        let wanted = self.subnets.iter().any(|candidate| &candidate.subnet == subnet);
        let own = self.own.as_ref() == Some(subnet);
        // Whatever custom networking wants, the node's own subnet it does not.
        let closed = if self.custom { self.settled || own } else { self.excluded.contains(subnet) };
        if !wanted && closed {
            Fit::Closed
        } else if !wanted && !self.custom && self.settled && !own {
            Fit::Leftover
        } else {
            Fit::Wanted
        }
    }
}

/// What an ENIConfig says, or why it cannot be gone by.
fn refusal_of(applied: &AppliedEniConfig) -> Result<&EniConfig, Refusal> {
    match applied {
        AppliedEniConfig::Is(config) => Ok(config),
        AppliedEniConfig::Untold => Err(Refusal::EniConfigUntold),
        AppliedEniConfig::Missing { name } => Err(Refusal::EniConfigMissing { name: name.clone() }),
        AppliedEniConfig::Wrong { name, cause } => {
            Err(Refusal::EniConfigWrong { name: name.clone(), cause: cause.clone() })
        }
    }
}

/// The primary's groups, as EC2 last showed them, and as the metadata service told them while EC2 has not.
fn groups_of_primary(ledger: &Ledger, node: &NodeIdentity) -> BTreeSet<SecurityGroupId> {
    let primary = ledger.enis.values().find(|eni| eni.is_primary());
    let shown = primary.and_then(|eni| eni.source.security_groups.clone());
    shown.unwrap_or_else(|| node.security_groups.iter().cloned().collect())
}

/// What an ENI is made from, after a read has shown it: groups that are neither what we gave it nor what it is to have are somebody
/// else's doing, who has his reasons. They are left, until it has again what it is to have.
///
/// Of a change of ours that is younger than descriptions lag a view tells nothing, unless it shows what is wanted.
pub(crate) fn shown_source(
    ledger: &Ledger,
    reading: Reading<'_>,
    record: &EniRecord,
    view: &EniView,
) -> EniSource {
    let (shown, given) = (&view.security_groups, &record.source.security_groups);
    let settled = reading.began.since(record.changed) >= ABSENCE_BELIEVED_AFTER;
    let security_groups = if shown.is_empty() {
        // No ENI is without a group: nobody has told them.
        given.clone()
    } else if record.is_primary() || given.as_ref() == Some(shown) || is_wanted(ledger, reading, shown) {
        Some(shown.clone())
    } else {
        given.clone().filter(|_| !settled)
    };
    EniSource { subnet: view.subnet.clone(), security_groups }
}

/// The same of an ENI that is attached here and that the ledger does not have: whether we gave it its groups nobody knows.
pub(crate) fn found_source(
    ledger: &Ledger,
    reading: Reading<'_>,
    view: &EniView,
    is_primary: bool,
) -> EniSource {
    let known = is_primary || is_wanted(ledger, reading, &view.security_groups);
    EniSource { subnet: view.subnet.clone(), security_groups: known.then(|| view.security_groups.clone()) }
}

/// Whether these are the primary's groups, by the same read where it shows them.
fn is_wanted(ledger: &Ledger, reading: Reading<'_>, shown: &BTreeSet<SecurityGroupId>) -> bool {
    let Some(node) = &ledger.node else { return false };
    let primary = reading.views.iter().find(|view| view.mac == node.identity.primary_mac);
    match primary {
        Some(view) => view.security_groups == *shown,
        None => groups_of_primary(ledger, &node.identity) == *shown,
    }
}

/// ENIs of ours that have the groups which we gave them follow when they are to have others. One that somebody has set others on is left
/// alone, and so is one whose groups were never shown, and those that are closed, for the sake of their pods. Nothing is changed before
/// this process has read what the primary has now, and lately what the ENI has.
pub(crate) fn follow_groups(
    sources: &Sources,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    looks: &mut Looks<'_>,
) -> Vec<Step> {
    let (Some(wanted), Some(_)) = (sources.groups(), observed.reads.last_full()) else { return Vec::new() };
    if wanted.is_empty() {
        // No ENI is without a group: nobody has told them.
        return Vec::new();
    }
    let api = Api::ModifyNetworkInterfaceAttribute;
    let behind = |eni: &&EniRecord| {
        follows(eni)
            && sources.fit(eni) != Fit::Closed
            && differs(eni, wanted)
            && !observed.doubted(&eni.id)
            && observed.pause_of(api, Some(&eni.id), None, now).is_none()
            && ledger.intents_on(&eni.id).all(|intent| {
                !matches!(
                    intent.change,
                    CloudChange::SetSecurityGroups { .. }
                        | CloudChange::DetachEni { .. }
                        | CloudChange::DeleteEni { .. }
                )
            })
    };
    let change = |eni: &EniRecord| {
        Step::Open(CloudChange::SetSecurityGroups { eni: eni.id.clone(), groups: wanted.clone() })
    };
    let seen = |eni: &&EniRecord| looks.seen(eni).is_some();
    ledger.enis.values().filter(behind).filter(seen).map(change).collect()
}

/// Whether an ENI has the groups that we choose: ours, and not the primary, whose groups are its owner's.
pub(crate) fn follows(eni: &EniRecord) -> bool {
    eni.management == Management::Managed
        && !eni.is_primary()
        && matches!(eni.phase, EniPhase::Available | EniPhase::Attached { .. })
}

fn differs(eni: &EniRecord, wanted: &BTreeSet<SecurityGroupId>) -> bool {
    eni.source.security_groups.as_ref().is_some_and(|given| given != wanted)
}
