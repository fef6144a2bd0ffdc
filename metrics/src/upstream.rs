//! Metrics under the Amazon VPC CNI's names, so far as what each says is true of this daemon.

use std::collections::BTreeMap;

use holdfast_engine::{AddressState, Durations, Figures, Status};
use holdfast_model::cloud::Api;
use holdfast_model::eni::Management;

use crate::answers::AddOutcome;
use crate::calls::{ByOutcome, Spent};
use crate::catalogue::{
    ADD_IP_REQ_COUNT, ASSIGNED_IP_ADDRESSES, ASSIGNED_IP_PER_CIDR, ASSIGNED_IP_PER_ENI, AWS_API_ERROR_COUNT,
    AWS_API_LATENCY_MS, BUILD_INFO, CONNMARK_BACKEND, DEL_IP_REQ_COUNT, EC2API_ERROR_COUNT, EC2API_REQ_COUNT,
    ENI_ALLOCATED, ENI_MAX, FORCE_REMOVED_ENIS, FORCE_REMOVED_IPS, IP_MAX, IPAMD_ACTION_INPROGRESS,
    IPAMD_ERROR_COUNT, NO_AVAILABLE_IP_ADDRESSES, NODE_INITIALIZATION_DURATION, RECONCILE_COUNT,
    STARTUP_DURATION, TOTAL_IP_ADDRESSES, TOTAL_IPV4_PREFIXES,
};
use crate::families::Families;
use crate::page::{Record, as_value};
use crate::snapshot::Snapshot;

/// The only reason for which the Amazon VPC CNI's plugin asks for a DEL by itself.
const POD_DELETED: &str = "PodDeleted";

pub(crate) fn tell(families: &mut Families, record: &Record, snapshot: &Snapshot) {
    families.series(&BUILD_INFO, [([record.version, ""], 1.0)]);
    families.once(&STARTUP_DURATION, ["true", "false", ""], record.served_after.get().copied());
    let calls = record.calls.so_far();
    of_calls(families, &calls);
    of_answers(families, record);
    let figures = snapshot.standing.figures();
    errors(families, &calls, figures);
    if let Some(figures) = figures {
        families.once(&NODE_INITIALIZATION_DURATION, ["true"], figures.served_after);
        of_pool(families, figures, snapshot.max_enis);
        of_work(families, figures);
    }
}

fn of_calls(families: &mut Families, calls: &ByOutcome) {
    let (mut all, mut failed) = (BTreeMap::<Api, u64>::new(), BTreeMap::<Api, u64>::new());
    for ((api, failure), spent) in calls {
        *all.entry(*api).or_default() += spent.count;
        if failure.is_some() {
            *failed.entry(*api).or_default() += spent.count;
        }
    }
    let named = |counts: BTreeMap<Api, u64>| -> Vec<(String, f64)> {
        counts.into_iter().map(|(api, count)| (format!("{api:?}"), as_value(count))).collect()
    };
    let by_name = |counts: &[(String, f64)], families: &mut Families, spec| {
        families.series(spec, counts.iter().map(|(api, count)| ([api.as_str()], *count)));
    };
    by_name(&named(all), families, &EC2API_REQ_COUNT);
    by_name(&named(failed), families, &EC2API_ERROR_COUNT);

    let told: Vec<(String, &str, &str, Option<&str>, &Spent)> = calls
        .iter()
        .map(|((api, failure), spent)| {
            let status = match failure {
                None => "200",
                Some(failure) if failure.answered => failure.code,
                // As there: nobody gave a status.
                Some(_) => "",
            };
            let error = if failure.is_some() { "true" } else { "false" };
            (format!("{api:?}"), error, status, failure.map(|failure| failure.code), spent)
        })
        .collect();
    let failures = told
        .iter()
        .filter_map(|(api, _, _, code, spent)| Some(([api.as_str(), (*code)?], as_value(spent.count))));
    families.series(&AWS_API_ERROR_COUNT, failures);
    // Failures without an answer differ in their cause and not in these labels.
    let mut latencies: BTreeMap<[&str; 3], (u64, f64)> = BTreeMap::new();
    for (api, error, status, _, spent) in &told {
        let latency = latencies.entry([api.as_str(), error, status]).or_default();
        latency.0 += spent.count;
        latency.1 += spent.took.as_secs_f64() * 1000.0;
    }
    families.summaries(&AWS_API_LATENCY_MS, latencies);
}

fn of_answers(families: &mut Families, record: &Record) {
    let (adds, dels) = (record.answers.adds(), record.answers.dels());
    families.plain(&ADD_IP_REQ_COUNT, Some(as_value(adds.values().map(Durations::count).sum())));
    let deleted = as_value(dels.values().map(Durations::count).sum());
    families.series(&DEL_IP_REQ_COUNT, [([POD_DELETED], deleted)]);
    let without = [AddOutcome::NoAddress, AddOutcome::HeldTooLong].map(|outcome| adds[&outcome].count());
    families.plain(&NO_AVAILABLE_IP_ADDRESSES, Some(as_value(without.iter().sum())));
}

/// The step of the Amazon VPC CNI in which a call is made whose failure it counts.
fn step_of(api: Api) -> Option<&'static str> {
    match api {
        Api::CreateNetworkInterface | Api::AttachNetworkInterface => Some("increaseIPPoolAllocENI"),
        Api::AssignPrivateIpAddresses | Api::AssignIpv6Addresses => {
            Some("increaseIPPoolAllocIPAddressesFailed")
        }
        Api::UnassignPrivateIpAddresses => Some("decreaseIPPool"),
        Api::DetachNetworkInterface | Api::DeleteNetworkInterface => Some("decreaseIPPoolFreeENIFailed"),
        Api::DescribeNetworkInterfaces => Some("reconcileFailedGetENIs"),
        Api::ModifyNetworkInterfaceAttribute
        | Api::CreateTags
        | Api::DescribeInstanceTypes
        | Api::DescribeInstances
        | Api::DescribeSubnets => None,
    }
}

fn errors(families: &mut Families, calls: &ByOutcome, figures: Option<&Figures>) {
    let mut errors: BTreeMap<&str, u64> =
        Api::ALL.into_iter().filter_map(step_of).map(|step| (step, 0)).collect();
    for ((api, failure), spent) in calls {
        if let (Some(step), Some(_)) = (step_of(*api), failure) {
            *errors.entry(step).or_default() += spent.count;
        }
    }
    if let Some(figures) = figures {
        errors.insert("increaseIPPoolsetupENIFailed", figures.tally.failed_set_ups);
    }
    families.series(&IPAMD_ERROR_COUNT, errors.into_iter().map(|(step, count)| ([step], as_value(count))));
}

fn of_pool(families: &mut Families, figures: &Figures, max_enis: Option<u32>) {
    let managed = || figures.enis.iter().filter(|eni| eni.management != Management::Unmanaged);
    if let Some(limits) = &figures.limits {
        let most = max_enis.map_or(limits.enis_on(0), |most| most.min(limits.enis_on(0)));
        let others = figures.enis.iter().filter(|eni| eni.management == Management::Unmanaged).count();
        let ours = most.saturating_sub(u32::try_from(others).unwrap_or(u32::MAX));
        families.plain(&ENI_MAX, Some(ours.into()));
        families.plain(
            &IP_MAX,
            Some(figures.unit.of(ours.saturating_mul(limits.pod_addresses_per_eni())).brings().into()),
        );
    }
    let sum = |states: &[AddressState]| {
        let of = |state: &AddressState| managed().map(|eni| eni.count(*state)).sum::<u64>();
        as_value(states.iter().map(of).sum::<u64>())
    };
    families.plain(&ENI_ALLOCATED, u32::try_from(managed().count()).ok().map(f64::from));
    families.plain(
        &TOTAL_IP_ADDRESSES,
        Some(sum(&[
            AddressState::Free,
            AddressState::Unready,
            AddressState::Leased,
            AddressState::Cooling,
            AddressState::Quarantined,
        ])),
    );
    families.plain(&ASSIGNED_IP_ADDRESSES, Some(sum(&[AddressState::Leased])));
    families.plain(&TOTAL_IPV4_PREFIXES, Some(f64::from(managed().map(|eni| eni.prefixes).sum::<u32>())));
    let per_eni = managed().map(|eni| ([eni.id.as_str()], as_value(eni.count(AddressState::Leased))));
    families.series(&ASSIGNED_IP_PER_ENI, per_eni);
    let per_block: Vec<_> =
        figures.leased_by_block.iter().map(|(net, leased)| (net.to_string(), f64::from(*leased))).collect();
    families.series(&ASSIGNED_IP_PER_CIDR, per_block.iter().map(|(net, leased)| ([net.as_str()], *leased)));
}

fn of_work(families: &mut Families, figures: &Figures) {
    let open = |apis: &[Api]| apis.iter().filter_map(|api| figures.intents.get(api)).sum::<u32>();
    let grows = [
        Api::CreateNetworkInterface,
        Api::AttachNetworkInterface,
        Api::AssignPrivateIpAddresses,
        Api::AssignIpv6Addresses,
    ];
    let shrinks = [Api::UnassignPrivateIpAddresses, Api::DetachNetworkInterface, Api::DeleteNetworkInterface];
    let begins = figures.served_after.is_none() && matches!(figures.status, Status::Refusing(_));
    let under_way = [
        ("nodeInit", u32::from(begins)),
        ("increaseDatastorePool", open(&grows)),
        ("decreaseDatastorePool", open(&shrinks)),
        ("nodeIPPoolReconcile", figures.reads),
    ];
    families.series(&IPAMD_ACTION_INPROGRESS, under_way.map(|(action, count)| ([action], f64::from(count))));
    if figures.nat.is_some() {
        families.series(&CONNMARK_BACKEND, [(["nftables"], 1.0)]);
    }
    let found = &figures.tally.found;
    let reconciled = [
        ("eniReconcileAdd", found.enis_added),
        ("eniReconcileDel", found.enis_gone),
        ("eniDataStorePoolReconcileAdd", found.blocks_added),
        ("eniIPPoolReconcileDel", found.blocks_gone),
    ];
    families.series(&RECONCILE_COUNT, reconciled.map(|(what, count)| ([what], as_value(count))));
    families.plain(&FORCE_REMOVED_ENIS, Some(as_value(found.enis_taken)));
    families.plain(&FORCE_REMOVED_IPS, Some(as_value(found.addresses_taken)));
}
