use super::*;
use crate::toy::now_at;

const ASSIGN: Api = Api::AssignPrivateIpAddresses;
const CREATE: Api = Api::CreateNetworkInterface;

fn eni(name: &str) -> EniId {
    EniId::new(name)
}

/// One setback at this instant, of two seconds at most and at least.
fn after(api: Api, scope: PauseScope) -> (Pauses, Setback) {
    let setback = Setback {
        api,
        scope,
        cause: Refusal::Rejected { api, cause: "no".into() },
        first: Duration::from_secs(2),
        longest: Duration::from_secs(64),
        at_least: Duration::from_secs(2),
    };
    let mut pauses = Pauses::default();
    pauses.setback(&setback, now_at(100).boottime, &now_at(100), 0);
    (pauses, setback)
}

#[test]
fn a_pause_holds_back_what_it_is_about_until_it_ends() {
    let (a, b) = (eni("eni-a"), eni("eni-b"));
    let (pauses, _) = after(ASSIGN, PauseScope::Eni(a.clone()));
    let held = |api, eni, now| pauses.find(api, eni, None, &now_at(now)).is_some();
    assert!(held(ASSIGN, Some(&a), 100) && held(ASSIGN, Some(&a), 101));
    assert!(!held(ASSIGN, Some(&a), 102), "it is over");
    assert!(!held(ASSIGN, Some(&b), 100), "about another ENI");
    assert!(!held(ASSIGN, None, 100), "about none");
    assert!(!held(CREATE, Some(&a), 100), "another call");

    let (pauses, _) = after(ASSIGN, PauseScope::Api);
    for (api, holds) in [(ASSIGN, true), (CREATE, false)] {
        assert_eq!(pauses.find(api, Some(&a), None, &now_at(100)).is_some(), holds, "{api:?}");
    }
}

/// A call that takes addresses from a full subnet rests, whichever it is.
#[test]
fn a_subnet_is_full_for_every_call_and_remembered_as_low() {
    let (full, other) = (SubnetId::new("subnet-1"), SubnetId::new("subnet-2"));
    let (pauses, _) = after(ASSIGN, PauseScope::Subnet(full.clone()));
    for (subnet, holds) in [(Some(&full), true), (Some(&other), false), (None, false)] {
        assert_eq!(pauses.find(CREATE, None, subnet, &now_at(100)).is_some(), holds, "{subnet:?}");
    }
    let remembered = 15 * 60;
    for (now, low) in [(100, true), (102 + remembered - 1, true), (102 + remembered, false)] {
        assert_eq!(pauses.low_subnet(&full, &now_at(now)).is_some(), low, "{now}");
        assert!(pauses.low_subnet(&other, &now_at(now)).is_none());
    }
}

/// Setbacks in a row are those of one call with one scope, no further apart than they are remembered.
#[test]
fn setbacks_add_up_by_call_and_scope_and_are_forgotten() {
    let attempts = |pauses: &Pauses| pauses.iter().map(|pause| pause.attempts).collect::<Vec<_>>();
    let (pauses, setback) = after(ASSIGN, PauseScope::Eni(eni("eni-a")));
    let again = |setback: &Setback, now| {
        let mut pauses = pauses.clone();
        pauses.setback(setback, now_at(now).boottime, &now_at(now), 0);
        attempts(&pauses)
    };
    assert_eq!(again(&setback, 102), [2]);
    assert_eq!(again(&Setback { api: CREATE, ..setback.clone() }, 102), [1, 1]);
    let elsewhere = Setback { scope: PauseScope::Eni(eni("eni-b")), ..setback.clone() };
    assert_eq!(again(&elsewhere, 102), [1, 1]);
    let remembered = 15 * 60;
    assert_eq!(again(&setback, 102 + remembered - 1), [2]);
    assert_eq!(again(&setback, 102 + remembered), [1]);
}

#[test]
fn success_ends_what_it_disproves() {
    let (a, b) = (eni("eni-a"), eni("eni-b"));
    let whole: [PauseScope; 2] = [PauseScope::Api, PauseScope::Subnet(SubnetId::new("subnet-1"))];
    for (scope, api, about, ends) in [
        (PauseScope::Eni(a.clone()), ASSIGN, Some(&a), true),
        (PauseScope::Eni(a.clone()), ASSIGN, Some(&b), false),
        (PauseScope::Eni(a.clone()), ASSIGN, None, false),
        (PauseScope::Eni(a.clone()), CREATE, Some(&a), false),
        (whole[0].clone(), ASSIGN, Some(&b), true),
        (whole[1].clone(), ASSIGN, Some(&b), true),
        (whole[0].clone(), CREATE, None, false),
        (whole[1].clone(), CREATE, None, false),
    ] {
        let (mut pauses, _) = after(ASSIGN, scope.clone());
        pauses.recovered(api, about);
        assert_eq!(pauses.iter().count() == 0, ends, "{scope:?}, {api:?} about {about:?}");
    }
}

/// Of an assignment the next one asks for less; an attachment asks for the same again.
#[test]
fn an_attachment_that_the_type_has_no_room_for_is_tried_ever_later() {
    let limit = |api| {
        Setback::of(api, PauseScope::Eni(eni("eni-a")), Some(&crate::Fault::AddressLimit), "too many", None)
    };
    let attach = limit(Api::AttachNetworkInterface);
    assert_eq!(attach.longest, Duration::from_secs(600));
    assert!(matches!(attach.cause, Refusal::Rejected { .. }), "nothing is miscounted: {:?}", attach.cause);
    let assign = limit(ASSIGN);
    assert_eq!(assign.longest, Duration::from_secs(10));
    assert!(matches!(assign.cause, Refusal::Miscounted { .. }));
}
