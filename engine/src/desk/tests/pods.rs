//! One pod from its ADD to its DEL: what it is answered, and what it is called in the kernel.

use holdfast_model::lease::LeasePhase;

use super::*;

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

/// What nobody waits for is with the disk soon all the same.
#[tokio::test(start_paused = true)]
async fn an_answered_pod_is_active_on_disk_within_a_moment() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    let phase = |desk: &Desk| desk.disk.ledger().leases[&sandbox("a")].phase;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(phase(&desk), LeasePhase::Active);
}

#[tokio::test(start_paused = true)]
async fn check_says_what_is_wrong_and_of_whom_nothing_is_known() {
    let desk = Desk::serving(Config::default()).await;
    let unknown = desk.check("a").await.unwrap();
    assert!(unknown.len() == 1 && unknown[0].contains("holds no address"), "{unknown:?}");
    let own = desk.add("a").await.unwrap().faces[0].address;
    assert_eq!(desk.check("a").await.unwrap(), Vec::<String>::new());
    desk.host.kernel().differences = vec!["its link is down".into()];
    assert_eq!(desk.check("a").await.unwrap(), ["its link is down"]);
    // What the runtime kept of the ADD counts as well.
    assert_eq!(desk.check_for("a", &[own]).await.unwrap(), ["its link is down"]);
    let told = desk.check_for("a", &["10.0.0.99".parse().unwrap()]).await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with(&format!("the ledger has {own}")) && told[1] == "its link is down", "{told:?}");
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
