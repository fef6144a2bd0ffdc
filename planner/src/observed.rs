//! What the running process has seen. Nothing here survives a restart, and nothing here is a proof: it tells
//! what is under way and what has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{EniId, IntentId, SubnetId};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::PoolKey;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::budget::Budget;
use crate::desired::Desired;
use crate::fits::Fits;
use crate::here::Here;
use crate::host::wants_set_up;
use crate::outcome::{Fault, PauseScope, Setback, Settlement};
use crate::pauses::{Pause, Pauses};
use crate::peak::Peak;
use crate::refused::Refused;
use crate::seen::{Leaks, SubnetsSeen, Tagging};
use crate::share::Share;
use crate::traces::Traces;
use crate::wanted::{Reason, WantedReads};
use crate::warm::Warm;

mod asked;
mod links;
mod reads;
#[cfg(test)]
mod tests;

/// For so long a slot of which EC2 has said that something is there is not tried again.
const TAKEN_FOR: Duration = Duration::from_secs(3600);
/// Links were seen to appear up to ten seconds after the attachment. From here on other ENIs make up for it.
pub(crate) const LINK_TAKES_AT_MOST: Duration = Duration::from_secs(15);

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
    /// What it has learned of arrivals and departures.
    pub warm: Warm,
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
    pub fn planned(&mut self, leased: impl IntoIterator<Item = (PoolKey, u32)>, now: &Now) {
        for (pool, leased) in leased {
            let peak = self.peaks.entry(pool).or_default();
            *peak = peak.with(leased, now.boottime);
        }
    }

    /// How many addresses of a pool were leased at once, with so many now.
    pub(crate) fn peak_of(&self, pool: PoolKey, leased: u32, now: &Now) -> Peak {
        self.peaks.get(&pool).copied().unwrap_or_default().with(leased, now.boottime)
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
}
