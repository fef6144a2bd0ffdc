//! The checker finds what it is there to find: each state is broken by hand behind the API's back.

use std::sync::Arc;

use super::*;
use crate::vpc::model::{Eni, EniState, World};
use crate::vpc::response::{AttachmentStatus, InstanceState};

/// The rules that a world broken by `harm` is found to break.
fn broken(harm: impl FnOnce(&Bed, &mut World, &EniId)) -> Vec<&'static str> {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    bed.assign(&eni, 2).unwrap();
    let mut world = bed.vpc.world.clone();
    harm(&bed, &mut world, &eni);
    world.commit(bed.vpc.now());
    bed.vpc.world = world;
    bed.vpc.check().into_iter().map(|violation| violation.rule).collect()
}

fn with_eni(world: &mut World, id: &EniId, harm: impl FnOnce(&mut Eni)) {
    harm(world.eni_mut(id).unwrap());
}

fn kind<'w>(world: &'w mut World, bed: &Bed) -> &'w mut limits::InstanceType {
    Arc::make_mut(&mut world.instance_mut(&bed.node).unwrap().kind)
}

fn bound(eni: &mut Eni) -> &mut response::Attachment {
    match &mut eni.state {
        EniState::Bound(attachment) => attachment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_world_breaks_no_rule() {
    assert_eq!(broken(|_, _, _| {}), [""; 0]);
}

#[test]
fn each_broken_rule_is_named() {
    let node_ip = ip("10.0.0.10");
    type Harm<'a> = Box<dyn FnOnce(&Bed, &mut World, &EniId) + 'a>;
    let cases: Vec<(&str, Harm<'_>)> = vec![
        ("unique-address", Box::new(|_, w, id| with_eni(w, id, |eni| eni.v4.addresses.push(node_ip.into())))),
        ("subnet-agrees", Box::new(|_, w, id| with_eni(w, id, |eni| eni.v4.addresses.truncate(1)))),
        (
            "inside-subnet",
            Box::new(|_, w, id| {
                let subnet = w.eni(id).unwrap().subnet;
                w.subnet_mut(&subnet).unwrap().ipv4 = Some(net("10.0.7.0/24"));
            }),
        ),
        (
            "address-outside-prefixes",
            Box::new(|_, w, id| {
                let held = w.eni(id).unwrap().v4.addresses[0];
                let around = ipnet::IpNet::new(held, 28).unwrap().trunc();
                with_eni(w, id, |eni| eni.v4.prefixes.push(around));
            }),
        ),
        (
            "free-count",
            Box::new(|bed, w, _| {
                w.subnet_mut(&bed.subnet).unwrap().free += 1;
            }),
        ),
        (
            "unique-mac",
            Box::new(|bed, w, id| {
                let mac = w.eni(&bed.vpc.primary_eni(&bed.node).unwrap()).unwrap().mac;
                with_eni(w, id, |eni| eni.mac = mac);
            }),
        ),
        ("groups-of-vpc", Box::new(|_, w, id| with_eni(w, id, |eni| eni.groups.clear()))),
        ("one-per-place", Box::new(|_, w, id| with_eni(w, id, |eni| bound(eni).device_index = 0))),
        (
            "card-limit",
            Box::new(|bed, w, _| {
                kind(w, bed).network_cards = vec![1];
            }),
        ),
        ("eni-limit", Box::new(|bed, w, _| kind(w, bed).max_enis = 1)),
        ("ipv4-limit", Box::new(|bed, w, _| kind(w, bed).ipv4_per_eni = 2)),
        (
            "ended-holds-nothing",
            Box::new(|bed, w, _| {
                w.instance_mut(&bed.node).unwrap().state = InstanceState::Terminated;
            }),
        ),
        ("bound-to-live-instance", Box::new(|bed, w, _| drop(w.instances.remove(&bed.node)))),
        (
            "ends-by-itself",
            Box::new(|_, w, id| {
                with_eni(w, id, |eni| bound(eni).status = AttachmentStatus::Attaching);
            }),
        ),
        ("visible-is-attached", Box::new(|_, w, id| with_eni(w, id, |eni| eni.state = EniState::Available))),
        (
            "primary-stays",
            Box::new(|bed, w, _| {
                let primary = bed.vpc.primary_eni(&bed.node).unwrap();
                with_eni(w, &primary, |eni| eni.state = EniState::Available);
            }),
        ),
    ];
    for (rule, harm) in cases {
        let found = broken(harm);
        assert!(found.contains(&rule), "{rule} was not found, only {found:?}");
    }
}
