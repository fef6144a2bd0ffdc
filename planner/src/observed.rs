//! What the running process has seen. Nothing here survives a restart, and nothing here is a proof: it tells
//! what is under way and what has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::block::BlockState;
use holdfast_model::cloud::{Api, AttachmentStatus, CloudChange, CloudRead, EniView};
use holdfast_model::eni::{EniRecord, EniSlot, Management};
use holdfast_model::ids::{EniId, InstanceId, IntentId, MacAddr, SubnetId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::leak::LeakCall;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::PoolKey;
use holdfast_model::refusal::Refusal;
use holdfast_model::subnet::SubnetView;
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::budget::Budget;
use crate::desired::Desired;
use crate::fits::Fits;
use crate::here::Here;
use crate::hint::HintDiff;
use crate::host::wants_set_up;
use crate::leaks::Leaks;
use crate::orphan::{STRAY_AFTER, intent_tag, is_left, is_unattached_of};
use crate::outcome::{Fault, PauseScope, Setback, Settlement};
use crate::pauses::{Pause, Pauses};
use crate::peak::Peak;
use crate::plan::Plan;
use crate::reading::{ABSENCE_BELIEVED_AFTER, Reading, VIEWS_ARE_OLD_AT_MOST};
use crate::refused::Refused;
use crate::share::Share;
use crate::subnets::SubnetsSeen;
use crate::tagging::{Tagging, Tags};
use crate::traces::Traces;
use crate::wanted::{Reason, WantedReads};

#[cfg(test)]
mod tests;

/// For so long a slot of which EC2 has said that something is there is not tried again.
const TAKEN_FOR: Duration = Duration::from_secs(3600);
/// A link appears about a second after the attachment; until then the set-up is tried at this pace.
const SET_UP_REST: Duration = Duration::from_millis(200);
/// Somebody's detachment of an ENI is soon carried out.
const DETACHMENT_TAKES: Duration = Duration::from_secs(5);
/// What was created is shown by a read that begins this much later.
pub(crate) const DESCRIBES_LAG: Duration = Duration::from_secs(60);
/// Links were seen to appear up to ten seconds after the attachment. From here on other ENIs make up for it.
pub(crate) const LINK_TAKES_AT_MOST: Duration = Duration::from_secs(15);
/// That many tries at the fast pace, then slower.
const SET_UP_FAST_TRIES: u32 = 20;
/// What lasts is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);
/// The slowest pace of set-up tries.
const SET_UP_LONGEST_REST: Duration = Duration::from_secs(10);

/// An ENI whose kernel set-up failed, and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUpRest {
    /// When next.
    pub next_try: BootTime,
    /// How often it has failed in a row.
    pub failures: u32,
    /// When it failed first.
    pub since: BootTime,
    /// What the kernel said last.
    pub cause: String,
    /// When it was told last that this lasts, if it was.
    pub told: Option<BootTime>,
}

/// What this process knows of the call of one intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Since when it is under way, if it is.
    pub sent: Option<BootTime>,
    /// Whether it was sent more than once, as far as anybody knows.
    pub repeated: bool,
}

/// What this process has seen and has under way.
///
/// The methods keep the book; the engine calls them at the points that they name, and sets `waiting`, `traces`, `cordoned`
/// and `share` itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// ADDs that are held because no address is free, by pool.
    pub waiting: BTreeMap<PoolKey, u32>,
    /// ENIs whose kernel set-up this process has read back. The primary is among them once it was set up.
    pub ready_enis: BTreeSet<EniId>,
    /// ENIs whose kernel set-up is under way.
    pub setting_up: BTreeSet<EniId>,
    /// ENIs whose set-up failed.
    pub set_up_rests: BTreeMap<EniId, SetUpRest>,
    /// Calls that rest, or rested lately.
    pub pauses: Pauses,
    /// How much of this node's share of EC2's rates is left.
    pub budget: Budget,
    /// What this process knows of the calls of open intents.
    pub calls: BTreeMap<IntentId, Call>,
    /// What EC2 has shown of the zone's subnets.
    pub subnets: SubnetsSeen,
    /// What fits on ENIs by what EC2 has refused: its own word is the truth about that.
    pub fits: Fits,
    /// Slots of which EC2 has said that something is there, and when. What was detached by force stays there until the
    /// instance stops; what others have attached, and reads did not show yet, may go again.
    pub taken_slots: BTreeMap<EniSlot, BootTime>,
    /// The reads that are wanted and under way.
    pub reads: WantedReads,
    /// Unattached ENIs made for this node that nobody remembers making, and since when reads have shown them so.
    pub strays: BTreeMap<EniId, BootTime>,
    /// What is known of ENIs that ended instances have left behind.
    pub leaks: Leaks,
    /// What is known of ENIs' tags.
    pub tagging: Tagging,
    /// EC2 is being asked what the node's type can carry.
    pub asking_limits: bool,
    /// ENIs whose links the last look at the kernel showed, if there was one.
    pub(crate) links: Option<BTreeSet<EniId>>,
    /// What the last complete look at the kernel showed that no lease explains.
    pub traces: Traces,
    /// The primary ENI that the ledger knows has no link here, and metadata has not said who we are: nothing is changed in
    /// EC2, where it might be another instance's.
    pub(crate) unsure_who: bool,
    /// The node takes no new pods, as far as the cluster has said.
    pub cordoned: bool,
    /// This process's, of what all nodes do.
    pub share: Share,
    /// How many addresses of each pool were leased at once.
    pub(crate) peaks: BTreeMap<PoolKey, Peak>,
    /// Addresses that no pod could be wired with.
    pub(crate) refused: Refused,
}

impl Observed {
    /// ADDs that wait for an address of this pool.
    pub fn waiting_for(&self, pool: PoolKey) -> u32 {
        self.waiting.get(&pool).copied().unwrap_or(0)
    }

    /// This process goes on from a ledger that knows this node.
    pub fn goes_on(&mut self, now: &Now) {
        self.reads.begin_in_turn(self.share, now);
    }

    /// Whether it has not read EC2 yet, and nothing waits for that.
    pub fn waits_its_turn(&self) -> bool {
        self.reads.waits_its_turn()
    }

    /// An intent's call is being sent.
    pub fn sent(&mut self, id: IntentId, api: Api, now: &Now) {
        self.budget.take(api, now.boottime);
        self.calls.entry(id).or_default().sent = Some(now.boottime);
    }

    /// An intent's call is being sent although it may have been carried out already.
    pub fn sent_again(&mut self, id: IntentId, api: Api, now: &Now) {
        self.calls.entry(id).or_default().repeated = true;
        self.sent(id, api, now);
    }

    /// Whether an intent's call is under way.
    pub fn is_under_way(&self, id: IntentId) -> bool {
        self.calls.get(&id).is_some_and(|call| call.sent.is_some())
    }

    /// An intent's call was not sent after all, or nobody asks any more what came of it.
    pub fn given_up(&mut self, id: IntentId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.sent = None;
        }
    }

    /// An intent's call ended. `draw` is random and spreads the pause.
    pub fn settled(&mut self, id: IntentId, api: Api, settlement: &Settlement, now: &Now, draw: u64) {
        let call = self.calls.get(&id).copied().unwrap_or_default();
        let sent = call.sent.unwrap_or(now.boottime);
        self.given_up(id);
        if settlement.changes.contains(&Change::DropIntent(id)) {
            self.calls.remove(&id);
            if call.repeated && api == Api::CreateNetworkInterface && settlement.setback.is_some() {
                self.suspect_orphans(now);
            }
        }
        match &settlement.doubt {
            Some(CloudRead::Enis { enis }) => {
                for eni in enis {
                    self.reads.want_from(Reason::Contradicted(eni.clone()), now.boottime);
                }
            }
            Some(CloudRead::InstanceEnis { .. }) => self.reads.want_from(Reason::Miscounted, now.boottime),
            Some(
                CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. },
            )
            | None => {}
        }
        self.taken_slots.extend(settlement.taken.map(|slot| (slot, now.boottime)));
        self.taken_slots.retain(|_, at| now.boottime.since(*at) < TAKEN_FOR);
        if let Some((eni, count)) = &settlement.too_many {
            self.fits.refused(eni.as_ref(), *count, now);
        }
        if let Some((subnet, count)) = &settlement.no_blocks {
            self.fits.prefixes_refused(subnet, *count, now);
            if *count > 1 {
                // Half as many are asked for at once.
                return;
            }
        }
        if let Some(setback) = &settlement.setback {
            self.pauses.setback(setback, sent, now, draw);
            // What EC2 has against this one ENI may be somebody's who has it now.
            if let (PauseScope::Eni(eni), Refusal::Rejected { .. }) = (&setback.scope, &setback.cause) {
                self.reads.contradicted(eni);
            }
            return;
        }
        self.pauses.recovered(api, settlement.eni.as_ref());
        if let Some(subnet) = &settlement.gave_prefixes {
            self.pauses.prefixes_given(subnet);
            self.fits.prefixes_given(subnet);
        }
        // A creation is about no ENI that there was.
        if matches!(api, Api::AssignPrivateIpAddresses | Api::CreateNetworkInterface) {
            self.fits.accepted(settlement.eni.as_ref(), now);
        }
    }

    /// A call was not made, because the ledger does not take what it is about. `draw` is random and spreads the pause.
    pub fn unkeepable(&mut self, api: Api, cause: &str, now: &Now, draw: u64) {
        let setback = Setback::of(api, PauseScope::Api, Some(&Fault::Rejected), cause, None);
        self.pauses.setback(&setback, now.boottime, now, draw);
    }

    /// Sandboxes live here that the ledger does not know: it has lost something, and what else it says may be old.
    pub fn ledger_lost(&mut self, now: &Now) {
        self.suspect_orphans(now);
        self.reads.want(Reason::LedgerLost, now.boottime);
    }

    /// While metadata has not said who we are: whether the host's links bear out that the ledger is this node's.
    pub fn weigh_who(&mut self, ledger: &Ledger, here: Here<'_>) {
        self.unsure_who = ledger.node.as_ref().is_some_and(|node| here.lacks(node.identity.primary_mac));
    }

    /// Metadata has said who we are, and nothing speaks against it.
    pub fn who_is_known(&mut self) {
        self.unsure_who = false;
    }

    /// Whether anything may be changed in EC2. Not by a ledger that has lost something: a change would keep the read that is
    /// wanted from telling which of its addresses an ENI has no more.
    pub(crate) fn may_change(&self, desired: &Desired<'_>) -> bool {
        !desired.config.provisioning_disabled.value
            && !desired.config.metadata_only.value
            && !self.unsure_who
            && !self.reads.ledger_is_doubted()
    }

    /// Slots where nothing is to be attached now, since EC2 has said that something is there.
    pub(crate) fn avoided_slots(&self, now: &Now) -> BTreeSet<EniSlot> {
        let taken = self.taken_slots.iter().filter(|(_, at)| now.boottime.since(**at) < TAKEN_FOR);
        taken.map(|(slot, _)| *slot).collect()
    }

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

    /// ENIs are to be made from something else now.
    pub fn made_otherwise(&mut self) {
        self.pauses.made_otherwise();
    }

    /// What an ENI that is not wanted has in the kernel is taken away: should it be wanted again, it is set up again. Call it
    /// before each plan.
    pub fn note_unwanted(&mut self, ledger: &Ledger) {
        self.ready_enis.retain(|id| ledger.enis.get(id).is_some_and(|eni| wants_set_up(ledger, eni)));
        self.refused.keep_held(ledger);
    }

    /// No pod could be wired with an address, and that is not the sandbox's doing; true when it is news.
    pub fn wiring_failed(&mut self, address: IpAddr, cause: &str, now: &Now) -> bool {
        self.refused.failed(address, cause, now)
    }

    /// A pod was wired with an address.
    pub fn wiring_done(&mut self, address: IpAddr) {
        self.refused.wired(address);
    }

    /// What EC2 has given for pods and no pod can use, in words, and since it was found out that this does not pass in a moment.
    pub fn out_of_service(&self, ledger: &Ledger, now: &Now) -> Vec<String> {
        let failing = self.set_up_rests.iter().filter(|(id, _)| {
            ledger.enis.get(id).is_some_and(|eni| eni.attachment().is_some()) && self.keeps_failing(id, now)
        });
        let enis = failing.map(|(id, rest)| {
            let seconds = now.boottime.since(rest.since).as_secs();
            format!(
                "{id} is out of service: it is attached and could not be set up for {seconds} s, last with: {}; others are given instead",
                rest.cause
            )
        });
        enis.chain(self.refused.told(now)).collect()
    }

    /// How many addresses of each pool are leased, as a plan has it. Call it after each plan.
    pub fn planned(&mut self, plan: &Plan, now: &Now) {
        for (pool, report) in &plan.reports {
            let peak = self.peaks.entry(*pool).or_default();
            *peak = peak.with(report.level.leased, now.boottime);
        }
    }

    /// How many addresses of a pool were leased at once, with so many now.
    pub(crate) fn peak_of(&self, pool: PoolKey, leased: u32, now: &Now) -> Peak {
        self.peaks.get(&pool).copied().unwrap_or_default().with(leased, now.boottime)
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
            Reason::Contradicted(_) | Reason::Miscounted | Reason::IntentsLost => false,
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
                    self.reads.want_from(
                        Reason::NotShown(block.net),
                        of_a_pod.map_or(settled, |from| from.max(settled)),
                    );
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

    /// Something is being asked about what ended instances have left behind.
    pub fn leak_asked(&mut self, call: &LeakCall, now: &Now) {
        self.budget.take(call.api(), now.boottime);
        self.leaks.asked();
    }

    /// These hang unattached, as far as EC2 can tell ours.
    pub fn leaks_listed(&mut self, ledger: &Ledger, views: &[EniView], cluster: &str, began: BootTime) {
        self.pauses.recovered(Api::DescribeNetworkInterfaces, None);
        if let Some(node) = &ledger.node {
            self.leaks.shown(views, cluster, &node.identity.instance, began);
        }
    }

    /// These instances there are.
    pub fn leaks_lived(&mut self, ledger: &Ledger, there: &BTreeSet<InstanceId>, began: BootTime) {
        self.pauses.recovered(Api::DescribeInstances, None);
        if let Some(node) = &ledger.node {
            self.leaks.lived(there, &node.identity.instance, began);
        }
    }

    /// One was deleted.
    pub fn leak_gone(&mut self, eni: &EniId) {
        self.pauses.recovered(Api::DeleteNetworkInterface, Some(eni));
        self.leaks.gone(eni);
    }

    /// A call failed; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn leak_failed(&mut self, call: &LeakCall, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        if let (LeakCall::Delete { eni }, Some(Fault::NotFound)) = (call, fault) {
            self.leaks.gone(eni);
            return;
        }
        let scope = match call {
            LeakCall::Delete { eni } => PauseScope::Eni(eni.clone()),
            LeakCall::List { .. } | LeakCall::Instances { .. } => PauseScope::Api,
        };
        let setback = Setback::of(call.api(), scope, fault.as_ref(), cause, None);
        self.leaks.failed(call, &setback.cause, now);
        // What EC2 has against these it need not have against calls of the same name that the node lives by: another account's ENIs are
        // shown to the owner of a shared VPC, and are not his to delete.
        if setback.cause.is_outage() || matches!(call, LeakCall::Instances { .. }) {
            self.pauses.setback(&setback, now.boottime, now, draw);
        }
    }

    /// Tags are being added to an ENI.
    pub fn tagging_began(&mut self, eni: &EniId, now: &Now) {
        self.budget.take(Api::CreateTags, now.boottime);
        self.tagging.began(eni);
    }

    /// EC2 has added them.
    pub fn tagged(&mut self, eni: &EniId, tags: &Tags, now: &Now) {
        self.tagging.ended(eni, Some(tags), now);
        self.pauses.recovered(Api::CreateTags, Some(eni));
    }

    /// It has not, or has not said so; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn untagged(&mut self, eni: &EniId, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        self.tagging.ended(eni, None, now);
        let scope = PauseScope::Eni(eni.clone());
        let setback = Setback::of(Api::CreateTags, scope, fault.as_ref(), cause, None);
        self.pauses.setback(&setback, now.boottime, now, draw);
    }

    /// EC2 is being asked what the node's type can carry.
    pub fn limits_asked(&mut self, now: &Now) {
        self.budget.take(Api::DescribeInstanceTypes, now.boottime);
        self.asking_limits = true;
    }

    /// EC2 told what the node's type can carry.
    pub fn limits_told(&mut self) {
        self.asking_limits = false;
        self.pauses.recovered(Api::DescribeInstanceTypes, None);
    }

    /// EC2 did not tell; `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn limits_untold(&mut self, fault: Option<Fault>, cause: &str, now: &Now, draw: u64) {
        self.asking_limits = false;
        let setback = Setback::of(Api::DescribeInstanceTypes, PauseScope::Api, fault.as_ref(), cause, None);
        self.pauses.setback(&setback, now.boottime, now, draw);
    }

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

    /// The metadata service has answered: if credentials were what was missing, they can be had again.
    pub fn metadata_answered(&mut self, now: &Now) {
        self.pauses.credentials_can_be_had(now);
    }

    /// The right that a call was found to lack last, whatever it was for; `None`: all that was called was allowed, or is forgotten.
    pub fn denial(&self, now: &Now) -> Option<&Refusal> {
        self.pauses.denial(now)
    }

    /// The pause that holds back this call at this instant.
    pub fn pause_of(
        &self,
        api: Api,
        eni: Option<&EniId>,
        subnet: Option<&SubnetId>,
        now: &Now,
    ) -> Option<&Pause> {
        self.pauses.find(api, eni, subnet, now)
    }

    /// Whether a read is to settle what is known of this ENI.
    pub(crate) fn doubted(&self, eni: &EniId) -> bool {
        self.reads.doubted(eni)
    }
}
