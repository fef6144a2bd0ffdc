//! An account of 2,000 nodes, 10,000 ENIs and 200,000 addresses, and what is done with it.

#![allow(clippy::unwrap_used, reason = "a test's support: its errors are panics")]

use std::time::{Duration, Instant};

use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, DescribeNetworkInterfaces,
    UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::{
    BoxConfig, Caller, EniId, Filter, InstanceId, InstanceSpec, Micros, SimVpc, SubnetId, SubnetSpec, Tags,
    Timing,
};

/// How large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub nodes: usize,
    pub enis_per_node: usize,
    pub addresses_per_eni: i64,
}

/// What the issue of this simulator's scale is measured at.
pub(crate) const LARGE: Size = Size { nodes: 2000, enis_per_node: 5, addresses_per_eni: 20 };

/// The account.
pub(crate) struct Account {
    pub vpc: SimVpc,
    pub nodes: Vec<InstanceId>,
    /// The secondary ENIs.
    pub enis: Vec<EniId>,
}

impl Account {
    /// Fills an account as its nodes would: each creates, attaches and tags its own.
    pub(crate) fn fill(size: Size, seed: u64) -> Self {
        let config = BoxConfig { seed, eni_quota: 100_000, ..BoxConfig::default() };
        let mut vpc = SimVpc::new(config);
        let blocks: Vec<ipnet::Ipv4Net> = (0..5).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect();
        let net = vpc.add_vpc(&blocks, None, Tags::new()).unwrap();
        let parts = blocks.iter().flat_map(|block| block.subnets(18).unwrap());
        let subnets: Vec<SubnetId> = parts
            .map(|ipv4| {
                let zone = "us-west-2a".to_owned();
                let spec = SubnetSpec {
                    vpc: net,
                    availability_zone: zone,
                    ipv4: Some(ipv4),
                    ipv6: None,
                    tags: Tags::new(),
                };
                vpc.add_subnet(spec).unwrap()
            })
            .collect();
        let (mut nodes, mut enis) = (Vec::new(), Vec::new());
        for number in 0..size.nodes {
            // One of the nodes every tenth of a second.
            vpc.advance_to(Micros(number as u64 * 100_000));
            let subnet = subnets[number % subnets.len()];
            let node = vpc
                .run_instance(InstanceSpec {
                    instance_type: "m5.4xlarge".to_owned(),
                    subnet,
                    security_groups: Vec::new(),
                    private_ip: None,
                    ipv6_address_count: 0,
                    tags: Tags::new(),
                })
                .unwrap();
            let caller = Caller::instance(&node);
            let primary = vpc.primary_eni(&node).unwrap();
            for device in 0..size.enis_per_node {
                let eni = if device == 0 {
                    primary
                } else {
                    let tags = [
                        ("node.k8s.amazonaws.com/instance_id".to_owned(), node.to_string()),
                        ("cluster.k8s.amazonaws.com/name".to_owned(), "fleet".to_owned()),
                    ];
                    let create = CreateNetworkInterface {
                        subnet_id: subnet,
                        description: Some(format!("aws-K8S-{node}")),
                        tag_specifications: vec![holdfast_sim::vpc::request::TagSpecification {
                            resource_type: "network-interface".to_owned(),
                            tags: Tags::from(tags),
                        }],
                        client_token: Some(format!("{node}-{device}")),
                        ..CreateNetworkInterface::default()
                    };
                    let eni = vpc.call(&caller, create).unwrap().network_interface.network_interface_id;
                    let attach = AttachNetworkInterface {
                        network_interface_id: eni,
                        instance_id: node,
                        device_index: i64::try_from(device).unwrap(),
                        network_card_index: Some(0),
                    };
                    vpc.call(&caller, attach).unwrap();
                    enis.push(eni);
                    eni
                };
                vpc.call(&caller, assign(eni, size.addresses_per_eni - 1)).unwrap();
            }
            nodes.push(node);
        }
        vpc.drain_events();
        Self { vpc, nodes, enis }
    }

    /// How long a call takes: the median of so many.
    pub(crate) fn median(&mut self, calls: usize, mut call: impl FnMut(&mut Self, usize)) -> Duration {
        let mut took: Vec<Duration> = (0..calls)
            .map(|number| {
                let start = Instant::now();
                call(self, number);
                start.elapsed()
            })
            .collect();
        took.sort_unstable();
        took[calls / 2]
    }

    pub(crate) fn describe_by_id(&mut self, number: usize) {
        let eni = self.enis[number * 7919 % self.enis.len()];
        let op = DescribeNetworkInterfaces { network_interface_ids: vec![eni], ..Default::default() };
        assert_eq!(self.vpc.call(&caller(), op).unwrap().items.len(), 1);
    }

    /// An address more, and the same given back.
    pub(crate) fn assign_and_unassign(&mut self, number: usize) {
        let eni = self.enis[number * 7919 % self.enis.len()];
        let added = self.vpc.call(&caller(), assign(eni, 1)).unwrap().addresses;
        let back = UnassignPrivateIpAddresses {
            network_interface_id: eni,
            private_ip_addresses: added,
            ..UnassignPrivateIpAddresses::default()
        };
        self.vpc.call(&caller(), back).unwrap();
    }

    /// One page of a thousand, wherever.
    pub(crate) fn full_page(&mut self, _: usize) {
        let op = DescribeNetworkInterfaces { max_results: Some(1000), ..Default::default() };
        assert_eq!(
            self.vpc.call(&caller(), op).unwrap().items.len(),
            1000.min(self.enis.len() + self.nodes.len())
        );
    }

    /// So many minutes of the box's time in which every node looks twice a minute at its own ENIs, while views lag as
    /// in life. Gives the number of calls.
    pub(crate) fn minutes_at_rest(&mut self, minutes: u64) -> usize {
        self.vpc.set_timing(Timing::life()).unwrap();
        let before = self.vpc.log().count(holdfast_sim::vpc::Action::DescribeNetworkInterfaces);
        let begun = self.vpc.now();
        let pause = 60_000_000 / (2 * self.nodes.len() as u64);
        for look in 0..minutes * 2 * self.nodes.len() as u64 {
            let at = Micros(begun.0 + look * pause);
            self.vpc.advance_to(at);
            let node = self.nodes[usize::try_from(look).unwrap() % self.nodes.len()];
            let op = DescribeNetworkInterfaces {
                filters: vec![Filter::new("attachment.instance-id", node.as_str())],
                ..Default::default()
            };
            self.vpc.send(&Caller::instance(&node), op);
        }
        self.vpc.advance_to(Micros(begun.0 + minutes * 60_000_000 + 1_000_000));
        self.vpc.log().count(holdfast_sim::vpc::Action::DescribeNetworkInterfaces) - before
    }
}

fn caller() -> Caller {
    Caller::named("operator")
}

fn assign(eni: EniId, count: i64) -> AssignPrivateIpAddresses {
    AssignPrivateIpAddresses {
        network_interface_id: eni,
        secondary_private_ip_address_count: Some(count),
        ..AssignPrivateIpAddresses::default()
    }
}

/// Memory of this process that is in use, in bytes, as the kernel counts it.
pub(crate) fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4096
}
