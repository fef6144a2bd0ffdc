//! A node that may not ask EC2: others give it what it has, and the metadata service tells.

use std::net::Ipv4Addr;
use std::time::Duration;

use holdfast_model::config::Config;
use holdfast_sim::vpc::request::{AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface};

use crate::box_of::{one_node, warm};
use crate::node::Node;
use crate::steps::Steps;

/// The metadata service lags, is asked every 80 s, and what is found rests and is looked at twice.
const TAKEN_IN_WITHIN: Duration = Duration::from_secs(300);

fn without_ec2() -> Config {
    let mut config = warm(1, 0, 0);
    config.metadata_only.value = true;
    config
}

impl Node {
    /// Somebody gives the primary so many addresses.
    fn give(&self, count: i64) {
        self.shared.now(|vpc| {
            let enis = vpc.authoritative().network_interfaces();
            let primary = enis
                .iter()
                .find(|eni| eni.attachment.as_ref().is_some_and(|at| at.device_index == 0))
                .unwrap();
            vpc.foreign(AssignPrivateIpAddresses {
                network_interface_id: primary.network_interface_id,
                secondary_private_ip_address_count: Some(count),
                ..AssignPrivateIpAddresses::default()
            })
            .unwrap();
        });
    }

    /// Somebody attaches an ENI with so many addresses.
    fn give_eni(&self, addresses: i64) {
        let instance_id = self.instance;
        self.shared.now(|vpc| {
            let subnet_id = vpc.authoritative().subnets()[0].subnet_id;
            let made = vpc.foreign(CreateNetworkInterface {
                subnet_id,
                secondary_private_ip_address_count: Some(addresses),
                ..CreateNetworkInterface::default()
            });
            vpc.foreign(AttachNetworkInterface {
                network_interface_id: made.unwrap().network_interface.network_interface_id,
                instance_id,
                device_index: 1,
                network_card_index: None,
            })
            .unwrap();
        });
    }
}

#[test]
fn pods_live_on_what_others_give_and_ec2_is_never_called() {
    let node = one_node("m5.large", without_ec2(), 400);
    node.give(5);
    node.on_stage(async { tokio::time::sleep(Duration::from_secs(60)).await });
    node.live(&Steps::default(), async |life| {
        for number in 0..5 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        let told = life.add("more", "more").await.unwrap_err().to_string();
        assert!(told.contains("ENABLE_IMDS_ONLY_MODE"), "{told}");
        life.del("more").await;
        node.give(2);
        node.give_eni(4);
        tokio::time::sleep(TAKEN_IN_WITHIN).await;
        for number in 5..11 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        for number in 0..11 {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(node.calls(), 0, "{:?}", node.calls_by_action());
    })
    .unwrap();
    // And the next process.
    node.live(&Steps::default(), async |life| {
        let lease = life.add("again", "again").await.unwrap();
        assert_ne!(lease.faces[0].address, Ipv4Addr::UNSPECIFIED);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((node.calls(), node.broken_promises()), (0, Vec::<String>::new()));
    })
    .unwrap();
}

/// Flipped under running pods, both ways.
#[test]
fn the_mode_is_switched_under_pods() {
    let base = warm(1, 0, 0);
    let node = one_node("m5.large", base.clone(), 410);
    node.live(&Steps::default(), async |life| {
        for number in 0..12 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        let had = node.pods();
        life.set(&without_ec2()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let called = node.calls();
        life.del("c11").await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(node.calls(), called, "{:?}", node.calls_by_action());
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        life.set(&base).await;
        for number in 20..30 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        let has = node.pods();
        for (name, pod) in had.into_iter().filter(|(name, _)| name != "c11") {
            assert_eq!(has[&name].address, pod.address, "{name}");
        }
    })
    .unwrap();
}
