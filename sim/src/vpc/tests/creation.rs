//! Creating ENIs: named addresses, special types and tokens.

use super::*;
use crate::vpc::request::*;

#[test]
fn one_named_address_is_the_primary_and_the_others_follow_in_their_order() {
    let mut bed = Bed::new();
    let named = |text: &str, primary| PrivateIpSpec { address: ip(text), primary };
    let create = CreateNetworkInterface {
        private_ip_addresses: vec![
            named("10.0.0.90", false),
            named("10.0.0.91", true),
            named("10.0.0.50", false),
        ],
        ..bed.create()
    };
    let made = bed.call(create).unwrap().network_interface;
    assert_eq!(made.primary_ip(), Some(ip("10.0.0.91")));
    assert_eq!(made.secondary_ips().collect::<Vec<_>>(), [ip("10.0.0.90"), ip("10.0.0.50")]);
}

#[test]
fn a_primary_address_that_ec2_chooses_is_none_of_the_named_ones() {
    let mut bed = Bed::new();
    let all_but_one =
        (4..14).map(|last| PrivateIpSpec { address: Ipv4Addr::new(10, 0, 1, last), primary: false });
    let create = CreateNetworkInterface {
        subnet_id: bed.tiny,
        private_ip_addresses: all_but_one.collect(),
        ..Default::default()
    };
    let made = bed.call(create).unwrap().network_interface;
    assert_eq!(made.primary_ip(), Some(ip("10.0.1.14")), "the only one that is left");
    assert_eq!(bed.free(&bed.tiny), 0);
}

#[test]
fn an_efa_only_interface_is_not_made_with_addresses_of_either_family() {
    let mut bed = Bed::new();
    let efa_only = CreateNetworkInterface { interface_type: Some("efa-only".to_owned()), ..bed.create() };
    let ipv6 = CreateNetworkInterface { ipv6_address_count: Some(1), ..efa_only.clone() };
    assert_eq!(bed.code(ipv6.clone()), "InvalidParameterCombination");
    let both = CreateNetworkInterface { secondary_private_ip_address_count: Some(1), ..ipv6 };
    assert_eq!(bed.code(both), "InvalidParameterCombination");
    let primary = CreateNetworkInterface { private_ip_address: Some(ip("10.0.0.77")), ..efa_only };
    assert_eq!(bed.code(primary), "InvalidParameterCombination");
}

#[test]
fn a_client_token_is_1_to_64_ascii_characters() {
    let mut bed = Bed::new();
    let with = |bed: &Bed, token: &str| CreateNetworkInterface {
        client_token: Some(token.to_owned()),
        ..bed.create()
    };
    for bad in ["", "\u{e9}", &"x".repeat(65)] {
        let create = with(&bed, bad);
        assert_eq!(bed.code(create), "InvalidParameterValue", "{bad}");
    }
    let longest = with(&bed, &"x".repeat(64));
    bed.call(longest).unwrap();
}
