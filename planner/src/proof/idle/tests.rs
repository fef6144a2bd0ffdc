use std::time::Duration;

use holdfast_model::host::LinkAlias;
use holdfast_model::uses::{Cooldown, Suspicion, Use};

use super::*;
use crate::toy::{Toy, by_address, by_eni, by_prefix};
use crate::wanted::{Reason, WantedReads};

type Put<'a> = &'a dyn Fn(&mut Toy);

/// A toy with an attached ENI that carries nothing.
fn spare() -> (Toy, EniId) {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let eni = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().id.clone();
    (toy, eni)
}

fn drains(toy: &Toy, eni: &EniId) -> bool {
    let accord = Accord::reached(&toy.ledger, &toy.observed, &toy.now);
    accord.is_some_and(|accord| accord.surplus(&toy.ledger.enis[eni]).is_some())
}

fn unassigns(toy: &Toy, eni: &EniId) -> bool {
    let free = toy.ledger.blocks_on(eni).map(|block| block.net).take(1).collect();
    let accord = Accord::reached(&toy.ledger, &toy.observed, &toy.now);
    accord.is_some_and(|accord| accord.blocks(&toy.ledger.enis[eni], free).is_some())
}

#[test]
fn each_of_these_keeps_an_eni_and_its_addresses() {
    let (toy, eni) = spare();
    assert!(drains(&toy, &eni) && unassigns(&toy, &eni), "nothing speaks against it");
    let first = |toy: &Toy| toy.ledger.blocks_on(&eni).next().unwrap().net.addr();
    let stranger = || toy.ledger.leases.keys().map(LinkAlias::of).collect();
    let obstacles: [(&str, Put<'_>); 7] = [
        ("the kernel was not looked at", &|toy| toy.observed.traces.looked = false),
        ("a link that no lease explains", &|toy| toy.observed.traces.links = stranger()),
        ("EC2 was not read", &|toy| toy.observed.reads = WantedReads::default()),
        ("an answer in doubt", &|toy| {
            toy.observed.reads.want(Reason::Contradicted(eni.clone()), toy.now.boottime);
        }),
        ("others, who have it marked", &|toy| {
            toy.alter(&eni, |eni| eni.management = Management::Unmanaged);
        }),
        ("a suspicion", &|toy| {
            toy.ledger.apply(&Change::PutUse(first(toy), Use::Suspect(Suspicion::MaybeInUse)));
        }),
        ("a rest", &|toy| {
            let config = toy.config.clone();
            let desired = crate::Desired { config: &config, limits: toy.limits.clone() };
            let rest = crate::quarantine::rest(&desired, &toy.now);
            toy.ledger.apply(&Change::PutUse(first(toy), Use::Cooling(rest)));
        }),
    ];
    for (what, put) in obstacles {
        let (mut toy, _) = spare();
        put(&mut toy);
        assert!(!drains(&toy, &eni), "{what} keeps the ENI");
        assert!(!unassigns(&toy, &eni), "{what} keeps its addresses");
    }
}

#[test]
fn the_primary_an_efa_and_an_unknown_type_are_kept() {
    let (mut toy, eni) = spare();
    let primary = toy.ledger.enis.values().find(|eni| eni.is_primary()).unwrap().id.clone();
    assert!(!drains(&toy, &primary));
    let efa = EniRecord { kind: EniKind::Efa, ..toy.ledger.enis[&eni].clone() };
    toy.ledger.apply(&Change::PutEni(efa));
    assert!(!drains(&toy, &eni));
}

/// A pod whose lease the ledger lost may use any address here.
#[test]
fn nothing_is_given_back_under_a_sandbox_that_no_lease_explains() {
    let mut toy = Toy::new("t3.small", by_address(1, 0));
    toy.add_pods(5);
    toy.run_to_rest();
    let lost = toy.ledger.leases.keys().next().map(LinkAlias::of).unwrap();
    toy.delete_all_pods();
    toy.observed.traces.links.insert(lost);
    let has = |toy: &Toy| toy.cloud.enis.values().map(|eni| eni.secondary.len()).sum::<usize>();
    let before = has(&toy);
    toy.sleep(Duration::from_secs(600));
    toy.run_to_rest();
    assert_eq!(has(&toy), before);
    toy.observed.traces.links.clear();
    toy.run_to_rest();
    assert!(has(&toy) < before, "the accord is what kept them");
}

/// Each phase begins when it is entered: what waits for its age waits.
#[test]
fn what_is_chosen_to_go_is_young_in_its_new_phase() {
    let (mut toy, eni) = spare();
    toy.sleep(Duration::from_secs(600));
    let chosen = |toy: &Toy, unattached: bool| {
        let accord = Accord::reached(&toy.ledger, &toy.observed, &toy.now).unwrap();
        let idle = accord.eni(&toy.ledger.enis[&eni]).unwrap();
        let change = if unattached { idle.give_up(&toy.now) } else { idle.drain(&toy.now) };
        let Some(Change::PutEni(record)) = change else { panic!("{change:?}") };
        assert_eq!(record.since, toy.now.boottime);
        record.phase
    };
    assert!(matches!(chosen(&toy, false), EniPhase::Draining { .. }));
    toy.alter(&eni, |eni| eni.phase = EniPhase::Available);
    assert_eq!(chosen(&toy, true), EniPhase::Detached);
}

/// What is free on one ENI is no proof for another.
#[test]
fn addresses_are_idle_on_the_eni_that_has_them() {
    let (toy, eni) = spare();
    let accord = Accord::reached(&toy.ledger, &toy.observed, &toy.now).unwrap();
    let (here, there) = toy.ledger.enis.values().partition::<Vec<_>, _>(|record| record.id == eni);
    let free = |record: &EniRecord| {
        let mut blocks = toy.ledger.blocks_on(&record.id);
        blocks.find(|block| toy.ledger.is_idle(block, &toy.now)).unwrap().net
    };
    assert!(accord.blocks(here[0], vec![free(here[0])]).is_some());
    assert!(accord.blocks(here[0], vec![free(there[0])]).is_none());
}

/// A prefix goes whole or not at all: one address of it that is leased, rests or may be in use keeps all sixteen.
#[test]
fn one_used_address_keeps_its_whole_prefix() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(2));
    toy.run_to_rest();
    let primary = toy.ledger.enis.values().find(|eni| eni.is_primary()).unwrap().id.clone();
    let net = toy.ledger.blocks_on(&primary).next().unwrap().net;
    let gives = |toy: &Toy| {
        let accord = Accord::reached(&toy.ledger, &toy.observed, &toy.now).unwrap();
        accord.blocks(&toy.ledger.enis[&primary], vec![net]).is_some()
    };
    assert!(gives(&toy), "nothing speaks against it");
    let config = toy.config.clone();
    let desired = crate::Desired { config: &config, limits: toy.limits.clone() };
    let rest = crate::quarantine::rest(&desired, &toy.now);
    toy.add_pods(1);
    let sandbox = toy.ledger.leases.keys().next().unwrap().clone();
    toy.delete_all_pods();
    toy.sleep(config.cooldown.value);
    assert!(gives(&toy), "all rests are over");
    let addresses: Vec<_> = toy.ledger.blocks[&net].addresses().collect();
    for ip in [addresses[0], addresses[7], addresses[15]] {
        for what in
            [Use::Leased(sandbox.clone()), Use::Cooling(rest.clone()), Use::Suspect(Suspicion::MaybeInUse)]
        {
            let before = toy.ledger.clone();
            let rested = Cooldown { since: toy.now.boottime, ..rest.clone() };
            let what = if matches!(what, Use::Cooling(_)) { Use::Cooling(rested) } else { what };
            toy.ledger.apply(&Change::PutUse(ip, what.clone()));
            assert!(!gives(&toy), "{ip} {what:?}");
            toy.ledger = before;
        }
    }
}
