//! What the host's network lacks, and what it is left to be.

use holdfast_model::refusal::Refusal;

use super::*;

/// What pods lack is told while it lasts.
#[tokio::test(start_paused = true)]
async fn what_the_host_lacks_is_told_in_status() {
    type Change = fn(&mut Kernel);
    let changes: [(&str, Change, Change); 4] = [
        ("no default route", |kernel| kernel.way_out = false, |kernel| kernel.way_out = true),
        (
            "filter FORWARD drops what is forwarded",
            |kernel| kernel.forward_drops = vec!["filter FORWARD".into()],
            |kernel| kernel.forward_drops.clear(),
        ),
        ("a step: no", |kernel| kernel.unreadable = Some(refused()), |kernel| kernel.unreadable = None),
        (
            "a step: no",
            |kernel| (kernel.nat, kernel.apply) = (NatSeen::Differs, Some(refused())),
            |kernel| kernel.apply = None,
        ),
    ];
    for (words, breaks, mends) in changes {
        let desk = Desk::serving(Config::default()).await;
        breaks(&mut desk.host.kernel());
        pass(130).await;
        let Ok(Status::Impaired(cause)) = desk.status().await else { panic!("{words}") };
        assert!(cause.contains(words), "{words}: {cause}");
        assert!(desk.add("a").await.is_ok(), "there are addresses all the same");
        mends(&mut desk.host.kernel());
        pass(130).await;
        assert_eq!(desk.status().await, Ok(Status::Ready), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_cannot_be_written_is_every_pods_affair() {
    let desk = Desk::serving(Config::default()).await;
    let setting = HostFault::Setting { name: "net/x".into(), value: "1".into(), cause: "read-only".into() };
    desk.host.kernel().wire = Some(setting);
    assert!(matches!(desk.add("a").await, Err(AddError::Wiring { .. })));
    let Ok(Status::Impaired(cause)) = desk.status().await else { panic!("it is told") };
    assert!(cause.contains("net/x"), "{cause}");
    assert!(desk.dump().await.unwrap().host_fault.is_some_and(|fault| fault.contains("net/x")));
    // What fails in a pod alone does not say that the setting is right.
    desk.host.kernel().wire = Some(refused());
    assert!(desk.add("b").await.is_err());
    assert!(matches!(desk.status().await, Ok(Status::Impaired(_))));
    desk.host.kernel().wire = None;
    pass(60).await;
    desk.add("c").await.unwrap();
    assert_eq!(desk.status().await, Ok(Status::Ready));
}

#[tokio::test(start_paused = true)]
async fn before_the_kernel_was_read_nothing_is_leased() {
    let desk = Desk::start(Config::default());
    desk.host.kernel().unreadable = Some(refused());
    pass(100).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::HostNotRead)));
    let Err(AddError::HeldTooLong { cause, .. }) = desk.add("a").await else { panic!("held") };
    assert_eq!(cause, Refusal::HostNotRead.to_string());
    desk.host.kernel().unreadable = None;
    pass(300).await;
    desk.add("a").await.unwrap();
}

/// No pod is answered for before packets that leave the VPC are translated, unless that takes too long.
#[tokio::test(start_paused = true)]
async fn the_nat_table_is_waited_for_a_while() {
    let desk = Desk::start(Config::default());
    desk.host.kernel().apply = Some(refused());
    pass(2).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::NatAwaited)));
    pass(300).await;
    assert!(matches!(desk.status().await, Ok(Status::Impaired(_))));
    desk.add("a").await.unwrap();
}

/// Nothing is removed while it is being wired or unwired, nor what is wired: the kernel is left as it is.
#[tokio::test(start_paused = true)]
async fn a_kernel_that_is_as_it_should_be_is_left_alone() {
    let desk = Desk::serving(Config::default()).await;
    let written = desk.host.kernel().applied.len();
    for container in ["a", "b"] {
        desk.add(container).await.unwrap();
        pass(130).await;
    }
    desk.del("a").await.unwrap();
    pass(300).await;
    let kernel = desk.host.kernel();
    assert_eq!(kernel.applied.len(), written, "{:?}", kernel.applied);
    assert_eq!(kernel.pods.keys().collect::<Vec<_>>(), ["eni-b"]);
}

/// The kernel tells that something changed: it is looked at soon, each time.
#[tokio::test(start_paused = true)]
async fn a_sign_of_drift_leads_to_a_look() {
    let desk = Desk::serving(Config::default()).await;
    for container in ["a", "b"] {
        desk.add(container).await.unwrap();
        pass(61).await;
        desk.host.kernel().liveness = Liveness::Gone;
        desk.host.kernel().pods.clear();
        let began = Instant::now();
        desk.host.drifts();
        while desk.dump().await.unwrap().ledger.leases.contains_key(&sandbox(container)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
