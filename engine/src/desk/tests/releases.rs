//! What is under way when something else is asked for.

use super::*;

/// The runtime asks again while the disk refuses the release and the kernel will not let go of the link.
#[tokio::test(start_paused = true)]
async fn each_del_is_answered_whatever_refuses() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(1).await;
    desk.host.kernel().unlink = Some(refused());
    desk.disk.refuses(true);
    assert!(desk.add("b").await.is_err());
    for _ in 0..2 {
        assert_eq!(desk.del("a").await, Ok(Deleted::Owed));
        pass(1).await;
    }
    desk.disk.refuses(false);
    desk.host.kernel().unlink = None;
    pass(60).await;
    assert!(desk.disk.ledger().leases.is_empty());
}

/// An older attachment is in the kernel's hands: the ADD is told so when it has waited long enough.
#[tokio::test(start_paused = true)]
async fn an_add_does_not_wait_for_ever_for_an_older_attachment_that_is_wired_anew() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(5).await;
    {
        let mut kernel = desk.host.kernel();
        kernel.liveness = Liveness::Severed;
        kernel.wire_takes = Duration::from_secs(100);
        kernel.pods.get_mut("eni-a").unwrap().1 = false;
    }
    desk.host.drifts();
    pass(2).await;
    let anew = AddRequest {
        netns_ref: NetnsRef { path: "/run/netns/2".into(), inode: 2 },
        patience: Some(Duration::from_secs(5)),
        ..request("a")
    };
    let began = Instant::now();
    let told = desk.adding(anew).await.unwrap();
    assert!(matches!(told, Err(AddError::HeldTooLong { seconds: 5, .. })), "{told:?}");
    assert_eq!(began.elapsed().as_secs(), 5);
}

/// Put back at once twice; the third time it is waited with.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_taken_away_again_and_again_is_told_of() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(5).await;
    desk.host.kernel().liveness = Liveness::Severed;
    for _ in 0..3 {
        desk.host.kernel().pods.get_mut("eni-a").unwrap().1 = false;
        desk.host.drifts();
        pass(1).await;
    }
    let cut_off = desk.dump().await.unwrap().cut_off;
    assert!(cut_off.iter().any(|words| words.contains("again and again")), "{cut_off:?}");
}

/// What is under way in the kernel is brought to its end, up to a limit.
#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_kernel_a_while() {
    for (takes, stops) in [(3, 3), (60, 5)] {
        let desk = Desk::serving(Config::default()).await;
        desk.host.kernel().wire_takes = Duration::from_secs(takes);
        let began = Instant::now();
        let adding = desk.adding(request("a"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        desk.stop().await;
        assert_eq!(began.elapsed().as_secs(), stops, "{takes}");
        assert_eq!(adding.await.unwrap().is_ok(), takes == 3);
    }
}

/// Where the packets of a pod go that is being taken away is of no interest.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_being_taken_away_is_not_told_of() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    desk.host.kernel().unwire = Some(refused());
    desk.del("a").await.unwrap();
    pass(1).await;
    desk.host.kernel().diverted = vec![(LinkAlias::of(&sandbox("a")), "elsewhere".into())];
    for _ in 0..60 {
        pass(1).await;
        assert_eq!(desk.dump().await.unwrap().cut_off, [""; 0]);
    }
}
