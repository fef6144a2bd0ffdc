#![allow(clippy::float_cmp, reason = "whole numbers, which are told as they are")]

use std::collections::{BTreeMap, BTreeSet};

use holdfast_engine::Figures;

use super::*;
use crate::catalogue::{ALL, Kind};
use crate::example::{self, figures, snapshot};
use crate::snapshot::Standing;

/// Samples by name and labels as they stand in the text.
async fn told(snapshot: &Snapshot) -> BTreeMap<String, f64> {
    let text = page(&example::record().await, snapshot).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// Everything that may be told is told here, as what it is said to be, and nothing else.
#[tokio::test(start_paused = true)]
async fn each_metric_of_the_catalogue_is_told_with_its_type() {
    let text = page(&example::record().await, &example::full()).unwrap();
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let catalogue: BTreeMap<&str, &str> = ALL
        .iter()
        .map(|spec| {
            let kind = match spec.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Summary => "summary",
                Kind::Histogram => "histogram",
            };
            (spec.name, kind)
        })
        .collect();
    assert_eq!(types, catalogue);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    assert_eq!(names.len(), ALL.len());
}

#[tokio::test(start_paused = true)]
async fn the_incumbents_metrics_are_derived_from_the_figures() {
    let told = told(&snapshot(figures())).await;
    let expected = [
        ("awscni_eni_max", 2.0),
        ("awscni_ip_max", 10.0),
        ("awscni_eni_allocated", 2.0),
        ("awscni_total_ip_addresses", 7.0),
        ("awscni_assigned_ip_addresses", 2.0),
        ("awscni_total_ipv4_prefixes", 0.0),
        (r#"awscni_assigned_ip_per_eni{eni="eni-a"}"#, 2.0),
        (r#"awscni_assigned_ip_per_eni{eni="eni-b"}"#, 0.0),
        (r#"awscni_assigned_ip_per_cidr{cidr="10.0.0.5/32"}"#, 1.0),
        (r#"awscni_assigned_ip_per_cidr{cidr="10.0.0.7/32"}"#, 0.0),
        ("awscni_add_ip_req_count", 2.0),
        (r#"awscni_del_ip_req_count{reason="PodDeleted"}"#, 1.0),
        ("awscni_no_available_ip_addresses", 1.0),
        (r#"awscni_ec2api_req_count{fn="DescribeNetworkInterfaces"}"#, 3.0),
        (r#"awscni_ec2api_error_count{fn="DescribeNetworkInterfaces"}"#, 2.0),
        (r#"awscni_aws_api_error_count{api="DescribeNetworkInterfaces",error="RequestLimitExceeded"}"#, 1.0),
        (r#"awscni_aws_api_error_count{api="DescribeNetworkInterfaces",error="NoAnswer"}"#, 1.0),
        (
            r#"awscni_aws_api_latency_ms_sum{api="DescribeNetworkInterfaces",error="false",status="200"}"#,
            200.0,
        ),
        (r#"awscni_aws_api_latency_ms_count{api="DescribeNetworkInterfaces",error="true",status=""}"#, 1.0),
        (r#"awscni_ipamd_error_count{fn="reconcileFailedGetENIs"}"#, 2.0),
        (r#"awscni_ipamd_error_count{fn="increaseIPPoolsetupENIFailed"}"#, 2.0),
        (r#"awscni_ipamd_error_count{fn="increaseIPPoolAllocENI"}"#, 0.0),
        (r#"awscni_reconcile_count{fn="eniReconcileAdd"}"#, 1.0),
        (r#"awscni_reconcile_count{fn="eniIPPoolReconcileDel"}"#, 2.0),
        ("awscni_force_removed_ips", 1.0),
        ("awscni_force_removed_enis", 0.0),
        (r#"awscni_ipamd_action_inprogress{fn="increaseDatastorePool"}"#, 1.0),
        (r#"awscni_ipamd_action_inprogress{fn="nodeIPPoolReconcile"}"#, 1.0),
        (r#"awscni_ipamd_action_inprogress{fn="nodeInit"}"#, 0.0),
        (r#"awscni_build_info{version="1.2.3",goversion=""}"#, 1.0),
        (
            r#"awscni_ipamd_startup_duration_seconds_bucket{success="true",with_api_server="false",failure_reason="",le="0.05"}"#,
            1.0,
        ),
        (
            r#"awscni_ipamd_startup_duration_seconds_bucket{success="true",with_api_server="false",failure_reason="",le="0.025"}"#,
            0.0,
        ),
        (r#"awscni_ipamd_node_initialization_duration_seconds_count{success="true"}"#, 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(told.get(name), Some(&value), "{name} in {told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn max_eni_bounds_what_there_may_be() {
    let some = Snapshot { max_enis: Some(2), ..snapshot(figures()) };
    let told = told(&some).await;
    assert_eq!((told["awscni_eni_max"], told["awscni_ip_max"]), (1.0, 5.0), "one of them is others'");
}

#[tokio::test(start_paused = true)]
async fn our_metrics_account_for_each_address() {
    let told = told(&snapshot(figures())).await;
    let pool: f64 = told
        .iter()
        .filter(|(name, _)| name.starts_with("holdfast_pool_addresses"))
        .map(|(_, value)| value)
        .sum();
    // Two ENIs with six addresses each, their own included.
    assert_eq!(pool + told["holdfast_pool_room_addresses"], 12.0);
    let expected = [
        (r#"holdfast_pool_addresses{state="free"}"#, 3.0),
        (r#"holdfast_pool_addresses{state="quarantined"}"#, 1.0),
        (r#"holdfast_status{status="ready"}"#, 1.0),
        (r#"holdfast_status{status="short"}"#, 0.0),
        (r#"holdfast_add_duration_seconds_bucket{outcome="added",le="0.005"}"#, 1.0),
        (r#"holdfast_add_duration_seconds_bucket{outcome="added",le="0.0025"}"#, 0.0),
        (r#"holdfast_add_duration_seconds_bucket{outcome="added",le="+Inf"}"#, 1.0),
        (r#"holdfast_add_duration_seconds_count{outcome="no_address"}"#, 1.0),
        (r#"holdfast_add_duration_seconds_count{outcome="wiring"}"#, 0.0),
        ("pod_network_setup_latency_count", 1.0),
        ("holdfast_pod_network_setup_latency_seconds_sum", 0.004),
        (r#"holdfast_add_phase_duration_seconds_count{phase="wait"}"#, 1.0),
        (r#"holdfast_del_duration_seconds_count{outcome="done"}"#, 1.0),
        (r#"holdfast_drift_repaired_total{kind="pod"}"#, 4.0),
        ("holdfast_adds_waiting", 2.0),
        ("holdfast_adds_longest_wait_seconds", 1.5),
        ("holdfast_api_server_reachable", 0.0),
        (r#"holdfast_view_age_seconds{view="node"}"#, 7.0),
        ("holdfast_ledger_size_bytes", 1_048_576.0),
        ("holdfast_ledger_commits_total", 9.0),
    ];
    for (name, value) in expected {
        assert_eq!(told.get(name), Some(&value), "{name} in {told:#?}");
    }
    assert!(!told.contains_key(r#"holdfast_view_age_seconds{view="node_groups"}"#), "it was never read");
    assert!(!told.keys().any(|name| name.starts_with("holdfast_refusal")), "addresses can be given");
}

/// Zero is a figure like any other: what nobody knows is not told.
#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_absent() {
    let unknown = Snapshot {
        standing: Standing::Running(Box::new(Figures {
            limits: None,
            served_after: None,
            nat: None,
            ..figures()
        })),
        max_enis: None,
        ledger_bytes: None,
        views: None,
    };
    let known = told(&snapshot(figures())).await;
    let names = |told: &BTreeMap<String, f64>| -> BTreeSet<String> {
        told.keys().map(|name| name.split(['{', ' ']).next().unwrap().to_owned()).collect()
    };
    let lacks: Vec<String> = names(&known).difference(&names(&told(&unknown).await)).cloned().collect();
    let once = ["bucket", "count", "sum"]
        .map(|part| format!("awscni_ipamd_node_initialization_duration_seconds_{part}"));
    let rest = [
        "awscni_connmark_backend",
        "awscni_eni_max",
        "awscni_ip_max",
        "holdfast_api_server_reachable",
        "holdfast_ledger_size_bytes",
        "holdfast_pool_room_addresses",
        "holdfast_view_age_seconds",
    ];
    let mut expected: Vec<String> = once.into_iter().chain(rest.map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(lacks, expected);

    let refusing = told(&Snapshot { standing: Standing::Refusing, ..unknown.clone() }).await;
    assert_eq!(refusing[r#"holdfast_status{status="refusing"}"#], 1.0);
    let silent = told(&Snapshot { standing: Standing::Silent, ..unknown }).await;
    for told in [refusing, silent.clone()] {
        let pool =
            ["awscni_total", "awscni_assigned", "holdfast_pool", "holdfast_adds_waiting", "holdfast_ec2"];
        assert!(!told.keys().any(|name| pool.iter().any(|begin| name.starts_with(begin))), "{told:#?}");
        assert_eq!(told["awscni_add_ip_req_count"], 2.0, "what was counted stays so");
    }
    // By these two a rule tells who is stuck.
    assert!(!silent.keys().any(|name| name.starts_with("holdfast_status")), "nobody knows");
    assert!(silent.keys().any(|name| name.starts_with("holdfast_build_info")));
}

/// The largest nodes: pages are made in a moment and are of a size that scrapers take.
#[tokio::test(start_paused = true)]
async fn a_page_of_the_largest_node_is_bounded() {
    let blocks = (0..737_u32)
        .map(|n| (format!("10.{}.{}.{}/32", n >> 16, (n >> 8) & 255, n & 255).parse().unwrap(), 1));
    let large = Figures { leased_by_block: blocks.collect(), ..figures() };
    let text = page(&example::record().await, &snapshot(large)).unwrap();
    assert!(text.len() < 100_000, "{}", text.len());
    let small = page(&example::record().await, &snapshot(figures())).unwrap();
    let series = small.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 600, "{series}");
}
