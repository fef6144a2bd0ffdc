//! What a start is told late, or never: who we are, the primary ENI's link, the NAT table.

use holdfast_model::block::Ask;
use holdfast_model::cloud::CloudChange;
use holdfast_model::ids::IntentId;
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::refusal::Refusal;

use super::*;

/// The table that an earlier process has written stands: nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_nat_table_that_is_there_is_not_waited_for() {
    let desk = Desk::serving(Config::default()).await;
    let desk = desk.restarted(false, &[]).await;
    pass(1).await;
    assert!(matches!(desk.status().await, Ok(Status::Ready | Status::Growing)));
}

/// Before it is known who we are there is no table to wait for: the time for it begins when that is told.
#[tokio::test(start_paused = true)]
async fn the_nat_table_has_its_time_from_when_the_node_is_known() {
    let desk = Desk::start_with(Config::default(), false);
    desk.host.kernel().apply = Some(refused());
    pass(60).await;
    desk.metadata_answers();
    while desk.dump().await.unwrap().ledger.node.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pass(4).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::NatAwaited)));
    pass(2).await;
    assert_ne!(desk.status().await, Ok(Status::Refusing(Refusal::NatAwaited)));
}

/// Whose ledger it is the primary ENI's link tells, when it comes, though metadata is silent.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_started_anew_is_known_by_its_link_however_late_that_is() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    desk.host.kernel().eni = None;
    let desk = desk.rebooted(false).await;
    pass(300).await;
    assert_eq!(desk.status().await, Ok(Status::Refusing(Refusal::NotReady)));
    assert_eq!(desk.disk.ledger().leases.len(), 1, "what may be another's is not touched");
    desk.host.kernel().eni = Some(9001);
    desk.host.drifts();
    pass(5).await;
    assert!(desk.disk.ledger().leases.is_empty());
    desk.add("b").await.unwrap();
}

/// The ledger may be another instance's.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_ec2_while_the_primary_has_no_link_and_metadata_is_silent() {
    let desk = Desk::serving(Config::default()).await;
    for container in ["a", "b", "c"] {
        desk.add(container).await.unwrap();
    }
    desk.host.kernel().eni = None;
    let desk = desk.restarted(false, &[]).await;
    let _waits = desk.adding(request("d"));
    pass(30).await;
    assert_eq!(desk.changes_asked(), 0);
    desk.host.kernel().eni = Some(9001);
    desk.host.drifts();
    pass(5).await;
    assert_ne!(desk.changes_asked(), 0);
}

/// Many nodes start together: their hints are spread.
#[tokio::test(start_paused = true)]
async fn the_first_hint_is_asked_for_in_this_nodes_share_of_the_time() {
    let desk = Desk::start(Config::default());
    // Half of what lies between two hints, and half of this node's share: it has drawn the half.
    pass(61).await;
    assert_eq!(desk.hints_asked(), []);
    pass(1).await;
    assert_eq!(desk.hints_asked().len(), 1);
}

/// The ledger is of an earlier day, and a sandbox lives that it does not know: until EC2 was read it is not believed, and
/// calls may have been made of which it knows nothing.
#[tokio::test(start_paused = true)]
async fn a_ledger_that_lacks_a_sandbox_is_doubted() {
    let desk = Desk::serving(Config::default()).await;
    let older = desk.disk.killed(&[]);
    let lease = desk.add("a").await.unwrap();
    let desk = desk.starts(true, older, "boot-1").await;
    desk.cloud_is_silent(true);
    let adding = desk.adding(request("b"));
    pass(20).await;
    assert!(desk.disk.ledger().leases.is_empty() && !adding.is_finished());
    desk.cloud_is_silent(false);
    pass(2).await;
    let wanted = desk.dump().await.unwrap().reads_wanted;
    assert!(wanted.iter().any(|reason| reason.starts_with("IntentsLost")), "{wanted:?}");
    // The kernel was read once more for the sake of that read.
    assert_eq!(desk.disk.ledger().leases[&sandbox("a")].faces[0].address, lease.faces[0].address);
    assert_ne!(adding.await.unwrap().unwrap().faces[0].address, lease.faces[0].address);
}

/// EC2 says what the node can carry; nothing is asked of it before.
#[tokio::test(start_paused = true)]
async fn a_node_of_a_type_that_nobody_knows_grows_when_ec2_has_told_of_it() {
    let desk = Desk::start(Config::default());
    desk.is_of_type("x9.unheard-of");
    pass(300).await;
    for container in ["a", "b", "c"] {
        desk.add(container).await.unwrap();
    }
    assert!(desk.add("d").await.is_err());
    assert_ne!(desk.changes_asked(), 0);
}

/// Each question has the engine plan anew, for so long.
async fn asked_for(desk: &Desk, tenths: u32) {
    for _ in 0..tenths {
        desk.status().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// While EC2 has not answered it is not asked again, whatever happens meanwhile.
#[tokio::test(start_paused = true)]
async fn ec2_is_asked_of_a_type_once_till_it_has_answered() {
    let desk = Desk::start(Config::default());
    desk.is_of_type("x9.unheard-of");
    desk.cloud_is_silent(true);
    asked_for(&desk, 300).await;
    let of_the_type = |api: &&Api| **api == Api::DescribeInstanceTypes;
    assert_eq!(desk.calls().iter().filter(of_the_type).count(), 1);
    desk.cloud_is_silent(false);
    asked_for(&desk, 300).await;
    assert_eq!(desk.calls().iter().filter(of_the_type).count(), 0, "it has told");
}

/// What EC2 told is durable: the next process knows it without EC2 and the metadata service. Of another type it says nothing.
#[tokio::test(start_paused = true)]
async fn what_ec2_told_of_a_type_is_known_to_the_next_process() {
    let of_the_type = |api: &&Api| **api == Api::DescribeInstanceTypes;
    let desk = Desk::start(Config::default());
    desk.is_of_type("x9.unheard-of");
    asked_for(&desk, 300).await;
    let told = desk.disk.ledger().type_limits.unwrap();
    assert_eq!((&*told.instance_type, told.limits.enis_on(0)), ("x9.unheard-of", 3));
    let desk = desk.restarted(false, &[]).await;
    asked_for(&desk, 300).await;
    assert_eq!(desk.figures().await.unwrap().limits, Some(told.limits));
    assert_eq!(desk.calls().iter().filter(of_the_type).count(), 0, "it was told before");

    desk.is_of_type("x9.another");
    desk.metadata_answers();
    asked_for(&desk, 600).await;
    assert_eq!(desk.calls().iter().filter(of_the_type).count(), 1);
    assert_eq!(desk.disk.ledger().type_limits.unwrap().instance_type, "x9.another");
}

fn open_intent(change: CloudChange, sending: Sending) -> Intent {
    Intent { id: IntentId(uuid::Uuid::from_u128(1)), change, sending, planned: WallTime(1) }
}

/// A call that never left leaves when the ledger says that it may have, not before, and then once.
#[tokio::test(start_paused = true)]
async fn a_call_that_never_left_leaves_after_it_is_written_that_it_may_have() {
    let desk = Desk::serving(Config::default()).await;
    let change = CloudChange::Assign { eni: EniId::new("eni-primary"), ask: Ask::addresses(1) };
    let intent = |sending| open_intent(change.clone(), sending);
    let desk = desk.restarted(true, &[Change::PutIntent(intent(Sending::NeverSent))]).await;
    desk.disk_hangs(true);
    asked_for(&desk, 10).await;
    assert_eq!(desk.changes_asked(), 0);
    desk.cloud_is_silent(true);
    desk.disk_hangs(false);
    asked_for(&desk, 5).await;
    assert_eq!(desk.changes_asked(), 1);
    assert_eq!(desk.disk.ledger().intents[&IntentId(uuid::Uuid::from_u128(1))], intent(Sending::MaybeSent));
}

/// EC2 refuses to create an ENI that it may have been asked for before: that one is looked for. What never left has made none.
#[tokio::test(start_paused = true)]
async fn an_eni_that_an_earlier_process_may_have_made_is_looked_for() {
    for (sending, made) in [(Sending::NeverSent, false), (Sending::MaybeSent, true)] {
        let desk = Desk::serving(Config::default()).await;
        let change = CloudChange::CreateEni {
            subnet: identity().subnet,
            security_groups: identity().security_groups,
            ask: Ask::addresses(1),
            slot: EniSlot { card: 0, device: 1 },
            description: String::new(),
            tags: BTreeMap::new(),
        };
        let desk = desk.restarted(true, &[Change::PutIntent(open_intent(change, sending))]).await;
        asked_for(&desk, 100).await;
        assert!(desk.calls().contains(&Api::CreateNetworkInterface), "{sending:?}");
        let dump = desk.dump().await.unwrap();
        assert!(dump.ledger.intents.is_empty(), "{sending:?}: it was refused");
        let wanted = dump.reads_wanted;
        assert_eq!(
            wanted.iter().any(|reason| reason.starts_with("IntentsLost")),
            made,
            "{sending:?}: {wanted:?}"
        );
    }
}
