//! An ENI that a user attached for a program of its own, and keeps from the node by a tag.

use holdfast_chaos_tests::oracle::picture::Eni;
use holdfast_sim::vpc::Caller;
use holdfast_sim::vpc::request::{AttachNetworkInterface, CreateNetworkInterface, TagSpecification};

use crate::box_of::{one_node, warm};
use crate::node::Node;
use crate::steps::Steps;

/// By which it is kept.
const NO_MANAGE: (&str, &str) = ("node.k8s.amazonaws.com/no_manage", "true");

impl Node {
    /// A user attaches one to this place of the node's primary card.
    pub(crate) fn attach_kept(&self, device: u32, addresses: u32) {
        let instance_id = self.instance;
        let tags = [NO_MANAGE].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tags = TagSpecification { resource_type: "network-interface".to_owned(), tags: tags.into() };
        self.shared.now(|vpc| {
            let subnet_id = vpc.authoritative().subnets()[0].subnet_id;
            let made = vpc.foreign(CreateNetworkInterface {
                subnet_id,
                secondary_private_ip_address_count: Some(addresses.into()),
                tag_specifications: vec![tags],
                ..CreateNetworkInterface::default()
            });
            vpc.foreign(AttachNetworkInterface {
                network_interface_id: made.unwrap().network_interface.network_interface_id,
                instance_id,
                device_index: device.into(),
                network_card_index: None,
            })
            .unwrap();
        });
    }

    /// What this node's daemon has asked of EC2 about what is kept from it, but for looking.
    pub(crate) fn changes_of_kept(&self) -> Vec<String> {
        let kept = self.shared.cloud_of(&self.instance).enis.into_iter().filter(Eni::is_kept_from_node);
        let kept: Vec<String> = kept.map(|eni| eni.id).collect();
        let caller = Caller::instance(&self.instance);
        let mut changes = Vec::new();
        self.shared.now(|vpc| {
            let calls = vpc.log().by(&caller);
            for call in calls.filter(|call| !call.action.to_string().starts_with("Describe")) {
                let request = format!("{:?}", call.request);
                let of = kept.iter().filter(|id| request.contains(id.as_str()));
                changes.extend(of.map(|id| format!("{} of {id}, which is kept from the node", call.action)));
            }
        });
        changes
    }
}

#[test]
fn an_eni_that_is_kept_from_the_node_is_left_alone() {
    let node = one_node("m5.large", warm(0, 1, 0), 40);
    node.attach_kept(2, 5);
    node.live(&Steps::default(), async |life| {
        // All that the two others carry.
        for number in 0..18 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        let refused = life.add("one-more", "one-more").await.unwrap_err().to_string();
        assert!(refused.contains("18"), "{refused}");
        life.del("one-more").await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        for number in 0..18 {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(400)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn what_is_made_for_the_node_has_the_tags_of_its_configuration() {
    let node = one_node("m5.large", warm(1, 0, 0), 41);
    node.live(&Steps::default(), async |life| {
        life.add("web", "c0").await.unwrap();
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
    let made = node.shared.cloud_of(&node.instance).enis.into_iter().filter(Eni::was_made);
    assert_eq!(made.count(), 1, "one is spare");
}
