use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_cluster::watch::ObjectKey;
use serde_json::{Value, json};

use super::*;
use crate::decide::How;
use crate::desired::{DAEMON_SET, DIGEST, digest};
use crate::renders::SETTLING;

const LOOK_EACH: Duration = Duration::from_secs(840);
const NOW: BootTime = BootTime(10_000_000);

fn object(image: &str) -> Value {
    json!({
        "kind": "DaemonSet", "metadata": {"name": "aws-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "image": image}]}}},
    })
}

fn map(image: &str) -> View<ConfigMapView> {
    let text = object(image).to_string();
    let data = BTreeMap::from([(DIGEST.to_owned(), digest(&text)), (DAEMON_SET.to_owned(), text)]);
    view(Some(ConfigMapView { data, ..ConfigMapView::default() }))
}

/// One with this image that says that it is of the render with the other.
fn set(image: &str, of: &str, version: &str) -> DaemonSetView {
    let mut object = object(image);
    object["metadata"]["annotations"] = json!({ RENDER: digest(&self::object(of).to_string()) });
    DaemonSetView {
        uid: "u".to_owned(),
        version: Version::new(version),
        deleted: false,
        object: Arc::new(object),
    }
}

fn view<V>(object: Option<V>) -> View<V> {
    let objects = object.map(|object| (ObjectKey::default(), object)).into_iter().collect();
    View { objects, complete: true, stale: None }
}

fn sent(step: Step) -> Write {
    match step {
        Step::Send(write) => write,
        other => panic!("nothing is sent: {other:?}"),
    }
}

#[test]
fn only_who_leads_writes_and_at_once() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, seen) = (map("good"), view(Some(set("evil", "good", "5"))));
    assert_eq!(tender.next(&map, &seen, false, NOW), Step::WaitUntil(NOW.after(LOOK_EACH)));
    let write = sent(tender.next(&map, &seen, true, NOW));
    assert_eq!(write.how, How::Apply);
    assert_eq!(write.drifted.keys().collect::<Vec<_>>(), ["spec.template.spec.containers[aws-node].image"]);
}

#[test]
fn what_was_written_is_waited_for() {
    let mut tender = Tender::new(LOOK_EACH);
    let map = map("good");
    let old = view(Some(set("evil", "good", "5")));
    let write = sent(tender.next(&map, &old, true, NOW));
    tender.wrote(&write, Ok(Version::new("6")), NOW, 0);
    assert_eq!(tender.next(&map, &old, true, NOW), Step::WaitUntil(NOW.after(LOOK_EACH)), "it is old");
    // Somebody was there again.
    let new = view(Some(set("evil", "good", "7")));
    sent(tender.next(&map, &new, true, NOW));
}

#[test]
fn an_upgrade_that_began_with_the_daemon_set_is_not_taken_back() {
    let mut tender = Tender::new(LOOK_EACH);
    let before = view(Some(set("old", "old", "5")));
    tender.next(&map("old"), &before, true, NOW);
    let half = view(Some(set("new", "new", "6")));
    let step = tender.next(&map("old"), &half, true, NOW);
    assert_eq!(step, Step::WaitUntil(NOW.after(SETTLING)));
    let write = sent(tender.next(&map("new"), &half, true, NOW));
    assert!(write.drifted.is_empty(), "it is only noted as ours: {write:?}");
}

#[test]
fn an_upgrade_that_began_with_the_map_is_carried_on() {
    let mut tender = Tender::new(LOOK_EACH);
    let before = view(Some(set("old", "old", "5")));
    tender.next(&map("old"), &before, false, NOW);
    let write = sent(tender.next(&map("new"), &before, true, NOW));
    assert!(write.body.to_string().contains(r#""image":"new""#), "{write:?}");
}

#[test]
fn it_is_looked_at_now_and_then_by_who_leads() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, deaf) = (map("good"), view(None));
    assert_eq!(tender.next(&map, &deaf, true, NOW), Step::WaitUntil(NOW.after(LOOK_EACH)));
    let due = NOW.after(LOOK_EACH);
    assert!(matches!(tender.next(&map, &deaf, false, due), Step::WaitUntil(_)));
    assert_eq!(tender.next(&map, &deaf, true, due), Step::Look);
    tender.looked(Ok(set("evil", "good", "9")), due);
    let write = sent(tender.next(&map, &deaf, true, due));
    assert!(!write.drifted.is_empty());
    // What a look showed is old as soon as the watch says something else.
    let heard = view(Some(set("good", "good", "10")));
    assert!(sent(tender.next(&map, &heard, true, due)).drifted.is_empty());
}

/// Deleted and made anew while it was looked.
#[test]
fn a_look_that_was_overtaken_by_the_watch_counts_for_nothing() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, old) = (map("good"), view(Some(set("good", "good", "5"))));
    let another = |uid: &str, version| {
        view(Some(DaemonSetView { uid: uid.to_owned(), ..set("evil", "good", version) }))
    };
    for looked in [Err(Cause::NotFound), Ok(set("evil", "good", "6"))] {
        tender.next(&map, &old, true, NOW);
        tender.looked(looked, NOW);
        let write = sent(tender.next(&map, &another("v", "9"), true, NOW));
        assert_eq!((write.body["metadata"]["uid"].as_str(), write.based_on.as_str()), (Some("v"), "9"));
    }
    tender.looked(Ok(DaemonSetView { uid: "w".to_owned(), ..set("evil", "good", "12") }), NOW);
    let write = sent(tender.next(&map, &another("v", "9"), true, NOW));
    assert_eq!(write.based_on.as_str(), "12", "the watch has not shown it yet");
    assert!(
        matches!(tender.next(&map, &view(None), true, NOW), Step::WaitUntil(_)),
        "the watch says that it is gone"
    );
}

#[test]
fn what_a_look_does_not_find_is_left_gone() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, old) = (map("good"), view(Some(set("evil", "good", "5"))));
    tender.next(&map, &old, true, NOW);
    tender.looked(Err(Cause::NotFound), NOW);
    assert!(matches!(tender.next(&map, &old, true, NOW), Step::WaitUntil(_)));
}

#[test]
fn a_store_that_was_set_back_is_believed_after_a_look() {
    let mut tender = Tender::new(LOOK_EACH);
    let map = map("good");
    let seen = view(Some(set("evil", "good", "50")));
    let write = sent(tender.next(&map, &seen, true, NOW));
    tender.wrote(&write, Ok(Version::new("60")), NOW, 0);
    let back = view(Some(set("evil", "good", "8")));
    assert!(matches!(tender.next(&map, &back, true, NOW), Step::WaitUntil(_)));
    tender.looked(Ok(set("evil", "good", "8")), NOW);
    sent(tender.next(&map, &back, true, NOW));
}

#[test]
fn what_fails_is_tried_again_after_a_pause_and_looked_at() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, seen) = (map("good"), view(Some(set("evil", "good", "5"))));
    let write = sent(tender.next(&map, &seen, true, NOW));
    tender.wrote(&write, Err(&Cause::Conflict(String::new())), NOW, 0);
    let Step::WaitUntil(later) = tender.next(&map, &seen, true, NOW) else { panic!("no pause") };
    assert!(later > NOW && later < NOW.after(Duration::from_secs(2)));
    assert!(matches!(tender.next(&map, &seen, true, later), Step::Send(_) | Step::Look));
}

#[test]
fn who_fights_is_not_outrun() {
    let mut tender = Tender::new(LOOK_EACH);
    let map = map("good");
    let mut version = 5;
    let mut writes = 0;
    let end = NOW.after(Duration::from_secs(600));
    let mut now = NOW;
    while now < end {
        let seen = view(Some(set("evil", "good", &version.to_string())));
        match tender.next(&map, &seen, true, now) {
            Step::Send(write) => {
                writes += 1;
                version += 2;
                tender.wrote(&write, Ok(Version::new((version - 1).to_string())), now, 0);
            }
            Step::Look => tender.looked(Ok(set("evil", "good", &version.to_string())), now),
            Step::WaitUntil(later) => now = later.max(now.after(Duration::from_millis(100))),
        }
    }
    assert!((28..=31).contains(&writes), "{writes} in ten minutes");
}

#[test]
fn what_changed_nothing_is_not_written_again() {
    let mut tender = Tender::new(LOOK_EACH);
    let (map, seen) = (map("good"), view(Some(set("hooked", "good", "5"))));
    let write = sent(tender.next(&map, &seen, true, NOW));
    tender.wrote(&write, Ok(Version::new("5")), NOW, 0);
    // What is noted as ours is another matter, and fares the same.
    let write = sent(tender.next(&map, &seen, true, NOW));
    assert!(write.drifted.is_empty(), "{write:?}");
    tender.wrote(&write, Ok(Version::new("5")), NOW, 0);
    assert_eq!(tender.next(&map, &seen, true, NOW), Step::WaitUntil(NOW.after(LOOK_EACH)));
    let seen = view(Some(set("hooked", "good", "6")));
    assert_eq!(
        tender.next(&map, &seen, true, NOW),
        Step::WaitUntil(NOW.after(LOOK_EACH)),
        "another version of the same"
    );
    sent(tender.next(&map, &view(Some(set("evil", "good", "7"))), true, NOW));
}

#[test]
fn what_is_wrong_with_the_map_is_told_once() {
    let mut tender = Tender::new(LOOK_EACH);
    assert_eq!(tender.news(&View::default()), None, "it was not read yet");
    assert_eq!(tender.news(&view(None)), Some(NoDesired::NoMap));
    assert_eq!(tender.news(&view(None)), None);
    assert_eq!(tender.news(&map("good")), None);
    assert_eq!(tender.news(&view(None)), Some(NoDesired::NoMap));
}
