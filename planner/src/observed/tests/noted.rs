//! What is noted of calls and reads, and what it leads to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::block::Ask;
use holdfast_model::cloud::{CloudChange, EniView, TAG_INSTANCE, TAG_INTENT};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::Change;
use uuid::Uuid;

use super::*;
use crate::agenda::Agenda;
use crate::orphan::STRAY_AFTER;
use crate::toy::cloud::view;
use crate::wanted::{Periods, Reason};
use crate::{PauseScope, Setback, Step};

const SECOND: Duration = Duration::from_secs(1);

fn primary() -> EniId {
    EniId::new("eni-primary")
}

fn unattached() -> CloudRead {
    CloudRead::AvailableEnis { instance: InstanceId::new("i-1") }
}

fn id(number: u128) -> IntentId {
    IntentId(Uuid::from_u128(number))
}

/// The reads that are due at an instant, as far as no intent asks for one.
fn due(observed: &Observed, ledger: &Ledger, now: &Now) -> Vec<CloudRead> {
    let instance = InstanceId::new("i-1");
    observed.reads.due(
        &instance,
        ledger,
        &BTreeSet::new(),
        &BTreeSet::new(),
        Periods::of(Duration::from_secs(6 * 3600), crate::share::Share::default()),
        &mut Agenda::new(now),
    )
}

/// A node whose listings were read a while ago, and to which nothing has happened since.
fn rested() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(120));
    assert_eq!(due(&toy.observed, &toy.ledger, &toy.now), []);
    toy
}

fn adopted(toy: &mut Toy, read: &CloudRead, views: &[EniView], began: BootTime) {
    toy.observed.read_adopted(&toy.ledger, Reading { read, views, began });
}

#[test]
fn whatever_is_sent_is_taken_from_the_share_of_its_action() {
    let now = now_at(100);
    let fresh = Observed::default;
    let takes = |api, send: &dyn Fn(&mut Observed)| {
        let mut observed = fresh();
        let mut sent = 0;
        while observed.budget.clone().admits(api, now.boottime, &mut Agenda::new(&now)) {
            send(&mut observed);
            sent += 1;
            assert!(sent <= 20, "{api:?} is never taken");
        }
        sent
    };
    assert_eq!(takes(Api::DescribeNetworkInterfaces, &|observed| observed.read_began(&read(), &now)), 20);
    assert_eq!(takes(Api::DescribeInstanceTypes, &|observed| observed.limits_asked(&now)), 20);
    let api = Api::AttachNetworkInterface;
    assert_eq!(takes(api, &|observed| observed.sent(id(1), api, &now)), 16);
    assert_eq!(takes(api, &|observed| observed.sent_again(id(1), api, &now)), 16);
}

#[test]
fn what_is_under_way_is_not_begun_again() {
    let mut toy = rested();
    toy.observed.reads.want(Reason::Miscounted, toy.now.boottime);
    assert_eq!(due(&toy.observed, &toy.ledger, &toy.now), [read()]);
    let now = toy.now.clone();
    toy.observed.read_began(&read(), &now);
    assert_eq!(due(&toy.observed, &toy.ledger, &toy.now), []);

    let sets_up = |toy: &Toy| toy.planned().steps.iter().any(|step| matches!(step, Step::SetUpEni(_)));
    let mut toy = rested();
    toy.observed.ready_enis.remove(&primary());
    assert!(sets_up(&toy));
    toy.observed.set_up_began(&primary());
    assert!(!sets_up(&toy));

    let asks = |toy: &Toy| toy.planned().steps.iter().any(|step| matches!(step, Step::AskLimits { .. }));
    let mut toy = rested();
    let mut node = toy.ledger.node.clone().unwrap();
    node.identity.instance_type = "x9.unheard-of".into();
    toy.ledger.apply(&Change::PutNode(node));
    assert!(asks(&toy));
    toy.observed.limits_asked(&now);
    assert!(!asks(&toy));
}

/// An answer may have been lost before the refusal: then an ENI hangs unattached.
#[test]
fn a_creation_that_was_sent_twice_and_refused_may_have_made_an_eni() {
    let create = Api::CreateNetworkInterface;
    for (api, twice, refused, suspected) in [
        (create, true, true, true),
        (create, false, true, false),
        (create, true, false, false),
        (Api::AssignPrivateIpAddresses, true, true, false),
    ] {
        let mut toy = rested();
        let mut now = toy.now.clone();
        toy.observed.sent(id(1), api, &now);
        if twice {
            toy.observed.sent_again(id(1), api, &now);
        }
        let fault = Fault::Rejected;
        let setback = refused.then(|| Setback::of(api, PauseScope::Api, Some(&fault), "no", None));
        let settlement =
            Settlement { changes: vec![Change::DropIntent(id(1))], setback, ..Settlement::default() };
        toy.observed.settled(id(1), api, &settlement, &now, 0);
        assert!(!toy.observed.is_under_way(id(1)));
        assert_eq!(due(&toy.observed, &toy.ledger, &now), [], "a read could not show it yet");
        now.boottime = now.boottime.after(Duration::from_secs(60));
        let expected = if suspected { vec![unattached()] } else { Vec::new() };
        assert_eq!(due(&toy.observed, &toy.ledger, &now), expected, "{api:?}, {twice}, {refused}");
    }
}

#[test]
fn a_slot_where_something_is_said_to_be_is_tried_again_after_an_hour() {
    let slot = EniSlot { card: 0, device: 2 };
    let taken = Settlement { taken: Some(slot), ..Settlement::default() };
    let attach = Api::AttachNetworkInterface;
    for (later, avoided) in [(3599, true), (3600, false)] {
        let (mut observed, later) = (Observed::default(), now_at(later));
        observed.settled(id(1), attach, &taken, &now_at(0), 0);
        assert_eq!(observed.avoided_slots(&later).contains(&slot), avoided);
        observed.settled(id(2), attach, &Settlement::default(), &later, 0);
        assert_eq!(observed.taken_slots.contains_key(&slot), avoided);
    }
}

/// What the ledger does not take would be planned anew at once, and for ever.
#[test]
fn a_call_that_cannot_be_written_down_rests() {
    let (assign, now) = (Api::AssignPrivateIpAddresses, now_at(100));
    let mut observed = Observed::default();
    observed.unkeepable(assign, "too large", &now, u64::MAX);
    let rests = |api| observed.pause_of(api, None, None, &now).is_some();
    assert!(rests(assign) && !rests(Api::CreateNetworkInterface));
}

#[test]
fn people_are_told_what_is_read_for() {
    let mut toy = rested();
    assert_eq!(toy.observed.reads_wanted(&toy.now), [""; 0]);
    let from = toy.now.boottime.after(SECOND);
    toy.observed.reads.want_from(Reason::Miscounted, from);
    let wanted = format!("Miscounted, from {} on", toy.now.wall_at(from));
    assert_eq!(toy.observed.reads_wanted(&toy.now), [wanted]);
    assert_eq!(toy.observed.why_read(&read(), &toy.ledger), ["Miscounted"]);
    assert_eq!(toy.observed.why_read(&unattached(), &toy.ledger), [""; 0], "of that it tells nothing");
}

#[test]
fn what_was_read_and_not_kept_is_read_again() {
    let mut toy = rested();
    toy.observed.forget_reads();
    assert_eq!(toy.observed.reads.last_full(), None);
    assert_eq!(due(&toy.observed, &toy.ledger, &toy.now), [read(), unattached()]);
}

/// Calls are forgotten with their intents, but not while they are under way.
#[test]
fn calls_are_remembered_as_long_as_anybody_asks() {
    let mut toy = rested();
    let (sent, open, over) = (id(1), id(2), id(3));
    let now = toy.now.clone();
    for call in [sent, open, over] {
        toy.observed.sent(call, Api::CreateNetworkInterface, &now);
    }
    toy.observed.given_up(open);
    toy.observed.given_up(over);
    let change = CloudChange::DeleteEni { eni: EniId::new("eni-x") };
    let intent = Intent { id: open, change, sending: Sending::MaybeSent, planned: now.wall };
    toy.ledger.apply(&Change::PutIntent(intent));
    adopted(&mut toy, &CloudRead::Enis { enis: Vec::new() }, &[], now.boottime);
    assert_eq!(toy.observed.calls.keys().copied().collect::<Vec<_>>(), [sent, open]);
}

/// A read tells of an assignment and an attachment that were not answered; of what never left there is nothing to tell.
#[test]
fn of_which_enis_a_read_is_to_tell_what_became_of_a_call() {
    let assign = CloudChange::Assign { eni: primary(), ask: Ask::addresses(1) };
    let tag = CloudChange::DeleteEni { eni: primary() };
    for (change, sending, sent, unanswered) in [
        (&assign, Sending::MaybeSent, false, true),
        (&assign, Sending::Unanswered, false, true),
        (&assign, Sending::NeverSent, false, false),
        (&assign, Sending::MaybeSent, true, false),
        (&assign, Sending::NeverSent, true, false),
        (&tag, Sending::Unanswered, false, false),
    ] {
        let mut toy = rested();
        let now = toy.now.clone();
        let intent = Intent { id: id(1), change: change.clone(), sending, planned: now.wall };
        toy.ledger.apply(&Change::PutIntent(intent));
        if sent {
            toy.observed.sent(id(1), change.api(), &now);
        }
        let expected = if unanswered { BTreeSet::from([primary()]) } else { BTreeSet::new() };
        assert_eq!(toy.observed.unanswered(&toy.ledger), expected, "{change:?} {sending:?} {sent}");
    }
}

/// Ours by its tag, attached to nothing, made by nobody that we know of; and looked at again when it has hung about for long.
#[test]
fn which_unattached_enis_are_watched() {
    let mut toy = rested();
    let (mine, others) = ((TAG_INSTANCE, "i-1"), (TAG_INSTANCE, "i-2"));
    let made = (TAG_INTENT, "00000000-0000-0000-0000-0000000000aa");
    /// Its name, its tags, and whether it is attached.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let cases: [Case<'_>; 4] = [
        ("eni-left", &[mine], false),
        ("eni-attached", &[mine], true),
        ("eni-of-another-node", &[others], false),
        ("eni-of-an-intent", &[mine, made], false),
    ];
    for (name, tags, attached) in cases {
        toy.cloud.attach_foreign(name, 9, EniKind::Standard, tags);
        if !attached {
            toy.cloud.enis.get_mut(&EniId::new(name)).unwrap().attachment = None;
        }
    }
    // One that the ledger has.
    let known = toy.cloud.enis.get_mut(&EniId::new("eni-0001")).unwrap();
    known.attachment = None;
    known.tags.remove(TAG_INTENT);
    let names = cases.iter().map(|(name, ..)| *name).chain(["eni-0001"]).map(EniId::new);
    let views: Vec<EniView> = names.map(|id| view(&id, &toy.cloud.enis[&id])).collect();
    let first = toy.now.boottime;
    adopted(&mut toy, &unattached(), &views, first);
    assert_eq!(toy.observed.strays.keys().collect::<Vec<_>>(), [&EniId::new("eni-left")]);
    let mut later = toy.now.clone();
    for (after, wanted) in [(Duration::from_secs(299), vec![]), (STRAY_AFTER, vec![unattached()])] {
        later.boottime = first.after(after);
        assert_eq!(due(&toy.observed, &toy.ledger, &later), wanted, "{after:?}");
    }
    // That read has told all there is to tell.
    adopted(&mut toy, &unattached(), &views, later.boottime);
    assert_eq!(toy.observed.strays[&EniId::new("eni-left")], first);
    later.boottime = later.boottime.after(Duration::from_secs(3600));
    assert_eq!(due(&toy.observed, &toy.ledger, &later), []);
}

/// A free address that a view lacks which may be late: nobody gets it until a read has told.
#[test]
fn a_free_address_that_was_not_shown_is_not_proven_until_it_is() {
    let mut toy = rested();
    let of_primary = || EniId::new("eni-primary");
    let leased = toy.ledger.leases.values().next().unwrap().faces[0].address;
    let free =
        toy.ledger.blocks_on(&of_primary()).map(|block| block.net.addr()).find(|ip| *ip != leased).unwrap();
    let whole = view(&of_primary(), &toy.cloud.enis[&of_primary()]);
    let lacking = EniView { secondary: Vec::new(), ..whole.clone() };
    let changed = toy.now.boottime;
    toy.alter(&of_primary(), |eni| eni.changed = changed);
    let unproven = |toy: &Toy, ip: IpAddr| toy.observed.reads.unproven(ip.into());
    let one = CloudRead::Enis { enis: vec![of_primary()] };

    adopted(&mut toy, &one, std::slice::from_ref(&lacking), BootTime(changed.0 - 1));
    assert!(!unproven(&toy, free), "the view is older than our change");
    adopted(&mut toy, &one, &[lacking], changed);
    assert!(unproven(&toy, free));
    assert!(unproven(&toy, leased), "another read tells whether its pod is cut off");
    adopted(&mut toy, &one, &[whole], changed.after(SECOND));
    assert!(!unproven(&toy, free));
}

/// A process that starts just after a change reads at once, and may be shown what there was before: it asks again soon, or pods
/// would wait until absence can be believed.
#[test]
fn a_view_right_after_a_change_is_looked_at_again_soon() {
    let of_primary = || EniId::new("eni-primary");
    for (began, again) in [(0, 5), (4999, 5), (5000, 30), (29_000, 30)] {
        let mut toy = rested();
        toy.delete_all_pods();
        let changed = toy.now.boottime;
        toy.alter(&of_primary(), |eni| eni.changed = changed);
        let lacking =
            EniView { secondary: Vec::new(), ..view(&of_primary(), &toy.cloud.enis[&of_primary()]) };
        let one = CloudRead::Enis { enis: vec![of_primary()] };
        adopted(&mut toy, &one, &[lacking], changed.after(Duration::from_millis(began)));
        let wanted: BTreeSet<BootTime> = toy.observed.reads.all_wanted().map(|(_, from)| *from).collect();
        assert_eq!(wanted, [changed.after(SECOND * again)].into(), "a read that began after {began} ms");
    }
}

/// Only a full read that began late enough says that an address is not there.
#[test]
fn an_address_that_nobody_asked_for_waits_for_a_late_full_read() {
    let mut toy = rested();
    let net = *toy.ledger.blocks.keys().next().unwrap();
    let from = toy.now.boottime;
    let views: Vec<EniView> =
        toy.cloud.enis.iter().map(|(id, eni)| EniView { secondary: Vec::new(), ..view(id, eni) }).collect();
    let again = |toy: &mut Toy, read: &CloudRead, began| {
        toy.observed.reads.want_from(Reason::Unasked(net), from);
        adopted(toy, read, &views, began);
        toy.observed.reads.unasked(net)
    };
    let one = CloudRead::Enis { enis: vec![primary()] };
    assert_eq!(again(&mut toy, &read(), BootTime(from.0 - 1)), Some(from), "too early to tell");
    assert_eq!(again(&mut toy, &one, from), Some(from), "not the read that tells");
    assert_eq!(again(&mut toy, &read(), from), Some(from.after(Duration::from_secs(30))), "asked again");
}

#[test]
fn a_lost_ledger_is_believed_again_after_a_whole_read() {
    let mut toy = rested();
    let now = toy.now.clone();
    let all: Vec<EniView> = toy.cloud.enis.iter().map(|(id, eni)| view(id, eni)).collect();
    let without_primary: Vec<EniView> = all.iter().filter(|view| view.id != primary()).cloned().collect();
    toy.observed.ledger_lost(&now);
    let one = CloudRead::Enis { enis: vec![primary()] };
    for (read, views, began, doubted) in [
        (&one, &all, now.boottime, true),
        (&read(), &without_primary, now.boottime, true),
        (&read(), &all, BootTime(now.boottime.0 - 1), true),
        (&read(), &all, now.boottime, false),
    ] {
        adopted(&mut toy, read, views, began);
        assert_eq!(toy.observed.reads.ledger_is_doubted(), doubted, "{read:?} from {began:?}");
    }
}
