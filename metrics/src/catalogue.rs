//! Every metric that may be told: its name, type, labels and what it means.
//!
//! Names, types and labels that begin with `awscni_` are the Amazon VPC CNI's (reference: its `prometheusmetrics` package),
//! oddities included: its counters do not end in `_total`, and one that is a gauge stays one.

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// What holds now.
    Gauge,
    /// How often and how much altogether.
    Summary,
    /// How often within which bounds.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($id:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)+) => {
        $(pub(crate) const $id: Spec = Spec { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+

        /// Each of them.
        pub const ALL: &[&Spec] = &[$(&$id),+];
    };
}

catalogue! {
    IPAMD_ERROR_COUNT = "awscni_ipamd_error_count" Counter ["fn"]
        "Failures, by the step of the Amazon VPC CNI that each would have been in.";
    RECONCILE_COUNT = "awscni_reconcile_count" Counter ["fn"]
        "Differences between the ledger and what EC2 showed, by which the ledger was put right.";
    ADD_IP_REQ_COUNT = "awscni_add_ip_req_count" Counter []
        "ADDs that were answered.";
    DEL_IP_REQ_COUNT = "awscni_del_ip_req_count" Counter ["reason"]
        "DELs that were answered.";
    AWS_API_ERROR_COUNT = "awscni_aws_api_error_count" Counter ["api", "error"]
        "Calls of EC2 that failed, by EC2's code.";
    EC2API_REQ_COUNT = "awscni_ec2api_req_count" Counter ["fn"]
        "Calls of EC2.";
    EC2API_ERROR_COUNT = "awscni_ec2api_error_count" Counter ["fn"]
        "Calls of EC2 that failed.";
    FORCE_REMOVED_ENIS = "awscni_force_removed_enis" Counter []
        "ENIs that others took away from under pods.";
    FORCE_REMOVED_IPS = "awscni_force_removed_ips" Counter []
        "Addresses that others took away from under pods.";
    NO_AVAILABLE_IP_ADDRESSES = "awscni_no_available_ip_addresses" Counter []
        "ADDs that were refused because no address could be had.";
    AWS_API_LATENCY_MS = "awscni_aws_api_latency_ms" Summary ["api", "error", "status"]
        "How long calls of EC2 took, in milliseconds.";
    IPAMD_ACTION_INPROGRESS = "awscni_ipamd_action_inprogress" Gauge ["fn"]
        "What is under way.";
    ENI_MAX = "awscni_eni_max" Gauge []
        "ENIs that the node may have, those of others not counted.";
    IP_MAX = "awscni_ip_max" Gauge []
        "Pod addresses that these ENIs can carry.";
    ENI_ALLOCATED = "awscni_eni_allocated" Gauge []
        "ENIs of ours that are attached, the primary included.";
    TOTAL_IP_ADDRESSES = "awscni_total_ip_addresses" Gauge []
        "Addresses for pods that EC2 has on them.";
    ASSIGNED_IP_ADDRESSES = "awscni_assigned_ip_addresses" Gauge []
        "Of these, those of pods.";
    TOTAL_IPV4_PREFIXES = "awscni_total_ipv4_prefixes" Gauge []
        "Delegated prefixes that EC2 has on them.";
    ASSIGNED_IP_PER_CIDR = "awscni_assigned_ip_per_cidr" Gauge ["cidr"]
        "Addresses of pods, by the network that EC2 gave.";
    ASSIGNED_IP_PER_ENI = "awscni_assigned_ip_per_eni" Gauge ["eni"]
        "Addresses of pods, by ENI.";
    CONNMARK_BACKEND = "awscni_connmark_backend" Gauge ["backend"]
        "1 for what marks connections, where any are to be marked.";
    BUILD_INFO = "awscni_build_info" Gauge ["version", "goversion"]
        "1 for the version that runs. It is not written in Go, so `goversion` is empty.";
    STARTUP_DURATION = "awscni_ipamd_startup_duration_seconds" Histogram ["success", "with_api_server", "failure_reason"]
        "How long it took from the start of the process until the plugin was served. It waits for no API server.";
    NODE_INITIALIZATION_DURATION = "awscni_ipamd_node_initialization_duration_seconds" Histogram ["success"]
        "How long it took from an open ledger until pods could be given addresses.";

    OWN_BUILD_INFO = "holdfast_build_info" Gauge ["version"]
        "1 for the version that runs.";
    STATUS = "holdfast_status" Gauge ["status"]
        "1 for what `holdfast health` says, 0 for what it does not.";
    REFUSAL = "holdfast_refusal" Gauge ["reason"]
        "1 for why no address can be given, while none can.";
    POOL_ADDRESSES = "holdfast_pool_addresses" Gauge ["state"]
        "Addresses on ENIs of ours by what they do, each in one state. Together they are all that EC2 has there.";
    POOL_ROOM = "holdfast_pool_room_addresses" Gauge []
        "Addresses that the attached ENIs of ours could still be given.";
    ADD_DURATION = "holdfast_add_duration_seconds" Histogram ["outcome"]
        "How long ADDs took from the request to the answer.";
    ADD_PHASE_DURATION = "holdfast_add_phase_duration_seconds" Histogram ["phase"]
        "What ADDs spent their time on: waiting for an address, for the disk, for the kernel.";
    DEL_DURATION = "holdfast_del_duration_seconds" Histogram ["outcome"]
        "How long DELs took from the request to the answer.";
    POD_NETWORK_SETUP_LATENCY = "pod_network_setup_latency" Histogram []
        "As holdfast_pod_network_setup_latency_seconds.";
    OWN_POD_NETWORK_SETUP_LATENCY = "holdfast_pod_network_setup_latency_seconds" Histogram []
        "How long it took to give a pod its network, of ADDs that succeeded.";
    ADDS_WAITING = "holdfast_adds_waiting" Gauge []
        "ADDs that wait for an address, or for an older attachment of the same sandbox.";
    ADDS_LONGEST_WAIT = "holdfast_adds_longest_wait_seconds" Gauge []
        "How long the one that came first has waited; 0 when none waits.";
    PODS_CUT_OFF = "holdfast_pods_cut_off" Gauge []
        "Pods that were answered for and that nothing reaches.";
    DRIFT_REPAIRED = "holdfast_drift_repaired_total" Counter ["kind"]
        "Things in the kernel that were not as they should be and were put right.";
    DRIFT_REPAIR_FAILURES = "holdfast_drift_repair_failures_total" Counter []
        "Rounds of such repairs of which something failed.";
    EC2_BUDGET = "holdfast_ec2_budget_calls" Gauge ["api"]
        "Calls that are left in this node's token bucket.";
    EC2_BUDGET_CAPACITY = "holdfast_ec2_budget_capacity_calls" Gauge ["api"]
        "Calls that the bucket holds when it is full.";
    EC2_PAUSES = "holdfast_ec2_pauses" Gauge ["api"]
        "Setbacks for which such calls rest just now.";
    EC2_INTENTS = "holdfast_ec2_open_intents" Gauge ["api"]
        "Changes of EC2 whose outcome is not known yet.";
    INVARIANT_VIOLATIONS = "holdfast_invariant_violations" Gauge []
        "Invariants that the ledger breaks. Above 0 is a defect: please report it with a dump.";
    LEDGER_SIZE = "holdfast_ledger_size_bytes" Gauge []
        "Size of the ledger's file.";
    LEDGER_WRITABLE = "holdfast_ledger_writable" Gauge []
        "1 while the disk takes what is written, 0 while it refuses or hangs.";
    LEDGER_COMMITS = "holdfast_ledger_commits_total" Counter []
        "Transactions that the disk has taken.";
    LEDGER_COMMIT_FAILURES = "holdfast_ledger_commit_failures_total" Counter []
        "Times that the disk began to refuse.";
    API_SERVER_REACHABLE = "holdfast_api_server_reachable" Gauge []
        "1 while all that is followed of the cluster was read whole and changes are heard of, else 0.";
    VIEW_AGE = "holdfast_view_age_seconds" Gauge ["view"]
        "For how long changes of these objects have not been heard of; 0 while they are.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_one_and_prometheus_takes_it() {
        let names: BTreeSet<&str> = ALL.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), ALL.len());
        for spec in ALL {
            let word = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            assert!(word(spec.name) && spec.labels.iter().all(|label| word(label)), "{spec:?}");
            assert!(
                spec.name.starts_with("awscni_")
                    || spec.name.contains("holdfast_")
                    || spec.name == "pod_network_setup_latency"
            );
            let total = spec.name.ends_with("_total");
            assert!(spec.name.starts_with("awscni_") || total == (spec.kind == Kind::Counter), "{spec:?}");
        }
    }

    /// By the reference's table of the Amazon VPC CNI's metrics.
    #[test]
    fn the_incumbents_types_and_labels_are_kept() {
        let kinds =
            |kind| ALL.iter().filter(move |spec| spec.kind == kind && spec.name.starts_with("awscni_"));
        let told = |kind| {
            let mut told: Vec<String> =
                kinds(kind).map(|spec| format!("{}{:?}", &spec.name[7..], spec.labels)).collect();
            told.sort();
            told.join(" ").replace('"', "")
        };
        assert_eq!(
            told(Kind::Counter),
            "add_ip_req_count[] aws_api_error_count[api, error] del_ip_req_count[reason] ec2api_error_count[fn] \
             ec2api_req_count[fn] force_removed_enis[] force_removed_ips[] ipamd_error_count[fn] no_available_ip_addresses[] \
             reconcile_count[fn]"
        );
        assert_eq!(
            told(Kind::Gauge),
            "assigned_ip_addresses[] assigned_ip_per_cidr[cidr] assigned_ip_per_eni[eni] build_info[version, goversion] \
             connmark_backend[backend] eni_allocated[] eni_max[] ip_max[] ipamd_action_inprogress[fn] total_ip_addresses[] \
             total_ipv4_prefixes[]"
        );
        assert_eq!(told(Kind::Summary), "aws_api_latency_ms[api, error, status]");
        assert_eq!(
            told(Kind::Histogram),
            "ipamd_node_initialization_duration_seconds[success] \
             ipamd_startup_duration_seconds[success, with_api_server, failure_reason]"
        );
    }
}
