//! The boxes that these tests use.

use holdfast_model::config::{Config, Setting, WarmTargets};
use holdfast_model::pool::Family;
use holdfast_sim::vpc::{BoxConfig, InstanceSpec, SimVpc, SubnetSpec, Tags, Timing};

use crate::node::Node;
use crate::shared::Stage;

/// One node of this type in a roomy subnet.
pub(crate) fn one_node(instance_type: &str, config: Config, seed: u64) -> Node {
    nodes(1, instance_type, config, seed).remove(0)
}

/// The same in a subnet of both families, whatever its pods have.
pub(crate) fn one_node_of_both(instance_type: &str, config: Config, seed: u64) -> Node {
    boxed(1, instance_type, config, seed, &[], true).remove(0)
}

/// So many of them in one box, on one runtime.
pub(crate) fn nodes(count: usize, instance_type: &str, config: Config, seed: u64) -> Vec<Node> {
    in_box(count, instance_type, config, seed, &[])
}

/// A subnet besides the nodes' own.
pub(crate) struct Other {
    /// Its block.
    pub(crate) block: &'static str,
    /// Its tags.
    pub(crate) tags: &'static [(&'static str, &'static str)],
}

/// The same with more subnets in their zone, and a group of pods.
pub(crate) fn in_box(
    count: usize,
    instance_type: &str,
    config: Config,
    seed: u64,
    others: &[Other],
) -> Vec<Node> {
    let ipv6 = config.family.value == Family::V6;
    boxed(count, instance_type, config, seed, others, ipv6)
}

fn boxed(
    count: usize,
    instance_type: &str,
    config: Config,
    seed: u64,
    others: &[Other],
    ipv6: bool,
) -> Vec<Node> {
    let mut vpc = SimVpc::new(BoxConfig { seed, timing: Timing::life(), ..BoxConfig::default() });
    let block = ipv6.then(|| "2600:1f13:a::/56".parse().unwrap());
    let net = vpc.add_vpc(&["10.0.0.0/16".parse().unwrap()], block, Tags::new()).unwrap();
    let subnet = vpc
        .add_subnet(SubnetSpec {
            vpc: net,
            availability_zone: "us-west-2a".to_owned(),
            ipv4: Some("10.0.0.0/20".parse().unwrap()),
            ipv6: ipv6.then(|| "2600:1f13:a::/64".parse().unwrap()),
            tags: Tags::new(),
        })
        .unwrap();
    for other in others {
        let tags = other.tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        vpc.add_subnet(SubnetSpec {
            vpc: net,
            availability_zone: "us-west-2a".to_owned(),
            ipv4: Some(other.block.parse().unwrap()),
            ipv6: None,
            tags: tags.collect(),
        })
        .unwrap();
    }
    if !others.is_empty() {
        vpc.add_security_group(&net, "pods", Tags::new()).unwrap();
    }
    // Not the VPC's default one, which is what an ENI without a group gets.
    let group = vpc.add_security_group(&net, "nodes", Tags::new()).unwrap();
    let mut instances = Vec::new();
    for _ in 0..count {
        let spec = InstanceSpec {
            instance_type: instance_type.to_owned(),
            subnet,
            security_groups: vec![group],
            private_ip: None,
            ipv6_address_count: u32::from(ipv6),
            tags: Tags::new(),
        };
        instances.push(vpc.run_instance(spec).unwrap());
    }
    let stage = Stage::new(vpc);
    let seeds = seed..;
    let on_stage = |(instance, seed)| Node::new(&stage, instance, config.clone(), seed);
    instances.into_iter().zip(seeds).map(on_stage).collect()
}

/// Upstream's defaults but for the warm targets, in a cluster whose ENIs bear a tag of its owner's.
pub(crate) fn warm(warm_enis: u32, warm_ips: u32, minimum_ips: u32) -> Config {
    Config {
        warm: Setting::default_of(WarmTargets { warm_enis, warm_ips, minimum_ips, ..WarmTargets::default() }),
        cluster: Setting::default_of(Some("prod".to_owned())),
        extra_tags: Setting::default_of([("team".to_owned(), "web".to_owned())].into()),
        ..Config::default()
    }
}
