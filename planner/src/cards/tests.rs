use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use holdfast_model::cloud::{CloudChange, TAG_CLUSTER, TAG_INSTANCE, TAG_NO_MANAGE};
use holdfast_model::config::Setting;
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::EniId;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::refusal::Refusal;

use super::*;
use crate::toy::{Toy, by_address};
use crate::{Step, open_lease, plan};

const ME: &str = "i-1";

/// What an ENI that others attached is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Is {
    managed: bool,
    /// Pods get the addresses on it.
    leased: bool,
    /// What becomes of it when it is idle and surplus.
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stays,
    /// It is another's by its tag: it is not ours to delete.
    Detached,
    Deleted,
}

const OURS: Is = Is { managed: true, leased: true, end: End::Deleted };
const KEPT: Is = Is { managed: false, leased: false, end: End::Stays };
/// It supplies addresses, and is part of what the user ordered.
const NEVER_FREED: Is = Is { managed: true, leased: true, end: End::Stays };
const BORROWED: Is = Is { managed: true, leased: true, end: End::Detached };

/// Tags, interface type, card, MANAGE_UNTAGGED_ENI, ENABLE_MULTI_NIC.
type Row = (&'static [(&'static str, &'static str)], EniKind, u8, bool, bool, Is);

const MARKED: &[(&str, &str)] = &[(TAG_INSTANCE, ME)];
const ANOTHERS: &[(&str, &str)] = &[(TAG_INSTANCE, "i-2")];

const ROWS: &[Row] = &[
    // The instance's tag.
    (MARKED, EniKind::Standard, 0, true, false, OURS),
    (MARKED, EniKind::Standard, 0, false, false, OURS),
    (&[], EniKind::Standard, 0, true, false, OURS),
    (&[], EniKind::Standard, 0, false, false, KEPT),
    // Another's by its tag: upstream goes by MANAGE_UNTAGGED_ENI here too.
    (ANOTHERS, EniKind::Standard, 0, true, false, BORROWED),
    (ANOTHERS, EniKind::Standard, 0, false, false, KEPT),
    // Of a cluster, and not of an instance.
    (&[(TAG_CLUSTER, "prod")], EniKind::Standard, 0, false, false, KEPT),
    // The user's word goes before whose it is, whatever its value.
    (&[(TAG_NO_MANAGE, "true")], EniKind::Standard, 0, true, false, KEPT),
    (&[(TAG_NO_MANAGE, "true"), (TAG_INSTANCE, ME)], EniKind::Standard, 0, true, false, KEPT),
    (&[(TAG_NO_MANAGE, "false")], EniKind::Standard, 0, false, false, OURS),
    (&[(TAG_NO_MANAGE, "True")], EniKind::Standard, 0, false, false, OURS),
    (&[(TAG_NO_MANAGE, "")], EniKind::Standard, 0, false, false, OURS),
    (&[(TAG_NO_MANAGE, "false"), (TAG_INSTANCE, "i-2")], EniKind::Standard, 0, false, false, BORROWED),
    // The interface type.
    (MARKED, EniKind::Efa, 0, true, false, NEVER_FREED),
    (&[(TAG_NO_MANAGE, "true")], EniKind::Efa, 0, true, false, KEPT),
    (MARKED, EniKind::EfaOnly, 0, true, false, KEPT),
    (&[(TAG_NO_MANAGE, "false")], EniKind::EfaOnly, 0, true, false, KEPT),
    (MARKED, EniKind::Trunk, 0, true, false, KEPT),
    (&[], EniKind::Trunk, 0, true, false, KEPT),
    // On another card: nobody's affair unless the cards are managed.
    (MARKED, EniKind::Standard, 1, true, false, KEPT),
    (MARKED, EniKind::Standard, 1, true, true, OURS),
    (&[], EniKind::Standard, 1, true, true, OURS),
    (&[], EniKind::Standard, 1, false, true, KEPT),
    (&[(TAG_NO_MANAGE, "true")], EniKind::Standard, 1, true, true, KEPT),
    (MARKED, EniKind::Efa, 1, true, true, NEVER_FREED),
    (MARKED, EniKind::Efa, 1, true, false, KEPT),
    (MARKED, EniKind::EfaOnly, 1, true, true, KEPT),
    (MARKED, EniKind::EfaOnly, 1, true, false, KEPT),
    (MARKED, EniKind::Trunk, 1, true, true, KEPT),
];

fn foreign() -> EniId {
    EniId::new("eni-foreign")
}

/// A node to which others have attached an ENI with two addresses.
fn with(row: &Row) -> (Toy, BTreeSet<IpAddr>) {
    let (tags, kind, card, untagged, multi, _) = *row;
    let mut toy = Toy::on_cards(&[3, 3], 4, by_address(1, 0));
    toy.config.multi_nic = Setting::from_environment(multi);
    toy.config.manage_untagged = Setting::from_environment(untagged);
    let device = u16::from(card == 0);
    toy.cloud.attach_foreign_at(foreign().as_str(), EniSlot { card, device }, kind, tags);
    let theirs: BTreeSet<IpAddr> = [201, 202].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 99, last))).into();
    toy.cloud.enis.get_mut(&foreign()).unwrap().secondary.clone_from(&theirs);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    toy.run_to_rest();
    (toy, theirs)
}

#[test]
fn what_each_eni_of_others_is_to_us() {
    for row in ROWS {
        let (.., card, _, multi, is) = *row;
        let (mut toy, theirs) = with(row);
        let record = &toy.ledger.enis[&foreign()];
        assert_eq!(record.management == Management::Managed, is.managed, "{row:?}");
        assert!(record.holds_slot(), "it takes a place in any case: {row:?}");

        // As many pods as the node carries, and some more.
        let on_each = multi && toy.cards().contains(&1);
        if on_each {
            toy.add_pods_on_each(12);
        } else {
            toy.add_pods(12);
        }
        toy.run_to_rest();
        let leased = toy.ledger.leases_on(&foreign()).count();
        assert_eq!(leased > 0, is.leased, "{row:?}: {leased} pods on it");
        for card in [0, 1] {
            let (enis, _) = toy.shape_of(card);
            assert!(enis <= 3, "{row:?}: {enis} ENIs on card {card}");
        }
        let lacks_its_room = !is.managed && (card == 0 || on_each);
        let carrying = 3 - usize::from(lacks_its_room);
        assert_eq!(toy.ledger.leases.len(), 3 * carrying, "its place is counted, on its card: {row:?}");
        if !is.managed {
            let shown = &toy.cloud.enis[&foreign()].secondary;
            assert_eq!(*shown, theirs, "what is on it is left as it is: {row:?}");
        }

        toy.delete_all_pods();
        toy.add_nobody();
        toy.run_to_rest();
        toy.sleep(Duration::from_secs(24 * 3600));
        toy.run_to_rest();
        let end = match toy.cloud.enis.get(&foreign()) {
            None => End::Deleted,
            Some(eni) if eni.attachment.is_none() => End::Detached,
            Some(_) => End::Stays,
        };
        assert_eq!(end, is.end, "{row:?}");
        if !is.managed {
            assert_eq!(toy.cloud.enis[&foreign()].secondary, theirs, "{row:?}");
        }
    }
}

/// Nobody can keep the first one.
#[test]
fn the_primary_is_managed_whatever_its_tags() {
    let mut toy = Toy::on_cards(&[1, 1], 4, by_address(1, 0));
    let primary = toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap();
    primary.tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
    toy.add_pods(2);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 2);
}

/// By the limits of the node's type; while they are not known, nobody knows how many addresses a pod is to have.
#[test]
fn the_cards_are_those_that_carry_enis() {
    let toy = Toy::on_cards(&[2, 0, 1], 4, by_address(1, 0));
    assert_eq!(toy.cards(), [0, 2]);
    let unknown = Desired { config: &toy.config, limits: None };
    assert_eq!(managed_cards(&unknown, &toy.ledger), None);
    let mut one = toy.config.clone();
    one.multi_nic = Setting::from_environment(false);
    let first_only = Desired { config: &one, limits: None };
    assert_eq!(managed_cards(&first_only, &toy.ledger), Some(vec![0]));
    let many = InstanceLimits::of("p5.48xlarge").unwrap();
    assert_eq!(many.cards().count(), 32);
}

/// A place of another card is no place of the first, and each card begins at its lowest.
#[test]
fn each_card_grows_by_its_own_places() {
    let mut toy = Toy::on_cards(&[2, 2], 4, by_address(1, 0));
    toy.add_pods_on_each(5);
    toy.run_to_rest();
    let mut slots: Vec<(u8, u16, u32)> = (toy.ledger.enis.values())
        .filter_map(EniRecord::slot)
        .map(|slot| (slot.card, slot.device, slot.route_table()))
        .collect();
    slots.sort_unstable();
    assert_eq!(slots, [(0, 0, 254), (0, 1, 2), (1, 0, 10_100), (1, 1, 10_101)]);
    assert_eq!((toy.ledger.leases.len(), toy.waiting_for_each()), (5, 0));
    // MAX_ENI is for each card.
    let mut toy = Toy::on_cards(&[2, 2], 4, by_address(1, 0));
    toy.config.max_enis = Setting::from_environment(Some(1));
    toy.add_pods_on_each(5);
    toy.run_to_rest();
    assert_eq!((toy.shape_of(0).0, toy.shape_of(1).0, toy.ledger.leases.len()), (1, 1, 3));
    let limit = Refusal::ConfiguredLimit { setting: "MAX_ENI".to_owned() };
    for card in [0, 1] {
        assert_eq!(toy.last.reports[&PoolKey::v4_on(card)].refusal, Some(limit.clone()), "card {card}");
    }
}

/// An address of each, or none: a lease on some would be a pod that was promised more.
#[test]
fn a_lease_is_on_all_that_were_chosen_or_on_none() {
    let mut toy = Toy::on_cards(&[1, 1], 4, by_address(1, 0));
    toy.add_pods_on_each(1);
    toy.run_to_rest();
    let lease = toy.ledger.leases.values().next().unwrap().clone();
    let names: Vec<&str> = lease.faces.iter().map(|face| face.ifname.as_str()).collect();
    assert_eq!(names, ["eth0", "mNicIf1"]);
    let choices = toy.choose_each().unwrap();
    let request = || Toy::request_for("next", 2);
    let opens = |choices: &[crate::Choice], request| open_lease(&toy.ledger, choices, request, &toy.now);
    assert!(opens(&choices, request()).is_some());
    assert_eq!(opens(&[choices[0].clone(), choices[0].clone()], request()), None, "one address twice");
    assert_eq!(opens(&choices[..1], request()), None, "fewer than asked for");
    assert_eq!(opens(&[], Toy::request_for("next", 0)), None);
    let mut taken = choices.clone();
    taken[1].address = lease.faces[1].address;
    assert_eq!(opens(&taken, request()), None, "the second is another's");
}

/// Of a subnet that was found full one address at a time is asked for, whichever card it is for.
#[test]
fn cards_do_not_ask_a_full_subnet_side_by_side() {
    let mut toy = Toy::on_cards(&[2, 2, 2], 4, by_address(1, 0));
    toy.run_to_rest();
    toy.add_pods_on_each(2);
    toy.cloud.subnet_free = 0;
    for _ in 0..6 {
        toy.round();
    }
    // The pause is over, and what was said of the subnet is not forgotten.
    toy.sleep(Duration::from_secs(300));
    let made = toy.planned();
    let takes =
        |step: &&Step| matches!(step, Step::Open(CloudChange::Assign { .. } | CloudChange::CreateEni { .. }));
    let asked: Vec<&Step> = made.steps.iter().filter(takes).collect();
    assert!(asked.len() <= 1, "{asked:?}");
    toy.cloud.subnet_free = 100;
    toy.run_to_rest();
    assert_eq!((toy.waiting_for_each(), toy.ledger.leases.len()), (0, 2));
}

/// What was made for cards that are not managed any more goes as its pods go; what others attached there stays.
#[test]
fn cards_that_are_not_managed_any_more_give_back_what_was_made_for_them() {
    let mut toy = Toy::on_cards(&[2, 3], 4, by_address(1, 0));
    toy.cloud.attach_foreign_at(
        foreign().as_str(),
        EniSlot { card: 1, device: 0 },
        EniKind::Standard,
        &[(TAG_INSTANCE, ME)],
    );
    toy.add_pods_on_each(6);
    toy.run_to_rest();
    assert_eq!((toy.ledger.leases.len(), toy.shape_of(1).0), (6, 3));
    let before = toy.config.clone();
    toy.config.multi_nic.value = false;
    toy.observed.reconfigured(&before, &toy.config, &toy.now);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 6, "nobody loses an address");
    assert!(toy.last.reports.keys().all(|pool| pool.card == 0));
    toy.delete_all_pods();
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(3600));
    toy.run_to_rest();
    assert_eq!(toy.shape_of(1).0, 1, "the one that is not of our making");
    assert!(toy.cloud.enis.contains_key(&foreign()));
    assert_eq!(toy.cloud.asked_to_delete.len(), 3, "two of that card, one of the first");
    // And again: what is there is used first.
    let before = toy.config.clone();
    toy.config.multi_nic.value = true;
    toy.observed.reconfigured(&before, &toy.config, &toy.now);
    toy.add_pods_on_each(1);
    toy.run_to_rest();
    assert_eq!((toy.waiting_for_each(), toy.ledger.leases_on(&foreign()).count()), (0, 1));
}

#[test]
fn a_plan_of_several_cards_is_empty_when_it_was_carried_out() {
    let mut toy = Toy::on_cards(&[2, 2], 4, by_address(1, 0));
    toy.add_pods_on_each(3);
    toy.run_to_rest();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    assert_eq!(plan(&desired, &toy.ledger, &toy.observed, &toy.now).steps, []);
}
