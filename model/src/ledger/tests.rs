use std::net::IpAddr;

use super::*;
use crate::block::BlockState;
use crate::ids::BootId;
use crate::time::{BootTime, Now, WallTime};
use crate::uses::{Cooldown, Suspicion};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn block(net: &str, eni: &str) -> Block {
    Block::held(net.parse().unwrap(), EniId::new(eni), BootTime(0))
}

fn nets_on(ledger: &Ledger, eni: &str) -> Vec<String> {
    ledger.blocks_on(&EniId::new(eni)).map(|block| block.net.to_string()).collect()
}

#[test]
fn blocks_are_found_by_their_eni_wherever_they_move() {
    let mut ledger = Ledger::default();
    for (net, eni) in [("10.0.0.7/32", "a"), ("10.0.0.16/28", "a"), ("10.0.0.9/32", "b")] {
        ledger.apply(&Change::PutBlock(block(net, eni)));
    }
    assert_eq!(nets_on(&ledger, "a"), ["10.0.0.7/32", "10.0.0.16/28"]);
    ledger.apply(&Change::PutBlock(block("10.0.0.7/32", "b")));
    assert_eq!(nets_on(&ledger, "a"), ["10.0.0.16/28"]);
    assert_eq!(nets_on(&ledger, "b"), ["10.0.0.7/32", "10.0.0.9/32"]);
    ledger.apply(&Change::DropBlock("10.0.0.16/28".parse().unwrap()));
    ledger.apply(&Change::DropBlock("10.9.9.9/32".parse().unwrap()));
    assert!(nets_on(&ledger, "a").is_empty());
    assert_eq!(ledger.block_of(ip("10.0.0.17")), None);
    assert_eq!(ledger.block_of(ip("10.0.0.9")), Some(&block("10.0.0.9/32", "b")));
}

#[test]
fn an_address_does_exactly_one_thing() {
    let rest = Cooldown { boot: BootId::new("b"), since: BootTime(10), period_ms: 5 };
    let at = |ms| Now { boot: BootId::new("b"), boottime: BootTime(ms), wall: WallTime(0) };
    let mut ledger = Ledger::default();
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Unknown);
    ledger.apply(&Change::PutBlock(block("10.0.0.16/28", "a")));
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Free);
    assert!(ledger.is_free(ip("10.0.0.17"), &at(0)) && !ledger.is_free(ip("10.0.0.32"), &at(0)));

    ledger.apply(&Change::PutUse(ip("10.0.0.17"), Use::Cooling(rest.clone())));
    assert_eq!(ledger.standing(ip("10.0.0.17")), Standing::Cooling(&rest));
    assert!(!ledger.is_free(ip("10.0.0.17"), &at(14)) && ledger.is_free(ip("10.0.0.17"), &at(15)));
    ledger.apply(&Change::PutUse(ip("10.0.0.17"), Use::Suspect(Suspicion::MaybeInUse)));
    assert!(!ledger.is_free(ip("10.0.0.17"), &at(99)));

    ledger.apply(&Change::PutBlock(Block {
        state: BlockState::Gone(BootTime(3)),
        ..block("10.0.0.16/28", "a")
    }));
    assert_eq!(ledger.standing(ip("10.0.0.18")), Standing::Gone(BootTime(3)));
    assert_eq!(
        ledger.standing(ip("10.0.0.17")),
        Standing::Suspect(Suspicion::MaybeInUse),
        "a use outlives its block"
    );
    assert!(!ledger.is_free(ip("10.0.0.18"), &at(99)));
}

#[test]
fn a_block_knows_who_is_in_it() {
    let mut ledger = Ledger::default();
    let prefix = block("10.0.0.16/28", "a");
    let rest = Cooldown { boot: BootId::new("b"), since: BootTime(10), period_ms: 5 };
    ledger.apply(&Change::PutUse(ip("10.0.0.15"), Use::Suspect(Suspicion::MaybeInUse)));
    ledger.apply(&Change::PutUse(ip("10.0.0.32"), Use::Suspect(Suspicion::MaybeInUse)));
    ledger.apply(&Change::PutUse(ip("10.0.0.16"), Use::Cooling(rest)));
    assert!(!ledger.is_somebodys(&prefix));
    ledger.apply(&Change::PutUse(ip("10.0.0.31"), Use::Suspect(Suspicion::MaybeInUse)));
    assert!(ledger.is_somebodys(&prefix));
    let inside: Vec<String> = ledger.uses_in(prefix.net).map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(inside, ["10.0.0.16", "10.0.0.31"]);
}
