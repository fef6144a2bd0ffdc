//! What reads of EC2 have shown, and what is to be read next for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::block::BlockState;
use holdfast_model::cloud::{AttachmentStatus, CloudChange, CloudRead, EniView};
use holdfast_model::config::Config;
use holdfast_model::eni::{EniRecord, Management};
use holdfast_model::ids::EniId;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::subnet::SubnetView;
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::hint::HintDiff;
use crate::observed::Observed;
use crate::orphan::{STRAY_AFTER, intent_tag, is_left, is_unattached_of};
use crate::outcome::{Fault, PauseScope, Setback};
use crate::reading::{ABSENCE_BELIEVED_AFTER, DESCRIBES_LAG, Reading, VIEWS_ARE_OLD_AT_MOST};
use crate::wanted::Reason;

/// Somebody's detachment of an ENI is soon carried out.
const DETACHMENT_TAKES: Duration = Duration::from_secs(5);
/// By then most views show what was changed.
const VIEWS_ARE_LATE: Duration = Duration::from_secs(5);

impl Observed {
    /// What a read is to tell, for people; nothing of the first one and of those that come with time.
    pub fn why_read(&self, read: &CloudRead, ledger: &Ledger) -> Vec<String> {
        self.reads.why(read, ledger).map(|reason| format!("{reason:?}")).collect()
    }

    /// What EC2 is to be read for, for people.
    pub fn reads_wanted(&self, now: &Now) -> Vec<String> {
        let told =
            |(reason, from): (&Reason, &BootTime)| format!("{reason:?}, from {} on", now.wall_at(*from));
        self.reads.all_wanted().map(told).collect()
    }

    /// A read is being sent.
    pub fn read_began(&mut self, read: &CloudRead, now: &Now) {
        self.budget.take(read.api(), now.boottime);
        self.reads.began(read);
    }

    /// The metadata service gave a hint, and it differs from the ledger so, or not.
    pub fn hinted(&mut self, hint: Option<HintDiff>, now: &Now) {
        self.reads.hinted(hint, now);
    }

    /// Intents may have been lost whose calls were carried out: soon a read shows the ENIs that they made.
    pub fn suspect_orphans(&mut self, now: &Now) {
        self.reads.want_from(Reason::IntentsLost, now.boottime.after(DESCRIBES_LAG));
    }

    /// Other settings hold. Where they say otherwise whose an ENI is, EC2 is read.
    pub fn reconfigured(&mut self, before: &Config, after: &Config, now: &Now) {
        let whose = |config: &Config| (config.multi_nic.value, config.manage_untagged.value);
        if whose(before) != whose(after) {
            self.reads.want_from(Reason::Reconfigured, now.boottime);
        }
    }

    /// What reads have shown was not kept: none has been made.
    pub fn forget_reads(&mut self) {
        self.reads.forget();
    }

    /// Notes the addresses that an adoption found. Call it with the ledger as it was before.
    pub fn note_found(&mut self, before: &Ledger, changes: &[Change], began: BootTime) {
        let used = |net: IpNet| {
            before.uses_in(net).next().is_some()
                || changes.iter().any(|change| matches!(change, Change::PutUse(ip, _) if net.contains(ip)))
        };
        for change in changes {
            let Change::PutBlock(block) = change else { continue };
            if before.blocks.get(&block.net).is_some_and(|known| !matches!(known.state, BlockState::Gone(_)))
            {
                continue;
            }
            self.fits.miscounted(&block.eni);
            if used(block.net) {
                let from = began.after(ABSENCE_BELIEVED_AFTER);
                self.reads.want_from(Reason::Unasked(block.net), from);
            }
        }
    }

    /// Notes whether others took an ENI of ours away, by what an adoption found. Call it with the ledger as it was before;
    /// `draw` is random and spreads the pause.
    pub fn note_taken(&mut self, before: &Ledger, changes: &[Change], now: &Now, draw: u64) {
        let serves = |id: &EniId| before.enis.get(id).filter(|eni| eni.serves_pods() && !eni.is_primary());
        let taken = changes.iter().find_map(|change| match change {
            Change::PutEni(eni) if !eni.serves_pods() && eni.management != Management::Unmanaged => {
                serves(&eni.id)
            }
            Change::DropEni(id) => serves(id),
            _ => None,
        });
        let ours = |eni: &&EniRecord| {
            let detached = |change: &CloudChange| matches!(change, CloudChange::DetachEni { .. });
            eni.created_by.is_some() && !before.intents_on(&eni.id).any(|intent| detached(&intent.change))
        };
        if let Some(eni) = taken.filter(ours) {
            self.pauses.setback(&Setback::taken(&eni.id), now.boottime, now, draw);
        }
    }

    /// A read was answered, adopted, and the adoption applied: notes which free addresses it lacks, and what it has
    /// settled. Call it with the ledger as it is after the adoption.
    pub fn read_adopted(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        self.pauses.recovered(reading.read.api(), None);
        self.calls.retain(|id, call| call.sent.is_some() || ledger.intents.contains_key(id));
        // What is not attached has no link to wait for: should it be attached again, it has its time anew.
        self.set_up_rests.retain(|id, _| ledger.enis.get(id).is_some_and(|eni| eni.attachment().is_some()));
        self.fits.keep(|id| ledger.enis.contains_key(id));
        self.note_unwanted(ledger);
        let unanswered = self.unanswered(ledger);
        self.reads.answered(reading.read, reading.began, ledger, &unanswered);
        self.tagging.note(ledger, reading);
        self.leaks.begin(reading.began);
        self.note_strays(ledger, reading);
        self.note_looked_at(ledger, reading);
        self.note_shown(ledger, reading);
        self.note_not_shown(ledger, reading);
        self.note_unbound(ledger, reading);
    }

    /// A read of the zone's subnets was answered.
    pub fn subnets_shown(
        &mut self,
        read: &CloudRead,
        views: &[SubnetView],
        began: BootTime,
        ledger: &Ledger,
    ) {
        let full = self.found_full(began);
        self.subnets.take(views, began, full);
        self.pauses.recovered(read.api(), None);
        let unanswered = self.unanswered(ledger);
        self.reads.answered(read, began, ledger, &unanswered);
    }

    /// Whether a subnet was found without addresses, or prefixes, since they were last read, as of then.
    pub(crate) fn found_full(&self, at: BootTime) -> bool {
        self.subnets.shown.as_ref().is_some_and(|shown| self.pauses.found_full(shown.began, at))
    }

    /// Which unattached ENIs are somebody's to attach or nobody's, a later read tells.
    fn note_strays(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        let CloudRead::AvailableEnis { instance } = reading.read else { return };
        let unknown = |view: &&EniView| {
            is_unattached_of(view, instance)
                && !ledger.enis.contains_key(&view.id)
                && intent_tag(view).is_none()
        };
        let shown: BTreeMap<EniId, BootTime> = reading
            .views
            .iter()
            .filter(unknown)
            .map(|view| (view.id.clone(), self.strays.get(&view.id).copied().unwrap_or(reading.began)))
            .collect();
        let later = shown.values().map(|since| since.after(STRAY_AFTER)).filter(|at| *at > reading.began);
        if let Some(at) = later.min() {
            self.reads.want_from(Reason::IntentsLost, at);
        }
        self.strays = shown;
    }

    /// Which ENIs of ours the read has shown. The list of unattached ones is for what the ledger lacks, and lags; and a read
    /// that began before a call of ours ended was not taken in.
    fn note_looked_at(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        if !matches!(reading.read, CloudRead::InstanceEnis { .. } | CloudRead::Enis { .. }) {
            return;
        }
        let taken_in = |record: &&EniRecord| {
            reading.began >= record.changed
                && !ledger.intents_on(&record.id).any(|intent| self.is_under_way(intent.id))
        };
        let shown = reading.views.iter().filter_map(|view| ledger.enis.get(&view.id)).filter(taken_in);
        let shown = shown.map(|record| record.id.clone()).collect();
        self.reads.looked(reading.read, reading.began, shown, ledger);
    }

    /// What the read has borne out, and what a later one has to.
    fn note_shown(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        let shown = |net: &IpNet| reading.views.iter().any(|view| view.shows(*net));
        let full = matches!(reading.read, CloudRead::InstanceEnis { .. });
        let mut again = Vec::new();
        self.reads.settle(|reason, from| match reason {
            Reason::Unasked(net) => {
                let late = reading.began >= from;
                let known = ledger.blocks.contains_key(net);
                if known && late && full && !shown(net) {
                    // Not dropped either, since its ENI was changed meanwhile: asked again, not at once.
                    again.push(*net);
                }
                !known || (late && shown(net))
            }
            Reason::NotShown(net) => !ledger.blocks.contains_key(net),
            Reason::Hinted(hint) => hint.agrees_with(ledger),
            Reason::PrimaryNotShown => full && reading.is_whole(ledger),
            Reason::LedgerLost => full && reading.is_whole(ledger) && reading.began >= from,
            Reason::Contradicted(_) | Reason::Miscounted | Reason::Reconfigured | Reason::IntentsLost => {
                false
            }
        });
        if full && !reading.is_whole(ledger) {
            self.reads.want(Reason::PrimaryNotShown, reading.began);
        }
        for net in again {
            self.reads.want_from(Reason::Unasked(net), reading.began.after(ABSENCE_BELIEVED_AFTER));
        }
    }

    fn note_not_shown(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        for view in reading.views {
            let Some(record) = ledger.enis.get(&view.id).filter(|record| reading.began >= record.changed)
            else {
                continue;
            };
            for block in ledger.blocks_on(&record.id) {
                if view.shows(block.net) || block.state != BlockState::Held {
                    self.reads.block_shown(block.net);
                } else {
                    let settled = record.changed.after(ABSENCE_BELIEVED_AFTER);
                    let of_a_pod =
                        ledger.is_somebodys(block).then(|| block.shown.after(VIEWS_ARE_OLD_AT_MOST));
                    let proves_absence = of_a_pod.map_or(settled, |from| from.max(settled));
                    // A view so soon after a change is late more often than it is right, and pods wait.
                    let soon = record.changed.after(VIEWS_ARE_LATE);
                    let from = if reading.began < soon { soon } else { proves_absence };
                    self.reads.want_from(Reason::NotShown(block.net), from);
                }
            }
        }
    }

    /// ENIs that a read has not shown where the ledger has them, and that are kept there all the same: it began too soon
    /// after a change to tell, they are just being detached, or it did not say what became of them. Another one does.
    fn note_unbound(&mut self, ledger: &Ledger, reading: Reading<'_>) {
        let Some(node) = ledger.node.as_ref().filter(|_| reading.is_whole(ledger)) else { return };
        let covers = |eni: &EniRecord| match reading.read {
            CloudRead::InstanceEnis { .. } => true,
            CloudRead::Enis { enis } => enis.contains(&eni.id),
            CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => {
                false
            }
        };
        let bound = |eni: &EniRecord| {
            let view = reading.views.iter().find(|view| view.id == eni.id);
            view.and_then(|view| view.attachment.as_ref()).is_some_and(|at| {
                at.instance == node.identity.instance
                    && matches!(at.status, AttachmentStatus::Attaching | AttachmentStatus::Attached)
            })
        };
        let attached = ledger.enis.values().filter(|eni| eni.attachment().is_some() && !eni.is_primary());
        for eni in attached.filter(|eni| covers(eni) && !bound(eni) && !ledger.is_known_gone(eni)) {
            let from = eni.changed.after(ABSENCE_BELIEVED_AFTER).max(reading.began.after(DETACHMENT_TAKES));
            self.reads.want_from(Reason::Contradicted(eni.id.clone()), from);
        }
    }

    /// A read that began then failed; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn read_failed(
        &mut self,
        read: &CloudRead,
        began: BootTime,
        fault: Option<Fault>,
        cause: &str,
        now: &Now,
        draw: u64,
    ) {
        self.reads.failed(read);
        let setback = Setback::of(read.api(), PauseScope::Api, fault.as_ref(), cause, None);
        if matches!(read, CloudRead::ZoneSubnets { .. }) && !setback.cause.is_outage() {
            self.subnets.refused(began);
        }
        self.pauses.setback(&setback, began, now, draw);
    }

    /// ENIs of which only a read of them tells what became of them. Those with an open intent whose outcome a read tells
    /// better than a repetition: an assignment has no token, so a second one would assign twice; an attachment that was
    /// made refuses a second one. And those of ours that others detached under pods, when the pods have gone: what was
    /// read of them till then was read of what was kept, not of what is to be deleted.
    pub(crate) fn unanswered(&self, ledger: &Ledger) -> BTreeSet<EniId> {
        let under_way =
            |intent: &&Intent| self.is_under_way(intent.id) || intent.sending == Sending::NeverSent;
        let open = ledger.intents.values().filter(|intent| !under_way(intent));
        open.filter_map(|intent| match &intent.change {
            CloudChange::Assign { eni, .. } | CloudChange::AttachEni { eni, .. } => Some(eni.clone()),
            _ => None,
        })
        .chain(ledger.enis.values().filter(|eni| is_left(ledger, eni)).map(|eni| eni.id.clone()))
        .collect()
    }

    /// Whether a read is to settle what is known of this ENI.
    pub(crate) fn doubted(&self, eni: &EniId) -> bool {
        self.reads.doubted(eni)
    }
}
