//! An ENI that a user attached for a program of its own, and keeps from the node by a tag.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use holdfast_chaos_tests::oracle::picture::Eni;
use holdfast_model::eni::{EniPhase, Management};
use holdfast_model::ledger::Ledger;
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, CreateTags, DeleteTags,
    TagSpecification,
};
use holdfast_sim::vpc::{Caller, EniId};

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

/// How soon what others change about an ENI is noticed. Of its tags metadata says nothing: they are seen with what else is
/// changed there, and at a start.
const NOTICED: Duration = Duration::from_secs(120);

impl Node {
    /// The only ENI beside the primary.
    fn second(&self) -> Eni {
        let enis = self.shared.cloud_of(&self.instance).enis;
        let mut others = enis.into_iter().filter(|eni| !eni.is_primary());
        let second = others.next().unwrap();
        assert!(others.next().is_none(), "there are more");
        second
    }

    /// What EC2 has on it here.
    fn addresses_on(&self, id: &str) -> Option<BTreeSet<Ipv4Addr>> {
        let enis = self.shared.cloud_of(&self.instance).enis;
        enis.into_iter().find(|eni| eni.id == id).map(|eni| eni.secondary)
    }

    /// Its owner puts an address onto it.
    fn use_eni(&self, id: &str) {
        let assign = AssignPrivateIpAddresses {
            network_interface_id: EniId::new(id),
            secondary_private_ip_address_count: Some(1),
            ..AssignPrivateIpAddresses::default()
        };
        self.shared.now(|vpc| vpc.foreign(assign)).unwrap();
    }

    /// How often this node's daemon asked EC2 to change it.
    fn changes_of(&self, id: &str) -> usize {
        let caller = Caller::instance(&self.instance);
        self.shared.now(|vpc| {
            let changes = vpc.log().by(&caller).filter(|call| !call.action.is_read());
            changes.filter(|call| format!("{:?}", call.request).contains(id)).count()
        })
    }
}

fn management(ledger: &Ledger, id: &str) -> Option<Management> {
    ledger.enis.values().find(|eni| eni.id.as_str() == id).map(|eni| eni.management)
}

/// Somebody wants an ENI for himself on which pods live: none is added, nothing of it is given back, and it is the pool's
/// again when he says so.
#[test]
fn an_eni_that_somebody_keeps_for_himself_later_on_is_let_be_until_he_gives_it_back() {
    let node = one_node("m5.large", warm(0, 2, 0), 42);
    let mut kept = String::new();
    node.live(&Steps::default(), async |life| {
        for number in 0..12 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        tokio::time::sleep(NOTICED).await;
        let eni = node.second();
        kept = eni.id.clone();
        let tag = CreateTags {
            resources: vec![eni.id.clone()],
            tags: [(NO_MANAGE.0.to_owned(), NO_MANAGE.1.to_owned())].into(),
        };
        node.shared.now(|vpc| vpc.foreign(tag)).unwrap();
        node.use_eni(&eni.id);
        tokio::time::sleep(NOTICED).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        assert_eq!(management(&ledger, &eni.id), Some(Management::Unmanaged));
        assert_eq!(ledger.leases.len(), 12, "who lives there stays");
        let (changed, has) = (node.changes_of(&eni.id), node.addresses_on(&eni.id));
        for number in 0..12 {
            life.del(&format!("c{number}")).await;
        }
        for number in 0..9 {
            let lease = life.add(&format!("new-{number}"), &format!("n{number}")).await.unwrap();
            assert_ne!(lease.faces[0].eni.as_str(), eni.id);
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(has.is_some());
        assert_eq!((node.changes_of(&eni.id), node.addresses_on(&eni.id)), (changed, has));
    })
    .unwrap();
    let tag = DeleteTags { resources: vec![kept.clone()], tags: vec![(NO_MANAGE.0.to_owned(), None)] };
    node.shared.now(|vpc| vpc.foreign(tag)).unwrap();
    node.on_stage(async { tokio::time::sleep(NOTICED).await });
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(NOTICED).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        let eni = ledger.enis.values().find(|eni| eni.id.as_str() == kept);
        let ours = |eni: &holdfast_model::eni::EniRecord| eni.management == Management::Managed;
        assert!(eni.is_none_or(|eni| ours(eni) || eni.phase == EniPhase::Gone), "{eni:?}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// Somebody's clean-up of tags: an ENI of ours that bears none is no less ours.
#[test]
fn an_eni_that_has_lost_all_its_tags_is_managed_on() {
    let node = one_node("m5.large", warm(0, 2, 0), 43);
    node.live(&Steps::default(), async |life| {
        for number in 0..12 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        tokio::time::sleep(NOTICED).await;
        let eni = node.second();
        let none = DeleteTags { resources: vec![eni.id.clone()], tags: Vec::new() };
        node.shared.now(|vpc| vpc.foreign(none)).unwrap();
        node.use_eni(&eni.id);
        tokio::time::sleep(NOTICED).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        assert_eq!(management(&ledger, &eni.id), Some(Management::Managed));
        for number in 12..17 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        for number in 0..17 {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new(), "it was given back");
    })
    .unwrap();
}
