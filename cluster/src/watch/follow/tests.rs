use super::*;
use crate::asked::{Asked, Kind, Server, Verb};

type Known = View<u32>;

const AT: BootTime = BootTime(5);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("", name)
}

fn page(items: &[(&str, u32)], version: &str, continued: Option<&str>) -> Page<u32> {
    Page {
        items: items.iter().map(|(name, value)| (key(name), *value)).collect(),
        version: Version::new(version),
        continued: continued.map(str::to_owned),
    }
}

fn applied(name: &str, value: u32, version: &str) -> Event<u32> {
    Event::Applied { key: key(name), version: Version::new(version), view: value }
}

fn deleted(name: &str, version: &str) -> Event<u32> {
    Event::Deleted { key: key(name), version: Version::new(version) }
}

fn bookmark(version: &str) -> Event<u32> {
    Event::Bookmark { version: Version::new(version) }
}

fn fault(cause: Cause) -> ApiFault {
    let asked = Asked {
        server: Server::Api,
        verb: Verb::Watch,
        kind: Kind::PODS,
        subresource: None,
        namespace: None,
        which: None,
    };
    ApiFault { asked: Box::new(asked), cause }
}

fn broken() -> ApiFault {
    fault(Cause::Broken("cut".to_owned()))
}

fn list(continued: Option<&str>) -> Next {
    Next::List { continued: continued.map(str::to_owned) }
}

fn watch(version: &str) -> Next {
    Next::Watch { version: Version::new(version) }
}

fn names(view: &Known) -> Vec<&str> {
    view.objects.keys().map(|key| key.name.as_str()).collect()
}

/// A machine that has read `a` and `b` and watches from 10.
fn watching() -> (Follow, Known) {
    let (mut follow, mut view) = (Follow::default(), Known::default());
    assert!(follow.page(page(&[("a", 1), ("b", 2)], "10", None), &mut view));
    (follow, view)
}

#[test]
fn a_list_is_read_page_by_page_and_is_complete_with_the_last() {
    let (mut follow, mut view) = (Follow::default(), Known::default());
    assert_eq!(follow.next(), list(None));
    assert!(follow.page(page(&[("a", 1)], "10", Some("t")), &mut view));
    assert_eq!(follow.next(), list(Some("t")));
    assert_eq!((names(&view), view.complete), (vec!["a"], false), "what a page shows is known at once");
    assert!(!view.surely_lacks(&key("b")));
    assert!(follow.page(page(&[], "10", None), &mut view), "that it is complete is news");
    assert!(view.complete && view.surely_lacks(&key("b")));
    assert_eq!(follow.next(), watch("10"));
    assert_eq!(follow.pause(3), Duration::ZERO);
}

#[test]
fn a_list_that_ends_early_proves_no_absence() {
    let (mut follow, mut view) = watching();
    follow.failed(fault(Cause::Gone), AT, &mut view);
    assert_eq!(follow.next(), list(None));
    assert!(!follow.page(page(&[("a", 1)], "20", Some("t")), &mut view));
    follow.failed(broken(), AT, &mut view);
    assert_eq!(follow.next(), list(Some("t")), "the page is asked for again");
    assert_eq!(names(&view), ["a", "b"]);
    // The place in the list is too old by now: from the start, and what the first try listed counts no more.
    follow.failed(fault(Cause::Gone), AT, &mut view);
    assert_eq!(follow.next(), list(None));
    assert!(follow.page(page(&[("c", 3)], "30", Some("u")), &mut view));
    assert_eq!(names(&view), ["a", "b", "c"]);
    assert!(view.complete, "and what was complete once stays so");
    assert!(follow.page(page(&[], "30", None), &mut view));
    assert_eq!(names(&view), ["c"], "a whole list lacks both");
}

#[test]
fn events_change_what_is_known_and_carry_the_place() {
    let (mut follow, mut view) = watching();
    assert_eq!(follow.event(applied("a", 1, "11"), &mut view), Ok(false), "nothing new in it");
    assert_eq!(follow.event(applied("a", 7, "12"), &mut view), Ok(true));
    assert_eq!(follow.event(deleted("b", "13"), &mut view), Ok(true));
    assert_eq!(follow.event(deleted("b", "14"), &mut view), Ok(false));
    assert_eq!(follow.event(bookmark("100"), &mut view), Ok(false));
    assert_eq!(view.objects, [(key("a"), 7)].into());
    follow.ended();
    assert_eq!(follow.next(), watch("100"));
    assert_eq!(follow.pause(3), Duration::ZERO, "an end in order is no failure");
}

#[test]
fn a_watch_that_breaks_goes_on_from_where_it_was() {
    let (mut follow, mut view) = watching();
    for _ in 0..20 {
        follow.failed(broken(), BootTime(7), &mut view);
        assert_eq!(follow.next(), watch("10"));
        assert!(!follow.pause(0).is_zero());
    }
    assert_eq!(names(&view), ["a", "b"]);
    follow.failed(fault(Cause::Silent(Duration::from_secs(1))), BootTime(9), &mut view);
    let stale = view.stale.clone().unwrap();
    assert_eq!(stale.since, BootTime(7), "since the first of them");
    assert!(matches!(stale.fault.cause, Cause::Silent(_)), "for the last of them");
    assert!(follow.listening(&mut view));
    assert_eq!(view.stale, None);
}

#[test]
fn a_version_that_the_server_does_not_go_on_from_is_given_up() {
    for cause in [
        Cause::Gone,
        Cause::Ahead("Too large resource version".to_owned()),
        Cause::Malformed("half an object".to_owned()),
    ] {
        let (mut follow, mut view) = watching();
        follow.failed(fault(cause), AT, &mut view);
        assert_eq!(follow.next(), list(None));
        assert_eq!(names(&view), ["a", "b"]);
        assert!(!follow.pause(0).is_zero(), "the next one may fare the same");
    }
    let (mut follow, mut view) = watching();
    for _ in 0..TRIES - 1 {
        follow.failed(fault(Cause::Refused("no".to_owned())), AT, &mut view);
        assert_eq!(follow.next(), watch("10"));
    }
    follow.failed(fault(Cause::Refused("no".to_owned())), AT, &mut view);
    assert_eq!(follow.next(), list(None));
}

#[test]
fn a_right_that_is_taken_away_costs_no_lists() {
    let (mut follow, mut view) = watching();
    for _ in 0..10 {
        follow.failed(fault(Cause::Forbidden("cannot".to_owned())), AT, &mut view);
    }
    assert_eq!(follow.next(), watch("10"));
    assert!(follow.pause(0) >= Duration::from_secs(15));
}

#[test]
fn a_store_that_was_set_back_is_listed_anew() {
    let (mut follow, mut view) = watching();
    assert_eq!(follow.event(bookmark("40"), &mut view), Ok(false));
    let cause = follow.event(bookmark("9"), &mut view).unwrap_err();
    assert!(matches!(cause, Cause::Ahead(_)), "{cause:?}");
    follow.failed(fault(cause), AT, &mut view);
    assert_eq!(follow.next(), list(None));
    // Its list has a lower version, and is the truth all the same.
    assert!(follow.page(page(&[("a", 1)], "9", None), &mut view));
    assert_eq!((names(&view), follow.next()), (vec!["a"], watch("9")));
}

#[test]
fn a_watch_without_a_word_is_a_reason_to_list() {
    let silent = || fault(Cause::Silent(Duration::from_secs(150)));
    let (mut follow, mut view) = watching();
    follow.failed(silent(), AT, &mut view);
    assert_eq!(follow.next(), watch("10"), "it was not even taken on");
    assert!(view.stale.is_some());
    assert!(follow.listening(&mut view));
    follow.failed(silent(), AT, &mut view);
    assert_eq!(follow.next(), list(None));
    assert_eq!(
        (names(&view), view.stale.clone()),
        (vec!["a", "b"], None),
        "the list will tell whether it is trouble"
    );
    assert!(!follow.page(page(&[("a", 1), ("b", 2)], "4", None), &mut view));
    assert_eq!(follow.next(), watch("4"));
    // And the next silence is one before it is taken on.
    follow.failed(silent(), AT, &mut view);
    assert_eq!(follow.next(), watch("4"));
}

#[test]
fn watches_that_end_at_once_are_not_asked_for_in_a_loop() {
    let (mut follow, mut view) = watching();
    follow.ended();
    let first = follow.pause(0);
    follow.ended();
    assert!(follow.pause(0) > first && !first.is_zero());
    assert_eq!(follow.event(bookmark("11"), &mut view), Ok(false));
    follow.ended();
    assert_eq!(follow.pause(0), Duration::ZERO);
}

#[test]
fn an_old_version_alone_is_no_trouble() {
    let (mut follow, mut view) = watching();
    follow.failed(fault(Cause::Gone), AT, &mut view);
    assert_eq!(view.stale, None, "the list settles it");
    follow.failed(fault(Cause::Gone), AT, &mut view);
    assert!(view.stale.is_some(), "one after the other is");
}

#[test]
fn an_event_without_a_version_is_not_taken_for_the_beginning() {
    let (mut follow, mut view) = watching();
    assert!(matches!(follow.event(applied("a", 2, ""), &mut view), Err(Cause::Malformed(_))));
    assert_eq!(follow.next(), watch("10"));
}
