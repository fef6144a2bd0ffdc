//! Why nothing is asked for, or not for more, and where the rest is asked for instead.

use holdfast_model::block::Ask;
use holdfast_model::denial::Denial;
use holdfast_model::eni::EniKind;
use holdfast_model::ids::{EniId, SubnetId};
use holdfast_model::ledger::Change;
use holdfast_model::pool::Family;
use holdfast_model::uses::{Suspicion, Use};

use super::*;
use crate::grow::held_up;
use crate::toy::{Fate, now_at};
use crate::{Fault, Observed, PauseScope, Plan};

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn creations(made: &Plan) -> Vec<u32> {
    made.steps
        .iter()
        .filter_map(|step| match step {
            Step::Open(CloudChange::CreateEni { ask, .. }) => Some(ask.count),
            _ => None,
        })
        .collect()
}

/// The primary has this many addresses, all of them leased, and room for more.
fn with_room(pods: u32) -> Toy {
    let mut toy = Toy::new("m5.large", by_address(0, pods));
    toy.add_pods(pods);
    toy.run_to_rest();
    assert_eq!((toy.shape(), toy.waiting()), (vec![pods as usize], 0));
    toy
}

/// What is on its way is held up: that is told to who waits, and nobody else asks.
#[test]
fn a_creation_that_is_not_answered_is_what_an_add_waits_for() {
    let mut toy = with_room(9);
    toy.fates = Box::new(|| Fate::LostBefore);
    toy.set_waiting(1);
    toy.round();
    let refusal = toy.planned().refusal().cloned();
    assert!(
        matches!(refusal, Some(Refusal::Unreachable { api: Api::CreateNetworkInterface, .. })),
        "{refusal:?}"
    );
    toy.set_waiting(0);
    assert_eq!(toy.planned().refusal(), None);
}

#[test]
fn growth_is_held_up_while_a_call_that_brings_addresses_rests_and_while_ec2_is_away() {
    let denied = Some(Fault::Denied);
    for (api, scope, fault, until, later) in [
        (Api::CreateNetworkInterface, PauseScope::Api, denied, true, false),
        (Api::AttachNetworkInterface, PauseScope::Eni(primary()), denied, true, false),
        (Api::AssignPrivateIpAddresses, PauseScope::Eni(primary()), None, true, false),
        // Whether it answers again, the next call tells.
        (Api::AssignPrivateIpAddresses, PauseScope::Api, None, true, true),
        (Api::DescribeNetworkInterfaces, PauseScope::Api, None, true, true),
        (Api::DetachNetworkInterface, PauseScope::Api, None, false, false),
    ] {
        let mut toy = with_room(1);
        toy.set_back(api, scope.clone(), fault);
        let over = toy.observed.pauses.iter().next().unwrap().until;
        let at = |instant| {
            let mut now = toy.now.clone();
            now.boottime = instant;
            held_up(holdfast_model::pool::PoolKey::first(Family::V4), &toy.ledger, &toy.observed, &now)
                .is_some()
        };
        let case = format!("{api:?} {scope:?} {fault:?}");
        assert_eq!((at(toy.now.boottime), at(over)), (until, later), "{case}");
        let forgotten = over.after(crate::pauses::SETBACKS_FORGOTTEN_AFTER);
        assert_eq!(at(holdfast_model::time::BootTime(forgotten.0 - 1)), later, "{case}");
        assert!(!at(forgotten), "{case}");
    }
    let nothing = holdfast_model::ledger::Ledger::default();
    assert_eq!(
        held_up(holdfast_model::pool::PoolKey::first(Family::V4), &nothing, &Observed::default(), &now_at(1)),
        None
    );
}

/// A right that is missing, and an EC2 that does not answer, are no reason for an ENI more; an ENI that EC2 refuses to
/// change is.
#[test]
fn an_eni_is_made_beside_one_with_room_only_when_that_one_is_the_trouble() {
    for (scope, fault, elsewhere) in [
        (PauseScope::Api, Some(Fault::Denied), false),
        (PauseScope::Eni(primary()), None, false),
        (PauseScope::Eni(primary()), Some(Fault::Conflict), true),
    ] {
        let mut toy = with_room(1);
        toy.set_waiting(3);
        assert_eq!(creations(&toy.planned()), []);
        toy.set_back(Api::AssignPrivateIpAddresses, scope.clone(), fault);
        let made = toy.planned();
        assert_eq!(!creations(&made).is_empty(), elsewhere, "{scope:?} {fault:?}: {made:?}");
        assert_eq!(made.refusal().is_some(), !elsewhere, "{made:?}");
    }
}

/// What is refused is told, not what else is held up; and while nobody waits, what rests is no refusal.
#[test]
fn the_cause_is_that_of_the_call_which_is_wanted() {
    let mut toy = with_room(1);
    toy.set_waiting(3);
    toy.set_back(Api::DescribeNetworkInterfaces, PauseScope::Api, None);
    toy.set_back(Api::AssignPrivateIpAddresses, PauseScope::Api, Some(Fault::Denied));
    let api = Api::AssignPrivateIpAddresses;
    let denied = Refusal::Denied { api, denial: Denial::read(api, "", Some("subnet-1".into())) };
    assert_eq!(toy.planned().refusal(), Some(&denied));

    let mut toy = with_room(1);
    toy.open(CloudChange::Assign { eni: primary(), ask: Ask::addresses(1) });
    toy.set_back(Api::AssignPrivateIpAddresses, PauseScope::Api, None);
    toy.config.warm.value = by_address(5, 0);
    let made = toy.planned();
    assert_eq!((&made.steps[..], made.refusal()), (&[][..], None), "the ENI takes one call at a time");
}

/// A call that is under way takes the room; and what EC2 took no more of is full by its type just as well.
#[test]
fn an_eni_is_full_on_ec2s_word_only_when_its_type_could_carry_more() {
    let full = |toy: &Toy| toy.planned().refusal().cloned();
    let limit = Some(Refusal::ConfiguredLimit { setting: "MAX_ENI".into() });
    let mut toy = with_room(1);
    toy.config.max_enis.value = Some(1);
    toy.set_waiting(12);
    toy.open(CloudChange::Assign { eni: primary(), ask: Ask::addresses(8) });
    assert_eq!(full(&toy), limit);

    for (pods, expected) in [(9, limit), (8, Some(Refusal::EniFull { eni: primary(), addresses: 8 }))] {
        let mut toy = with_room(pods);
        toy.config.max_enis.value = Some(1);
        toy.observed.fits.refused(Some(&primary()), 1, &toy.now);
        toy.set_waiting(1);
        assert_eq!(full(&toy), expected, "{pods}");
    }
}

/// `MAX_ENI` is the limit where it is less than what the instance carries. What others have attached is not ours to use.
#[test]
fn a_full_instance_is_told_from_a_configured_limit() {
    for (max_enis, cause) in [
        (2, Refusal::ConfiguredLimit { setting: "MAX_ENI".into() }),
        (3, Refusal::InstanceFull { addresses: 18, instance_type: "m5.large".into(), set_aside: 0 }),
    ] {
        let mut toy = Toy::new("m5.large", by_eni(0));
        toy.cloud.attach_foreign("eni-trunk", 1, EniKind::Trunk, &[]);
        toy.config.max_enis.value = Some(max_enis);
        toy.add_pods(30);
        toy.run_to_rest();
        assert_eq!(toy.planned().refusal(), Some(&cause));
    }
}

/// After a lost ledger most of a full node's addresses may be nobody's by the book.
#[test]
fn a_node_full_of_addresses_that_are_set_aside_says_so() {
    let mut toy = Toy::new("t3.small", by_eni(0));
    toy.add_pods(20);
    toy.run_to_rest();
    let said = |toy: &Toy| toy.planned().refusal().unwrap().to_string();
    assert!(
        said(&toy).ends_with("move pods to another node, or use a larger instance type"),
        "{}",
        said(&toy)
    );
    for _ in 0..2 {
        let address = toy.ledger.leases.values().next().unwrap().faces[0].address;
        toy.delete_pod(0);
        toy.commit(&[Change::PutUse(address, Use::Suspect(Suspicion::MaybeInUse))]);
    }
    assert!(said(&toy).contains("no lease explains (2; `holdfast dump`"), "{}", said(&toy));
}

/// What is being taken from an ENI comes to an end soon, unless its call rests.
#[test]
fn an_eni_whose_addresses_are_leaving_is_waited_for_unless_that_is_stuck() {
    for stuck in [false, true] {
        let mut toy = Toy::new("m5.large", by_address(4, 0));
        toy.run_to_rest();
        let nets = toy.ledger.blocks.keys().copied().take(2).collect();
        toy.open(CloudChange::Unassign { eni: primary(), nets });
        if stuck {
            toy.set_back(Api::UnassignPrivateIpAddresses, PauseScope::Eni(primary()), None);
        }
        // Any other call of this ENI may rest.
        toy.set_back(Api::ModifyNetworkInterfaceAttribute, PauseScope::Eni(primary()), None);
        toy.set_waiting(3);
        assert_eq!(!creations(&toy.planned()).is_empty(), stuck);
    }
}

/// One address at a time, for who waits; nothing for spares.
#[test]
fn of_a_subnet_that_is_low_an_eni_is_made_for_an_add_only() {
    let mut toy = with_room(9);
    toy.config.warm.value = by_address(3, 0);
    assert_eq!(creations(&toy.planned()), [3]);
    toy.set_back(Api::CreateNetworkInterface, PauseScope::Api, Some(Fault::SubnetFull));
    toy.sleep(Duration::from_secs(10));
    let made = toy.planned();
    assert_eq!(creations(&made), []);
    assert_eq!(made.refusal(), Some(&Refusal::SubnetFull { subnet: SubnetId::new("subnet-1") }));
    toy.set_waiting(2);
    assert_eq!(creations(&toy.planned()), [1]);
}

/// However many ENIs there may be, no more pods than the limit says.
#[test]
fn the_limit_of_pods_is_kept_to_in_one_plan() {
    let mut toy = with_room(1);
    toy.config.max_pods.value = Some(5);
    toy.set_waiting(12);
    let made = toy.planned();
    let assign = CloudChange::Assign { eni: primary(), ask: Ask::addresses(4) };
    assert_eq!(made.steps, [Step::Open(assign)]);
}

/// What sat there may have gone: the lowest place is tried again, and not for ever avoided.
#[test]
fn a_slot_where_something_was_is_tried_again_an_hour_later() {
    for (hours, device) in [(0, 3), (1, 1)] {
        let mut toy = Toy::new("m5.large", by_eni(0));
        let slot = holdfast_model::eni::EniSlot { card: 0, device: 1 };
        toy.cloud.haunted.insert(slot);
        toy.add_pods(10);
        toy.run_to_rest();
        assert!(!toy.cloud.attached().any(|eni| eni.attachment.as_ref().unwrap().slot == slot));
        assert_eq!((toy.waiting(), toy.cloud.attached().count()), (0, 2));
        toy.cloud.haunted.clear();
        toy.sleep(Duration::from_secs(hours * 3600));
        toy.add_pods(10);
        toy.run_to_rest();
        assert_eq!((toy.waiting(), toy.cloud.attached().count()), (0, 3));
        let there = |eni: &crate::toy::cloud::ToyEni| eni.attachment.as_ref().unwrap().slot.device == device;
        assert!(toy.cloud.attached().any(there), "after {hours} h: {device}");
    }
}
