//! Assigning and unassigning addresses: the rules beside the limits.

use super::*;
use crate::vpc::request::*;

#[test]
fn nothing_is_named_twice_in_one_request() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let held = bed.assign(&eni, 1).unwrap()[0];
    let free = ip("10.0.0.77");
    for allow_reassignment in [false, true] {
        let twice = AssignPrivateIpAddresses {
            network_interface_id: eni,
            private_ip_addresses: vec![free, free],
            allow_reassignment,
            ..Default::default()
        };
        assert_eq!(bed.code(twice), "InvalidParameterValue");
    }
    let unassign = UnassignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: vec![held, held],
        ipv4_prefixes: Vec::new(),
    };
    assert_eq!(bed.code(unassign), "InvalidParameterValue");
    let groups = CreateNetworkInterface { groups: vec![bed.group, bed.group], ..bed.create() };
    assert_eq!(bed.code(groups), "InvalidParameterValue");
}

#[test]
fn what_a_full_eni_has_already_can_be_assigned_to_it_again_and_stays_in_its_place() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let held = bed.assign(&eni, 9).unwrap();
    let again = AssignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: vec![held[0]],
        allow_reassignment: true,
        ..Default::default()
    };
    bed.call(again).unwrap();
    assert_eq!(bed.eni(&eni).secondary_ips().collect::<Vec<_>>(), held);
}

#[test]
fn an_efa_only_interface_takes_no_address_of_either_family() {
    let mut bed = Bed::new();
    let create = CreateNetworkInterface { interface_type: Some("efa-only".to_owned()), ..bed.create() };
    let eni = bed.call(create).unwrap().network_interface.network_interface_id;
    let chosen = AssignPrivateIpAddresses {
        network_interface_id: eni,
        secondary_private_ip_address_count: Some(1),
        ..Default::default()
    };
    assert_eq!(bed.code(chosen), "InvalidParameterValue");
    let moved = AssignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: vec![ip("10.0.0.77")],
        allow_reassignment: true,
        ..Default::default()
    };
    assert_eq!(bed.code(moved), "InvalidParameterValue");
    let ipv6 =
        AssignIpv6Addresses { network_interface_id: eni, ipv6_address_count: Some(1), ..Default::default() };
    assert_eq!(bed.code(ipv6), "InvalidParameterValue");
}

#[test]
fn only_prefixes_need_nitro() {
    let mut bed = Bed::with_type("m4.4xlarge");
    let (eni, _) = bed.attached(1);
    assert_eq!(bed.assign(&eni, 2).unwrap().len(), 2);
    let named = AssignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: vec![ip("10.0.0.77")],
        ..Default::default()
    };
    bed.call(named).unwrap();
}

#[test]
fn an_error_says_of_which_family_it_is() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let ipv4 = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefixes: vec![net("10.0.0.32/29")],
        ..Default::default()
    };
    assert_eq!(bed.error(ipv4).message, "The IPv4 prefix 10.0.0.32/29 is not a valid /28 prefix");
    let ipv6 = AssignIpv6Addresses {
        network_interface_id: eni,
        ipv6_prefixes: vec!["2600:1f14:1:1000::/96".parse().unwrap()],
        ..Default::default()
    };
    assert_eq!(bed.error(ipv6).message, "The IPv6 prefix 2600:1f14:1:1000::/96 is not a valid /80 prefix");
}
