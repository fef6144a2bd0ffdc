//! Somebody replaces the security groups of the primary ENI.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_sim::vpc::request::ModifyNetworkInterfaceAttribute;
use holdfast_sim::vpc::{EniId, SecurityGroupId, Tags};

use crate::box_of::{one_node, warm};
use crate::node::Node;
use crate::steps::Steps;

/// The metadata service is asked every 80 s, and then EC2 is, twice where Describe lags.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(180);

/// The groups of each ENI of the node, by device number.
fn groups(node: &Node) -> BTreeMap<u32, (EniId, Vec<SecurityGroupId>)> {
    let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces());
    enis.iter()
        .filter_map(|eni| {
            let device = eni.attachment.as_ref()?.device_index;
            let groups = eni.groups.iter().map(|group| group.group_id).collect();
            Some((device, (eni.network_interface_id, groups)))
        })
        .collect()
}

/// Gives the primary a new group and no other.
fn replace(node: &Node, name: &str) -> SecurityGroupId {
    let primary = groups(node)[&0].0;
    node.shared.now(|vpc| {
        let net = vpc.authoritative().subnets()[0].vpc_id;
        let group = vpc.add_security_group(&net, name, Tags::new()).unwrap();
        let change = ModifyNetworkInterfaceAttribute {
            network_interface_id: primary,
            groups: vec![group],
            ..ModifyNetworkInterfaceAttribute::default()
        };
        vpc.foreign(change).unwrap();
        group
    })
}

#[test]
fn all_enis_follow_soon_and_what_changed_meanwhile_at_the_next_start() {
    let node = one_node("m5.large", warm(1, 0, 0), 26);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        let group = replace(&node, "first");
        tokio::time::sleep(FOLLOWED_WITHIN).await;
        let all = groups(&node);
        assert!(all.len() > 1, "{all:?}");
        assert!(all.values().all(|(_, groups)| *groups == [group]), "{all:?}");
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
    let group = replace(&node, "second");
    // Describes lag.
    node.on_stage(async { tokio::time::sleep(Duration::from_secs(60)).await });
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let all = groups(&node);
        assert!(all.values().all(|(_, groups)| *groups == [group]), "{all:?}");
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}
