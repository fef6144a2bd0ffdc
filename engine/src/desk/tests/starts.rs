//! How it starts, after whatever, and how it stops.

use holdfast_model::lease::LeasePhase;
use holdfast_model::refusal::Refusal;
use holdfast_store::Found;

use super::*;

/// Before it is known who we are nobody is refused for want of an address, and nobody waits for ever.
#[tokio::test(start_paused = true)]
async fn while_the_node_is_not_known_an_add_is_held_and_told_so() {
    let desk = Desk::start_with(Config::default(), false);
    pass(10).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::NotReady)));
    let adding = desk.adding(request("a"));
    pass(30).await;
    assert!(!adding.is_finished());
    let waiting = desk.dump().await.unwrap().waiting;
    assert_eq!((waiting.len(), waiting[0].stage.as_str()), (1, "waits for an address"));
    assert_eq!((waiting[0].sandbox.clone(), waiting[0].for_ms), (sandbox("a"), 30_000));
    let Err(AddError::HeldTooLong { seconds: 60, cause, .. }) = adding.await.unwrap() else { panic!("held") };
    assert_eq!(cause, Refusal::NotReady.to_string());
    desk.metadata_answers();
    pass(300).await;
    desk.add("a").await.unwrap();
}

/// The ledger names the node: nothing else is needed to serve, or to say that nothing can be served.
#[tokio::test(start_paused = true)]
async fn a_restart_needs_no_metadata() {
    let desk = Desk::serving(Config::default()).await;
    let lease = desk.add("a").await.unwrap();
    let desk = desk.restarted(false, &[]).await;
    pass(5).await;
    assert_eq!(desk.add("a").await.unwrap().faces, lease.faces);
    let dump = desk.dump().await.unwrap();
    assert!(!dump.identified && dump.host_read && dump.ledger.node.is_some());
    pass(300).await;
    for container in ["b", "c"] {
        desk.add(container).await.unwrap();
    }
    let began = Instant::now();
    assert!(matches!(desk.add("d").await, Err(AddError::NoAddress { .. })));
    assert_eq!(began.elapsed().as_secs(), 0);
    assert_eq!(desk.host.kernel().pods.len(), 3, "what was wired stays so");
    desk.metadata_answers();
    pass(120).await;
    assert!(desk.dump().await.unwrap().identified);
}

/// Killed between the lease and the answer: what is wired is adopted, what is not is undone.
#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_what_was_cut_off() {
    for wired in [true, false] {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        let mut pending = desk.disk.ledger().leases[&sandbox("a")].clone();
        pending.phase = LeasePhase::Pending;
        if !wired {
            let mut kernel = desk.host.kernel();
            kernel.pods.clear();
            kernel.differences = vec!["its link is missing".into()];
            kernel.liveness = Liveness::Severed;
        }
        let desk = desk.restarted(true, &[Change::PutLease(pending)]).await;
        pass(30).await;
        let phases: Vec<_> = desk.disk.ledger().leases.values().map(|lease| lease.phase).collect();
        assert_eq!(phases, if wired { vec![LeasePhase::Active] } else { vec![] });
    }
    // A release goes on.
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    desk.host.kernel().unwire = Some(refused());
    desk.del("a").await.unwrap();
    assert_eq!(desk.disk.ledger().leases[&sandbox("a")].phase, LeasePhase::Releasing);
    desk.host.kernel().unwire = None;
    let desk = desk.restarted(true, &[]).await;
    pass(30).await;
    assert!(desk.disk.ledger().leases.is_empty() && desk.host.kernel().pods.is_empty());
}

/// Each pod gets its lease back from its link, when EC2 has shown its address; until then nothing of it is touched.
#[tokio::test(start_paused = true)]
async fn a_lost_ledger_is_read_back_from_the_kernel() {
    let desk = Desk::serving(Config::default()).await;
    let lease = desk.add("a").await.unwrap();
    desk.host.kernel().applied.clear();
    let desk = desk.ledger_lost().await;
    pass(300).await;
    let rebuilt = desk.disk.ledger().leases[&sandbox("a")].clone();
    assert_eq!(rebuilt.faces[0].address, lease.faces[0].address);
    assert_eq!(desk.host.kernel().applied, [], "all is as it was");
    for container in ["b", "c"] {
        assert_ne!(desk.add(container).await.unwrap().faces[0].address, lease.faces[0].address);
    }
    desk.del("a").await.unwrap();
    pass(5).await;
    assert!(!desk.host.kernel().pods.contains_key("eni-a"));
}

/// Sandboxes do not outlive a boot. Their addresses rest, counted from the boot.
#[tokio::test(start_paused = true)]
async fn a_reboot_ends_every_lease() {
    for answers in [true, false] {
        let desk = Desk::serving(Config::default()).await;
        for container in ["a", "b", "c"] {
            desk.add(container).await.unwrap();
        }
        let desk = desk.rebooted(answers).await;
        pass(10).await;
        assert!(desk.disk.ledger().leases.is_empty());
        for container in ["d", "e", "f"] {
            desk.add(container).await.unwrap();
        }
        assert_eq!(desk.disk.ledger().node.unwrap().boot, BootId::new("boot-2"));
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_refuses_who_waits_and_closes_the_file_in_order() {
    let desk = Desk::start_with(Config::default(), false);
    pass(1).await;
    let adding = desk.adding(request("a"));
    pass(1).await;
    let began = Instant::now();
    desk.stop().await;
    assert_eq!(began.elapsed().as_secs(), 0, "nothing is under way");
    assert_eq!(adding.await.unwrap(), Err(AddError::Stopping));
    assert_eq!(desk.add("b").await, Err(AddError::Stopping));
    assert!(desk.status().await.is_err() && desk.dump().await.is_err());
    assert!(desk.life.is_finished());
    assert_eq!(desk.disk.open_anew().found, Found::Intact);

    // With a disk that hangs it ends too, after a while.
    let desk = Desk::serving(Config::default()).await;
    desk.disk_hangs(true);
    assert!(desk.add("a").await.is_err());
    let began = Instant::now();
    desk.stop().await;
    assert!((1..60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// While it waits for the disk, nothing new is begun.
#[tokio::test(start_paused = true)]
async fn while_it_stops_nobody_new_is_served() {
    let desk = Desk::serving(Config::default()).await;
    desk.disk_hangs(true);
    let _waits = desk.adding(request("a"));
    pass(1).await;
    let stopping = desk.stopping();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = Instant::now();
    assert_eq!(desk.add("b").await, Err(AddError::Stopping));
    assert!(began.elapsed() < Duration::from_millis(10) && !stopping.is_finished());
    desk.disk_hangs(false);
    stopping.await.unwrap();
    assert!(!desk.disk.ledger().leases.contains_key(&sandbox("b")));
}
