use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::cloud::{Api, CloudRead, TAG_INSTANCE, TAG_NO_MANAGE};
use holdfast_model::eni::EniKind;
use holdfast_model::ids::{EniId, InstanceId, SubnetId};
use holdfast_model::intent::Sending;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::BootTime;

use crate::toy::{Fate, Toy, by_address, by_eni};
use crate::wanted::Reason;
use crate::{Desired, HintDiff, Reading, Step, compare_hint, plan};

/// The metadata service shows this ENI with no address.
fn hint_at(toy: &mut Toy, name: &str) {
    let differing = BTreeMap::from([(EniId::new(name), BTreeSet::new())]);
    toy.observed.hinted(Some(HintDiff { differing, ..HintDiff::default() }), &toy.now);
}

fn reads_in(toy: &mut Toy, minutes: u64) -> usize {
    toy.cloud.calls.clear();
    for _ in 0..minutes * 6 {
        toy.sleep(Duration::from_secs(10));
        while toy.round() {}
    }
    toy.cloud.count(Api::DescribeNetworkInterfaces)
}

/// The metadata service may be wrong for hours; that must not become a read a minute.
#[test]
fn a_hint_leads_to_one_read_and_the_same_hint_to_few() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    hint_at(&mut toy, "eni-primary");
    let reads = reads_in(&mut toy, 30);
    assert!((1..=5).contains(&reads), "{reads}");
    hint_at(&mut toy, "eni-other");
    assert!(reads_in(&mut toy, 2) == 1, "another difference is news");
}

#[test]
fn changing_hints_lead_to_a_read_a_minute_at_most() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    let mut reads = 0;
    for change in 0..60 {
        hint_at(&mut toy, &format!("eni-{change}"));
        toy.cloud.calls.clear();
        toy.sleep(Duration::from_secs(10));
        while toy.round() {}
        reads += toy.cloud.calls.len();
    }
    assert!((9..=10).contains(&reads), "{reads} in ten minutes");
}

/// The same outage, told apart: one in which requests may have arrived, and one in which they cannot have.
#[test]
fn what_never_left_is_sent_again_without_a_read_and_what_may_have_arrived_is_not() {
    for (fate, wanted) in [(Fate::NotSent, 0), (Fate::LostBefore, 1)] {
        let mut toy = Toy::new("m5.large", by_address(1, 0));
        toy.run_to_rest();
        toy.cloud.calls.clear();
        toy.fates = Box::new(move || fate);
        toy.add_pods(1);
        toy.round();
        let opened: Vec<_> = toy.ledger.intents.keys().copied().collect();
        assert_eq!(opened.len(), 1, "{:?}", toy.ledger.intents);
        for _ in 0..6 {
            toy.sleep(Duration::from_secs(40));
            toy.round();
            let open: Vec<_> = toy.ledger.intents.keys().copied().collect();
            assert_eq!(open, opened, "neither closed nor doubled");
        }
        toy.fates = Box::new(|| Fate::Fine);
        toy.run_to_rest();
        assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 1, "{fate:?}");
        assert_eq!(toy.cloud.count(Api::DescribeNetworkInterfaces), wanted, "{fate:?}");
        toy.assert_in_agreement();
    }
}

#[test]
fn a_new_process_knows_what_never_left() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::NotSent);
    toy.add_pods(1);
    toy.round();
    let sending = |toy: &Toy| toy.ledger.intents.values().map(|intent| intent.sending).collect::<Vec<_>>();
    assert_eq!(sending(&toy), [Sending::NeverSent]);
    toy.restart();
    assert_eq!(sending(&toy), [Sending::NeverSent]);
    toy.cloud.calls.clear();
    toy.fates = Box::new(|| Fate::Fine);
    toy.round();
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 1, "nothing can have come of it");
    toy.run_to_rest();
    toy.assert_in_agreement();
}

#[test]
fn a_new_process_does_not_know_what_came_of_a_call() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::KilledAfter);
    toy.add_pods(1);
    toy.round();
    let [intent] = &toy.ledger.intents.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(intent.sending, Sending::Unanswered);
    let changed = toy.ledger.enis[intent.change.eni().unwrap()].changed;
    assert_eq!(changed, toy.now.boottime, "it may be carried out only now");
    toy.fates = Box::new(|| Fate::Fine);
    toy.cloud.calls.clear();
    toy.run_to_rest();
    assert_eq!(toy.cloud.count(Api::AssignPrivateIpAddresses), 0, "it was carried out, as a read tells");
    toy.assert_in_agreement();
}

/// What a read cannot bring is not asked for again and again.
#[test]
fn an_address_that_somebody_takes_while_it_rests_leads_to_few_reads() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(2);
    toy.run_to_rest();
    let address = toy.ledger.leases.values().next().unwrap().faces[0].address;
    toy.config.cooldown.value = Duration::from_secs(3600);
    toy.delete_pod(0);
    toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap().secondary.remove(&address);
    hint_at(&mut toy, "eni-primary");
    let reads = reads_in(&mut toy, 10);
    assert!((1..=5).contains(&reads), "{reads} in ten minutes");
    assert!(!toy.ledger.is_held(address), "and yet it is known");
}

/// Whatever keeps an address in the book that no read shows.
#[test]
fn a_read_that_could_tell_is_not_repeated_at_once() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    let net = *toy.ledger.blocks.keys().next().unwrap();
    let read = toy.observed.reads.last_full().unwrap();
    let reads_full = |toy: &Toy| {
        let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
        let planned = plan(&desired, &toy.ledger, &toy.observed, &toy.now);
        planned.steps.iter().any(|step| matches!(step, Step::Read(CloudRead::InstanceEnis { .. })))
    };
    for (from, wanted) in [(read.0 - 1, false), (read.0, false), (read.0 + 1, true)] {
        for reason in [Reason::NotShown(net), Reason::Unasked(net)] {
            toy.observed.reads.want(reason.clone(), BootTime(from));
            assert_eq!(reads_full(&toy), wanted, "{from} {read:?}");
            toy.observed.reads.settle(|other, _| *other == reason);
        }
    }
}

#[test]
fn an_eni_that_is_not_ours_to_manage_leads_to_no_reads() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let eni = EniId::new("eni-0001");
    let primary = EniId::new("eni-primary");
    assert!(toy.ledger.blocks_on(&eni).next().is_some());
    let tag = (TAG_NO_MANAGE.to_owned(), "true".to_owned());
    toy.cloud.enis.get_mut(&eni).unwrap().tags.extend([tag]);
    hint_at(&mut toy, "eni-primary");
    reads_in(&mut toy, 2);
    assert!(!toy.ledger.enis[&eni].serves_pods() && toy.ledger.enis[&primary].serves_pods());
    toy.cloud.enis.get_mut(&eni).unwrap().secondary.clear();
    hint_at(&mut toy, "eni-0001");
    let reads = reads_in(&mut toy, 30);
    assert!(reads <= 2, "{reads} in half an hour");
}

#[test]
fn without_ec2_reads_slow_down_and_nothing_else_happens() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.fates = Box::new(|| Fate::LostBefore);
    let mut tries = 0;
    for _ in 0..360 {
        tries += usize::from(toy.round());
        toy.sleep(Duration::from_secs(10));
    }
    // Of ENIs, and of the zone's subnets.
    assert!((60..350).contains(&tries), "{tries} in an hour");
    assert_eq!(toy.cloud.calls, []);
}

/// The metadata service shows what EC2 has.
fn look_at_the_hint(toy: &mut Toy) {
    let shown = |eni: &crate::toy::cloud::ToyEni| {
        eni.secondary.iter().copied().chain([IpAddr::V4(eni.primary)]).collect()
    };
    let hint = toy.cloud.attached().map(|eni| (eni.mac, shown(eni))).collect();
    let differs =
        compare_hint(&toy.ledger, &hint, &toy.cloud.shown_groups(), &toy.cloud.shown_prefixes(), &toy.now);
    toy.observed.hinted(differs, &toy.now);
}

/// Minutes until the ledger has what EC2 has, looking at the hint each minute.
fn minutes_until_noticed(toy: &mut Toy) -> u32 {
    for minutes in 1..=120 {
        toy.sleep(Duration::from_secs(60));
        look_at_the_hint(toy);
        while toy.round() {}
        let noticed = toy.cloud.enis.iter().all(|(id, eni)| {
            let held = toy.ledger.blocks_on(id).map(|block| block.net.addr());
            held.filter(|ip| toy.ledger.is_held(*ip)).collect::<BTreeSet<_>>() == eni.secondary
        });
        if noticed {
            return minutes;
        }
    }
    120
}

/// What somebody else does on one ENI: addresses go, come back, and go again.
#[test]
fn each_foreign_change_on_one_eni_is_noticed_soon() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(600));
    let primary = EniId::new("eni-primary");
    let all = toy.cloud.enis[&primary].secondary.clone();
    let foreign = IpAddr::from([10, 0, 200, 1]);
    let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
    let without =
        |gone: &[IpAddr]| all.iter().copied().filter(|ip| !gone.contains(ip)).collect::<BTreeSet<_>>();
    let swapped: BTreeSet<IpAddr> = without(&[first, last]).into_iter().chain([foreign]).collect();
    let changes = [
        without(&[last]),
        without(&[first, last]),
        swapped,
        without(&[last]),
        without(&[first]),
        all.clone(),
        without(&[first]),
        all.clone(),
        without(&[first]),
    ];
    for (nth, there) in changes.into_iter().enumerate() {
        toy.cloud.enis.get_mut(&primary).unwrap().secondary = there;
        let minutes = minutes_until_noticed(&mut toy);
        assert!(minutes <= 2, "change {nth}: {minutes} minutes");
    }
}

/// The metadata service is late, or wrong, now and then, and the next time again.
#[test]
fn a_hint_that_comes_and_goes_leads_to_few_reads() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(600));
    toy.cloud.calls.clear();
    for minute in 0..60 {
        if minute % 2 == 0 {
            hint_at(&mut toy, "eni-primary");
        } else {
            look_at_the_hint(&mut toy);
        }
        while toy.round() {}
        toy.sleep(Duration::from_secs(60));
    }
    let reads = toy.cloud.calls.len();
    assert!((2..=6).contains(&reads), "{reads} in an hour");
}

/// The first ENI is shown so many seconds after the start. Seconds until the first pod, and until the primary is known.
fn first_pod(instance_type: &str, hidden: u64) -> (Toy, u64, u64) {
    let mut toy = Toy::new(instance_type, by_eni(1));
    let begun = toy.now.boottime;
    toy.cloud.primary_hidden_until = toy.now.wall.0 + hidden * 1000;
    toy.cloud.at = toy.now.wall.0;
    toy.add_pods(1);
    let (mut served, mut known) = (None, None);
    while served.is_none() || known.is_none() {
        if !toy.round() {
            toy.sleep(Duration::from_millis(100));
        }
        let seconds = toy.now.boottime.since(begun).as_secs();
        served = served.or((toy.waiting() == 0).then_some(seconds));
        known = known.or(toy
            .ledger
            .enis
            .values()
            .any(holdfast_model::eni::EniRecord::is_primary)
            .then_some(seconds));
        if served.is_none() {
            let cause = toy.choose().unwrap_err().cause;
            let told = matches!(cause, Refusal::NotReadYet | Refusal::Unreachable { .. });
            assert!(told, "{cause:?}");
        }
        assert!(seconds < 200, "{served:?} {known:?}");
    }
    (toy, served.unwrap(), known.unwrap())
}

#[test]
fn while_the_first_eni_is_not_shown_another_serves_and_ec2_is_read_again_soon() {
    for hidden in [0, 5, 20, 60] {
        let (mut toy, served, known) = first_pod("m5.large", hidden);
        assert!(served <= 5, "{hidden}: the first pod after {served} s");
        assert!(known <= 2 * hidden + 3, "{hidden}: known after {known} s");
        assert!(toy.cloud.count(Api::DescribeNetworkInterfaces) <= 10, "{hidden}: {:?}", toy.cloud.calls);
        toy.run_to_rest();
        toy.assert_in_agreement();
    }
}

/// An ENI in a subnet that nobody has told the range of: EC2 is asked, and until it tells others serve.
#[test]
fn the_range_of_a_foreign_subnet_is_asked_of_ec2() {
    let elsewhere = SubnetId::new("subnet-elsewhere");
    for told in [true, false] {
        let mut toy = Toy::new("m5.large", by_address(2, 0));
        toy.config.subnet_discovery.value = false;
        let tag = (TAG_INSTANCE, "i-1");
        toy.cloud.attach_foreign("eni-elsewhere", 1, EniKind::Standard, &[tag]);
        let eni = EniId::new("eni-elsewhere");
        toy.cloud.enis.get_mut(&eni).unwrap().subnet = elsewhere.clone();
        let given = (0..9).map(|last| IpAddr::from([10, 0, 200, last]));
        toy.cloud.enis.get_mut(&eni).unwrap().secondary.extend(given);
        if told {
            toy.cloud.ranges.insert(elsewhere.clone(), "10.0.64.0/20".parse().unwrap());
        }
        for _ in 0..3600 {
            toy.round();
            toy.sleep(Duration::from_secs(1));
            toy.serve();
        }
        assert_eq!(toy.observed.ready_enis.contains(&eni), told);
        let asked = toy.cloud.count(Api::DescribeSubnets);
        assert!(if told { asked == 1 } else { (5..=20).contains(&asked) }, "{asked}");
        toy.add_pods(9);
        for _ in 0..60 {
            toy.round();
            toy.sleep(Duration::from_secs(1));
            toy.serve();
        }
        assert_eq!(toy.waiting(), 0, "{:?}", toy.last.reports);
    }
}

/// A ledger that was another instance's: its ENIs were asked for, and the answer comes when it is forgotten.
#[test]
fn a_read_of_another_instance_does_not_pass_for_one_of_this() {
    let mut toy = Toy::new("m5.large", by_address(2, 0));
    let read = CloudRead::InstanceEnis { instance: InstanceId::new("i-another") };
    let began = toy.now.boottime;
    toy.observed.read_began(&read, &toy.now);
    toy.observed.read_adopted(&toy.ledger, Reading { read: &read, views: &[], began });
    assert_eq!(toy.observed.reads.last_full(), None);
    toy.round();
    assert!(toy.observed.reads.last_full().is_some(), "{:?}", toy.last);
}

/// With a second ENI, on which there are pods or not, that others have detached long enough ago.
fn with_one_that_others_detached(pods: u32) -> (Toy, EniId, holdfast_model::cloud::AttachmentView) {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(pods);
    toy.run_to_rest();
    toy.config.max_enis.value = Some(2);
    toy.cloud.denied.insert(Api::AttachNetworkInterface);
    toy.sleep(Duration::from_secs(120));
    let second = EniId::new("eni-0001");
    let attachment = toy.cloud.enis.get_mut(&second).unwrap().attachment.take().unwrap();
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }, began, 0);
    while toy.round() {}
    toy.sleep(Duration::from_secs(120));
    while toy.round() {}
    assert!(!toy.ledger.enis[&second].serves_pods(), "{:?}", toy.ledger.enis[&second]);
    (toy, second, attachment)
}

/// Others have it back where it was; the metadata service shows it, and nothing else would tell for hours.
#[test]
fn what_others_detached_and_attach_again_is_noticed_in_minutes() {
    for pods in [1, 5] {
        let (mut toy, second, attachment) = with_one_that_others_detached(pods);
        let leased = toy.ledger.leases_on(&second).next().is_some();
        assert_eq!(toy.ledger.enis[&second].attachment().is_some(), leased);
        assert_eq!(leased, pods == 5);
        // A try to attach it would find it out, too.
        toy.config.provisioning_disabled.value = true;
        toy.cloud.enis.get_mut(&second).unwrap().attachment = Some(attachment);
        let minutes = (1..=10).find(|_| {
            toy.sleep(Duration::from_secs(60));
            look_at_the_hint(&mut toy);
            while toy.round() {}
            toy.ledger.enis[&second].serves_pods()
        });
        assert!(minutes.is_some_and(|minutes| minutes <= 2), "pods: {pods}: {minutes:?}");
    }
}

/// It was seen to show a detached ENI for as long as the instance ran.
#[test]
fn metadata_that_goes_on_showing_a_detached_eni_is_looked_into_ever_later() {
    let (mut toy, second, attachment) = with_one_that_others_detached(5);
    toy.cloud.calls.clear();
    for _ in 0..360 {
        toy.sleep(Duration::from_secs(60));
        toy.cloud.enis.get_mut(&second).unwrap().attachment = Some(attachment.clone());
        look_at_the_hint(&mut toy);
        toy.cloud.enis.get_mut(&second).unwrap().attachment = None;
        while toy.round() {}
    }
    let reads = toy.cloud.count(Api::DescribeNetworkInterfaces);
    assert!((5..=16).contains(&reads), "{reads} in six hours");
}
