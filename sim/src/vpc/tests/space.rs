//! Choosing addresses and prefixes until there are none left.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::*;
use crate::vpc::rng::Stream;
use crate::vpc::space::{Full, Holder, Space};

fn eni() -> EniId {
    EniId::new("eni-0aaaaaaaaaaaaaaaa")
}

fn space(text: &str) -> Space {
    Space::new(text.parse::<IpNet>().unwrap())
}

#[test]
fn every_address_is_chosen_once_but_those_that_are_kept_or_taken() {
    for seed in 0..8 {
        let mut choice = Stream::new(seed, 2);
        let mut space = space("10.0.0.0/24");
        let prefix: IpNet = "10.0.0.32/28".parse().unwrap();
        let explicit: IpNet = "10.0.0.64/27".parse().unwrap();
        // One before, one inside and one behind what is kept.
        let foreign = ["10.0.0.20", "10.0.0.70", "10.0.0.96"].map(|text| text.parse::<IpAddr>().unwrap());
        space.take_this_prefix(eni(), prefix).unwrap();
        space.reserve(explicit, ReservationKind::Explicit).unwrap();
        for address in foreign {
            space.take_this(address, Holder::Foreign).unwrap();
        }
        let free = |address: &IpAddr| {
            !prefix.contains(address) && !explicit.contains(address) && !foreign.contains(address)
        };
        let expected: BTreeSet<IpAddr> =
            (4..255).map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))).filter(free).collect();
        let mut chosen = BTreeSet::new();
        for _ in 0..expected.len() {
            chosen.extend(space.take(eni(), 1, &mut choice).unwrap());
        }
        assert_eq!(chosen, expected);
        assert_eq!(space.take(eni(), 1, &mut choice), Err(Full));
    }
}

#[test]
fn every_prefix_is_chosen_once_but_those_that_are_kept_or_touched() {
    let mut choice = Stream::new(1, 2);
    let mut space = space("10.0.0.0/24");
    space.reserve("10.0.0.128/26".parse().unwrap(), ReservationKind::Explicit).unwrap();
    for touched in ["10.0.0.16", "10.0.0.47"] {
        space.take_this(touched.parse().unwrap(), Holder::Foreign).unwrap();
    }
    let expected: BTreeSet<IpNet> = [48, 64, 80, 96, 112, 192, 208, 224]
        .map(|last| IpNet::new(Ipv4Addr::new(10, 0, 0, last).into(), 28).unwrap())
        .into();
    let mut chosen = BTreeSet::new();
    for _ in 0..expected.len() {
        chosen.extend(space.take_prefixes(eni(), 1, &mut choice).unwrap());
    }
    assert_eq!(chosen, expected);
    assert_eq!(
        space.take_prefixes(eni(), 1, &mut choice).unwrap_err().code,
        ErrorCode::InsufficientCidrBlocks
    );
}

#[test]
fn the_last_free_prefix_of_a_large_block_is_found() {
    let mut space = space("2600:1f14:1:1000::/64");
    let prefix = |number: u16| {
        let first = Ipv6Addr::new(0x2600, 0x1f14, 1, 0x1000, number, 0, 0, 0);
        IpNet::new(first.into(), 80).unwrap()
    };
    // The first and the last one have reserved addresses.
    for number in (1..0xffff).filter(|number| *number != 0x1235) {
        space.take_this_prefix(eni(), prefix(number)).unwrap();
    }
    for seed in 0..8 {
        let mut choice = Stream::new(seed, 2);
        assert_eq!(space.take_prefixes(eni(), 1, &mut choice), Ok(vec![prefix(0x1235)]));
        assert!(space.take_prefixes(eni(), 1, &mut choice).is_err());
        space.release_prefix(prefix(0x1235));
    }
}
