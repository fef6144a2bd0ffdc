//! Subnets and blocks that the VPC gets while the network runs.

use std::net::Ipv4Addr;
use std::time::Duration;

use holdfast_datapath::netlink::Lookup;
use holdfast_sim::vpc::request::{AttachNetworkInterface, CreateNetworkInterface};
use holdfast_sim::vpc::{SubnetId, SubnetSpec, Tags};
use ipnet::{IpNet, Ipv4Net};

use crate::ipv6;
use crate::metadata::{ANY, who};
use crate::nodes::{run, spec};
use crate::site::{ONE, Site, THREE, TWO, configure_second, exchange, hold, one_way, reaches};

fn add_subnet(site: &Site, block: &str) -> SubnetId {
    let (ipv4, ipv6) = match block.parse().unwrap() {
        IpNet::V4(ipv4) => (Some(ipv4), None),
        IpNet::V6(ipv6) => (None, Some(ipv6)),
    };
    site.shared
        .with(|vpc| {
            let of = vpc.authoritative().vpcs()[0].vpc_id;
            let availability_zone = "us-west-2a".to_owned();
            vpc.add_subnet(SubnetSpec { vpc: of, availability_zone, ipv4, ipv6, tags: Tags::new() })
        })
        .unwrap()
}

fn add_block(site: &Site, cidr: &str) {
    let cidr: Ipv4Net = cidr.parse().unwrap();
    site.shared
        .with(|vpc| {
            let of = vpc.authoritative().vpcs()[0].vpc_id;
            vpc.add_vpc_cidr(&of, cidr)
        })
        .unwrap();
}

/// Attaches an ENI of this subnet to the first node, and has packets go between it and others.
fn attach_and_exchange(site: &Site, subnet_id: SubnetId, address: Ipv4Addr) {
    let created = site.operator(CreateNetworkInterface {
        subnet_id,
        private_ip_address: Some(address),
        ..CreateNetworkInterface::default()
    });
    site.operator(AttachNetworkInterface {
        network_interface_id: created.network_interface.network_interface_id,
        instance_id: *site.node("one").instance(),
        device_index: 1,
        network_card_index: None,
    });
    site.pass(Duration::from_millis(300));
    let one = &site.namespace("one");
    configure_second(one, address);
    assert!(exchange((one, address), (&site.namespace("two"), TWO)), "by its own gateway");
    assert!(exchange((one, address), (&site.namespace("three"), THREE)));
    assert_eq!(who(one, address).unwrap(), site.node("one").instance().as_str());
}

#[test]
fn a_second_eni_in_a_subnet_that_was_added_is_linked_and_routed() {
    let site = Site::up();
    let subnet = add_subnet(&site, "10.0.32.0/20");
    attach_and_exchange(&site, subnet, Ipv4Addr::new(10, 0, 32, 50));
}

#[test]
fn a_node_in_a_subnet_that_was_added_is_a_node_like_any_other() {
    let mut site = Site::up();
    let address = Ipv4Addr::new(10, 0, 32, 10);
    let subnet = add_subnet(&site, "10.0.32.0/20");
    let instance = run(&site, subnet, Some(address));
    site.fabric.add_node(&spec("four", instance)).unwrap();
    let four = &site.namespace("four");
    assert!(exchange((four, address), (&site.namespace("two"), TWO)));
    assert_eq!(who(four, ANY).unwrap(), instance.as_str());
    site.reboot("four");
    assert!(exchange((&site.namespace("four"), address), (&site.namespace("two"), TWO)));
}

#[test]
fn a_node_in_a_subnet_of_ipv6_that_was_added_is_a_node_like_any_other() {
    let mut site = Site::of(ipv6::SCENARIO);
    let subnet = add_subnet(&site, "2600:1f13:a:2::/64");
    let instance = run(&site, subnet, None);
    site.fabric.add_node(&spec("four", instance)).unwrap();
    let [at_four, at_bare] = ["four", "bare"].map(|name| ipv6::own(&site, name));
    assert!(exchange((&site.namespace("four"), at_four), (&site.namespace("bare"), at_bare)));
}

#[test]
fn a_block_that_was_added_is_the_vpcs_and_nobody_elses() {
    let site = Site::up();
    let (one, internet) = (&site.namespace("one"), site.fabric.internet());
    let nobody = Ipv4Addr::new(100, 64, 9, 9);
    hold(internet, nobody);
    assert!(reaches((one, ONE), (internet, nobody)), "not of the VPC yet");
    add_block(&site, "100.64.0.0/16");
    site.settle();
    assert!(!one_way((one, ONE), (internet, nobody)), "of the VPC, and nobody has it");
    let mut router = site.fabric.router().socket().unwrap();
    assert_eq!(router.route_to(nobody.into(), &Lookup::default()).unwrap(), None);
    let subnet = add_subnet(&site, "100.64.16.0/20");
    attach_and_exchange(&site, subnet, Ipv4Addr::new(100, 64, 16, 50));
}
