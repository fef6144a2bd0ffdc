use super::*;
use holdfast_model::block::Block;
use holdfast_model::config::Config;
use holdfast_model::eni::{EniKind, EniPhase, EniPlace, EniRecord, EniSlot, EniSource};
use holdfast_model::host::HostAction;
use holdfast_model::ids::{AttachmentId, EniId, MacAddr, SubnetId};
use holdfast_model::time::BootTime;
use holdfast_model::uses::Use;

use crate::desk::{Desk, pass, sandbox};

fn eni(name: &str, device: u16) -> EniRecord {
    EniRecord {
        id: EniId::new(name),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        place: EniPlace::Device(EniSlot { card: 0, device }),
        kind: EniKind::Standard,
        management: Management::Managed,
        phase: EniPhase::Attached { attachment: AttachmentId::new("a"), delete_on_termination: true },
        source: EniSource { subnet: SubnetId::new("subnet-1"), security_groups: None },
        primary_ipv4: None,
        created_by: None,
        since: BootTime(0),
        changed: BootTime(0),
    }
}

fn block(ip: &str, state: BlockState) -> Block {
    Block { state, ..Block::held(format!("{ip}/32").parse().unwrap(), EniId::new("eni-a"), BootTime(0)) }
}

fn found(before: &Ledger, changes: &[Change]) -> Found {
    let mut found = Found::default();
    found.note(before, changes);
    found
}

#[test]
fn what_a_read_shows_otherwise_is_counted_once_by_what_became_of_it() {
    let mut before = Ledger::default();
    before.apply_all(&[
        Change::PutEni(eni("eni-a", 0)),
        Change::PutEni(eni("eni-b", 1)),
        Change::PutBlock(block("10.0.0.5", BlockState::Held)),
        Change::PutBlock(block("10.0.0.6", BlockState::Held)),
        Change::PutBlock(block("10.0.0.7", BlockState::Gone(BootTime(0)))),
    ]);
    let gone = EniRecord { phase: EniPhase::Gone, ..eni("eni-b", 1) };
    let changes = [
        Change::PutEni(eni("eni-c", 2)),
        Change::PutEni(eni("eni-c", 3)),
        Change::PutEni(gone),
        Change::DropBlock("10.0.0.5/32".parse().unwrap()),
        Change::PutBlock(block("10.0.0.6", BlockState::Withdrawn)),
        // Given back long ago, and somebody has put it there again.
        Change::DropBlock("10.0.0.7/32".parse().unwrap()),
        Change::PutBlock(block("10.0.0.7", BlockState::Held)),
        Change::PutBlock(block("10.0.0.8", BlockState::Held)),
        // As it was.
        Change::PutEni(eni("eni-a", 0)),
    ];
    let expected = Found {
        enis_added: 1,
        enis_gone: 1,
        blocks_added: 2,
        blocks_gone: 2,
        enis_taken: 0,
        addresses_taken: 1,
    };
    assert_eq!(found(&before, &changes), expected);
    let mut after = before.clone();
    after.apply_all(&changes);
    assert_eq!(found(&after, &changes[..1]), Found::default(), "nothing new");
    assert_eq!(found(&Ledger::default(), &changes), Found::default(), "a node that knows nothing yet");
}

#[tokio::test(start_paused = true)]
async fn an_eni_that_is_taken_from_under_a_pod_is_told_apart() {
    let desk = Desk::serving(Config::default()).await;
    desk.add("a").await.unwrap();
    let mut before = desk.dump().await.unwrap().ledger;
    let lease = before.leases.get(&sandbox("a")).cloned().unwrap();
    let id = lease.faces[0].eni.clone();
    assert_eq!(before.uses.get(&lease.faces[0].address), Some(&Use::Leased(sandbox("a"))));
    let closed = EniRecord { management: Management::Excluded, ..before.enis.get(&id).cloned().unwrap() };
    let expected = Found { enis_gone: 1, enis_taken: 1, ..Found::default() };
    assert_eq!(found(&before, &[Change::PutEni(closed.clone())]), expected);
    before.apply(&Change::PutEni(closed.clone()));
    assert_eq!(found(&before, &[Change::PutEni(closed)]), Found::default(), "it was so before");
}

/// Seen by the engine itself: a read, and a look at the kernel.
#[tokio::test(start_paused = true)]
async fn reads_and_repairs_are_counted_where_they_are_made() {
    let desk = Desk::serving(Config::default()).await;
    let start = desk.figures().await.unwrap().tally;
    assert_eq!(start.found, Found::default());
    assert!(start.commits > 0, "{start:?}");
    desk.attached_by_others();
    pass(7 * 3600).await;
    let tally = desk.figures().await.unwrap().tally;
    assert_eq!((tally.found.enis_added, tally.found.blocks_added), (1, 1), "{tally:?}");
    assert_eq!(Repair::of(&HostAction::RemoveNat), Repair::Nat);
    assert!(Repair::ALL.windows(2).all(|pair| pair[0] < pair[1]), "each once");
}
