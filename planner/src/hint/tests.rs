use super::*;
use crate::toy::{Toy, by_eni, by_prefix};

fn shown(toy: &Toy) -> BTreeMap<MacAddr, BTreeSet<IpAddr>> {
    toy.cloud
        .enis
        .values()
        .map(|eni| (eni.mac, eni.secondary.iter().copied().chain([IpAddr::V4(eni.primary)]).collect()))
        .collect()
}

fn rested() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(2);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    toy
}

#[test]
fn agreement_is_no_news() {
    let toy = rested();
    assert_eq!(
        compare_hint(
            &toy.ledger,
            &shown(&toy),
            &toy.cloud.shown_groups(),
            &toy.cloud.shown_prefixes(),
            &toy.now
        ),
        None
    );
}

/// cni#3019: one address swapped for another, so that the counts stay equal.
#[test]
fn a_swap_one_for_one_is_seen() {
    let toy = rested();
    let mut hint = shown(&toy);
    let addresses = hint.values_mut().next().unwrap();
    addresses.pop_last();
    addresses.insert("10.0.99.99".parse().unwrap());
    let diff =
        compare_hint(&toy.ledger, &hint, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now)
            .unwrap();
    assert_eq!(diff.differing.len(), 1);
    let shown = diff.differing.values().next().unwrap();
    assert!(shown.contains(&"10.0.99.99".parse::<IpAddr>().unwrap()), "it says what it saw: {diff:?}");
}

#[test]
fn missing_and_unknown_enis_are_seen() {
    let toy = rested();
    let mut hint = shown(&toy);
    let (mac, _) = hint.pop_last().unwrap();
    hint.insert(MacAddr([2, 7, 7, 7, 7, 7]), BTreeSet::new());
    let diff =
        compare_hint(&toy.ledger, &hint, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now)
            .unwrap();
    assert_eq!(diff.unknown, BTreeSet::from([MacAddr([2, 7, 7, 7, 7, 7])]));
    let missing = &toy.ledger.enis.values().find(|eni| eni.mac == mac).unwrap().id;
    assert_eq!(diff.missing, BTreeSet::from([missing.clone()]));
}

#[test]
fn what_we_changed_a_moment_ago_is_no_news() {
    let mut toy = rested();
    let mut stale = shown(&toy);
    for addresses in stale.values_mut() {
        addresses.pop_last();
    }
    for eni in toy.ledger.enis.values().cloned().collect::<Vec<_>>() {
        let changed = toy.now.boottime;
        toy.ledger.apply(&Change::PutEni(EniRecord { changed, ..eni }));
    }
    assert_eq!(
        compare_hint(&toy.ledger, &stale, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now),
        None
    );
    toy.sleep(Duration::from_secs(60));
    assert!(
        compare_hint(&toy.ledger, &stale, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now)
            .is_some()
    );
}

#[test]
fn ranges_are_filled_in_and_not_changed() {
    let mut toy = rested();
    let eni = toy.ledger.enis.values().next().unwrap().clone();
    let cidrs = BTreeMap::from([(eni.mac, "10.9.0.0/20".parse().unwrap())]);
    assert_eq!(learn_cidrs(&toy.ledger, &cidrs), [], "known already");
    let id = eni.source.subnet;
    let learnt = SubnetRecord { id: id.clone(), ipv4: Some("10.9.0.0/20".parse().unwrap()), ipv6: None };
    for unknown in
        [Change::DropSubnet(id.clone()), Change::PutSubnet(SubnetRecord { ipv4: None, ..learnt.clone() })]
    {
        toy.ledger.apply(&unknown);
        assert_eq!(learn_cidrs(&toy.ledger, &cidrs), [Change::PutSubnet(learnt.clone())]);
    }
}

#[test]
fn a_hint_that_comes_too_soon_after_a_change_is_asked_for_again_when_it_can_tell() {
    let mut toy = rested();
    assert_eq!(hint_settles(&toy.ledger, &toy.now), None);
    let eni = toy.ledger.enis.values().next().unwrap().clone();
    toy.ledger.apply(&Change::PutEni(EniRecord { changed: toy.now.boottime, ..eni }));
    assert_eq!(hint_settles(&toy.ledger, &toy.now), Some(toy.now.boottime.after(LAG)));
    toy.sleep(LAG);
    assert_eq!(hint_settles(&toy.ledger, &toy.now), None);
}

/// What others give an ENI is put right, so it is news of each; what we gave it lately is none.
#[test]
fn security_groups_that_others_gave_an_eni_of_ours_differ_and_our_own_do_not() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(12);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    let others: BTreeSet<_> = [SecurityGroupId::new("sg-others")].into();
    let secondary = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().clone();
    let mut groups = toy.cloud.shown_groups();
    assert_eq!(compare_hint(&toy.ledger, &shown(&toy), &groups, &toy.cloud.shown_prefixes(), &toy.now), None);
    groups.insert(secondary.mac, others.clone());
    let differs = |toy: &Toy, groups: &BTreeMap<_, _>| {
        compare_hint(&toy.ledger, &shown(toy), groups, &toy.cloud.shown_prefixes(), &toy.now)
    };
    let diff = HintDiff { groups: [(secondary.id.clone(), others)].into(), ..HintDiff::default() };
    assert_eq!(differs(&toy, &groups), Some(diff));
    let mut lately = secondary.clone();
    lately.changed = toy.now.boottime;
    toy.ledger.apply(&Change::PutEni(lately));
    assert_eq!(differs(&toy, &groups), None);
    let unmanaged = EniRecord { management: Management::Unmanaged, ..secondary };
    toy.ledger.apply(&Change::PutEni(unmanaged));
    assert_eq!(differs(&toy, &groups), None, "its groups are its owner's affair");
}

/// A hint is borne out when the ledger has become what it showed, each part of it.
#[test]
fn a_hint_that_the_ledger_agrees_with_is_over() {
    let toy = rested();
    let (id, eni) = toy.ledger.enis.iter().next().map(|(id, eni)| (id.clone(), eni.clone())).unwrap();
    let addresses = expected(&toy.ledger, &eni);
    let (foreign, gone) = (MacAddr([2, 7, 7, 7, 7, 7]), EniId::new("eni-gone"));
    let differing = |shown: &BTreeSet<IpAddr>| HintDiff {
        differing: [(id.clone(), shown.clone())].into(),
        ..HintDiff::default()
    };
    let missing = |id: &EniId| HintDiff { missing: [id.clone()].into(), ..HintDiff::default() };
    let unknown = |mac| HintDiff { unknown: [mac].into(), ..HintDiff::default() };
    let groups = |name| {
        let groups = [(id.clone(), [SecurityGroupId::new(name)].into())].into();
        HintDiff { groups, ..HintDiff::default() }
    };
    for (hint, agrees) in [
        (differing(&addresses), true),
        (differing(&BTreeSet::new()), false),
        (missing(&gone), true),
        (missing(&id), false),
        (unknown(eni.mac), true),
        (unknown(foreign), false),
        (groups("sg-1"), true),
        (groups("sg-9"), false),
    ] {
        assert_eq!(hint.agrees_with(&toy.ledger), agrees, "{hint:?}");
    }
}

/// Metadata shows what EC2 has there: not what has left, and prefixes are another list.
#[test]
fn what_the_hint_should_show_is_what_ec2_has() {
    let mut toy = rested();
    let eni = toy.ledger.enis.values().next().unwrap().clone();
    let all = expected(&toy.ledger, &eni);
    let block = toy.ledger.blocks_on(&eni.id).next().unwrap().clone();
    let intent = holdfast_model::ids::IntentId(uuid::Uuid::nil());
    for (state, there) in [
        (BlockState::Held, true),
        (BlockState::Leaving(intent), true),
        (BlockState::Withdrawn, false),
        (BlockState::Gone(BootTime(1)), false),
    ] {
        toy.ledger.apply(&Change::PutBlock(holdfast_model::block::Block { state, ..block.clone() }));
        assert_eq!(expected(&toy.ledger, &eni).contains(&block.net.addr()), there, "{state:?}");
    }
    toy.ledger.apply(&Change::PutBlock(block));
    let prefix: Ipv4Net = "10.0.100.0/28".parse().unwrap();
    let prefix = holdfast_model::block::Block::held(prefix.into(), eni.id.clone(), BootTime(1));
    toy.ledger.apply(&Change::PutBlock(prefix));
    assert_eq!(expected(&toy.ledger, &eni), all);
}

/// What EC2 tells of subnets fills in what is lacking; what is known stays.
#[test]
fn ranges_that_ec2_tells_are_filled_in_and_not_changed() {
    let id = SubnetId::new("subnet-9");
    let (range, range6) = ("10.9.0.0/20".parse().unwrap(), "2001:db8::/64".parse().unwrap());
    let of = |ipv4, ipv6| SubnetRecord { id: id.clone(), ipv4, ipv6 };
    let told = |known: Option<SubnetRecord>, shown: SubnetRecord| {
        let mut toy = rested();
        toy.ledger.apply_all(known.map(Change::PutSubnet).iter());
        adopt_subnets(&toy.ledger, &[shown])
    };
    let other = "10.8.0.0/20".parse().unwrap();
    assert_eq!(told(None, of(Some(range), None)), [Change::PutSubnet(of(Some(range), None))]);
    assert_eq!(told(Some(of(Some(other), None)), of(Some(range), None)), [], "known already");
    assert_eq!(told(None, of(None, Some(range6))), [], "it is the IPv4 range that is lacking");
    let both = [Change::PutSubnet(of(Some(range), Some(range6)))];
    assert_eq!(told(Some(of(None, Some(range6))), of(Some(range), None)), both);
    assert_eq!(told(None, of(Some(range), Some(range6))), both);
}

/// An ENI that is not attached, as far as we know, and that the metadata service shows, is news when we have not changed it
/// lately; one that is deleted is none, nor one that is known to be here.
#[test]
fn what_is_shown_and_passes_for_detached_is_seen() {
    let second = EniId::new("eni-0001");
    let attached = rested().ledger.enis[&second].clone();
    let now = rested().now.boottime;
    let ago = |seconds: u64| BootTime(now.0 - seconds * 1000);
    let cases: [(EniPhase, Management, u64, bool); 8] = [
        (EniPhase::Available, Management::Managed, 59, false),
        (EniPhase::Available, Management::Managed, 60, true),
        // Our own detachment, which the metadata service may be late to show.
        (EniPhase::Detached, Management::Managed, 299, false),
        (EniPhase::Detached, Management::Managed, 300, true),
        (EniPhase::Gone, Management::Managed, 300, false),
        (attached.phase.clone(), Management::Managed, 300, false),
        (attached.phase.clone(), Management::Unmanaged, 300, false),
        // Closed, since others have detached it.
        (attached.phase.clone(), Management::Excluded, 300, true),
    ];
    for (phase, management, since, news) in cases {
        let mut toy = rested();
        let hint = shown(&toy);
        toy.alter(&second, |eni| {
            (eni.phase, eni.management) = (phase.clone(), management);
            (eni.since, eni.changed) = (ago(since), ago(300));
        });
        let blocks: Vec<_> = toy.ledger.blocks_on(&second).cloned().collect();
        for block in blocks.into_iter().filter(|_| management == Management::Excluded) {
            let state = BlockState::Withdrawn;
            toy.ledger.apply(&Change::PutBlock(holdfast_model::block::Block { state, ..block }));
        }
        let diff = compare_hint(
            &toy.ledger,
            &hint,
            &toy.cloud.shown_groups(),
            &toy.cloud.shown_prefixes(),
            &toy.now,
        )
        .unwrap_or_default();
        assert_eq!(diff.unknown.contains(&attached.mac), news, "{phase:?} {management:?} {since}");
        let mut without = hint.clone();
        without.remove(&attached.mac);
        let diff = compare_hint(
            &toy.ledger,
            &without,
            &toy.cloud.shown_groups(),
            &toy.cloud.shown_prefixes(),
            &toy.now,
        )
        .unwrap_or_default();
        let expected = phase == attached.phase && !news;
        assert_eq!(diff.missing.contains(&second), expected, "{phase:?} {management:?} {since}");
        let hint = HintDiff { unknown: [attached.mac].into(), ..HintDiff::default() };
        // What it would bear out does not hang on how long ago it was.
        let away = matches!(phase, EniPhase::Available | EniPhase::Detached) || news;
        assert_eq!(hint.agrees_with(&toy.ledger), !away, "{phase:?} {management:?}");
        let hint = HintDiff { missing: [attached.id.clone()].into(), ..HintDiff::default() };
        let away = phase != attached.phase || news;
        assert_eq!(hint.agrees_with(&toy.ledger), away, "{phase:?} {management:?}");
    }
}

/// With an unknown MAC it is told which ENIs are gone and keep their place: whoever sits there may be it. Others are no part of it.
#[test]
fn an_unknown_mac_comes_with_the_places_that_are_kept_and_no_others() {
    let second = EniId::new("eni-0001");
    let attached = rested().ledger.enis[&second].phase.clone();
    for (phase, gone, kept) in
        [(attached.clone(), true, true), (attached, false, false), (EniPhase::Available, false, false)]
    {
        let mut toy = rested();
        toy.alter(&second, |eni| {
            eni.phase = phase.clone();
            eni.management = if gone { Management::Excluded } else { Management::Managed };
        });
        let blocks: Vec<_> = toy.ledger.blocks_on(&second).cloned().collect();
        for block in blocks.into_iter().filter(|_| gone) {
            let state = BlockState::Withdrawn;
            toy.ledger.apply(&Change::PutBlock(holdfast_model::block::Block { state, ..block }));
        }
        let mut hint = shown(&toy);
        let told = |toy: &Toy, hint: &BTreeMap<_, _>| {
            compare_hint(&toy.ledger, hint, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now)
        };
        hint.remove(&toy.ledger.enis[&second].mac);
        assert!(told(&toy, &hint).unwrap_or_default().kept.is_empty(), "nobody may sit there");
        hint.insert(MacAddr([2, 7, 7, 7, 7, 7]), BTreeSet::new());
        let expected: BTreeSet<_> = kept.then(|| second.clone()).into_iter().collect();
        assert_eq!(told(&toy, &hint).unwrap().kept, expected, "{phase:?} {gone}");
    }
}

/// Somebody attached another ENI in the place of one that they deleted under its pods. It waits for them to go, for hours or
/// days, and no longer.
#[test]
fn a_newcomer_costs_few_reads_while_it_waits_and_is_taken_in_soon_when_its_place_is_free() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(4);
    toy.run_to_rest();
    // Nothing else leads to a read.
    toy.config.provisioning_disabled.value = true;
    let gone = EniId::new("eni-0001");
    let device = toy.ledger.enis[&gone].slot().unwrap().device;
    toy.cloud.enis.remove(&gone);
    let newcomer = EniId::new("eni-newcomer");
    toy.cloud.attach_foreign("eni-newcomer", device, holdfast_model::eni::EniKind::Standard, &[]);
    let hints = |toy: &mut Toy, seconds: u64| {
        toy.cloud.calls.clear();
        for at in 0..seconds {
            toy.sleep(Duration::from_secs(1));
            if at % 82 == 81 {
                let attached = toy.cloud.attached();
                let hint = attached
                    .map(|eni| {
                        let own = [IpAddr::V4(eni.primary)];
                        (eni.mac, eni.secondary.iter().copied().chain(own).collect())
                    })
                    .collect();
                let diff = compare_hint(
                    &toy.ledger,
                    &hint,
                    &toy.cloud.shown_groups(),
                    &toy.cloud.shown_prefixes(),
                    &toy.now,
                );
                toy.observed.hinted(diff, &toy.now);
            }
            while toy.round() {}
        }
        toy.cloud.calls.len()
    };
    hints(&mut toy, 4 * 3600);
    assert!(toy.ledger.leases_on(&gone).next().is_some() && !toy.ledger.enis.contains_key(&newcomer));
    let reads = hints(&mut toy, 5 * 3600);
    // One an hour, and the two listings of each six hours.
    assert!((1..=8).contains(&reads), "{reads}");

    toy.delete_all_pods();
    // They rest, and what hangs about is read.
    hints(&mut toy, 60);
    let left = toy.ledger.enis.get(&gone).is_none_or(|eni| eni.attachment().is_none());
    assert!(left, "{:?}", toy.ledger.enis.get(&gone));
    let reads = hints(&mut toy, 180);
    assert!(toy.ledger.enis.contains_key(&newcomer), "its place is free");
    assert!((1..=3).contains(&reads), "{reads}");
}

/// Prefixes are told apart from addresses, and only where they were asked for.
#[test]
fn a_prefix_that_others_took_or_gave_is_a_difference() {
    let mut toy = Toy::with_prefixes("m5.large", by_prefix(1));
    toy.add_pods(3);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    let primary = EniId::new("eni-primary");
    let differs = |toy: &Toy, prefixes: &BTreeMap<_, _>| {
        compare_hint(&toy.ledger, &shown(toy), &toy.cloud.shown_groups(), prefixes, &toy.now)
    };
    assert_eq!(differs(&toy, &toy.cloud.shown_prefixes()), None);
    assert_eq!(differs(&toy, &BTreeMap::new()), None, "nobody asked");
    let another = "10.0.77.16/28".parse().unwrap();
    let mac = (toy.ledger.enis[&primary].mac, Family::V4);
    let primary = (primary, Family::V4);
    for change in [
        |prefixes: &mut BTreeSet<IpNet>, another| assert!(prefixes.insert(another)),
        |prefixes: &mut BTreeSet<IpNet>, _| assert!(prefixes.pop_last().is_some()),
    ] {
        let mut prefixes = toy.cloud.shown_prefixes();
        change(prefixes.get_mut(&mac).unwrap(), another);
        let diff = differs(&toy, &prefixes).unwrap();
        assert_eq!(diff.prefixes[&primary], prefixes[&mac]);
        assert!(!diff.agrees_with(&toy.ledger), "the ledger is as it was");
    }
    let as_it_is = HintDiff {
        prefixes: [(primary, toy.cloud.shown_prefixes()[&mac].clone())].into(),
        ..HintDiff::default()
    };
    assert!(as_it_is.agrees_with(&toy.ledger));
    // What was given back a moment ago may be shown for a while.
    toy.delete_all_pods();
    let before = toy.cloud.shown_prefixes();
    while toy.cloud.shown_prefixes() == before {
        if !toy.round() {
            toy.sleep(Duration::from_secs(1));
        }
    }
    assert_eq!(differs(&toy, &before), None);
    toy.sleep(LAG);
    assert!(differs(&toy, &before).is_some());
}
