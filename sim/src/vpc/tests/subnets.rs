//! Address arithmetic of subnets, prefixes, IPv6, and the set-up's own checks.

use std::collections::BTreeSet;

use super::*;
use crate::vpc::request::*;

#[test]
fn five_addresses_of_a_subnet_are_reserved() {
    let mut bed = Bed::new();
    assert_eq!(bed.free(&bed.elsewhere), 251);
    assert_eq!(bed.free(&bed.tiny), 11);
    let mut seen = BTreeSet::new();
    for _ in 0..11 {
        let operation = CreateNetworkInterface { subnet_id: bed.tiny, ..Default::default() };
        seen.insert(bed.call(operation).unwrap().network_interface.primary_ip().unwrap());
    }
    assert_eq!(seen.first(), Some(&ip("10.0.1.4")));
    assert_eq!(seen.last(), Some(&ip("10.0.1.14")));
    assert_eq!(seen.len(), 11);
}

#[test]
fn prefixes_are_aligned_wholly_free_and_count_sixteen() {
    let mut bed = Bed::new();
    let subnet = bed.subnet;
    let eni = bed.created();
    let free = bed.free(&subnet);
    let operation = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefix_count: Some(3),
        ..Default::default()
    };
    let prefixes = bed.call(operation).unwrap().prefixes;
    assert_eq!((prefixes.len(), bed.free(&subnet)), (3, free - 48));
    assert!(prefixes.iter().all(|p| p.prefix_len() == 28 && p.addr() == p.network()));
    // 16 blocks; those of the reserved addresses, of the node and of the ENI cannot be had.
    let own = net(&format!("{}/28", bed.eni(&eni).primary_ip().unwrap())).trunc();
    let lost: BTreeSet<Ipv4Net> = BTreeSet::from([net("10.0.0.0/28"), net("10.0.0.240/28"), own]);
    let left = 16 - lost.len() - 3;
    let all = |count: usize| AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefix_count: Some(i64::try_from(count).unwrap()),
        ..Default::default()
    };
    assert_eq!(bed.code(all(left + 1)), "InsufficientCidrBlocks");
    bed.call(all(left)).unwrap();
    let back = UnassignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: Vec::new(),
        ipv4_prefixes: prefixes.clone(),
    };
    bed.call(back).unwrap();
    let one = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefixes: vec![prefixes[0]],
        ..Default::default()
    };
    assert_eq!(bed.call(one).unwrap().prefixes, prefixes[..1]);
}

#[test]
fn single_addresses_never_come_out_of_an_assigned_prefix() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let operation = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefix_count: Some(5),
        ..Default::default()
    };
    let prefixes = bed.call(operation).unwrap().prefixes;
    let count = i64::from(bed.free(&bed.subnet));
    let singles = bed.assign(&eni, count).unwrap();
    assert!(singles.iter().all(|address| !prefixes.iter().any(|prefix| prefix.contains(address))));
    assert_eq!(bed.free(&bed.subnet), 0);
}

#[test]
fn ipv6_addresses_and_prefixes_lie_in_the_subnets_block() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let block: Ipv6Net = "2600:1f14:1:1000::/64".parse().unwrap();
    let assign = |count, prefixes| AssignIpv6Addresses {
        network_interface_id: eni,
        ipv6_address_count: count,
        ipv6_prefix_count: prefixes,
        ..Default::default()
    };
    let addresses = bed.call(assign(Some(2), None)).unwrap().addresses;
    let prefixes = bed.call(assign(None, Some(2))).unwrap().prefixes;
    assert!(addresses.iter().all(|address| block.contains(address)));
    assert!(prefixes.iter().all(|prefix| block.contains(prefix) && prefix.prefix_len() == 80));
    let unassign = UnassignIpv6Addresses {
        network_interface_id: eni,
        ipv6_addresses: addresses.clone(),
        ipv6_prefixes: prefixes.clone(),
    };
    let gone = bed.call(unassign).unwrap();
    assert_eq!((gone.addresses, gone.prefixes), (addresses, prefixes));
    let operation =
        CreateNetworkInterface { subnet_id: bed.tiny, ipv6_address_count: Some(1), ..Default::default() };
    assert_eq!(bed.code(operation), "InvalidParameterValue");
}

#[test]
fn an_ipv6_only_subnet_gives_enis_without_ipv4() {
    let mut bed = Bed::new();
    let subnet = bed
        .vpc
        .add_subnet(SubnetSpec {
            vpc: bed.vpc_id,
            availability_zone: "us-west-2a".to_owned(),
            ipv4: None,
            ipv6: Some("2600:1f14:1:1001::/64".parse().unwrap()),
            tags: Tags::new(),
        })
        .unwrap();
    let operation =
        CreateNetworkInterface { subnet_id: subnet, ipv6_address_count: Some(1), ..Default::default() };
    let eni = bed.call(operation).unwrap().network_interface;
    assert_eq!((eni.private_ip_addresses.len(), eni.ipv6_addresses.len()), (0, 1));
    let operation = bed.attach(&eni.network_interface_id, 1);
    bed.call(operation).unwrap();
    let shown = bed.vpc.imds_view(&bed.node).unwrap().interfaces;
    assert!(shown.iter().any(|i| i.local_ipv4s.is_empty() && i.ipv6s == eni.ipv6_addresses));
}

#[test]
fn set_up_refuses_what_ec2_refuses() {
    let mut bed = Bed::new();
    for bad in [&[][..], &["10.0.0.0/8"], &["10.0.0.0/29"], &["10.1.0.1/16"], &["10.1.0.0/16", "10.1.2.0/24"]]
    {
        let blocks: Vec<_> = bad.iter().map(|text| net(text)).collect();
        assert!(bed.vpc.add_vpc(&blocks, None, Tags::new()).is_err(), "{bad:?}");
    }
    let spec = |zone: &str, ipv4: Option<&str>, ipv6: Option<&str>| SubnetSpec {
        vpc: bed.vpc_id,
        availability_zone: zone.to_owned(),
        ipv4: ipv4.map(net),
        ipv6: ipv6.map(|text| text.parse().unwrap()),
        tags: Tags::new(),
    };
    let bad = [
        spec("us-west-2", Some("10.0.9.0/24"), None),
        spec("eu-west-1a", Some("10.0.9.0/24"), None),
        spec("us-west-2a", None, None),
        spec("us-west-2a", Some("10.1.0.0/24"), None),
        spec("us-west-2a", Some("10.0.0.128/25"), None),
        spec("us-west-2a", Some("10.0.9.0/24"), Some("2600:1f14:1:1000::/64")),
        spec("us-west-2a", Some("10.0.9.0/24"), Some("2600:1f14:1:1002::/72")),
        spec("us-west-2a", Some("10.0.9.0/24"), Some("2600:9999::/64")),
    ];
    let good = spec("us-west-2c", Some("10.0.9.0/24"), Some("2600:1f14:1:1002::/64"));
    for spec in bad {
        assert!(bed.vpc.add_subnet(spec.clone()).is_err(), "{spec:?}");
    }
    let id = bed.vpc.add_subnet(good).unwrap();
    assert_eq!(bed.vpc.authoritative().subnet(&id).unwrap().availability_zone_id, "usw2-az3");
}
