use holdfast_model::block::Ask;
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
    toy.observed.links_seen(&toy.ledger, &std::collections::BTreeSet::new(), &toy.now);
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    assert_ne!(adopt(&desired, &toy.ledger, &toy.observed, reading, &toy.now), [], "the other ENI has left");
}

/// Each proof is of one thing: EC2's word about the very ENI, in answer to the very question.
#[test]
fn what_proves_that_an_eni_is_gone() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let record = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().clone();
    let intent = |change| Intent {
        id: holdfast_model::ids::IntentId(uuid::Uuid::nil()),
        change,
        sending: holdfast_model::intent::Sending::MaybeSent,
        planned: toy.now.wall,
    };
    let delete = intent(CloudChange::DeleteEni { eni: record.id.clone() });
    let assign = intent(CloudChange::Assign { eni: record.id.clone(), ask: Ask::addresses(1) });
    assert!(Left::deleted(&delete).is_some() && Left::deleted(&assign).is_none());
    for (intent, fault, gone) in [
        (&delete, Fault::NotFound, true),
        (&delete, Fault::Conflict, false),
        (&assign, Fault::NotFound, false),
    ] {
        assert_eq!(Left::not_found(intent, fault).is_some(), gone, "{fault:?}");
    }
    let view = crate::toy::cloud::view(&record.id, &toy.cloud.enis[&record.id]);
    let asked = CloudRead::Enis { enis: vec![record.id.clone()] };
    let full = CloudRead::InstanceEnis { instance: holdfast_model::ids::InstanceId::new("i-1") };
    for (read, shown, gone) in [
        (&asked, None, true),
        (&asked, Some(&view), false),
        (&full, None, false),
        (&full, Some(&view), false),
    ] {
        let reading = Reading { read, views: &[], began: toy.now.boottime };
        assert_eq!(Left::unknown(reading, &record, shown).is_some(), gone, "{read:?}");
    }
    let [me, other] = ["i-1", "i-2"].map(holdfast_model::ids::InstanceId::new);
    assert!(Left::taken(&view, &other).is_some());
    assert!(Left::taken(&view, &me).is_none(), "it is here");
    let unattached = EniView { attachment: None, ..view };
    assert!(Left::taken(&unattached, &other).is_some(), "it bears another's tag");
    assert!(Left::taken(&EniView { tags: [].into(), ..unattached }, &other).is_none());
}
