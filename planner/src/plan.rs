//! The plan: what to do next, as data.

use std::collections::BTreeMap;

use holdfast_model::cloud::CloudChange;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::PoolKey;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::agenda::Agenda;
use crate::brake;
use crate::cards;
use crate::desired::Desired;
use crate::grow::growth;
use crate::leaks;
use crate::learn;
use crate::lifecycle;
use crate::limits;
use crate::looks::Looks;
use crate::metadata_only;
use crate::observed::Observed;
use crate::outcome::PauseScope;
use crate::pauses::SETBACKS_FORGOTTEN_AFTER;
use crate::pool::Pool;
use crate::reads::reads;
use crate::report::Report;
use crate::shrink::{self, Outlook, shrink};
use crate::source;
use crate::step::Step;
use crate::tagging;

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now. Empty: all is as it should be, or has to wait until `next_look`.
    pub steps: Vec<Step>,
    /// What there is to say of each pool.
    pub reports: BTreeMap<PoolKey, Report>,
    /// When time alone may change the plan. `None`: only an event can.
    pub next_look: Option<BootTime>,
}

impl Plan {
    /// How many addresses of each pool are leased.
    pub fn leased(&self) -> impl Iterator<Item = (PoolKey, u32)> {
        self.reports.iter().map(|(pool, report)| (*pool, report.level.leased))
    }

    /// Why a pool does not grow.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.reports.values().find_map(|report| report.refusal.as_ref())
    }
}

/// Decides what to do next. Pure, total, deterministic; planning again after the plan was carried out gives, in
/// a bounded number of rounds, an empty one.
///
/// A ledger that [`crate::recover()`] has not brought to this boot yet gives no steps.
pub fn plan(desired: &Desired<'_>, ledger: &Ledger, observed: &Observed, now: &Now) -> Plan {
    if ledger.node.as_ref().is_none_or(|node| node.boot != now.boot) {
        let reports = BTreeMap::from([(desired.pool(), Report::unknown())]);
        return Plan { reports, ..Plan::default() };
    }
    let mut agenda = Agenda::new(now);
    for pause in observed.pauses.iter() {
        agenda.at(pause.until);
        if matches!(pause.scope, PauseScope::Subnet(_)) {
            agenda.at(pause.until.after(SETBACKS_FORGOTTEN_AFTER));
        }
    }
    learn::next_looks(desired, ledger, observed, now, &mut agenda);
    for instant in observed.fits.forgotten_at() {
        agenda.at(instant);
    }
    let pools: Vec<Pool<'_>> = (cards::pools(desired, ledger).into_iter())
        .map(|wanted| Pool::of(wanted, desired, ledger, observed, now))
        .collect();
    let mut looks = Looks::new(observed, now);
    let mut steps = Vec::new();
    if observed.may_change(desired) {
        steps.extend(repeats(desired, ledger, observed, now, &mut looks));
    }
    steps.extend(lifecycle::forget(ledger, now, &mut agenda));
    let taken_back: BTreeMap<PoolKey, Step> = (pools.iter())
        .filter_map(|pool| Some((pool.key, lifecycle::take_back(desired, ledger, observed, pool, now)?)))
        .collect();
    let goes_on: Vec<&Pool<'_>> = pools.iter().filter(|pool| !taken_back.contains_key(&pool.key)).collect();
    steps.extend(lifecycle::advance(desired, ledger, observed, &goes_on, now, &mut looks, &mut agenda));
    if observed.may_change(desired) {
        steps.extend(tagging::steps(desired, ledger, observed, now));
        // Of what ENIs are made is the same for all pools. What goes by what this plan says already has no groups to be set.
        let sources = pools.first().map(|pool| &pool.sources);
        let follows: Vec<Step> = sources
            .into_iter()
            .flat_map(|sources| source::follow_groups(sources, ledger, observed, now, &mut looks))
            .filter(|step| !steps.iter().any(|other| adjusts(other, step)))
            .collect();
        steps.extend(follows);
    }
    steps.extend(lifecycle::set_ups(desired, ledger, observed, &mut agenda));
    let (mut reports, mut asked) = (BTreeMap::new(), Vec::new());
    for pool in &pools {
        let grown = growth(desired, ledger, observed, pool, &asked, now);
        if !pool.retires {
            reports.insert(pool.key, Report::of(desired, ledger, observed, pool, &grown, now));
        }
        let outlook = Outlook { pool, grown: &grown };
        let closed = shrink::give_up_closed(desired, ledger, observed, pool, now, &mut looks, &mut agenda);
        let given_back = shrink(desired, ledger, observed, outlook, now, &mut looks, &mut agenda);
        // How much is wanted besides, the next plan knows.
        if let Some(step) = taken_back.get(&pool.key) {
            steps.push(step.clone());
        } else {
            steps.extend(grown.changes.iter().cloned().map(Step::Open));
            asked.extend(grown.changes);
        }
        steps.extend(closed);
        steps.extend(given_back);
    }
    steps.extend(leaks::step(desired, ledger, observed, now, &mut agenda));
    // Who is served by what there is waits for no ENI, and so for no subnet.
    let short =
        pools.iter().any(|Pool { level, .. }| level.waiting > level.free.saturating_add(level.beside));
    let reads =
        reads(desired, ledger, observed, looks.wanted(), short, now, &mut agenda).into_iter().map(Step::Read);
    let steps = limits::ask(ledger, observed, now).into_iter().chain(reads).chain(steps).collect();
    let mut steps: Vec<Step> = steps;
    steps.retain(|step| {
        brake::lets(desired.brake(), ledger, step) && metadata_only::lets(desired, ledger, step)
    });
    let steps = tagging::tags_first(steps, desired, ledger, observed, now, &mut agenda);
    let steps = affordable(steps, ledger, observed, now, &mut agenda);
    Plan { steps, reports, next_look: agenda.next() }
}

/// Whether a step changes the record of the ENI that another step's call is for.
fn adjusts(step: &Step, other: &Step) -> bool {
    let (Step::Adjust(changes), Step::Open(call)) = (step, other) else { return false };
    changes.iter().any(|change| matches!(change, Change::PutEni(eni) if Some(&eni.id) == call.eni()))
}

/// The steps whose call this node may make now, in their order. What does not fit is planned again when it does.
fn affordable(
    steps: Vec<Step>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    agenda: &mut Agenda,
) -> Vec<Step> {
    let mut budget = observed.budget.clone();
    let mut admitted =
        |step: &Step| step.api(ledger).is_none_or(|api| budget.admits(api, now.boottime, agenda));
    steps.into_iter().filter(|step| admitted(step)).collect()
}

/// Open intents whose call is sent again: those with a token, those of which a second one does no harm, and those
/// whose first never left. After a silence of EC2's the ENI may be somebody else's by now, so it is looked at before. What the
/// operator's brake keeps from being repeated a read settles, so that the ENI takes other calls again.
fn repeats(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
    looks: &mut Looks<'_>,
) -> Vec<Step> {
    let mut known = |intent: &Intent| {
        let Some(record) = intent.change.eni().and_then(|eni| ledger.enis.get(eni)) else { return true };
        match &intent.change {
            change if change.gives_back() => looks.seen(record).is_some(),
            CloudChange::AttachEni { .. } => looks.known(record),
            // Somebody may have set others meanwhile. The read settles it.
            CloudChange::SetSecurityGroups { .. } => looks.seen(record).is_some(),
            _ => true,
        }
    };
    ledger
        .intents
        .values()
        .filter(|intent| !observed.is_under_way(intent.id))
        .filter(|intent| {
            if desired.brake().keeps() && intent.change.gives_back() {
                if !matches!(intent.change, CloudChange::DeleteEni { .. }) {
                    known(intent);
                }
                return false;
            }
            let eni = intent.change.eni();
            let subnet = match &intent.change {
                CloudChange::CreateEni { subnet, .. } => Some(subnet),
                CloudChange::AttachEni { .. } | CloudChange::Assign { .. }
                    if intent.sending != Sending::NeverSent =>
                {
                    return false;
                }
                _ => None,
            };
            eni.is_none_or(|eni| !observed.doubted(eni))
                && observed.pause_of(intent.change.api(), eni, subnet, now).is_none()
                && known(intent)
        })
        .map(|intent| Step::Repeat(intent.id))
        .collect()
}

#[cfg(test)]
mod tests;
