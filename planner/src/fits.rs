//! How many addresses still fit on an ENI, by what EC2 has refused.
//!
//! The type's table may be wrong, and something may take up room that no read shows. EC2's refusal is the truth: the
//! next call asks for half, down to one, and an ENI that does not take one is full, for an hour.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::ids::{EniId, SubnetId};
use holdfast_model::time::{BootTime, Now};

#[cfg(test)]
mod tests;

/// What took up the room may be gone by then.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Learnt {
    most: u32,
    since: BootTime,
}

/// What was learnt of ENIs, and of new ones where the key is `None`; and how many prefixes a subnet gives at once, which
/// is told all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fits {
    learnt: BTreeMap<Option<EniId>, Learnt>,
    prefixes: BTreeMap<SubnetId, Learnt>,
}

impl Fits {
    /// EC2 has refused so many at once.
    pub(crate) fn refused(&mut self, eni: Option<&EniId>, count: u32, now: &Now) {
        let most = self.most(eni, now).unwrap_or(u32::MAX).min(count / 2);
        self.learnt.insert(eni.cloned(), Learnt { most, since: now.boottime });
    }

    /// The most to ask for at once; `None`: nothing was refused lately.
    pub(crate) fn most(&self, eni: Option<&EniId>, now: &Now) -> Option<u32> {
        let learnt = self.learnt.get(&eni.cloned())?;
        match (now.boottime.since(learnt.since) < REMEMBERED_FOR, learnt.most) {
            (true, most) => Some(most),
            // One tells as well as many.
            (false, 0) => Some(1),
            (false, _) => None,
        }
    }

    /// EC2 has given addresses: an ENI that was full, or took few at once, long ago is like any other again.
    pub(crate) fn accepted(&mut self, eni: Option<&EniId>, now: &Now) {
        let key = eni.cloned();
        if self.learnt.get(&key).is_some_and(|learnt| now.boottime.since(learnt.since) >= REMEMBERED_FOR) {
            self.learnt.remove(&key);
        }
    }

    /// A subnet has not given so many prefixes at once.
    pub(crate) fn prefixes_refused(&mut self, subnet: &SubnetId, count: u32, now: &Now) {
        let most = self.most_prefixes(subnet, now).min(count / 2).max(1);
        self.prefixes.insert(subnet.clone(), Learnt { most, since: now.boottime });
    }

    /// The most prefixes to ask of a subnet at once: it has one, or says that it has none.
    pub(crate) fn most_prefixes(&self, subnet: &SubnetId, now: &Now) -> u32 {
        let learnt = self.prefixes.get(subnet);
        learnt.filter(|it| now.boottime.since(it.since) < REMEMBERED_FOR).map_or(u32::MAX, |it| it.most)
    }

    /// Whether it is being found out how many prefixes a subnet has.
    pub(crate) fn finds_out(&self, subnet: &SubnetId, now: &Now) -> bool {
        self.most_prefixes(subnet, now) < u32::MAX
    }

    /// A subnet has given prefixes: it may have more.
    pub(crate) fn prefixes_given(&mut self, subnet: &SubnetId) {
        self.prefixes.remove(subnet);
    }

    /// A read has shown more on this ENI than the ledger had: the refusal may have been about that.
    pub(crate) fn miscounted(&mut self, eni: &EniId) {
        self.learnt.remove(&Some(eni.clone()));
    }

    /// Keeps what was learnt of these, and of new ENIs.
    pub(crate) fn keep(&mut self, known: impl Fn(&EniId) -> bool) {
        self.learnt.retain(|eni, _| eni.as_ref().is_none_or(&known));
    }

    /// When what was learnt is forgotten.
    pub(crate) fn forgotten_at(&self) -> impl Iterator<Item = BootTime> {
        self.learnt.values().chain(self.prefixes.values()).map(|learnt| learnt.since.after(REMEMBERED_FOR))
    }
}
