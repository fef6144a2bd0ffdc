//! ENIs' links in the kernel, and their set-up.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::eni::EniRecord;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;

use crate::observed::{LINK_TAKES_AT_MOST, Observed, SetUpRest};
use crate::reading::ABSENCE_BELIEVED_AFTER;
use crate::wanted::Reason;

/// A link appears about a second after the attachment; until then the set-up is tried at this pace.
const SET_UP_REST: Duration = Duration::from_millis(200);
/// That many tries at the fast pace, then slower.
const SET_UP_FAST_TRIES: u32 = 20;
/// What lasts is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);
/// The slowest pace of set-up tries.
const SET_UP_LONGEST_REST: Duration = Duration::from_secs(10);

impl Observed {
    /// An ENI's kernel set-up begins.
    pub fn set_up_began(&mut self, eni: &EniId) {
        self.setting_up.insert(eni.clone());
    }

    /// An ENI's kernel set-up was read back.
    pub fn set_up_done(&mut self, eni: &EniId) {
        self.setting_up.remove(eni);
        self.set_up_rests.remove(eni);
        self.ready_enis.insert(eni.clone());
    }

    /// An ENI's kernel set-up failed; it is tried again after a short rest. True when it has lasted for longer than a link takes
    /// to appear, and that was not told within the last hour.
    pub fn set_up_failed(&mut self, eni: &EniId, cause: &str, now: &Now) -> bool {
        self.setting_up.remove(eni);
        self.ready_enis.remove(eni);
        let before = self.set_up_rests.remove(eni);
        let failures = before.as_ref().map_or(1, |rest| rest.failures.saturating_add(1));
        let (since, told) = before.map_or((now.boottime, None), |rest| (rest.since, rest.told));
        let doublings = failures.saturating_sub(SET_UP_FAST_TRIES).min(10);
        let rest = (SET_UP_REST * 2_u32.pow(doublings)).min(SET_UP_LONGEST_REST);
        let tells = now.boottime.since(since) >= LINK_TAKES_AT_MOST
            && told.is_none_or(|told| now.boottime.since(told) >= TOLD_AGAIN);
        let told = if tells { Some(now.boottime) } else { told };
        let (next_try, cause) = (now.boottime.after(rest), cause.to_owned());
        self.set_up_rests.insert(eni.clone(), SetUpRest { next_try, failures, since, cause, told });
        tells
    }

    /// Whether an ENI's kernel set-up has failed for longer than a link takes to appear.
    pub(crate) fn keeps_failing(&self, eni: &EniId, now: &Now) -> bool {
        self.set_up_rests.get(eni).is_some_and(|rest| now.boottime.since(rest.since) >= LINK_TAKES_AT_MOST)
    }

    /// The kernel's links were read; `macs` are those of ENIs that have one. An ENI whose link is gone serves nobody until it was set up again; and somebody may have
    /// detached it, which metadata was seen to hide for as long as the instance runs.
    pub fn links_seen(&mut self, ledger: &Ledger, macs: &BTreeSet<MacAddr>, now: &Now) {
        let shown = ledger.enis.values().filter(|eni| macs.contains(&eni.mac));
        self.links = Some(shown.map(|eni| eni.id.clone()).collect());
        let gone = self
            .ready_enis
            .extract_if(.., |id| ledger.enis.get(id).is_none_or(|eni| !macs.contains(&eni.mac)));
        for eni in gone.filter_map(|id| ledger.enis.get(&id)).filter(|eni| eni.attachment().is_some()) {
            // When a read can prove that it is gone: describes lag behind what others do, too.
            let from = eni.changed.max(now.boottime).after(ABSENCE_BELIEVED_AFTER);
            self.reads.want_from(Reason::Contradicted(eni.id.clone()), from);
        }
    }

    /// Whether an ENI's link is on this host, as far as anybody has looked.
    pub(crate) fn may_have_link(&self, eni: &EniRecord) -> bool {
        self.links.as_ref().is_none_or(|links| links.contains(&eni.id))
    }

    /// The kernel's links changed: ENIs that rest after a failed set-up are tried again at once.
    pub fn links_changed(&mut self, now: &Now) {
        for rest in self.set_up_rests.values_mut() {
            rest.next_try = rest.next_try.min(now.boottime);
        }
    }
}
