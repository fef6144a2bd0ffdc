use holdfast_model::cloud::CloudRead;
use holdfast_model::ids::InstanceId;

use super::*;
use crate::toy::{Toy, by_eni};
use crate::{Reading, adopt};

/// A ledger that was lost, beside an EC2 that was not.
fn rebuilt(traces: &Traces) -> Toy {
    let mut lived = Toy::new("t3.small", by_eni(1));
    lived.add_pods(2);
    lived.run_to_rest();
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.cloud = lived.cloud;
    let read = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
    let views = toy.cloud.read(&read, 0);
    let reading = Reading { read: &read, views: &views, began: toy.now.boottime };
    let desired = Desired { config: &toy.config, limits: toy.limits };
    let changes = adopt(&desired, &toy.ledger, &toy.observed, reading, traces, &toy.now);
    toy.commit(&changes);
    toy
}

#[test]
fn after_the_loss_of_the_ledger_nothing_is_leased_that_is_not_proven_idle() {
    let suspect = Traces { rebuilding: true, ..Traces::default() };
    let mut toy = rebuilt(&suspect);
    assert!(!toy.ledger.addresses.is_empty());
    let lost = AddressState::Quarantined(QuarantineReason::LedgerRebuilt);
    assert!(toy.ledger.addresses.values().all(|address| address.state == lost));
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits };
    assert_eq!(review_quarantine(&desired, &toy.ledger, &suspect, &toy.now), [], "not looked at yet");

    let used = *toy.ledger.addresses.keys().next().unwrap();
    let seen = Traces { in_use: BTreeSet::from([used]), rebuilding: false };
    toy.commit(&review_quarantine(&desired, &toy.ledger, &seen, &toy.now));
    for address in toy.ledger.addresses.values() {
        if address.ip == used {
            assert_eq!(address.state, AddressState::Quarantined(QuarantineReason::MaybeInUse));
        } else {
            assert_eq!(address.state, AddressState::Cooling(rest(&desired, &toy.now)), "in full");
        }
    }
    assert_eq!(review_quarantine(&desired, &toy.ledger, &seen, &toy.now), [], "twice is once");
    let idle = Traces::default();
    toy.commit(&review_quarantine(&desired, &toy.ledger, &idle, &toy.now));
    assert!(matches!(toy.ledger.addresses[&used].state, AddressState::Cooling(_)));
}

#[test]
fn an_address_with_unexplained_traces_is_set_aside_when_it_is_found() {
    let known = rebuilt(&Traces::default());
    let traced = *known.ledger.addresses.keys().next().unwrap();
    let toy = rebuilt(&Traces { in_use: BTreeSet::from([traced]), rebuilding: false });
    for address in toy.ledger.addresses.values() {
        let suspect = address.state == AddressState::Quarantined(QuarantineReason::MaybeInUse);
        assert_eq!(suspect, address.ip == traced, "{address:?}");
    }
}
