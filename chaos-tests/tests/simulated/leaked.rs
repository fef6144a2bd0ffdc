//! ENIs that nodes of the cluster have left behind when they ended, among others that look like them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_sim::vpc::request::{CreateNetworkInterface, TagSpecification};
use holdfast_sim::vpc::{Action, EniId};

use crate::box_of::{nodes, warm};
use crate::node::Node;
use crate::steps::Steps;

const CREATED: &str = "2025-01-01T00:00:00Z";

impl Node {
    /// Somebody made an ENI with this description and these tags, and left it.
    pub(crate) fn leave(&self, description: &str, tags: &[(&str, &str)]) -> EniId {
        let tags: BTreeMap<String, String> =
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let tags = TagSpecification { resource_type: "network-interface".to_owned(), tags };
        self.shared.now(|vpc| {
            let subnet_id = vpc.authoritative().subnets()[0].subnet_id;
            let made = vpc.foreign(CreateNetworkInterface {
                subnet_id,
                description: Some(description.to_owned()),
                tag_specifications: vec![tags],
                ..CreateNetworkInterface::default()
            });
            made.unwrap().network_interface.network_interface_id
        })
    }

    fn unattached(&self) -> BTreeSet<EniId> {
        let enis = self.shared.now(|vpc| vpc.authoritative().network_interfaces());
        enis.iter().filter(|eni| eni.attachment.is_none()).map(|eni| eni.network_interface_id).collect()
    }
}

fn tags<'a>(cluster: &'a str, instance: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("cluster.k8s.amazonaws.com/name", cluster),
        ("eks:eni:owner", "amazon-vpc-cni"),
        ("node.k8s.amazonaws.com/instance_id", instance),
        ("node.k8s.amazonaws.com/createdAt", CREATED),
    ]
}

#[test]
fn what_an_ended_node_left_is_deleted_and_nothing_that_looks_like_it() {
    const DEAD: &str = "i-0dead0dead0dead00";
    for named in [true, false] {
        let mut config = warm(1, 0, 0);
        if !named {
            config.cluster.value = None;
        }
        let both = nodes(2, "m5.large", config, 420);
        let (node, alive) = (&both[0], both[1].instance.to_string());
        let described = format!("aws-K8S-{DEAD}");
        let left = node.leave(&described, &tags("prod", DEAD));
        let others: BTreeSet<EniId> = [
            node.leave(&described, &tags("prod-2", DEAD)),
            node.leave(&described, &tags("prod", DEAD)[1..]),
            node.leave(&format!("aws-K8S-{alive}"), &tags("prod", &alive)),
            node.leave("made by hand", &tags("prod", DEAD)),
            node.leave(
                &described,
                &[&tags("prod", DEAD)[..], &[("node.k8s.amazonaws.com/no_manage", "true")]].concat(),
            ),
            node.leave(&described, &[]),
        ]
        .into();
        node.live(&Steps::default(), async |life| {
            life.add("a", "a").await.unwrap();
            tokio::time::sleep(Duration::from_secs(160 * 60)).await;
            assert_eq!(node.broken_promises(), Vec::<String>::new());
            let called = node.calls_by_action();
            let asked = called.get(&Action::DescribeInstances).copied().unwrap_or(0);
            let deleted = called.get(&Action::DeleteNetworkInterface).copied().unwrap_or(0);
            assert_eq!((asked, deleted), if named { (1, 1) } else { (0, 0) }, "{called:?}");
            assert!(called[&Action::DescribeNetworkInterfaces] <= 6, "{called:?}");
        })
        .unwrap();
        let there = node.unattached();
        assert_eq!(there.contains(&left), !named);
        assert!(others.is_subset(&there), "{:?} are gone", others.difference(&there));
    }
}
