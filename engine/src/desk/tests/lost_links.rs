//! Pods that are gone without a DEL, and those that live without their link.

use holdfast_model::host::PodWiring;
use holdfast_model::lease::Face;
use holdfast_model::uses::Use;

use super::*;

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

/// A pod has two addresses, and another sandbox has one of them by now: it is not wired anew with the other either.
#[tokio::test(start_paused = true)]
async fn a_pod_of_whose_addresses_another_sandbox_has_one_is_left_without_its_link() {
    let desk = Desk::serving(Config::default()).await;
    let mut lease = desk.add("a").await.unwrap();
    let second = if lease.faces[0].address == IpAddr::from([10, 0, 0, 5]) { 6 } else { 5 };
    let second = Face {
        ifname: "eth1".into(),
        address: [10, 0, 0, second].into(),
        host_veth: "eni-a1".into(),
        ..lease.faces[0].clone()
    };
    {
        let mut kernel = desk.host.kernel();
        kernel.liveness = Liveness::Severed;
        let pod = kernel.pods.remove("eni-a").unwrap().0;
        let alias = LinkAlias::of(&sandbox("x"));
        let others = PodWiring { address: second.address, host_veth: "eni-x".into(), alias, ..pod };
        kernel.pods.insert("eni-x".into(), (others, true));
    }
    let used = Change::PutUse(second.address, Use::Leased(sandbox("a")));
    lease.faces.push(second);
    let desk = desk.restarted(true, &[Change::PutLease(lease), used]).await;
    pass(130).await;
    assert_eq!(desk.host.kernel().pods.keys().collect::<Vec<_>>(), ["eni-x"]);
    let cut_off = desk.dump().await.unwrap().cut_off;
    assert!(cut_off.iter().any(|words| words.contains("another sandbox has its address")), "{cut_off:?}");
}

/// Its link goes, and its sandbox lives.
fn cut_off(desk: &Desk, link: &str) {
    let mut kernel = desk.host.kernel();
    kernel.liveness = Liveness::Severed;
    kernel.pods.get_mut(link).unwrap().1 = false;
}

fn is_linked(desk: &Desk, link: &str) -> bool {
    desk.host.kernel().pods.get(link).is_some_and(|(_, linked)| *linked)
}

/// A path is the client's word, and where it leads a look may hang: looks do not pile up, whatever tells of changes.
#[tokio::test(start_paused = true)]
async fn a_sandbox_is_looked_for_once_at_a_time_and_again_afterwards() {
    let desk = Desk::serving(Config::default()).await;
    for container in ["a", "b"] {
        desk.add(container).await.unwrap();
    }
    pass(130).await;
    desk.host.kernel().looks_hang = true;
    cut_off(&desk, "eni-a");
    for _ in 0..20 {
        desk.host.drifts();
        pass(30).await;
    }
    assert_eq!(desk.host.kernel().looks, 1);
    cut_off(&desk, "eni-b");
    pass(300).await;
    assert_eq!(desk.host.kernel().looks, 2, "another has its own");
    desk.host.kernel().looks_hang = false;
    pass(130).await;
    for link in ["eni-a", "eni-b"] {
        assert!(is_linked(&desk, link), "{link}");
    }
    for times in 1..4 {
        cut_off(&desk, "eni-a");
        pass(600).await;
        assert!(is_linked(&desk, "eni-a"), "{times} times more");
    }
}

/// Whoever takes it away again at once: each time it comes back later, and it is told while it is awaited.
#[tokio::test(start_paused = true)]
async fn a_link_that_is_taken_away_again_and_again_comes_back_ever_later() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    pass(130).await;
    let mut back: Vec<Instant> = Vec::new();
    for times in 0..8 {
        cut_off(&desk, "eni-a");
        desk.host.drifts();
        let began = Instant::now();
        let mut told = false;
        while !is_linked(&desk, "eni-a") {
            assert!(began.elapsed() < Duration::from_secs(120), "{times}: it stays away");
            told |= desk.dump().await.unwrap().cut_off.iter().any(|words| words.contains("again and again"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The first one is no more than that, and for one second nothing needs to be said.
        assert!(told || times < 2, "{times}");
        back.push(Instant::now());
        let cut_off = desk.dump().await.unwrap().cut_off;
        assert_eq!(cut_off, Vec::<String>::new(), "{times}: nothing is told of it any more");
    }
    let pauses: Vec<_> = back.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64().round()).collect();
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]);
}
