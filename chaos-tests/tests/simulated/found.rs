//! Faults that lives have found, each in its smallest form. What nobody has mended yet is ignored, with what is wrong.

use std::time::Duration;

use holdfast_engine::Status;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::{
    DeleteNetworkInterface, DetachNetworkInterface, ModifyNetworkInterfaceAttribute,
};
use holdfast_sim::vpc::{Action, Caller, Tags};

use crate::box_of::{nodes, one_node, warm};
use crate::cloud::Away;
use crate::disk::Disk;
use crate::kernel::LinkOf;
use crate::node::{Life, Node};
use crate::steps::Steps;

/// How soon what others did is noticed.
const NOTICED: Duration = Duration::from_secs(120);

/// How soon a node serves that knows who it is: sooner than metadata is asked for a hint.
const SERVES: Duration = Duration::from_secs(30);

/// What this node's daemon asked EC2 to change, where it names one of these.
fn changes_that_name(node: &Node, names: &[String]) -> Vec<String> {
    let caller = Caller::instance(&node.instance);
    node.shared.now(|vpc| {
        let changes = vpc.log().by(&caller).filter(|call| !call.action.is_read());
        let words = changes.map(|call| format!("{:?}", call.request));
        words.filter(|words| names.iter().any(|name| words.contains(name.as_str()))).collect()
    })
}

/// The ledger is lost, and metadata answers for another instance: the kernel's links, the primary ENI's among them, do not
/// bear that out.
#[test]
fn metadata_of_another_instance_is_not_believed_by_an_empty_ledger_either() {
    let mut two = nodes(2, "m5.large", warm(0, 2, 0), 300);
    let other = two[1].instance;
    two[1].live(&Steps::default(), async |life| drop(life.quiet().await)).unwrap();
    let others: Vec<String> = two[1].shared.cloud_of(&other).enis.into_iter().map(|eni| eni.id).collect();
    let node = &mut two[0];
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    node.disk = Disk::default();
    node.mistake_for(other);
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        assert_eq!(changes_that_name(node, &others), Vec::<String>::new(), "another node's ENIs");
        node.mistake_for(node.instance);
        tokio::time::sleep(Duration::from_secs(300)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        life.add("new", "new").await.unwrap();
    })
    .unwrap();
}

/// Another instance's ledger within the same boot, as of a machine that was copied as it ran, and no metadata for a while.
/// The kernel does not have that instance's primary ENI.
#[test]
fn a_node_that_has_not_been_told_who_it_is_changes_nothing_in_the_name_of_another() {
    let mut two = nodes(2, "m5.large", warm(0, 2, 0), 340);
    let other = two[1].instance;
    let all = async |life: &Life, pods: usize| {
        for number in 0..pods {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    };
    two[1].live(&Steps::default(), async |life| all(&life, 8).await).unwrap();
    two[0].live(&Steps::default(), async |life| all(&life, 8).await).unwrap();
    two[0].disk = two[1].disk.copy();
    let node = &two[0];
    let changes = || changes_that_name(node, &[other.to_string()]);
    node.metadata.set(Some(Away::Silent));
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        node.metadata.set(None);
        // It was told, and what EC2 has shown before was the other one's.
        let told = async || life.engine.dump().await.is_ok_and(|dump| dump.identified);
        while !told().await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let begun = tokio::time::Instant::now();
        while life.engine.status().await != Ok(Status::Ready) {
            assert!(begun.elapsed() < SERVES, "{:?}", life.engine.dump().await);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(changes(), Vec::<String>::new());
        drop(life.quiet().await);
    })
    .unwrap();
}

/// Yesterday's ledger has leases of pods that have ended since. Their addresses have rested, and are other pods' today.
#[test]
fn a_lease_of_yesterday_ends_without_harm_to_the_pod_that_has_its_address_today() {
    let mut node = one_node("t3.nano", warm(0, 1, 0), 350);
    let mut yesterday = None;
    node.live(&Steps::default(), async |life| {
        for name in ["a", "b"] {
            life.add(name, name).await.unwrap();
        }
        life.quiet().await;
        yesterday = Some(node.disk.copy());
        for (old, new) in [("a", "c"), ("b", "d")] {
            life.del(old).await;
            life.add(new, new).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    node.disk = yesterday.unwrap();
    node.live(&Steps::default(), async |_life| {
        for second in 0..120 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(node.broken_promises(), Vec::<String>::new(), "after {second} s");
        }
    })
    .unwrap();
}

/// Yesterday's ledger has addresses that EC2 has taken back since. Links that it cannot explain say that it is old.
#[test]
fn addresses_of_yesterday_are_not_leased_before_ec2_has_shown_them() {
    let mut node = one_node("m5.large", warm(0, 2, 0), 360);
    let mut yesterday = None;
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        yesterday = Some(node.disk.copy());
        for number in 0..5 {
            life.del(&format!("c{number}")).await;
        }
        // The pool shrinks: what was spare then is EC2's now.
        tokio::time::sleep(Duration::from_secs(300)).await;
        life.quiet().await;
        life.add("today", "today").await.unwrap();
        life.quiet().await;
    })
    .unwrap();
    node.disk = yesterday.unwrap();
    node.live(&Steps::default(), async |life| {
        for number in 0..3 {
            if life.add(&format!("new-{number}"), &format!("n{number}")).await.is_ok() {
                assert_eq!(node.broken_promises(), Vec::<String>::new(), "n{number}");
            }
        }
    })
    .unwrap();
}

/// An ENI that cannot be deleted serves as well as another one.
#[test]
fn an_eni_that_cannot_be_deleted_is_attached_again_when_one_is_needed() {
    let node = one_node("t3.large", warm(0, 2, 0), 370);
    node.live(&Steps::default(), async |life| {
        let denied = Fault::new(FaultKind::Deny).on(Action::DeleteNetworkInterface);
        node.shared.now(|vpc| vpc.set_fault(denied)).unwrap();
        for round in 0..5 {
            for number in 0..30 {
                let container = format!("c{round}-{number}");
                if life.add(&format!("web-{number}"), &container).await.is_err() {
                    life.del(&container).await;
                }
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            for container in node.pods().into_keys() {
                life.del(&container).await;
            }
            tokio::time::sleep(Duration::from_secs(400)).await;
        }
        let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces()).len();
        assert!(enis <= 4, "{enis} ENIs");
    })
    .unwrap();
}

/// Metadata and the kernel both say that it is gone.
#[test]
fn the_place_of_an_eni_that_others_detached_is_free_in_five_minutes() {
    let node = one_node("m5.large", warm(1, 0, 0), 380);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let gone = node.shared.now(|vpc| {
            let enis = vpc.authoritative().network_interfaces_of(&node.instance);
            let mut at = enis.into_iter().filter_map(|eni| Some((eni.network_interface_id, eni.attachment?)));
            let (id, at) = at.find(|(_, at)| at.device_index != 0).unwrap();
            vpc.foreign(DetachNetworkInterface { attachment_id: at.attachment_id, force: true }).unwrap();
            vpc.foreign(DeleteNetworkInterface { network_interface_id: id }).unwrap();
            id
        });
        tokio::time::sleep(Duration::from_secs(300)).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        let known = ledger.enis.values().find(|eni| eni.id.as_str() == gone.as_str());
        assert!(known.is_none_or(|eni| eni.attachment().is_none()), "{known:?}");
    })
    .unwrap();
}

/// The pod is dead; its sandbox is known, and could be wired anew. At least it must be told.
#[test]
fn a_pod_whose_host_link_was_deleted_is_wired_anew_or_told() {
    let node = one_node("m5.large", warm(0, 2, 0), 320);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.kernel.delete_link(&LinkOf::Pod(lease.netns.inode));
        tokio::time::sleep(NOTICED).await;
        let told = life.engine.status().await.unwrap();
        let is_told = matches!(told, Status::Impaired(_));
        assert!(node.broken_promises().is_empty() || is_told, "{told:?}: {:?}", node.broken_promises());
    })
    .unwrap();
}

/// The groups of the node's primary ENI are its pods' groups, whatever ENI they are on.
#[test]
fn changed_security_groups_of_the_primary_eni_reach_the_others() {
    let node = one_node("m5.large", warm(1, 0, 0), 330);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.shared.now(|vpc| {
            let net = vpc.authoritative().vpcs()[0].vpc_id;
            let group = vpc.add_security_group(&net, "stricter", Tags::new()).unwrap();
            let primary = vpc.primary_eni(&node.instance).unwrap();
            vpc.foreign(ModifyNetworkInterfaceAttribute {
                network_interface_id: primary,
                groups: vec![group],
                ..ModifyNetworkInterfaceAttribute::default()
            })
            .unwrap();
        });
        assert_ne!(node.disorder(), Vec::<String>::new(), "the other ENI has the old groups");
        tokio::time::sleep(NOTICED).await;
        assert_eq!(node.disorder(), Vec::<String>::new());
    })
    .unwrap();
}
