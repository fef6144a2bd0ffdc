//! What may be given back to EC2.

use holdfast_model::block::BlockState;
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, Management};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use ipnet::IpNet;

use crate::claims::busy;
use crate::observed::Observed;
use crate::proof::Seen;

#[cfg(test)]
mod tests;

/// Ledger and kernel agree, so that something may be given back at all: made when the kernel was looked at since the start and leases explain every link of
/// ours in it. What lives there unexplained may use any address of any ENI.
pub(crate) struct Accord<'a> {
    ledger: &'a Ledger,
    observed: &'a Observed,
    now: &'a Now,
}

/// Ledger and kernel agree that nobody holds this.
#[derive(Debug)]
pub(crate) struct Idle<T>(T);

impl<'a> Accord<'a> {
    pub(crate) fn reached(ledger: &'a Ledger, observed: &'a Observed, now: &'a Now) -> Option<Self> {
        let explained = observed.traces.looked && observed.traces.is_empty();
        explained.then_some(Self { ledger, observed, now })
    }

    /// Whether new things may be chosen to go: this process has read EC2 whole, and knows what the node can carry. What was chosen before goes
    /// on without that.
    fn chooses(&self) -> bool {
        self.observed.reads.are_whole() && self.ledger.limits().is_some()
    }

    /// An ENI that no lease, rest, suspicion or call under way speaks of. The primary belongs to the instance, and what others
    /// have marked as not to be managed to them.
    pub(crate) fn eni(&self, record: &'a EniRecord) -> Option<Idle<&'a EniRecord>> {
        let idle = !record.is_primary()
            && record.management != Management::Unmanaged
            && !busy(self.ledger, &record.id)
            && !self.observed.doubted(&record.id)
            && !in_use(self.ledger, &record.id, self.now);
        idle.then_some(Idle(record))
    }

    /// An attached ENI of the pool that may be given up. An EFA is part of what the user ordered.
    pub(crate) fn surplus(&self, record: &'a EniRecord) -> Option<Idle<&'a EniRecord>> {
        let of_pool = record.kind == EniKind::Standard && matches!(record.phase, EniPhase::Attached { .. });
        let untouched = self.ledger.intents_on(&record.id).next().is_none();
        self.eni(record).filter(|_| self.chooses() && of_pool && untouched)
    }

    /// An ENI of ours that hangs unattached and is not wanted. An earlier process may have attached it, and not have heard:
    /// so only after a read.
    pub(crate) fn unattached(&self, record: &'a EniRecord) -> Option<Idle<&'a EniRecord>> {
        self.eni(record).filter(|_| self.chooses() && record.phase == EniPhase::Available)
    }

    /// Blocks on an attached ENI of whose addresses no lease, rest or suspicion speaks.
    pub(crate) fn blocks(
        &self,
        record: &'a EniRecord,
        nets: Vec<IpNet>,
    ) -> Option<Idle<(&'a EniRecord, Vec<IpNet>)>> {
        let idle_here = |net: &IpNet| {
            let block = self.ledger.blocks.get(net).filter(|block| block.eni == record.id);
            block.is_some_and(|block| self.ledger.is_idle(block, self.now))
        };
        let idle = self.chooses()
            && record.management == Management::Managed
            && matches!(record.phase, EniPhase::Attached { .. })
            && !busy(self.ledger, &record.id)
            && !self.observed.doubted(&record.id)
            && !nets.is_empty()
            && nets.iter().all(idle_here);
        idle.then_some(Idle((record, nets)))
    }

    /// Whether this change, as planned, may be made an intent now.
    pub(crate) fn allows(&self, change: &CloudChange) -> bool {
        if !change.gives_back() {
            return true;
        }
        let Some(record) = change.eni().and_then(|eni| self.ledger.enis.get(eni)) else { return false };
        let Some(seen) = Seen::lately(self.observed, record, self.now) else { return false };
        let planned = match change {
            CloudChange::Unassign { nets, .. } => {
                self.blocks(record, nets.clone()).map(|idle| idle.unassign(seen))
            }
            _ => self.eni(record).and_then(|idle| idle.detach(seen).or(idle.delete(seen))),
        };
        planned.as_ref() == Some(change)
    }
}

impl Idle<&EniRecord> {
    /// It is to go: nothing new is put on it.
    pub(crate) fn drain(self, now: &Now) -> Option<Change> {
        let EniPhase::Attached { attachment, .. } = &self.0.phase else { return None };
        let phase = EniPhase::Draining { attachment: attachment.clone() };
        Some(Change::PutEni(EniRecord { phase, since: now.boottime, ..self.0.clone() }))
    }

    /// An unattached one is to go: from here on it is treated like one that we detached.
    pub(crate) fn give_up(self, now: &Now) -> Option<Change> {
        let unattached = self.0.phase == EniPhase::Available;
        unattached.then(|| {
            Change::PutEni(EniRecord { phase: EniPhase::Detached, since: now.boottime, ..self.0.clone() })
        })
    }

    /// The call that detaches it, if it is to go.
    pub(crate) fn detach(&self, _seen: Seen) -> Option<CloudChange> {
        let EniPhase::Draining { attachment } = &self.0.phase else { return None };
        Some(CloudChange::DetachEni { eni: self.0.id.clone(), attachment: attachment.clone() })
    }

    /// The call that deletes it, if it is detached.
    pub(crate) fn delete(&self, _seen: Seen) -> Option<CloudChange> {
        let detached = self.0.phase == EniPhase::Detached;
        detached.then(|| CloudChange::DeleteEni { eni: self.0.id.clone() })
    }
}

impl Idle<(&EniRecord, Vec<IpNet>)> {
    /// The call that gives them back.
    pub(crate) fn unassign(self, _seen: Seen) -> CloudChange {
        let (record, nets) = self.0;
        CloudChange::Unassign { eni: record.id.clone(), nets }
    }
}

/// Whether anything on the ENI is leased, resting, suspect or leaving: then it stays where it is.
fn in_use(ledger: &Ledger, eni: &EniId, now: &Now) -> bool {
    ledger.leases_on(eni).next().is_some()
        || ledger.blocks_on(eni).any(|block| match block.state {
            BlockState::Leaving(_) => true,
            BlockState::Gone(_) => false,
            BlockState::Held | BlockState::Withdrawn => {
                ledger.uses_in(block.net).any(|(_, what)| !what.is_over(now))
            }
        })
}
