//! What is published, and how it is made: the Amazon VPC CNI's metrics helper's names.

/// How a figure of the cluster is made of those of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A gauge: the sum of all samples.
    Sum,
    /// A counter: by how much it grew since the last look, on all nodes together.
    Increase,
    /// A summary: the largest mean of what came since the last look, among all of its series on all nodes.
    LargestMean,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// In CloudWatch.
    pub published: &'static str,
    /// On the daemons' pages.
    pub metric: &'static str,
    /// How it is made.
    pub how: How,
    /// Whether every daemon tells it that knows its pool. A node is read if it tells all of these, so that sums are of the same
    /// nodes. They are told to Prometheus as well, under the daemons' names, where that is asked for.
    pub of_every_node: bool,
}

const fn row(published: &'static str, metric: &'static str, how: How) -> Row {
    Row { published, metric, how, of_every_node: false }
}

const fn of_every_node(published: &'static str, metric: &'static str) -> Row {
    Row { published, metric, how: How::Sum, of_every_node: true }
}

/// Every figure that comes from the pages.
pub const TABLE: &[Row] = &[
    of_every_node("assignIPAddresses", "awscni_assigned_ip_addresses"),
    of_every_node("totalIPAddresses", "awscni_total_ip_addresses"),
    of_every_node("totalIPv4Prefixes", "awscni_total_ipv4_prefixes"),
    row("totalAssignedIPv4sPerCidr", "awscni_assigned_ip_per_cidr", How::Sum),
    of_every_node("eniAllocated", "awscni_eni_allocated"),
    of_every_node("eniMaxAvailable", "awscni_eni_max"),
    of_every_node("maxIPAddresses", "awscni_ip_max"),
    row("awsAPILatency", "awscni_aws_api_latency_ms", How::LargestMean),
    row("awsAPIErr", "awscni_aws_api_error_count", How::Increase),
    // Not told by Holdfast's daemons, but by the Amazon VPC CNI's, which bear the same label: a cluster may have both.
    row("awsUtilErr", "awscni_aws_utils_error_count", How::Increase),
    row("podENIErr", "awscni_pod_eni_error_count", How::Increase),
    row("ipamdErr", "awscni_ipamd_error_count", How::Increase),
    row("forceRemoveENI", "awscni_force_removed_enis", How::Increase),
    row("forceRemoveIPs", "awscni_force_removed_ips", How::Increase),
    row("ipamdActionInProgress", "awscni_ipamd_action_inprogress", How::Sum),
    row("reconcileCount", "awscni_reconcile_count", How::Increase),
    row("addReqCount", "awscni_add_ip_req_count", How::Increase),
    row("delReqCount", "awscni_del_ip_req_count", How::Increase),
    row("ec2ApiReqCount", "awscni_ec2api_req_count", How::Increase),
    row("ec2ApiErrCount", "awscni_ec2api_error_count", How::Increase),
];

/// Nodes that have a daemon's pod.
pub const NODES: &str = "holdfastNodes";
/// Of these, the nodes that the other figures are of.
pub const NODES_READ: &str = "holdfastNodesRead";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_stands_for_one_thing() {
        let published: BTreeSet<_> = TABLE.iter().map(|row| row.published).collect();
        let metrics: BTreeSet<_> = TABLE.iter().map(|row| row.metric).collect();
        assert_eq!((published.len(), metrics.len()), (20, 20));
    }
}
