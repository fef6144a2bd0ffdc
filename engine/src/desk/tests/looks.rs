//! Looks at the host's network that take their time, and what changes meanwhile.

use super::*;

const NOT_LONG: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(10);

/// A node that serves this pod, and at which nothing is due.
async fn serving(container: &str) -> Desk {
    let desk = Desk::serving(Config::default()).await;
    desk.add(container).await.unwrap();
    pass(5).await;
    desk.host.kernel().applied.clear();
    desk
}

/// A look begins.
async fn look(desk: &Desk) {
    desk.host.drifts();
    pass(1).await;
}

/// It is seen half made, or half gone: neither put right nor cleared away.
#[tokio::test(start_paused = true)]
async fn what_came_or_went_since_a_look_began_is_left_alone() {
    let desk = serving("a").await;
    desk.host.kernel().look_takes = (LONG, NOT_LONG);
    look(&desk).await;
    desk.add("b").await.unwrap();
    desk.del("a").await.unwrap();
    pass(5).await;
    assert!(desk.disk.ledger().leases.contains_key(&sandbox("b")));
    assert!(!desk.disk.ledger().leases.contains_key(&sandbox("a")), "it is gone before the look is over");
    pass(5).await;
    assert_eq!(desk.host.kernel().applied, []);
    assert_eq!(desk.dump().await.unwrap().cut_off, [""; 0]);
    pass(30).await;
    assert_eq!(desk.host.kernel().applied, []);
}

/// A look that ends as the next one is due already is held against what there was when it began itself: a pod that went
/// meanwhile is not one that the ledger has lost.
#[tokio::test(start_paused = true)]
async fn a_pod_that_went_while_two_looks_were_due_is_not_missed() {
    let desk = serving("a").await;
    desk.host.kernel().look_takes = (NOT_LONG, LONG);
    let reads = desk.reads();
    look(&desk).await;
    look(&desk).await;
    desk.del("a").await.unwrap();
    pass(2).await;
    assert!(desk.disk.ledger().leases.is_empty(), "it is gone before the first look is over");
    pass(7).await;
    assert_eq!(desk.dump().await.unwrap().reads_wanted, [""; 0]);
    desk.add("b").await.unwrap();
    pass(60).await;
    assert_eq!(desk.reads(), reads, "nothing is in doubt");
}

/// The look begins while a pod is wired anew, and ends when that is done.
#[tokio::test(start_paused = true)]
async fn what_is_wired_anew_as_a_look_begins_is_left_alone() {
    let desk = serving("a").await;
    {
        let mut kernel = desk.host.kernel();
        kernel.liveness = Liveness::Severed;
        kernel.wire_takes = Duration::from_secs(5);
        kernel.pods.get_mut("eni-a").unwrap().1 = false;
    }
    look(&desk).await;
    desk.host.kernel().look_takes = (LONG, NOT_LONG);
    look(&desk).await;
    assert!(!desk.host.kernel().pods["eni-a"].1, "it is being wired");
    pass(30).await;
    assert!(desk.host.kernel().pods["eni-a"].1);
    assert_eq!(desk.host.kernel().applied, []);
}

/// The look began before the ENI was set up, and shows it half set up.
#[tokio::test(start_paused = true)]
async fn an_eni_that_was_set_up_since_a_look_began_is_left_alone() {
    let desk = Desk::start(Config::default());
    {
        let mut kernel = desk.host.kernel();
        kernel.look_takes = (LONG, NOT_LONG);
        kernel.eni = Some(1500);
    }
    let set_up_again = |desk: &Desk| {
        let applied = &desk.host.kernel().applied;
        applied.iter().any(|action| matches!(action, HostAction::EnsureEni(_)))
    };
    // The first look is over, and with it the ENI is known and set up; the second began before that.
    pass(25).await;
    assert_eq!(desk.dump().await.unwrap().ledger.enis.len(), 1);
    assert!(!set_up_again(&desk));
    pass(60).await;
    assert!(set_up_again(&desk), "still not right at a look that began later");
}

/// Whoever was told to be cut off is so no more as soon as its link is back, whenever the next look is.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_wired_anew_is_told_of_no_more() {
    let desk = serving("a").await;
    desk.host.kernel().liveness = Liveness::Unknown;
    desk.host.kernel().pods.get_mut("eni-a").unwrap().1 = false;
    look(&desk).await;
    assert_eq!(desk.dump().await.unwrap().cut_off.len(), 1);
    desk.host.kernel().liveness = Liveness::Severed;
    look(&desk).await;
    assert!(desk.host.kernel().pods["eni-a"].1);
    assert_eq!(desk.dump().await.unwrap().cut_off, [""; 0]);
}

/// What a look shows that ends while something is put right is looked at again when that is done.
#[tokio::test(start_paused = true)]
async fn what_is_found_while_something_is_put_right_is_put_right_next() {
    let desk = serving("a").await;
    {
        let mut kernel = desk.host.kernel();
        kernel.apply_takes = LONG;
        kernel.eni = Some(1500);
    }
    look(&desk).await;
    desk.host.kernel().nat = NatSeen::Differs;
    look(&desk).await;
    assert_eq!(desk.host.kernel().applied, [], "one at a time");
    desk.host.kernel().eni = Some(9001);
    pass(20).await;
    let kernel = desk.host.kernel();
    assert!(
        matches!(kernel.applied[..], [HostAction::EnsureEni(_), HostAction::ReplaceNat(_)]),
        "{:?}",
        kernel.applied
    );
}

/// What fails once is tried again soon, what goes on failing is not tried every second.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_right_is_tried_at_a_distance() {
    let desk = serving("a").await;
    {
        let mut kernel = desk.host.kernel();
        kernel.apply = Some(refused());
        kernel.eni = Some(1500);
    }
    desk.host.drifts();
    let tries = async |seconds| {
        pass(seconds).await;
        std::mem::take(&mut desk.host.kernel().applied).len()
    };
    assert_eq!(tries(1).await, 1);
    assert_eq!(tries(1).await, 1, "a second later");
    // Other looks come between.
    let further = tries(60).await;
    assert!((5..=8).contains(&further), "{further} in a minute");
}

/// Others detach an ENI, and a bridge of theirs bears its MAC: that is not its link, and a read is to tell what became of it.
#[tokio::test(start_paused = true)]
async fn a_bridge_with_an_enis_mac_does_not_stand_for_its_link() {
    let desk = Desk::start(Config::default());
    let eni = desk.attached_by_others();
    pass(300).await;
    let mac = desk.disk.ledger().enis[&eni].mac;
    for bridge in [false, true] {
        let before = desk.reads();
        desk.host.kernel().other_enis.clear();
        desk.host.kernel().bridges.extend(bridge.then_some(mac));
        look(&desk).await;
        pass(60).await;
        assert!(desk.reads() > before, "nobody looks into it; bridge: {bridge}");
        desk.host.kernel().other_enis.push(mac);
        look(&desk).await;
        pass(300).await;
    }
}
