//! ENIs that nobody has any more: made, detached or being made as an instance ends.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::{AttachNetworkInterface, DeleteNetworkInterface};
use holdfast_sim::vpc::{Action, EniId};

use super::{come, dying_after, go, second};
use crate::box_of::{nodes, one_node, warm};
use crate::node::{Node, Outcome};
use crate::steps::Steps;

/// A neighbour lists what hangs about within the hour, and again an hour later; then it deletes.
const CLEANED: Duration = Duration::from_secs(160 * 60);

/// ENIs that there are.
fn enis(node: &Node) -> BTreeSet<EniId> {
    let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces());
    enis.iter().map(|eni| eni.network_interface_id).collect()
}

fn end(node: &Node) {
    node.shared.now(|vpc| vpc.terminate_instance(&node.instance)).unwrap();
}

/// A node shrinks, and its daemon dies as it has detached an ENI. Gives the ENI.
fn detached_and_dead(node: &Node) -> EniId {
    let mut eni = None;
    let outcome = node.live(&dying_after("after DetachNetworkInterface"), async |life| {
        come(&life, node, "old", 12).await;
        life.quiet().await;
        eni = Some(second(node).id);
        go(&life, "old", 12).await;
        std::future::pending::<()>().await;
    });
    assert_eq!(outcome.unwrap(), Outcome::Killed);
    let eni = eni.unwrap();
    assert!(enis(node).contains(&eni), "it is not deleted");
    eni
}

#[test]
pub(crate) fn cni_608_an_eni_between_detachment_and_deletion_is_deleted_whoever_dies() {
    // The daemon.
    let node = one_node("m5.large", warm(0, 2, 0), 608);
    let eni = detached_and_dead(&node);
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(!enis(&node).contains(&eni), "the next process deletes it");
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
    // The instance: as the call arrives, or before the answer.
    for ends in [false, true] {
        let two = nodes(2, "m5.large", warm(0, 2, 0), 609);
        let [dying, neighbour] = &two[..] else { panic!("two were asked for") };
        let instance = dying.instance;
        if ends {
            let ends = Fault::new(FaultKind::TerminateAfter { instance }).on(Action::DetachNetworkInterface);
            dying.shared.now(|vpc| vpc.set_fault(ends.of_instance(&instance))).unwrap();
        }
        let eni = detached_and_dead(dying);
        if !ends {
            end(dying);
        }
        neighbour
            .live(&Steps::default(), async |life| {
                come(&life, neighbour, "other", 12).await;
                tokio::time::sleep(CLEANED).await;
                assert!(!enis(neighbour).contains(&eni), "its neighbour deletes it: {ends}");
                assert_eq!(neighbour.faults(&life.quiet().await), Vec::<String>::new());
            })
            .unwrap();
    }
}

#[test]
pub(crate) fn cilium_9533_for_an_instance_that_is_gone_no_enis_are_made_in_a_loop() {
    let two = nodes(2, "m5.large", warm(0, 2, 0), 9533);
    let [gone, neighbour] = &two[..] else { panic!("two were asked for") };
    let mut made = 0;
    gone.live(&Steps::default(), async |life| {
        come(&life, gone, "old", 9).await;
        life.quiet().await;
        let before = gone.calls_by_action();
        end(gone);
        // Its node object is there, so pods are sent to it for an hour.
        for round in 0..60 {
            let adds = (0..6).map(|number| {
                let (life, container) = (life.clone(), format!("new{round}-{number}"));
                async move {
                    if life.add(&container, &container).await.is_err() {
                        life.del(&container).await;
                    }
                }
            });
            join_all(adds).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let after = gone.calls_by_action();
        let of = |action: Action| {
            after.get(&action).copied().unwrap_or(0) - before.get(&action).copied().unwrap_or(0)
        };
        made = of(Action::CreateNetworkInterface);
        let calls: usize = Action::ALL.iter().map(|action| of(*action)).sum();
        println!("{made} creations, {calls} calls for an instance that is gone");
        assert!(made <= 8 && calls <= 120, "{made} creations, {calls} calls: {after:?}");
    })
    .unwrap();
    neighbour.live(&Steps::default(), async |_| tokio::time::sleep(CLEANED).await).unwrap();
    let left = neighbour.shared.now(|vpc| vpc.authoritative().network_interfaces());
    let left: Vec<_> = left.iter().filter(|eni| eni.attachment.is_none()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Older releases wrote no time of creation. One such node makes an ENI every five minutes, and attaches it a while later.
#[test]
pub(crate) fn cni_pr_1109_enis_that_an_older_release_is_just_making_are_left_alone() {
    for named in [true, false] {
        let mut config = warm(0, 2, 0);
        if !named {
            config.cluster.value = None;
        }
        let two = nodes(2, "m5.large", config, 1109);
        let [newer, older] = &two[..] else { panic!("two were asked for") };
        let (instance_id, id) = (older.instance, older.instance.to_string());
        let tags = [
            ("cluster.k8s.amazonaws.com/name", "prod"),
            ("eks:eni:owner", "amazon-vpc-cni"),
            ("node.k8s.amazonaws.com/instance_id", id.as_str()),
        ];
        // One hangs about for all that time.
        let slow = older.leave(&format!("aws-K8S-{id}"), &tags);
        newer
            .live(&Steps::default(), async |life| {
                come(&life, newer, "web", 3).await;
                for round in 0..32 {
                    let made = older.leave(&format!("aws-K8S-{id}"), &tags);
                    tokio::time::sleep(Duration::from_secs(200)).await;
                    let attach = AttachNetworkInterface {
                        network_interface_id: made,
                        instance_id,
                        device_index: 1,
                        network_card_index: None,
                    };
                    let attached = older.shared.now(|vpc| vpc.foreign(attach));
                    let attached = attached.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
                    tokio::time::sleep(Duration::from_secs(80)).await;
                    let detach = holdfast_sim::vpc::request::DetachNetworkInterface {
                        attachment_id: attached.attachment_id,
                        force: false,
                    };
                    older.shared.now(|vpc| vpc.foreign(detach)).unwrap();
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    let delete = DeleteNetworkInterface { network_interface_id: made };
                    older.shared.now(|vpc| vpc.foreign(delete)).unwrap();
                }
                assert!(enis(newer).contains(&slow));
                assert_eq!(newer.calls_by_action().get(&Action::DeleteNetworkInterface), None);
                // It did look for what ended nodes leave.
                let asked = newer.calls_by_action().get(&Action::DescribeInstances).copied();
                assert_eq!(asked.is_some(), named, "{:?}", newer.calls_by_action());
            })
            .unwrap();
    }
}

#[test]
pub(crate) fn cni_1223_a_drained_node_leaves_no_eni_behind_whenever_it_ends() {
    for after in [1, 20, 31, 33, 36, 40, 50, 70, 130, 400, 1200] {
        let node = one_node("m5.large", warm(0, 2, 0), 1223);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "web", 15).await;
            life.quiet().await;
            assert_eq!(enis(&node).len(), 2);
            life.engine.cordon(true).await.unwrap();
            go(&life, "web", 15).await;
            tokio::time::sleep(Duration::from_secs(after)).await;
            let calls = node.calls_by_action();
            assert_eq!(calls.get(&Action::DetachNetworkInterface), None, "after {after} s");
            end(&node);
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
        .unwrap();
        assert_eq!(enis(&node), BTreeSet::new(), "{after} s after it was drained");
    }
}
