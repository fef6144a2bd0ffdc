use holdfast_model::block::Ask;
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::ledger::Change;
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::BootTime;
use holdfast_model::uses::Suspicion;

use super::*;
use crate::cards::Wanted;
use crate::toy::{Toy, by_eni};

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn second() -> EniId {
    EniId::new("eni-0001")
}

/// Three pods on the primary ENI, one on the second, with two free addresses there. All is in service.
fn toy() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(0));
    toy.add_pods(4);
    toy.run_to_rest();
    assert_eq!(toy.shape(), [3, 3]);
    toy
}

/// The figures, and what is on its way.
fn figures(toy: &Toy) -> (Level, u32) {
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let pool = Pool::of(
        Wanted { key: PoolKey::DEFAULT, retires: false },
        &desired,
        &toy.ledger,
        &toy.observed,
        &toy.now,
    );
    // What is not known in the first minutes is no matter here.
    (Level { returning: 0, ..pool.level }, pool.on_the_way)
}

const AT_REST: Level = Level { leased: 4, free: 2, cooling: 0, returning: 0, waiting: 0, beside: 0 };

#[test]
fn what_is_asked_for_and_what_is_not_in_service_yet_is_on_the_way() {
    let mut toy = toy();
    assert_eq!(figures(&toy), (AT_REST, 0));
    let create = CloudChange::CreateEni {
        subnet: holdfast_model::ids::SubnetId::new("subnet-1"),
        security_groups: Vec::new(),
        ask: Ask::addresses(3),
        slot: holdfast_model::eni::EniSlot { card: 0, device: 2 },
        description: String::new(),
        tags: std::collections::BTreeMap::new(),
    };
    toy.open(create);
    assert_eq!(figures(&toy), (Level { free: 5, ..AT_REST }, 3));
    let given_back =
        toy.ledger.blocks_on(&second()).find(|block| toy.ledger.uses.get(&block.net.addr()).is_none());
    let given_back = given_back.unwrap().net;
    toy.ledger.apply(&Change::DropBlock(given_back));
    toy.open(CloudChange::Assign { eni: second(), ask: Ask::addresses(1) });
    assert_eq!(figures(&toy), (Level { free: 5, ..AT_REST }, 4));

    toy.observed.ready_enis.remove(&second());
    assert_eq!(figures(&toy), (Level { free: 5, ..AT_REST }, 5), "its set-up was not read back");
    toy.observed.ready_enis.insert(second());
    toy.alter(&second(), |eni| eni.phase = EniPhase::Available);
    assert_eq!(figures(&toy), (Level { free: 5, ..AT_REST }, 5), "it is not attached");
}

#[test]
fn only_what_ec2_has_here_and_nobody_uses_is_free() {
    for state in [
        BlockState::Withdrawn,
        BlockState::Leaving(IntentId(uuid::Uuid::nil())),
        BlockState::Gone(BootTime(1)),
    ] {
        let mut toy = toy();
        let free =
            toy.ledger.blocks_on(&second()).find(|block| toy.ledger.lease_of(block.net.addr()).is_none());
        let block = Block { state, ..free.unwrap().clone() };
        toy.ledger.apply(&Change::PutBlock(block));
        assert_eq!(figures(&toy).0, Level { free: 1, ..AT_REST }, "{state:?}");
    }
    let mut toy = toy();
    let free = toy.ledger.blocks_on(&second()).find(|block| toy.ledger.lease_of(block.net.addr()).is_none());
    let ip = free.unwrap().net.addr();
    toy.commit(&[Change::PutUse(ip, Use::Suspect(Suspicion::MaybeInUse))]);
    assert_eq!(figures(&toy).0, Level { free: 1, ..AT_REST });
}

/// Where a rest ends, an address serves; on an ENI that does not serve it rests on.
#[test]
fn rests_count_as_such_also_where_an_eni_is_out_of_reach() {
    let mut toy = toy();
    toy.config.cooldown.value = std::time::Duration::from_secs(60);
    let on_second = toy.ledger.leases_on(&second()).next().unwrap().sandbox.clone();
    toy.delete_pod(toy.ledger.leases.keys().position(|key| *key == on_second).unwrap());
    assert_eq!(figures(&toy).0, Level { leased: 3, cooling: 1, ..AT_REST });
    for _ in 0..2 {
        toy.observed.set_up_failed(&second(), "no", &toy.now);
        toy.sleep(LINK_TAKES_AT_MOST);
    }
    assert_eq!(figures(&toy).0, Level { leased: 3, cooling: 1, ..Level::default() });
    toy.observed.set_up_done(&second());
    toy.sleep(std::time::Duration::from_secs(60));
    assert_eq!(figures(&toy).0, Level { leased: 3, free: 3, ..AT_REST });
}

/// Without its subnet's range or an address of its own an ENI cannot be set up; others make up for it when that lasts.
#[test]
fn an_eni_of_which_too_little_is_known_is_out_of_reach() {
    let mut ready = toy();
    ready.sleep(LINK_TAKES_AT_MOST);
    let since = ready.now.boottime;
    for (range, own, set_up, age, reached) in [
        (true, true, false, 15, true),
        (false, true, false, 15, false),
        (true, false, false, 15, false),
        (false, true, false, 14, true),
        (false, true, true, 15, true),
    ] {
        let mut toy = toy();
        toy.now.boottime = since.after(std::time::Duration::from_secs(age));
        if !range {
            let id = toy.ledger.enis[&second()].source.subnet.clone();
            toy.ledger.apply(&Change::PutSubnet(SubnetRecord { id, ipv4: None, ipv6: None }));
        }
        toy.alter(&second(), |eni| {
            eni.since = since;
            eni.primary_ipv4 = eni.primary_ipv4.filter(|_| own);
        });
        if !set_up {
            toy.observed.ready_enis.remove(&second());
        }
        let free = figures(&toy).0.free;
        assert_eq!(free, if reached { 2 } else { 0 }, "range {range}, own {own}, set up {set_up}, {age} s");
    }
    let mut toy = toy();
    toy.alter(&primary(), |eni| eni.primary_ipv4 = None);
    toy.observed.ready_enis.remove(&primary());
    assert_eq!(figures(&toy).0.leased, 4, "pods are counted wherever they are");
}

#[test]
fn an_eni_is_idle_when_nothing_on_it_is_held_or_rests() {
    let eni = &toy().ledger.enis[&primary()];
    for (leased, cooling, idle) in [(0, 0, true), (1, 0, false), (0, 1, false), (1, 1, false)] {
        let share = EniPool { leased, cooling, ..EniPool::empty(eni, Fit::Wanted) };
        assert_eq!(share.is_idle(), idle, "{leased} leased, {cooling} resting");
        let beside = Beside { cooling, ..Beside::default() };
        let share = EniPool { leased, beside, ..EniPool::empty(eni, Fit::Wanted) };
        assert_eq!(share.is_idle(), idle, "{leased} leased, {cooling} resting in the other unit");
    }
}
