//! A disk that refuses or hangs.

use holdfast_model::config::{Setting, WarmTargets};
use holdfast_model::refusal::Refusal;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_or_hangs_holds_nobody_up() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(1).await;
    for hangs in [false, true] {
        if hangs {
            desk.disk_hangs(true);
        } else {
            desk.disk.refuses(true);
        }
        let began = Instant::now();
        let told = desk.add("b").await;
        assert!(matches!(told, Err(AddError::Ledger { .. })), "{told:?}");
        assert_eq!(began.elapsed().as_secs(), if hangs { 2 } else { 0 });
        assert!(matches!(desk.status().await, Ok(Status::Refusing(Refusal::LedgerClosed { .. }))));
        assert!(desk.dump().await.unwrap().ledger_failing.is_some());
        let again = desk.add("b").await;
        assert!(matches!(again, Err(AddError::Ledger { .. })), "{again:?}");
        if hangs {
            desk.disk_hangs(false);
        } else {
            desk.disk.refuses(false);
        }
        pass(120).await;
        assert_eq!(desk.status().await, Ok(Status::Ready), "hung: {hangs}");
        desk.add("c").await.unwrap();
        desk.del("c").await.unwrap();
        pass(60).await;
    }
    // A pod can be deleted all the same; the release is owed, and made up for.
    desk.disk.refuses(true);
    assert!(desk.add("d").await.is_err());
    assert_eq!(desk.del("a").await, Ok(Deleted::Owed));
    assert_eq!(desk.disk.ledger().leases.len(), 1);
    desk.disk.refuses(false);
    pass(120).await;
    assert_eq!(desk.disk.ledger().leases.len(), 0);
}

/// A DEL that comes while the disk hangs is answered: the release is owed.
#[tokio::test(start_paused = true)]
async fn a_pod_is_deleted_while_the_disk_hangs() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(5).await;
    desk.disk_hangs(true);
    assert_eq!(desk.del("a").await, Ok(Deleted::Owed));
    assert_eq!(desk.host.kernel().unwired.len(), 1);
    desk.disk_hangs(false);
    pass(60).await;
    assert!(desk.disk.ledger().leases.is_empty());
    assert_eq!(desk.status().await, Ok(Status::Ready));
}

/// The disk took the intent of a call that takes something away, and told of it an hour later.
#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_the_disk_leaves_after_a_look() {
    let warm = WarmTargets { warm_ips: 1, ..WarmTargets::default() };
    let desk = Desk::start(Config { warm: Setting::from_environment(warm), ..Config::default() });
    let given_back = Api::UnassignPrivateIpAddresses;
    while !desk.calls().contains(&given_back) {
        pass(1).await;
    }
    // It was refused, and is tried again in a while.
    pass(1).await;
    desk.disk_hangs(true);
    pass(3600).await;
    assert_eq!(desk.disk.ledger().intents.len(), 0);
    let waits = desk.dump().await.unwrap().ledger.intents;
    assert!(waits.values().any(|intent| intent.change.api() == given_back), "{waits:?}");
    desk.calls();
    desk.disk_hangs(false);
    pass(60).await;
    let calls = desk.calls();
    assert_eq!(calls[..2], [Api::DescribeNetworkInterfaces, given_back], "{calls:?}");
}
