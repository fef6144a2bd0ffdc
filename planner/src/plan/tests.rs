use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::{BootId, EniId};

use super::*;
use crate::toy::{Fate, Toy, by_address, by_eni};
use crate::{Fault, PauseScope, Share};

#[test]
fn of_a_ledger_of_another_boot_nothing_is_planned_and_that_is_said() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.now.boot = BootId::new("another");
    let made = toy.planned();
    assert_eq!((&made.steps[..], made.refusal(), made.next_look), (&[][..], Some(&Refusal::NotReady), None));
}

/// An intent whose call never left: what made the call rest counts for its repetition too.
#[test]
fn what_is_repeated_rests_as_what_is_new() {
    let repeated = |toy: &Toy| toy.planned().steps.iter().any(|step| matches!(step, Step::Repeat(_)));
    for (fault, scope) in [(Fault::SubnetFull, PauseScope::Api), (Fault::Denied, PauseScope::Api)] {
        let mut toy = Toy::new("m5.large", by_address(0, 9));
        toy.add_pods(9);
        toy.run_to_rest();
        toy.fates = Box::new(|| Fate::NotSent);
        toy.set_waiting(1);
        toy.round();
        assert!(toy.ledger.intents.values().any(|intent| intent.change.api() == Api::CreateNetworkInterface));
        toy.sleep(std::time::Duration::from_secs(60));
        assert!(repeated(&toy));
        toy.set_back(Api::CreateNetworkInterface, scope, Some(fault));
        assert!(!repeated(&toy), "{fault:?}");
    }
    let mut toy = Toy::new("m5.large", by_address(0, 1));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::NotSent);
    toy.set_waiting(2);
    toy.round();
    toy.sleep(std::time::Duration::from_secs(60));
    assert!(repeated(&toy));
    toy.observed.reads.want(crate::wanted::Reason::Contradicted(EniId::new("eni-primary")), toy.now.boottime);
    assert!(!repeated(&toy), "what is known of the ENI is in doubt");
}

/// A process that goes on reads the zone's subnets in its turn, unless pods wait for more than there is, on whatever card.
#[test]
fn whoever_waits_on_any_card_has_the_subnets_read_at_once() {
    let mut toy = Toy::on_cards(&[2, 2], 10, by_address(1, 0));
    toy.add_pods_on_each(1);
    toy.run_to_rest();
    (toy.observed.reads, toy.observed.subnets) = Default::default();
    toy.observed.share = Share::of(u128::MAX);
    toy.observed.goes_on(&toy.now);
    let reads = |toy: &Toy| {
        let made = toy.with_desired(|desired| plan(desired, &toy.ledger, &toy.observed, &toy.now));
        let of_subnets = |step: &&Step| matches!(step, Step::Read(CloudRead::ZoneSubnets { .. }));
        made.steps.iter().filter(of_subnets).count()
    };
    assert_eq!(reads(&toy), 0, "it is not its turn");
    for card in [0, 1] {
        let pool = PoolKey { card, ..PoolKey::DEFAULT };
        toy.observed.waiting = BTreeMap::from([(pool, 1)]);
        assert_eq!(reads(&toy), 0, "the spare one serves it");
        toy.observed.waiting = BTreeMap::from([(pool, 3)]);
        assert_eq!(reads(&toy), 1, "card {card}");
    }
}
