//! Who gets an address, who waits for one, and what those are told who get none.

use holdfast_model::config::{AddressMode, Setting, WarmTargets};
use holdfast_model::refusal::Refusal;

use super::*;

#[tokio::test(start_paused = true)]
async fn each_pod_gets_an_address_and_who_gets_none_is_told_why() {
    let desk = Desk::serving(Config::default()).await;
    assert_eq!(desk.status().await, Ok(Status::Ready));
    let mut addresses = Vec::new();
    for container in ["a", "b", "c"] {
        let lease = desk.add(container).await.unwrap();
        assert_eq!(lease.faces[0].host_veth, format!("eni-{container}"));
        assert_eq!(desk.add(container).await.unwrap().faces, lease.faces, "asked again, the same");
        addresses.push(lease.faces[0].address.to_string());
    }
    addresses.sort();
    assert_eq!(addresses, ["10.0.0.5", "10.0.0.6", "10.0.0.7"]);
    let Err(AddError::NoAddress { pod, cause }) = desk.add("d").await else { panic!("there is none") };
    assert_eq!(pod.name, "d");
    assert!(matches!(cause, Refusal::Denied { .. }), "{cause}");
    assert!(matches!(desk.status().await, Ok(Status::Short(Refusal::Denied { .. }))));

    assert_eq!(desk.del("a").await, Ok(Deleted::Durable));
    pass(60).await;
    assert_eq!(desk.disk.ledger().leases.len(), 2);
    desk.add("d").await.unwrap();
    let dump = desk.dump().await.unwrap();
    assert_eq!((dump.violations.len(), dump.waiting.len(), dump.ledger.leases.len()), (0, 0, 3));
    let journal: Vec<_> = dump.journal.iter().map(|entry| entry.what.as_str()).collect();
    assert!(journal.iter().any(|what| what.contains("being released")), "{journal:?}");
}

/// What passes by itself is waited for, up to a limit; what does not is told at once.
#[tokio::test(start_paused = true)]
async fn an_add_that_gets_no_address_waits_for_what_may_pass() {
    let throttled = CloudFault::Throttled { retry_after: None };
    for (fault, held) in [(throttled, true), (CloudFault::Unknown, true), (CloudFault::EniQuota, false)] {
        let desk = Desk::start(Config::default());
        desk.cloud_says(fault);
        pass(300).await;
        for container in ["a", "b", "c"] {
            desk.add(container).await.unwrap();
        }
        let began = Instant::now();
        let adding = desk.adding(request("d"));
        if held {
            pass(10).await;
            assert!(matches!(desk.status().await, Ok(Status::Short(_))), "{fault:?}");
        }
        let told = adding.await.unwrap();
        match told {
            Err(AddError::HeldTooLong { seconds: 60, .. }) => assert!(held, "{fault:?}"),
            Err(AddError::NoAddress { .. }) => assert!(!held, "{fault:?}"),
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(began.elapsed().as_secs(), if held { 60 } else { 0 }, "{fault:?}");
        // Somebody goes, and who waits then gets the address when it has rested.
        let adding = desk.adding(request("e"));
        desk.del("a").await.unwrap();
        if held {
            assert!(adding.await.unwrap().is_ok(), "{fault:?}");
            assert_eq!(began.elapsed().as_secs(), 90, "{fault:?}");
        }
    }
}

/// Names as no runtime gives them.
#[tokio::test(start_paused = true)]
async fn a_request_that_the_ledger_does_not_take_fails_alone() {
    let desk = Desk::serving(Config::default()).await;
    let pod = PodRef { namespace: "default".into(), name: "x".repeat(100_000), uid: None };
    let told = desk.adding(AddRequest { pod, ..request("a") }).await.unwrap();
    assert!(matches!(told, Err(AddError::Unkeepable { .. })), "{told:?}");
    assert!(told.is_err_and(|error| !error.worth_retrying()));
    for container in ["b", "c", "d"] {
        desk.add(container).await.unwrap();
    }
}

/// At least three addresses, and as many as are wanted: what the node has, and no spare ones.
fn three() -> Config {
    let warm = WarmTargets { warm_enis: 1, warm_ips: 0, minimum_ips: 3, ..WarmTargets::default() };
    Config { warm: Setting::from_environment(warm), ..Config::default() }
}

/// ADDs that come together are served in their order, each with an address of its own; one that is refused for itself takes
/// none away.
#[tokio::test(start_paused = true)]
async fn adds_that_come_together_share_what_is_free() {
    let desk = Desk::serving(Config::default()).await;
    let adding: Vec<_> = ["a", "b"].map(|container| desk.adding(request(container))).into();
    for answer in adding {
        answer.await.unwrap().unwrap();
    }
    let pod = PodRef { namespace: "default".into(), name: "x".repeat(100_000), uid: None };
    let refused = desk.adding(AddRequest { pod, ..request("c") });
    let (third, fourth) = (desk.adding(request("d")), desk.adding(request("e")));
    assert!(matches!(refused.await.unwrap(), Err(AddError::Unkeepable { .. })));
    assert!(third.await.unwrap().is_ok());
    assert!(matches!(fourth.await.unwrap(), Err(AddError::NoAddress { .. })));
}

/// EC2 is asked for more for the sake of who waits, and not of who was served.
#[tokio::test(start_paused = true)]
async fn who_waits_is_counted() {
    let desk = Desk::serving(three()).await;
    for container in ["a", "b", "c"] {
        desk.add(container).await.unwrap();
    }
    pass(5).await;
    assert_eq!(desk.changes_asked(), 0);
    assert!(matches!(desk.add("d").await, Err(AddError::NoAddress { cause: Refusal::Denied { .. }, .. })));
    assert_eq!(desk.changes_asked(), 1);

    // Also while nobody can be served yet.
    let desk = Desk::start(three());
    desk.host.kernel().apply = Some(refused());
    let _waits = desk.adding(request("a"));
    pass(2).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::NatAwaited)));
    assert_eq!(desk.changes_asked(), 1);
}

/// A call is under way until EC2 has answered, and an ENI's set-up until the kernel has: whatever happens meanwhile, neither is
/// begun beside itself.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_not_asked_again() {
    let desk = Desk::start(three());
    desk.cloud_says(CloudFault::Unknown);
    desk.cloud_takes(Duration::from_secs(5));
    desk.host.kernel().set_up_takes = Duration::from_secs(5);
    let _wait = ["a", "b", "c", "d"].map(|container| desk.adding(request(container)));
    // Each question has the engine plan anew.
    for _ in 0..600 {
        desk.status().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(desk.reads() > 0 && desk.changes_asked() > 1, "{} {}", desk.reads(), desk.changes_asked());
    assert!(!desk.was_asked_twice());
    assert_eq!(desk.host.kernel().set_ups, 1);
}

/// A set-up looks at everything there is, so at a start it is spared for what the first look showed as it should be.
#[tokio::test(start_paused = true)]
async fn after_a_restart_an_eni_that_stands_serves_without_being_set_up_again() {
    for (mtu, again) in [(9001, 0), (1500, 1)] {
        let desk = Desk::serving(three()).await;
        desk.add("a").await.unwrap();
        pass(60).await;
        let before = desk.host.kernel().set_ups;
        desk.host.kernel().eni = Some(mtu);
        let desk = desk.restarted(true, &[]).await;
        desk.add("b").await.unwrap();
        assert_eq!(desk.host.kernel().set_ups, before + again, "MTU {mtu}");
    }
}

/// Pods are served, so nobody is refused who could be told.
#[tokio::test(start_paused = true)]
async fn a_node_says_what_its_pool_makes_do_without() {
    let config = Config { mode: Setting::from_environment(AddressMode::Prefix), ..Config::default() };
    let desk = Desk::start(config);
    desk.cloud_says(CloudFault::NoFreeBlock);
    pass(60).await;
    let Ok(Status::Impaired(cause)) = desk.status().await else { panic!("{:?}", desk.status().await) };
    assert!(cause.contains("no free block of 16 addresses"), "{cause}");
    assert!(desk.add("c1").await.is_ok(), "with what there is");
}
