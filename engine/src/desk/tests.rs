//! The engine between its requests and its ports.

mod looks;
mod releases;
mod starts;

use holdfast_model::config::{Setting, WarmTargets};
use holdfast_model::lease::LeasePhase;
use holdfast_model::refusal::Refusal;
use holdfast_store::Found;

use super::*;
use crate::{Deleted, Status};

fn refused() -> HostFault {
    HostFault::Refused { step: "a step".into(), cause: "no".into() }
}

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

#[tokio::test(start_paused = true)]
async fn check_says_what_is_wrong_and_of_whom_nothing_is_known() {
    let desk = Desk::serving(Config::default()).await;
    let unknown = desk.check("a").await.unwrap();
    assert!(unknown.len() == 1 && unknown[0].contains("holds no address"), "{unknown:?}");
    desk.add("a").await.unwrap();
    assert_eq!(desk.check("a").await.unwrap(), Vec::<String>::new());
    desk.host.kernel().differences = vec!["its link is down".into()];
    assert_eq!(desk.check("a").await.unwrap(), ["its link is down"]);
}

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

/// A pod of the same name that is not gone yet still bears the conventional name.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_borne_already_is_not_given_again() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    let again = AddRequest { host_veth: "eni-a".into(), ..request("b") };
    assert_eq!(desk.adding(again.clone()).await.unwrap().unwrap().faces[0].host_veth, "enf-b");
    // One that is about to go is waited for, as long as the asker waits.
    desk.host.kernel().unwire = Some(refused());
    desk.del("a").await.unwrap();
    let third = AddRequest { sandbox: sandbox("c"), fallback_veth: "enf-c".into(), ..again };
    let adding = desk.adding(third);
    pass(5).await;
    assert!(!adding.is_finished());
    desk.host.kernel().unwire = None;
    assert_eq!(adding.await.unwrap().unwrap().faces[0].host_veth, "eni-a");
}

/// The runtime made the sandbox anew: the older one's lease ends first.
#[tokio::test(start_paused = true)]
async fn an_older_attachment_of_the_same_sandbox_ends_first() {
    let anew =
        || AddRequest { netns_ref: NetnsRef { path: "/run/netns/2".into(), inode: 2 }, ..request("a") };
    let desk = Desk::serving(Config::default()).await;
    let old = desk.add("a").await.unwrap();
    let new = desk.adding(anew()).await.unwrap().unwrap();
    assert_eq!(new.netns.inode, 2);
    assert_ne!(new.faces[0].address, old.faces[0].address, "that one rests");
    pass(60).await;
    assert_eq!(desk.disk.ledger().leases.len(), 1);

    // It will not go: the ADD is told what it waits for.
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    desk.host.kernel().unwire = Some(refused());
    let began = Instant::now();
    let Err(AddError::HeldTooLong { pod, seconds, cause }) = desk.adding(anew()).await.unwrap() else {
        panic!("nothing was freed")
    };
    assert_eq!((pod.name.as_str(), seconds, began.elapsed().as_secs()), ("a", 60, 60));
    assert_eq!(cause, "an older attachment of it ends first");
    // An impatient one is told earlier.
    let impatient = AddRequest { patience: Some(Duration::from_secs(5)), ..anew() };
    let told = desk.adding(impatient).await.unwrap();
    assert!(matches!(told, Err(AddError::HeldTooLong { seconds: 5, .. })), "{told:?}");
}

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

/// A runtime's list says whom to look for; only what is gone is released.
#[tokio::test(start_paused = true)]
async fn what_the_runtime_does_not_list_is_released_when_it_is_gone() {
    let desk = Desk::serving(Config::default()).await;
    for container in ["a", "b"] {
        desk.add(container).await.unwrap();
    }
    desk.gc("another", &["a"]).await.unwrap();
    desk.gc("aws-cni", &["a"]).await.unwrap();
    pass(60).await;
    assert_eq!(desk.disk.ledger().leases.len(), 2, "its link is there");
    {
        let mut kernel = desk.host.kernel();
        kernel.liveness = Liveness::Gone;
        kernel.pods.get_mut("eni-b").unwrap().1 = false;
    }
    desk.gc("another", &["a"]).await.unwrap();
    pass(1).await;
    assert_eq!(desk.disk.ledger().leases.len(), 2, "no look has found it");
    desk.gc("aws-cni", &["a"]).await.unwrap();
    pass(1).await;
    assert_eq!(desk.disk.ledger().leases.keys().collect::<Vec<_>>(), [&sandbox("a")]);
}

/// Found at the next look, whatever the runtime says.
#[tokio::test(start_paused = true)]
async fn a_pod_without_its_link_is_released_wired_anew_or_told_of() {
    for (liveness, released, cut_off) in
        [(Liveness::Gone, true, false), (Liveness::Severed, false, false), (Liveness::Unknown, false, true)]
    {
        let desk = Desk::serving(Config::default()).await;
        desk.add("a").await.unwrap();
        pass(130).await;
        {
            let mut kernel = desk.host.kernel();
            kernel.liveness = liveness;
            kernel.pods.get_mut("eni-a").unwrap().1 = false;
        }
        pass(130).await;
        let dump = desk.dump().await.unwrap();
        assert_eq!(dump.ledger.leases.is_empty(), released, "{liveness:?}");
        assert_eq!(!dump.cut_off.is_empty(), cut_off, "{liveness:?}: {:?}", dump.cut_off);
        let linked = desk.host.kernel().pods.get("eni-a").is_some_and(|(_, link)| *link);
        assert_eq!(linked, liveness == Liveness::Severed, "{liveness:?}");
        let told = desk.status().await.unwrap();
        assert_eq!(matches!(told, Status::Impaired(_)), cut_off, "{liveness:?}: {told:?}");
    }
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

/// What nobody waits for is with the disk soon all the same.
#[tokio::test(start_paused = true)]
async fn an_answered_pod_is_active_on_disk_within_a_moment() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    let phase = |desk: &Desk| desk.disk.ledger().leases[&sandbox("a")].phase;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(phase(&desk), LeasePhase::Active);
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

/// The ledger is old: a sandbox that it does not know has the address by now, in the kernel.
#[tokio::test(start_paused = true)]
async fn what_another_sandbox_has_by_now_is_left_to_it() {
    for anothers in [false, true] {
        let desk = Desk::serving(Config::default()).await;
        let lease = desk.add("a").await.unwrap();
        {
            let mut kernel = desk.host.kernel();
            kernel.liveness = Liveness::Severed;
            let mut pod = kernel.pods.remove("eni-a").unwrap().0;
            if anothers {
                pod.alias = LinkAlias::of(&sandbox("x"));
                pod.host_veth = "eni-x".into();
                kernel.pods.insert("eni-x".into(), (pod, true));
            }
        }
        pass(130).await;
        let wired = desk.host.kernel().pods.contains_key("eni-a");
        assert_eq!(wired, !anothers);
        let cut_off = desk.dump().await.unwrap().cut_off;
        assert_eq!(
            cut_off.iter().any(|words| words.contains("another sandbox has its address")),
            anothers,
            "{cut_off:?}"
        );
        desk.del("a").await.unwrap();
        pass(5).await;
        let kernel = desk.host.kernel();
        let unwired: Vec<_> = kernel.unwired.iter().map(|pod| pod.address).collect();
        assert_eq!(unwired, if anothers { vec![] } else { vec![lease.faces[0].address] });
        assert_eq!(kernel.pods.contains_key("eni-x"), anothers);
    }
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

/// Nobody is answered with what the disk does not have.
#[tokio::test(start_paused = true)]
async fn an_add_is_answered_when_its_lease_is_on_disk_and_its_wiring_was_read_back() {
    let desk = Desk::serving(Config::default()).await;
    desk.disk_hangs(true);
    let adding = desk.adding(request("a"));
    pass(1).await;
    assert!(!adding.is_finished() && desk.host.kernel().pods.is_empty());
    desk.disk_hangs(false);
    assert!(adding.await.unwrap().is_ok());
    assert!(desk.disk.ledger().leases.contains_key(&sandbox("a")));

    // Refused by the kernel: nothing is left of it, and it may be tried again.
    desk.host.kernel().wire = Some(refused());
    let told = desk.add("b").await;
    assert!(matches!(&told, Err(AddError::Wiring { pod, .. }) if pod.name == "b"), "{told:?}");
    assert!(told.is_err_and(|error| error.worth_retrying()));
    pass(60).await;
    assert_eq!(desk.disk.ledger().leases.len(), 1);
    desk.host.kernel().wire = None;
    desk.add("b").await.unwrap();
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
    let warm = WarmTargets { warm_enis: 1, warm_ips: 0, minimum_ips: 3 };
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
    let together = Desk::serving(three()).await;
    for adding in ["a", "b", "c"].map(|container| together.adding(request(container))) {
        adding.await.unwrap().unwrap();
    }
    pass(5).await;
    assert_eq!(together.changes_asked(), 0);
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

/// The name is kept for the newer pod as long as that one waits; then it gets another.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_given_up_is_not_waited_for_for_ever() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    desk.host.kernel().unwire = Some(refused());
    desk.del("a").await.unwrap();
    let began = Instant::now();
    let lease = desk.adding(AddRequest { host_veth: "eni-a".into(), ..request("b") }).await.unwrap().unwrap();
    assert_eq!((lease.faces[0].host_veth.as_str(), began.elapsed().as_secs()), ("enf-b", 60));
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

fn shown() -> MetadataHint {
    let view = primary();
    let addresses = view.secondary.into_iter().chain(view.primary_ipv4.map(Into::into));
    MetadataHint {
        enis: [(PRIMARY, addresses.collect())].into(),
        security_groups: view.security_groups,
        ..MetadataHint::default()
    }
}

/// What the ledger knows need not be told; the VPC's ranges are asked for now and then.
#[tokio::test(start_paused = true)]
async fn a_hint_is_asked_for_what_is_not_known() {
    let desk = Desk::serving(Config::default()).await;
    desk.hints(shown());
    desk.hints_asked();
    pass(82 * 8).await;
    let asked = desk.hints_asked();
    assert!((7..=9).contains(&asked.len()), "{asked:?}");
    assert!(
        asked.iter().all(|asked| asked.primary == Some(PRIMARY) && asked.ranges_known == [PRIMARY].into())
    );
    assert_eq!(asked.iter().filter(|asked| !asked.vpc_known).count(), 2, "{asked:?}");
}

/// A difference leads to a read of EC2, agreement to none; and the VPC's ranges are taken over.
#[tokio::test(start_paused = true)]
async fn a_hint_that_differs_leads_to_a_read() {
    let desk = Desk::serving(Config::default()).await;
    desk.hints(shown());
    pass(600).await;
    let before = desk.reads();
    pass(600).await;
    assert_eq!(desk.reads(), before, "it agrees");
    let mut hint = shown();
    hint.enis.get_mut(&PRIMARY).unwrap().pop_last();
    desk.hints(hint);
    pass(120).await;
    assert!((1..=2).contains(&(desk.reads() - before)), "{}", desk.reads() - before);

    let ranges = |desk: &Desk| desk.disk.ledger().node.unwrap().identity.vpc_cidrs;
    let known = ranges(&desk);
    desk.hints(shown());
    pass(600).await;
    assert_eq!(ranges(&desk), known, "none were told");
    let vpc_cidrs: Vec<_> = ["10.0.0.0/16", "10.1.0.0/16"].map(|range| range.parse().unwrap()).into();
    desk.hints(MetadataHint { vpc_cidrs: vpc_cidrs.clone(), ..shown() });
    pass(600).await;
    assert_eq!(ranges(&desk), vpc_cidrs);
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
