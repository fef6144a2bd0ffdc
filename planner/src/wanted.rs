//! The reads of EC2 that are wanted: why, and from which instant on.
//!
//! One queue for all. A reason is in it once, whoever finds it again; a read settles every reason that it can tell
//! about and that is no younger than the read; and a reason that its reads do not settle is looked into at growing
//! distances. So no reason, whatever EC2 answers, leads to more than a few reads an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::cloud::CloudRead;
use holdfast_model::ids::{EniId, InstanceId, SubnetId};
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::agenda::Agenda;
use crate::hint::HintDiff;
use crate::host::wants_set_up;
use crate::share::Share;

mod pacing;
mod periods;
#[cfg(test)]
mod tests;

pub(crate) use periods::Periods;

use pacing::{Pace, Pacing};
use periods::{FIRST_READ_WITHIN, FIRST_UNATTACHED_READ_WITHIN};

/// A full read because of a hint begins at least this long after the last one: the metadata service may show something
/// else at each look.
const HINT_READ_EVERY: Duration = Duration::from_secs(60);
/// Addresses that one read after the other puts into doubt are looked into together, if they come within this time.
const GATHERED_WITHIN: Duration = Duration::from_secs(30);
/// After so many of its longest distances without a read a reason is as good as new.
const FORGOTTEN_AFTER: u32 = 3;

/// Why a read is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// EC2's answer to a change of this ENI contradicted the ledger.
    Contradicted(EniId),
    /// EC2's answer contradicted what the ledger has of the whole instance.
    Miscounted,
    /// A read lacked this block although it began after our last change of its ENI. It may have lagged behind that change,
    /// so the block is not forgotten; until a later read has told, nothing of it is leased either.
    NotShown(IpNet),
    /// A read showed this block and nobody here had asked for it. It may have been late, and by a ledger that is lost we
    /// may have given it back: nothing of it is leased until a later read shows it.
    Unasked(IpNet),
    /// The metadata service shows something else than the ledger has.
    Hinted(HintDiff),
    /// The instance's first ENI was not shown, without which it cannot be: the view is late.
    PrimaryNotShown,
    /// Sandboxes live here that the ledger does not know: until EC2 was read, nothing else that it says is believed.
    LedgerLost,
    /// The settings say otherwise than before which ENIs are ours; whose each is, only a read shows.
    Reconfigured,
    /// An ENI of ours may hang unattached: calls may have been carried out of which the ledger knows nothing, or somebody
    /// else has left one.
    IntentsLost,
}

/// The queue of wanted reads, those under way, and when the listings were last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedReads {
    /// With each reason the instant from which on a read can settle it.
    wanted: BTreeMap<Reason, BootTime>,
    paces: BTreeMap<Pacing, Pace>,
    under_way: Vec<CloudRead>,
    last_full: Option<BootTime>,
    last_unattached: Option<BootTime>,
    /// From when on the first of each is read; at once where this process knows of nothing that would serve meanwhile.
    first: Option<First>,
    /// When the last read began that showed an ENI and was taken into the ledger about it.
    shown: BTreeMap<EniId, BootTime>,
}

/// See [`WantedReads::begin_in_turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct First {
    full: BootTime,
    unattached: BootTime,
}

impl WantedReads {
    /// Nothing waits for the first read of each listing: they come when it is this process's turn among many.
    pub(crate) fn begin_in_turn(&mut self, share: Share, now: &Now) {
        self.first = Some(First {
            full: now.boottime.after(share.part(FIRST_READ_WITHIN)),
            unattached: now.boottime.after(share.part(FIRST_UNATTACHED_READ_WITHIN)),
        });
    }

    /// From when on what nothing waits for is read by a process that goes on; `None`: at once.
    pub(crate) fn turn(&self) -> Option<BootTime> {
        self.first.map(|first| first.full)
    }

    /// Whether it has not come to the first yet.
    pub(crate) fn waits_its_turn(&self) -> bool {
        self.last_full.is_none() && self.first.is_some()
    }

    /// A read that begins at this instant or later is to look into this. What is wanted already is wanted no later.
    pub(crate) fn want(&mut self, reason: Reason, from: BootTime) {
        self.wanted.entry(reason).or_insert(from);
    }

    /// The same, and what earlier reads have told of it counts no more.
    pub(crate) fn want_from(&mut self, reason: Reason, from: BootTime) {
        self.wanted.insert(reason, from);
    }

    /// How the metadata service's hint differs from the ledger now, if it does.
    pub(crate) fn hinted(&mut self, hint: Option<HintDiff>, now: &Now) {
        self.wanted.retain(|reason, _| match reason {
            Reason::Hinted(known) => hint.as_ref() == Some(known),
            _ => true,
        });
        if let Some(hint) = hint {
            self.want(Reason::Hinted(hint), now.boottime);
        }
    }

    /// When the last complete read of the instance's ENIs began that was answered.
    pub(crate) fn last_full(&self) -> Option<BootTime> {
        self.last_full
    }

    /// When the last read began that showed this ENI and was taken into the ledger about it.
    pub(crate) fn shown(&self, eni: &EniId) -> Option<BootTime> {
        self.shown.get(eni).copied()
    }

    /// EC2 has refused something about this ENI: it may not be any more what a read has shown.
    pub(crate) fn contradicted(&mut self, eni: &EniId) {
        self.shown.remove(eni);
    }

    /// A read was taken into this ledger, and showed these ENIs of it. One that it was to show and did not is not looked for
    /// without a pause.
    pub(crate) fn looked(
        &mut self,
        read: &CloudRead,
        began: BootTime,
        shown: BTreeSet<EniId>,
        ledger: &Ledger,
    ) {
        if let CloudRead::Enis { enis } = read {
            for eni in enis.iter().filter(|eni| !shown.contains(*eni)) {
                self.looked_in_vain(Pacing::Looked(eni.clone()), began);
            }
        }
        for eni in shown {
            self.paces.remove(&Pacing::Looked(eni.clone()));
            let latest = self.shown.entry(eni).or_insert(began);
            *latest = began.max(*latest);
        }
        self.shown.retain(|eni, _| ledger.enis.contains_key(eni));
    }

    fn looked_in_vain(&mut self, pacing: Pacing, began: BootTime) {
        let reads = self.paces.get(&pacing).map_or(1, |pace| pace.reads.saturating_add(1));
        self.paces.insert(pacing, Pace { reads, last: began });
    }

    /// Whether a read of this ENI by its id is under way.
    pub(crate) fn is_read(&self, eni: &EniId) -> bool {
        self.under_way.iter().any(|read| names(read, eni))
    }

    /// Whether the instance's ENIs were read, and the last list of them was whole.
    pub(crate) fn are_whole(&self) -> bool {
        self.last_full.is_some() && !self.wanted.contains_key(&Reason::PrimaryNotShown)
    }

    /// Whether the ledger may be older than what EC2 has, and no read has told since.
    pub(crate) fn ledger_is_doubted(&self) -> bool {
        self.wanted.contains_key(&Reason::LedgerLost)
    }

    /// Whether a read is to settle what is known of this ENI.
    pub(crate) fn doubted(&self, eni: &EniId) -> bool {
        self.wanted.keys().any(|reason| match reason {
            Reason::Contradicted(doubted) => doubted == eni,
            Reason::Miscounted => true,
            _ => false,
        })
    }

    /// Whether a read is to prove that EC2 has this block where the ledger has it.
    pub(crate) fn unproven(&self, net: IpNet) -> bool {
        self.wanted.contains_key(&Reason::NotShown(net)) || self.wanted.contains_key(&Reason::Unasked(net))
    }

    /// From when on a read proves a block that nobody asked for; `None` when none needs to.
    pub(crate) fn unasked(&self, net: IpNet) -> Option<BootTime> {
        self.wanted.get(&Reason::Unasked(net)).copied()
    }

    /// Drops the reasons of which this says so.
    pub(crate) fn settle(&mut self, mut settled: impl FnMut(&Reason, BootTime) -> bool) {
        self.wanted.retain(|reason, from| {
            let over = settled(reason, *from);
            if over && matches!(reason, Reason::Hinted(_)) {
                // It was right: the next one of its kind is news.
                self.paces.remove(&Pacing::of(reason));
            }
            !over
        });
        if !self.wanted.keys().any(|reason| Pacing::of(reason) == Pacing::Addresses) {
            self.paces.remove(&Pacing::Addresses);
        }
    }

    /// A read has shown this block after all.
    pub(crate) fn block_shown(&mut self, net: IpNet) {
        if self.wanted.remove(&Reason::NotShown(net)).is_some() {
            self.settle(|_, _| false);
        }
    }

    /// What a read is to tell; nothing when it is the periodic one, or the first.
    pub(crate) fn why<'a>(
        &'a self,
        read: &'a CloudRead,
        ledger: &'a Ledger,
    ) -> impl Iterator<Item = &'a Reason> {
        self.wanted.keys().filter(|reason| tells(read, reason, ledger))
    }

    /// Each reason, and from when on a read can settle it.
    pub(crate) fn all_wanted(&self) -> impl Iterator<Item = (&Reason, &BootTime)> {
        self.wanted.iter()
    }

    /// Whether a read of all that is attached is under way.
    pub(crate) fn is_full_under_way(&self) -> bool {
        self.under_way.iter().any(|read| matches!(read, CloudRead::InstanceEnis { .. }))
    }

    /// How many reads have not been answered yet.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// A read is being sent.
    pub(crate) fn began(&mut self, read: &CloudRead) {
        if !self.under_way.contains(read) {
            self.under_way.push(read.clone());
        }
    }

    /// Whether this very read is under way.
    pub(crate) fn reads_now(&self, read: &CloudRead) -> bool {
        self.under_way.contains(read)
    }

    /// A read ended without an answer.
    pub(crate) fn failed(&mut self, read: &CloudRead) {
        self.under_way.retain(|other| other != read);
    }

    /// A read was answered, and its answer taken into this ledger. `unanswered` are the ENIs of which it is still not
    /// known what became of a change.
    pub(crate) fn answered(
        &mut self,
        read: &CloudRead,
        began: BootTime,
        ledger: &Ledger,
        unanswered: &BTreeSet<EniId>,
    ) {
        self.under_way.retain(|other| other != read);
        // By a ledger that was another's, that one's ENIs may have been asked for.
        let us = ledger.node.as_ref().map(|node| &node.identity.instance);
        match read {
            CloudRead::InstanceEnis { instance } | CloudRead::AvailableEnis { instance }
                if us.is_some_and(|us| us != instance) =>
            {
                return;
            }
            CloudRead::InstanceEnis { .. } => self.last_full = self.last_full.max(Some(began)),
            CloudRead::AvailableEnis { .. } => self.last_unattached = self.last_unattached.max(Some(began)),
            CloudRead::Enis { .. } | CloudRead::ZoneSubnets { .. } => {}
            CloudRead::Subnets { subnets } => self.subnets_told(subnets, began, ledger),
        }
        self.paces.retain(|pacing, pace| match pacing {
            Pacing::Unanswered(eni) => unanswered.contains(eni),
            _ => began.since(pace.last) < pacing.distances().1 * FORGOTTEN_AFTER,
        });
        let told: BTreeSet<Pacing> = self
            .wanted
            .iter()
            .filter(|(reason, from)| began >= **from && tells(read, reason, ledger))
            .map(|(reason, _)| Pacing::of(reason))
            .chain(
                unanswered
                    .iter()
                    .filter(|eni| tells_of(read, eni, ledger))
                    .map(|eni| Pacing::Unanswered(eni.clone())),
            )
            .collect();
        for pacing in told {
            self.looked_in_vain(pacing, began);
        }
        // Whether it bears out the others, its contents tell.
        self.settle(|reason, from| {
            let by_itself = matches!(
                reason,
                Reason::Contradicted(_) | Reason::Miscounted | Reason::Reconfigured | Reason::IntentsLost
            );
            by_itself && began >= from && tells(read, reason, ledger)
        });
    }

    /// What reads have shown was not kept: none has been made.
    pub(crate) fn forget(&mut self) {
        self.last_full = None;
        self.last_unattached = None;
        self.first = None;
        self.shown.clear();
        self.paces.clear();
    }

    /// The reads that are due. `unanswered` are ENIs of which it is not known what became of a change, `looks` those that are to
    /// be seen before they go.
    pub(crate) fn due(
        &self,
        instance: &InstanceId,
        ledger: &Ledger,
        unanswered: &BTreeSet<EniId>,
        looks: &BTreeSet<EniId>,
        periods: Periods,
        agenda: &mut Agenda,
    ) -> Vec<CloudRead> {
        let mut due = Vec::new();
        let full = CloudRead::InstanceEnis { instance: instance.clone() };
        if self.is_due(&full, self.full_from(periods.full), agenda) {
            due.push(full.clone());
        }
        let unattached = CloudRead::AvailableEnis { instance: instance.clone() };
        if self.is_due(&unattached, self.unattached_from(periods.unattached), agenda) {
            due.push(unattached);
        }
        let full_comes = due.contains(&full) || self.under_way.contains(&full);
        let doubted = self.wanted.iter().filter_map(|(reason, from)| match reason {
            Reason::Contradicted(eni) => Some((eni, self.paced(&Pacing::of(reason), *from))),
            _ => None,
        });
        let unanswered =
            unanswered.iter().map(|eni| (eni, self.paced(&Pacing::Unanswered(eni.clone()), BootTime(0))));
        let looks = looks.iter().map(|eni| (eni, self.paced(&Pacing::Looked(eni.clone()), BootTime(0))));
        let enis: BTreeSet<&EniId> = doubted
            .chain(unanswered)
            .chain(looks)
            .filter(|(eni, _)| !self.is_read(eni))
            .filter(|(eni, _)| !(full_comes && tells_of(&full, eni, ledger)))
            .filter(|(_, from)| agenda.reached(*from))
            .map(|(eni, _)| eni)
            .collect();
        if !enis.is_empty() {
            due.push(CloudRead::Enis { enis: enis.into_iter().cloned().collect() });
        }
        due
    }

    /// The subnets to ask EC2 about: those of which ENIs that are to be set up need the range.
    pub(crate) fn subnets_due(&self, ledger: &Ledger, agenda: &mut Agenda) -> Option<CloudRead> {
        let asked = |subnet: &SubnetId| {
            let names =
                |read: &CloudRead| matches!(read, CloudRead::Subnets { subnets } if subnets.contains(subnet));
            self.under_way.iter().any(names)
        };
        let subnets: BTreeSet<SubnetId> = ledger
            .enis
            .values()
            .filter(|eni| wants_set_up(ledger, eni) && eni.primary_ipv4.is_some())
            .map(|eni| &eni.source.subnet)
            .filter(|subnet| ledger.subnets.get(*subnet).is_none_or(|known| known.ipv4.is_none()))
            .filter(|subnet| !asked(subnet))
            .filter(|subnet| agenda.reached(self.paced(&Pacing::Range((*subnet).clone()), BootTime(0))))
            .cloned()
            .collect();
        (!subnets.is_empty()).then(|| CloudRead::Subnets { subnets: subnets.into_iter().collect() })
    }

    fn subnets_told(&mut self, subnets: &[SubnetId], began: BootTime, ledger: &Ledger) {
        for subnet in subnets {
            let pacing = Pacing::Range(subnet.clone());
            if ledger.subnets.get(subnet).is_some_and(|known| known.ipv4.is_some()) {
                self.paces.remove(&pacing);
            } else {
                self.looked_in_vain(pacing, began);
            }
        }
    }

    fn is_due(&self, read: &CloudRead, from: Option<BootTime>, agenda: &mut Agenda) -> bool {
        from.is_none_or(|from| agenda.reached(from)) && !self.under_way.contains(read)
    }

    /// From when on the instance's ENIs are to be read; `None`: at once.
    fn full_from(&self, every: Duration) -> Option<BootTime> {
        let last = self.last_full;
        let periodic = match last {
            Some(last) => last.after(every),
            None => self.first?.full,
        };
        // One that began when it can tell has told what it can.
        let addresses = self
            .wanted
            .iter()
            .filter(|(reason, from)| Pacing::of(reason) == Pacing::Addresses && last < Some(**from))
            .map(|(_, from)| *from);
        // One read tells of all of them, and none waits for ever for the next.
        let addresses =
            addresses.clone().min().zip(addresses.max()).map(|(first, latest)| {
                self.paced(&Pacing::Addresses, latest.min(first.after(GATHERED_WITHIN)))
            });
        let others = self.wanted.iter().filter_map(|(reason, from)| {
            let paced = self.paced(&Pacing::of(reason), *from);
            match reason {
                Reason::Miscounted | Reason::PrimaryNotShown | Reason::LedgerLost | Reason::Reconfigured => {
                    Some(paced)
                }
                Reason::Hinted(_) => Some(last.map_or(paced, |last| paced.max(last.after(HINT_READ_EVERY)))),
                _ => None,
            }
        });
        others.chain(addresses).chain([periodic]).min()
    }

    /// From when on our unattached ENIs are to be read; `None`: at once.
    fn unattached_from(&self, every: Duration) -> Option<BootTime> {
        let periodic = match self.last_unattached {
            Some(last) => last.after(every),
            None => self.first?.unattached,
        };
        let suspected = self.wanted.get(&Reason::IntentsLost);
        let suspected = suspected.map(|from| self.paced(&Pacing::IntentsLost, *from));
        suspected.into_iter().chain([periodic]).min()
    }

    fn paced(&self, pacing: &Pacing, from: BootTime) -> BootTime {
        self.paces.get(pacing).map_or(from, |pace| from.max(pace.next(pacing)))
    }
}

/// Whether a read says anything about a reason.
fn tells(read: &CloudRead, reason: &Reason, ledger: &Ledger) -> bool {
    match reason {
        Reason::Contradicted(eni) => tells_of(read, eni, ledger),
        Reason::Miscounted
        | Reason::PrimaryNotShown
        | Reason::LedgerLost
        | Reason::Reconfigured
        | Reason::NotShown(_)
        | Reason::Unasked(_)
        | Reason::Hinted(_) => {
            matches!(read, CloudRead::InstanceEnis { .. })
        }
        Reason::IntentsLost => matches!(read, CloudRead::AvailableEnis { .. }),
    }
}

/// Whether a read says anything about an ENI: a full one tells of those that are, or should be, attached.
fn tells_of(read: &CloudRead, eni: &EniId, ledger: &Ledger) -> bool {
    match read {
        CloudRead::InstanceEnis { .. } => ledger.enis.get(eni).is_none_or(|eni| eni.attachment().is_some()),
        CloudRead::Enis { .. } => names(read, eni),
        CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => false,
    }
}

fn names(read: &CloudRead, eni: &EniId) -> bool {
    matches!(read, CloudRead::Enis { enis } if enis.contains(eni))
}
