//! Metrics of our own, beside the Amazon VPC CNI's.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_engine::{AddressState, Figures, Repair, Status};
use holdfast_model::cloud::Api;
use holdfast_model::eni::Management;
use holdfast_model::refusal::Refusal;

use crate::answers::AddOutcome;
use crate::catalogue::{
    ADD_DURATION, ADD_PHASE_DURATION, ADDS_LONGEST_WAIT, ADDS_WAITING, API_SERVER_REACHABLE, DEL_DURATION,
    DRIFT_REPAIR_FAILURES, DRIFT_REPAIRED, EC2_BUDGET, EC2_BUDGET_CAPACITY, EC2_INTENTS, EC2_PAUSES,
    INVARIANT_VIOLATIONS, LEDGER_COMMIT_FAILURES, LEDGER_COMMITS, LEDGER_SIZE, LEDGER_WRITABLE,
    OWN_BUILD_INFO, OWN_POD_NETWORK_SETUP_LATENCY, POD_NETWORK_SETUP_LATENCY, PODS_CUT_OFF, POOL_ADDRESSES,
    POOL_ROOM, REFUSAL, STATUS, Spec, VIEW_AGE,
};
use crate::families::Families;
use crate::page::{Record, as_value};
use crate::snapshot::{Snapshot, Standing, ViewFigures};

pub(crate) fn tell(families: &mut Families, record: &Record, snapshot: &Snapshot) {
    families.series(&OWN_BUILD_INFO, [([record.version], 1.0)]);
    of_answers(families, record);
    of_status(families, &snapshot.standing);
    families.plain(&LEDGER_SIZE, snapshot.ledger_bytes.map(as_value));
    if let Some(views) = &snapshot.views {
        of_cluster(families, views);
    }
    if let Standing::Running(figures) = &snapshot.standing {
        of_pool(families, figures);
        of_ec2(families, figures);
        of_work(families, figures);
    }
}

fn of_answers(families: &mut Families, record: &Record) {
    let adds = record.answers.adds();
    // One and the same thing under both names that it is looked for by.
    for spec in [&POD_NETWORK_SETUP_LATENCY, &OWN_POD_NETWORK_SETUP_LATENCY] {
        families.durations(spec, [([], adds[&AddOutcome::Added].clone())]);
    }
    families.durations(&ADD_DURATION, adds.into_iter().map(|(outcome, took)| ([outcome.word()], took)));
    let dels = record.answers.dels();
    families.durations(&DEL_DURATION, dels.into_iter().map(|(outcome, took)| ([outcome.word()], took)));
}

fn of_status(families: &mut Families, standing: &Standing) {
    const WORDS: [&str; 5] = ["ready", "impaired", "growing", "short", "refusing"];
    let (word, cause): (&str, Option<&Refusal>) = match standing {
        Standing::Running(figures) => match &figures.status {
            Status::Ready => ("ready", None),
            Status::Impaired(_) => ("impaired", None),
            Status::Growing => ("growing", None),
            Status::Short(cause) => ("short", Some(cause)),
            Status::Refusing(cause) => ("refusing", Some(cause)),
        },
        Standing::Refusing => ("refusing", None),
        Standing::Silent => return,
    };
    families.series(&STATUS, WORDS.map(|known| ([known], f64::from(u8::from(known == word)))));
    families.series(&REFUSAL, cause.map(|cause| ([cause.reason()], 1.0)));
}

fn of_pool(families: &mut Families, figures: &Figures) {
    let ours = || figures.enis.iter().filter(|eni| eni.management != Management::Unmanaged);
    let sum = |state| ours().map(|eni| eni.count(state)).sum::<u64>();
    let states = AddressState::ALL.map(|state| ([state_word(state)], as_value(sum(state))));
    families.series(&POOL_ADDRESSES, states);
    if let Some(limits) = &figures.limits {
        let room =
            ours().map(|eni| u64::from(limits.ipv4_per_eni).saturating_sub(eni.addresses.values().sum()));
        families.plain(&POOL_ROOM, Some(as_value(room.sum::<u64>())));
    }
    families.plain(&ADDS_WAITING, Some(figures.waiting.into()));
    let longest = figures.longest_wait.unwrap_or(Duration::ZERO);
    families.plain(&ADDS_LONGEST_WAIT, Some(longest.as_secs_f64()));
    families.plain(&PODS_CUT_OFF, Some(figures.cut_off.into()));
    let phases = &figures.tally.adds;
    let phases = [("wait", &phases.wait), ("commit", &phases.commit), ("wire", &phases.wire)];
    families.durations(&ADD_PHASE_DURATION, phases.map(|(phase, took)| ([phase], took.clone())));
}

fn state_word(state: AddressState) -> &'static str {
    match state {
        AddressState::Primary => "primary",
        AddressState::Free => "free",
        AddressState::Unready => "unready",
        AddressState::Leased => "leased",
        AddressState::Cooling => "cooling",
        AddressState::Quarantined => "quarantined",
        AddressState::Withdrawn => "withdrawn",
        AddressState::Leaving => "leaving",
    }
}

fn of_ec2(families: &mut Families, figures: &Figures) {
    let mut by_api = |spec: &Spec, value: &dyn Fn(Api) -> f64| {
        let values = Api::ALL.map(|api| (format!("{api:?}"), value(api)));
        families.series(spec, values.iter().map(|(api, value)| ([api.as_str()], *value)));
    };
    let level = |api| figures.budget.get(&api);
    by_api(&EC2_BUDGET, &|api| as_value(level(api).map_or(0, |level| level.left)));
    by_api(&EC2_BUDGET_CAPACITY, &|api| as_value(level(api).map_or(0, |level| level.capacity)));
    let count = |counts: &BTreeMap<Api, u32>, api| f64::from(counts.get(&api).copied().unwrap_or(0));
    by_api(&EC2_PAUSES, &|api| count(&figures.pauses, api));
    by_api(&EC2_INTENTS, &|api| count(&figures.intents, api));
}

fn of_work(families: &mut Families, figures: &Figures) {
    let tally = &figures.tally;
    let repaired = |repair| as_value(tally.repairs.get(&repair).copied().unwrap_or(0));
    families.series(&DRIFT_REPAIRED, Repair::ALL.map(|repair| ([repair_word(repair)], repaired(repair))));
    families.plain(&DRIFT_REPAIR_FAILURES, Some(as_value(tally.failed_repairs)));
    families.plain(&INVARIANT_VIOLATIONS, Some(figures.violations.into()));
    families.plain(&LEDGER_WRITABLE, Some(f64::from(u8::from(figures.ledger_writable))));
    families.plain(&LEDGER_COMMITS, Some(as_value(tally.commits)));
    families.plain(&LEDGER_COMMIT_FAILURES, Some(as_value(tally.failed_commits)));
}

fn repair_word(repair: Repair) -> &'static str {
    match repair {
        Repair::Forwarding => "forwarding",
        Repair::Eni => "eni",
        Repair::Pod => "pod",
        Repair::PodLink => "pod_link",
        Repair::Rule => "rule",
        Repair::LeftRule => "left_rule",
        Repair::LeftRoute => "left_route",
        Repair::Nat => "nat",
    }
}

fn of_cluster(families: &mut Families, views: &[ViewFigures]) {
    let heard = |view: &ViewFigures| view.complete && view.stale_for.is_none();
    families.plain(&API_SERVER_REACHABLE, Some(f64::from(u8::from(views.iter().all(heard)))));
    // Of what was never read it is not known how old it is.
    let ages = views.iter().filter(|view| view.complete);
    let age = |view: &ViewFigures| view.stale_for.unwrap_or(Duration::ZERO).as_secs_f64();
    families.series(&VIEW_AGE, ages.map(|view| ([view.name], age(view))));
}
