//! Starts: what is odd on a node or missing, what it says of itself meanwhile, and what is promised for it.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_model::limits::InstanceType;
use holdfast_model::limits::max_pods::{Mode, ON_HOST_NETWORK};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::{
    AttachNetworkInterface, CreateNetworkInterface, DeleteNetworkInterface, DetachNetworkInterface,
    TagSpecification,
};
use holdfast_sim::vpc::{Caller, SubnetSpec, Tags};
use tokio::time::{Instant, sleep};

use super::come;
use crate::box_of::{one_node, one_node_of_both, warm};
use crate::custom;
use crate::kernel::Step;
use crate::steps::Steps;

/// Nothing can be put right on the host for five minutes.
#[test]
pub(crate) fn cni_1847_a_kernel_without_a_nat_table_is_told_of_and_outlived() {
    let node = one_node("m5.large", warm(1, 0, 0), 1847);
    node.kernel.set_trouble(BTreeMap::from([(Step::Mend, 1000)]), 1);
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        let mut told = Vec::new();
        while begun.elapsed() < Duration::from_secs(300) {
            sleep(Duration::from_secs(5)).await;
            let status = life.engine.status().await.expect("the daemon lives");
            assert_ne!(status, Status::Ready, "it has no way out of the VPC");
            if told.last() != Some(&status) {
                told.push(status);
            }
        }
        let named =
            |status: &Status| matches!(status, Status::Impaired(why) if why.contains("No buffer space"));
        assert!(told.iter().any(named), "{told:?}");
        assert!(!node.kernel.has_nat());
        // As when the module is loaded.
        node.kernel.set_trouble(BTreeMap::new(), 1);
        sleep(Duration::from_secs(60)).await;
        assert!(node.kernel.has_nat());
        assert_eq!(life.engine.status().await, Ok(Status::Ready));
        come(&life, &node, "web", 3).await;
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}

/// The daemon knows nothing for forty seconds; pods are sent to the node from the first one on.
#[test]
pub(crate) fn cni_2808_a_fresh_node_is_ready_when_it_serves_and_not_before() {
    let node = one_node("m5.large", warm(1, 0, 0), 2808);
    let away = node.shared.now(|vpc| vpc.set_fault(Fault::new(FaultKind::ImdsAway))).unwrap();
    node.live(&Steps::default(), async |life| {
        let begun = Instant::now();
        let early = tokio::spawn({
            let life = life.clone();
            async move { life.add("early", "early").await }
        });
        let mut said = Vec::new();
        loop {
            let status = life.engine.status().await.unwrap();
            if status == Status::Ready {
                break;
            }
            assert!(!matches!(status, Status::Impaired(_)), "that says yes: {status:?}");
            said.push((begun.elapsed(), status));
            if begun.elapsed() > Duration::from_secs(40) {
                node.shared.now(|vpc| vpc.clear_fault(away));
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", said.last());
            sleep(Duration::from_millis(250)).await;
        }
        assert!(begun.elapsed() > Duration::from_secs(40), "before anything is known: {:?}", begun.elapsed());
        let refusing = |(_, status): &(Duration, Status)| matches!(status, Status::Refusing(_));
        assert!(said.first().is_some_and(refusing), "{:?}", said.first());
        // The next pod is served at once, and the first one was held for it, and not refused.
        let asked = Instant::now();
        life.add("next", "next").await.unwrap();
        assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
        early.await.unwrap().unwrap();
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}

/// Of every mode: with custom networking the primary ENI has no pods, prefixes are sixteen, and other cards do not count.
#[test]
pub(crate) fn ami_2201_a_node_serves_as_many_pods_as_are_advertised_for_its_mode() {
    for (name, mode) in [
        ("m5.large", Mode::Secondary),
        ("m5.large", Mode::CustomNetworking),
        ("t3.nano", Mode::Prefix),
        ("t3.medium", Mode::CustomNetworkingPrefix),
    ] {
        let advertised = InstanceType::named(name).unwrap().max_pods(mode).unwrap();
        let pods = usize::try_from(advertised.served).unwrap() - ON_HOST_NETWORK as usize;
        let unit = if mode.delegates() { AddressMode::Prefix } else { AddressMode::Secondary };
        let config = Config {
            mode: Setting::default_of(unit),
            subnet_discovery: Setting::default_of(false),
            ..warm(0, 1, 0)
        };
        let mut node = custom::node(name, config.clone(), 2201);
        if mode.enis_without_pods() > 0 {
            node.config = custom::applied(&node, config, custom::PODS);
        }
        node.live(&Steps::default(), async |life| {
            for number in 0..pods {
                let added = life.add(&format!("web-{number}"), &format!("c{number}")).await;
                added.unwrap_or_else(|refused| panic!("{name} {mode:?}: {number} of {pods}: {refused}"));
            }
            let refused = life.add("more", "more").await.unwrap_err().to_string();
            assert!(refused.contains(name), "{name} {mode:?}: {refused}");
            life.del("more").await;
            let ledger = life.quiet().await;
            assert_eq!((ledger.leases.len(), node.faults(&ledger)), (pods, Vec::new()), "{name} {mode:?}");
        })
        .unwrap();
    }
}

#[test]
pub(crate) fn cni_pr_3681_an_unmanaged_ipv6_only_eni_is_no_obstacle_to_a_start() {
    let node = one_node_of_both("m5.large", warm(1, 0, 0), 3681);
    let tags = [("node.k8s.amazonaws.com/no_manage".to_owned(), "true".to_owned())];
    let (odd, attachment_id) = node.shared.now(|vpc| {
        let of = vpc.authoritative().vpcs()[0].vpc_id;
        let subnet_id = vpc
            .add_subnet(SubnetSpec {
                vpc: of,
                availability_zone: "us-west-2a".to_owned(),
                ipv4: None,
                ipv6: Some("2600:1f13:a:1::/64".parse().unwrap()),
                tags: Tags::new(),
            })
            .unwrap();
        let made = vpc.foreign(CreateNetworkInterface {
            subnet_id,
            ipv6_address_count: Some(1),
            tag_specifications: vec![TagSpecification {
                resource_type: "network-interface".to_owned(),
                tags: tags.into(),
            }],
            ..CreateNetworkInterface::default()
        });
        let odd = made.unwrap().network_interface.network_interface_id;
        let attached = vpc.foreign(AttachNetworkInterface {
            network_interface_id: odd,
            instance_id: node.instance,
            device_index: 2,
            network_card_index: None,
        });
        (odd, attached.unwrap().attachment_id)
    });
    node.on_stage(async { sleep(Duration::from_secs(30)).await });
    // The first start, and one that has seen it before.
    for start in 0..2 {
        node.live(&Steps::default(), async |life| {
            let asked = Instant::now();
            life.add("first", &format!("first{start}")).await.unwrap();
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
            for number in 0..5 {
                life.add(&format!("web-{number}"), &format!("c{start}-{number}")).await.unwrap();
            }
            sleep(Duration::from_secs(300)).await;
            assert_eq!(life.engine.status().await, Ok(Status::Ready));
            assert_eq!(node.reach()(), Vec::<String>::new());
        })
        .unwrap();
    }
    let caller = Caller::instance(&node.instance);
    let named = node.shared.now(|vpc| {
        let changes = vpc.log().by(&caller).filter(|call| !call.action.is_read());
        changes.filter(|call| format!("{:?}", call.request).contains(odd.as_str())).count()
    });
    assert_eq!(named, 0, "it is not touched");
    // The judge knows of no ENI without IPv4: it goes before all is looked at.
    node.shared.now(|vpc| vpc.foreign(DetachNetworkInterface { attachment_id, force: true })).unwrap();
    node.on_stage(async { sleep(Duration::from_secs(30)).await });
    node.shared.now(|vpc| vpc.foreign(DeleteNetworkInterface { network_interface_id: odd })).unwrap();
    node.live(&Steps::default(), async |life| {
        sleep(Duration::from_secs(600)).await;
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}
