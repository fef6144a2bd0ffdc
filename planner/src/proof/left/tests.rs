use holdfast_model::cloud::CloudRead;

use super::*;
use crate::adopt;
use crate::desired::Desired;
use crate::toy::{Toy, by_eni};

/// An answer of success that shows nothing, or lacks what an instance cannot be without.
#[test]
fn a_list_without_the_primary_eni_proves_no_absence() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(5);
    toy.run_to_rest();
    toy.sleep(2 * ABSENCE_BELIEVED_AFTER);
    let instance = toy.ledger.node.as_ref().unwrap().identity.instance.clone();
    let read = CloudRead::InstanceEnis { instance };
    let whole = toy.cloud.read(&read, 0);
    let primary = toy.ledger.enis.values().find(|eni| eni.is_primary()).unwrap().id.clone();
    let without: Vec<_> = whole.iter().filter(|view| view.id != primary).cloned().collect();
    assert!(!without.is_empty());
    for views in [&without[..], &[]] {
        let reading = Reading { read: &read, views, began: toy.now.boottime };
        assert!(!reading.is_whole(&toy.ledger));
        let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
        let mut ledger = toy.ledger.clone();
        ledger.apply_all(&adopt(&desired, &ledger, &toy.observed, reading, &toy.now));
        assert!(ledger.enis == toy.ledger.enis && ledger.uses == toy.ledger.uses);
        assert!(ledger.blocks.keys().eq(toy.ledger.blocks.keys()));
        let mut observed = toy.observed.clone();
        observed.read_adopted(&ledger, reading);
        assert!(!observed.reads.are_whole(), "nothing is chosen to be given back");
        assert!(toy.observed.reads.are_whole());
    }
    assert!(Reading { read: &read, views: &whole, began: toy.now.boottime }.is_whole(&toy.ledger));
    let other: Vec<_> = whole.into_iter().filter(|view| view.id == primary).collect();
    let reading = Reading { read: &read, views: &other, began: toy.now.boottime };
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    assert_ne!(adopt(&desired, &toy.ledger, &toy.observed, reading, &toy.now), [], "the other ENI has left");
}
