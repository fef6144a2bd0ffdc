//! What has really gone wrong in systems that do this job, each case as the sequence that its report tells, on what ships.
//!
//! Ids: `cni` is aws/amazon-vpc-cni-k8s, `ami` awslabs/amazon-eks-ami, `karpenter` aws/karpenter-provider-aws; `#n` is an issue,
//! `PR#n` a pull request, `@sha` a commit. A test bears its case's id in its name.
//!
//! | case | what happens again | what must hold |
//! |---|---|---|
//! | cni#391 | somebody detaches and deletes an ENI with free addresses, then pods come | none gets an address of it |
//! | cni#608 | the node ends, or its daemon dies, between detaching and deleting | the ENI is deleted, by a neighbour or the next process |
//! | cilium#9533 | an instance is gone, and pods are still sent to it | a handful of creations, and nothing is left |
//! | cni#711 | a restart, at which the runtime's list is empty at first | no live pod's address is given again |
//! | cni#712 | a restart, then DELs by sandbox, twice over | every address serves again, without another from EC2 |
//! | cni#732 | a deletion is refused as in use, then a reboot; metadata shows the ENI still | its addresses go to nobody while it is detached |
//! | cilium#11088 | EC2 says for ten minutes that the instance does not run | it serves when that is over, with no restart and no leak |
//! | cni-PR#1109 | an older release makes ENIs without a time, and takes its time to attach them | the cleaner touches none |
//! | cni#1127 | a pod goes, the daemon dies a second later, a pod comes | the address has rested in full |
//! | cni#1223 | a node is drained, and ends at any moment after | none of its ENIs outlives it |
//! | cilium#13412 | pods come as spare addresses are being given back, with and without an answer | no pod has one that goes |
//! | cni#1340 | metadata lists an ENI that was deleted, and the groups have changed, at a start | it serves at once |
//! | cni#1479 | metadata lists a freed ENI for an hour | nobody is given an address of it, nor is it adopted |
//! | cni#1967 | metadata lacks an ENI with pods for ten minutes after a restart | it is neither detached nor deleted; pods keep their paths |
//! | cni-PR#2042 | prefixes are switched on over single addresses, whose pods end one by one | the ledger counts what EC2 has; nothing is asked for |
//! | cilium#30682 | a program on the node puts a free address onto its own device | no pod gets it, and it is not given back |
//! | cni#2896 | churn with nothing free and several resting, by minimum and warm addresses | ADDs wait for EC2, not for the rest; the pool ends at its targets |
//! | cni-PR#2954 | an ENI has room and its subnet none, another subnet has | pods are served out of the other one at once |
//! | cni#3019 | metadata stands still while as many addresses go as come | no live address is given back, no gone one given out |
//! | cni#3634 | the rest is set longer than a half-open connection lives, and shorter again | an address that rests has its full time |
//! | cilium#46513 | 400 nodes in two minutes, and views of EC2 that lack what was just made | every node serves, without a restart |
//! | cni#3887 | an address was given back, metadata shows it still, a restart | no pod is answered with it |
//! | cni#617 | 500 nodes at rest | less than a call an hour from each |
//! | cni#873 | 2,000 daemons restarted within a minute | they serve at once and stay within the account's calls |
//! | cni#887 | small clusters at rest, then the next release, then throttling | as few calls as before; pods are replaced without any |
//! | cni@6106a6d | reads of EC2 hang, or take seven seconds | the pool grows; a slow answer is an answer |
//! | cni#3719 | the next release looks for subnets on every node | one read of each, none of groups |
//! | cni#884 | the node's ENIConfig is missing | the refusal names it; it serves when it is there |
//! | cni@e150b8e04 | two releases in a row over a node on which no pod changes | every pod is known, with the file and without |
//! | cni#1847 | the kernel takes no NAT table | the daemon lives and says why; it serves when it does |
//! | cni#2808 | pods are sent to a node that has just come up | STATUS is ready when ADDs are served at once, not before |
//! | ami#2201 | nodes are filled up to the figure that is advertised for their mode | the figure is what can be served |
//! | cni-PR#3681 | an unmanaged IPv6-only ENI on an IPv4 node | it serves as if that were not there |
//!
//! Of cni#3634 the default is open: 30 s are shorter than the 120 s that a kernel remembers a half-open connection by default, on
//! the clients' nodes, where nothing of ours can forget it.

mod leaks;
mod load;
mod pool;
mod restarts;
mod start;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use holdfast_model::block::BlockState;
use holdfast_model::ledger::Ledger;
use holdfast_sim::vpc::request::{DeleteNetworkInterface, DetachNetworkInterface};
use holdfast_sim::vpc::{AttachmentId, EniId};

use crate::node::{Life, Node};
use crate::steps::Steps;

/// A replayed case.
struct Replayed {
    section: char,
    id: &'static str,
    test: &'static str,
}

/// Each row names a test, which is compiled in.
macro_rules! replayed {
    ($($section:literal $id:literal => $test:path;)+) => {
        const REPLAYED: &[Replayed] = &[$(Replayed { section: $section, id: $id, test: stringify!($test) }),+];
        $(const _: fn() = $test;)+
    };
}

replayed! {
    'A' "cni#391" => views::cni_391_no_pod_gets_an_address_of_an_eni_that_somebody_deleted;
    'A' "cni#608" => leaks::cni_608_an_eni_between_detachment_and_deletion_is_deleted_whoever_dies;
    'A' "cilium#9533" => leaks::cilium_9533_for_an_instance_that_is_gone_no_enis_are_made_in_a_loop;
    'A' "cni#711" => restarts::cni_711_a_restart_with_an_empty_list_of_pods_gives_no_live_address_again;
    'A' "cni#712" => restarts::cni_712_what_was_in_use_at_a_restart_serves_again_after_its_del;
    'A' "cni#732" => views::cni_732_addresses_of_a_half_removed_eni_go_to_nobody_after_a_reboot;
    'A' "cilium#11088" => pool::cilium_11088_a_wrong_error_about_the_instance_ends_with_its_cause;
    'A' "cni-PR#1109" => leaks::cni_pr_1109_enis_that_an_older_release_is_just_making_are_left_alone;
    'A' "cni#1127" => restarts::cni_1127_an_address_rests_in_full_whatever_becomes_of_the_daemon;
    'A' "cni#1223" => leaks::cni_1223_a_drained_node_leaves_no_eni_behind_whenever_it_ends;
    'A' "cilium#13412" => pool::cilium_13412_no_pod_gets_an_address_that_is_being_given_back;
    'A' "cni#1340" => views::cni_1340_a_deleted_eni_in_metadata_is_no_obstacle_to_a_start;
    'A' "cni#1479" => views::cni_1479_a_freed_eni_that_metadata_lists_is_not_taken_back;
    'A' "cni#1967" => views::cni_1967_an_eni_that_metadata_lacks_keeps_its_pods;
    'A' "cni-PR#2042" => pool::cni_pr_2042_single_addresses_beside_prefixes_are_counted_when_their_pods_end;
    'A' "cilium#30682" => crate::severed::cilium_30682_an_address_that_the_host_bears_is_given_to_nobody_until_it_is_taken_off;
    'A' "cni#2896" => pool::cni_2896_churn_over_resting_addresses_waits_for_ec2_and_not_for_the_rest;
    'A' "cni-PR#2954" => pool::cni_pr_2954_room_on_an_eni_in_a_full_subnet_keeps_no_pod_waiting;
    'A' "cni#3019" => views::cni_3019_metadata_that_stands_still_with_equal_counts_costs_no_address;
    'A' "cni#3634" => pool::cni_3634_a_rest_that_outlasts_half_open_connections_is_kept_in_full;
    'A' "cilium#46513" => load::cilium_46513_four_hundred_nodes_in_two_minutes_all_get_addresses;
    'A' "cni#3887" => restarts::cni_3887_after_a_restart_no_pod_gets_an_address_that_was_given_back;
    'D' "cni#617" => load::cni_617_five_hundred_nodes_at_rest_hardly_call;
    'D' "cni#873" => crate::fleet::restarts::cni_873_a_fleet_restarted_within_a_minute_serves_at_once_and_stays_within_its_calls;
    'D' "cni#887" => load::cni_887_small_clusters_at_rest_are_quiet_after_the_next_release_too;
    'D' "cni@6106a6d" => load::cni_6106a6d_reads_that_hang_or_are_slow_do_not_stop_the_pool;
    'D' "cni#3719" => load::cni_3719_a_release_that_looks_for_subnets_reads_each_once;
    'E' "cni#884" => crate::custom::cni_884_an_eni_config_that_is_missing_is_the_cause_and_service_resumes;
    'E' "cni@e150b8e04" => restarts::cni_e150b8e04_two_releases_over_a_quiet_node_forget_no_pod;
    'E' "cni#1847" => start::cni_1847_a_kernel_without_a_nat_table_is_told_of_and_outlived;
    'E' "cni#2808" => start::cni_2808_a_fresh_node_is_ready_when_it_serves_and_not_before;
    'E' "ami#2201" => start::ami_2201_a_node_serves_as_many_pods_as_are_advertised_for_its_mode;
    'E' "cni-PR#3681" => start::cni_pr_3681_an_unmanaged_ipv6_only_eni_is_no_obstacle_to_a_start;
}

/// The cases that this room owes, by section: A is the pool and the life of ENIs, D the load on EC2, E starts, releases and settings.
/// Of what a cluster's objects are about, cni#2653 and karpenter-PR#6267 are replayed beside what writes them: `cluster`'s
/// `write/writer/incidents.rs`.
const OWED: [(char, &[&str]); 3] = [
    (
        'A',
        &[
            "cni#391",
            "cni#608",
            "cilium#9533",
            "cni#711",
            "cni#712",
            "cni#732",
            "cilium#11088",
            "cni-PR#1109",
            "cni#1127",
            "cni#1223",
            "cilium#13412",
            "cni#1340",
            "cni#1479",
            "cni#1967",
            "cni-PR#2042",
            "cilium#30682",
            "cni#2896",
            "cni-PR#2954",
            "cni#3019",
            "cni#3634",
            "cilium#46513",
            "cni#3887",
        ],
    ),
    ('D', &["cni#617", "cni#873", "cni#887", "cni@6106a6d", "cni#3719"]),
    ('E', &["cni#884", "cni@e150b8e04", "cni#1847", "cni#2808", "ami#2201", "cni-PR#3681"]),
];

/// How a case's id is written in a test's name.
fn in_names(id: &str) -> String {
    id.to_lowercase().replace(['#', '@', '-'], "_")
}

#[test]
fn every_case_that_is_owed_is_replayed_by_the_test_that_bears_its_id() {
    let owed: BTreeSet<(char, &str)> =
        OWED.iter().flat_map(|(section, ids)| ids.iter().map(|id| (*section, *id))).collect();
    let replayed: BTreeMap<(char, &str), &str> =
        REPLAYED.iter().map(|row| ((row.section, row.id), row.test)).collect();
    assert_eq!(replayed.keys().copied().collect::<BTreeSet<_>>(), owed);
    assert_eq!((replayed.len(), owed.len()), (REPLAYED.len(), 33), "a case stands there twice");
    for ((_, id), test) in replayed {
        let name = test.rsplit("::").next().unwrap().trim();
        assert!(name.starts_with(&format!("{}_", in_names(id))), "{id} is {name}");
    }
}

/// An ENI of a node's beside its primary, as EC2 has it.
#[derive(Debug, Clone)]
struct Second {
    id: EniId,
    at: AttachmentId,
    /// For pods.
    addresses: BTreeSet<IpAddr>,
}

/// The only one.
fn second(node: &Node) -> Second {
    let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces_of(&node.instance));
    let mut others = enis.iter().filter_map(|eni| {
        let at = eni.attachment.as_ref().filter(|at| at.device_index != 0)?;
        let addresses = eni.secondary_ips().map(IpAddr::from).collect();
        Some(Second { id: eni.network_interface_id, at: at.attachment_id, addresses })
    });
    let second = others.next().expect("there is a second ENI");
    assert!(others.next().is_none(), "there are more");
    second
}

/// Addresses for pods that EC2 has on this node's ENIs.
fn given(node: &Node) -> BTreeSet<Ipv4Addr> {
    node.shared.cloud_of(&node.instance).enis.into_iter().flat_map(|eni| eni.secondary).collect()
}

/// So many addresses for pods are on the node's ENIs as the ledger has it.
fn counted(ledger: &Ledger) -> usize {
    let held = ledger
        .blocks
        .values()
        .filter(|block| matches!(block.state, BlockState::Held | BlockState::Leaving(_)));
    held.map(|block| 1 << (block.net.max_prefix_len() - block.net.prefix_len())).sum()
}

/// Somebody detaches an ENI by force, and deletes it as soon as he can.
async fn taken_away(node: &Node, eni: &Second) {
    let detach = DetachNetworkInterface { attachment_id: eni.at, force: true };
    node.shared.now(|vpc| vpc.foreign(detach)).unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let delete = DeleteNetworkInterface { network_interface_id: eni.id };
        if node.shared.now(|vpc| vpc.foreign(delete)).is_ok() {
            return;
        }
    }
    panic!("it cannot be deleted");
}

/// So many pods come, one after the other, and each is reached; gives their addresses.
async fn come(life: &Life, node: &Node, word: &str, count: usize) -> Vec<IpAddr> {
    let mut given = Vec::new();
    for number in 0..count {
        let lease = life.add(&format!("{word}-{number}"), &format!("{word}{number}")).await.unwrap();
        assert_eq!(node.broken_promises(), Vec::<String>::new(), "{word}-{number}");
        given.push(lease.faces[0].address);
    }
    given
}

/// So many of them go.
async fn go(life: &Life, word: &str, count: usize) {
    for number in 0..count {
        life.del(&format!("{word}{number}")).await;
    }
}

/// No pod has another one's address, and each is reached: over this time, looked at every five seconds.
async fn all_are_reached(node: &Node, over: Duration) {
    for turn in 0..=over.as_secs() / 5 {
        let mut seen = BTreeSet::new();
        let addresses = node.pods().into_values().filter_map(|pod| pod.address);
        let twice: Vec<IpAddr> = addresses.filter(|address| !seen.insert(*address)).collect();
        assert_eq!((twice, node.broken_promises()), (Vec::new(), Vec::new()), "after {} s", turn * 5);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The process is dead as soon as it has passed a step of this name.
fn dying_after(name: &'static str) -> Steps {
    crate::crash::quiet_deaths();
    let steps = Steps::default();
    let dies = steps.clone();
    steps.seen_by(move |passed| {
        if passed == name {
            dies.kill();
        }
    })
}
