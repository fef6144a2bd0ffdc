use std::sync::mpsc;

use holdfast_model::ids::SubnetId;
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::WallTime;
use holdfast_store::{Drive, OpenOptions, Store};

use super::*;
use crate::desk::disk::Disk;

/// A book whose disk works when it is told to.
struct Bench {
    book: Book,
    drive: Drive,
    reports: mpsc::Receiver<Report>,
    disk: Disk,
}

impl Bench {
    fn new() -> Self {
        let disk = Disk::default();
        let opened = Store::on_medium(disk.clone(), &OpenOptions::at(WallTime(0))).unwrap();
        let (send, reports) = mpsc::channel();
        let (writer, drive) = Writer::driven(opened.store, move |report| send.send(report).unwrap(), || ());
        Self { book: Book::new(opened.ledger, writer), drive, reports, disk }
    }

    /// The disk does what it has been given, and the book hears of it.
    fn work(&mut self) -> Vec<Turned> {
        self.drive.turn();
        let reports: Vec<Report> = self.reports.try_iter().collect();
        reports.into_iter().map(|report| self.book.turn(report)).collect()
    }

    /// What the disk has.
    fn durable(&self) -> usize {
        self.disk.ledger().subnets.len()
    }
}

fn change(number: u32) -> Vec<Change> {
    vec![Change::PutSubnet(SubnetRecord {
        id: SubnetId::new(format!("subnet-{number}")),
        ipv4: None,
        ipv6: None,
    })]
}

fn then(number: u128) -> Then {
    Then::Send(IntentId(uuid::Uuid::from_u128(number)))
}

#[test]
fn memory_runs_ahead_and_who_waits_goes_on_when_the_disk_has_it() {
    let mut desk = Bench::new();
    assert!(desk.book.settled());
    desk.book.commit(change(1), then(1));
    desk.book.commit(change(2), then(2));
    assert_eq!(desk.book.ledger().subnets.len(), 2);
    assert!(!desk.book.settled());
    assert_eq!(desk.work(), [Turned::Durable(vec![then(1), then(2)])]);
    assert!(desk.book.settled());
    desk.book.commit(Vec::new(), Then::Nothing);
    assert!(desk.book.settled(), "there is nothing to wait for");
}

#[test]
fn each_change_in_memory_has_another_number() {
    let mut desk = Bench::new();
    let mut versions = vec![desk.book.version()];
    let mut note = |book: &Book, changed: bool| {
        assert_eq!(!versions.contains(&book.version()), changed, "{versions:?}");
        versions.push(book.version());
    };
    desk.book.commit(change(1), then(1));
    note(&desk.book, true);
    desk.book.commit_lazily(change(2));
    note(&desk.book, true);
    desk.book.commit_lazily(Vec::new());
    desk.book.commit(Vec::new(), Then::Nothing);
    desk.book.flush();
    note(&desk.book, false);
    desk.disk.refuses(true);
    desk.work();
    note(&desk.book, false);
    desk.disk.refuses(false);
    desk.book.retry();
    assert_eq!(desk.work().last(), Some(&Turned::Resumed));
    note(&desk.book, true);
    assert_eq!(desk.book.ledger().subnets.len(), 0, "as the disk has it");
}

#[test]
fn what_nobody_waits_for_goes_with_the_next_commit_or_when_it_is_flushed() {
    let mut desk = Bench::new();
    desk.book.flush();
    assert!(desk.book.settled(), "there was nothing");
    desk.book.commit_lazily(change(1));
    assert!(desk.book.has_lazy() && desk.book.settled());
    assert_eq!((desk.book.ledger().subnets.len(), desk.work().len()), (1, 0));
    desk.book.commit(change(2), then(2));
    assert!(!desk.book.has_lazy());
    assert_eq!(desk.work(), [Turned::Durable(vec![then(2)])]);
    assert_eq!(desk.durable(), 2);
    desk.book.commit_lazily(change(3));
    desk.book.flush();
    assert!(!desk.book.has_lazy() && !desk.book.settled());
    assert_eq!(desk.work(), [Turned::Durable(vec![Then::Nothing])]);
    assert_eq!(desk.durable(), 3);
}

#[test]
fn while_the_disk_refuses_every_commit_is_refused_with_its_words() {
    let mut desk = Bench::new();
    assert_eq!(desk.book.take_refused(), None);
    desk.disk.refuses(true);
    desk.book.commit(change(1), then(1));
    let turned = desk.work();
    let [Turned::Failed { thens, cause }, ..] = &turned[..] else { panic!("{turned:?}") };
    assert_eq!((&thens[..], desk.book.failing()), (&[then(1)][..], Some(cause.as_str())));

    desk.book.commit(change(2), then(2));
    desk.book.commit_lazily(change(3));
    desk.book.flush();
    assert!(!desk.book.has_lazy() && !desk.book.settled(), "one waits to be told");
    assert_eq!(desk.book.take_refused(), Some((vec![then(2)], cause.clone())));
    assert!(desk.book.settled());
    assert_eq!(desk.book.take_refused(), None);

    // It is asked again at once, and when it is told to be.
    assert_eq!(desk.work(), [Turned::StillFailing]);
    desk.book.retry_at(BootTime(7));
    assert_eq!(desk.book.retry_due(), Some(BootTime(7)));
    desk.disk.refuses(false);
    desk.book.retry();
    assert_eq!(desk.book.retry_due(), None);
    assert_eq!(desk.work(), [Turned::Resumed]);
    assert_eq!(desk.book.failing(), None);
    desk.book.commit(change(4), then(4));
    assert_eq!(desk.work(), [Turned::Durable(vec![then(4)])]);
    assert_eq!((desk.book.ledger().subnets.len(), desk.durable()), (1, 1));
}

/// By the commit that it has had longest; each is given its time.
#[test]
fn a_disk_that_does_not_answer_is_stuck_after_a_while() {
    let mut desk = Bench::new();
    let second = |number: u64| BootTime(number * 1000);
    desk.book.watch(second(1));
    assert_eq!(desk.book.stuck_at(), None);
    desk.book.commit(change(1), then(1));
    desk.book.watch(second(2));
    desk.book.commit(change(2), then(2));
    desk.book.watch(second(3));
    assert_eq!(desk.book.stuck_at(), Some(second(2).after(SLOW_DISK)));
    desk.work();
    desk.book.commit(change(3), then(3));
    desk.book.watch(second(4));
    assert_eq!(desk.book.stuck_at(), Some(second(4).after(SLOW_DISK)));
}

#[test]
fn a_book_is_closed_with_all_that_it_has_and_abandoned_with_none() {
    let mut desk = Bench::new();
    desk.book.commit_lazily(change(1));
    desk.book.close().unwrap();
    assert_eq!(desk.durable(), 1);
    desk.book.commit(change(2), then(2));
    assert_eq!(desk.book.take_refused(), Some((vec![then(2)], "the ledger is closed".to_owned())));

    let mut desk = Bench::new();
    desk.book.commit_lazily(change(1));
    desk.book.abandon();
    desk.book.close().unwrap();
    assert_eq!(desk.durable(), 0);
}

/// What nobody waited for as the disk failed is found out anew: after the failure it would be written onto a ledger that it
/// was not made for, and memory would not have it.
#[test]
fn what_was_lazy_before_a_failure_is_not_written_after_it() {
    let mut desk = Bench::new();
    desk.book.commit(change(1), then(1));
    desk.work();
    desk.disk.refuses(true);
    desk.book.commit(change(2), then(2));
    desk.book.commit_lazily(change(3));
    desk.work();
    desk.disk.refuses(false);
    desk.book.retry();
    assert_eq!(desk.work().last(), Some(&Turned::Resumed));
    assert!(!desk.book.has_lazy());
    assert_eq!(desk.book.ledger().subnets.len(), 1, "memory has what the disk has");
    desk.book.commit(change(4), then(4));
    desk.work();
    assert_eq!((desk.book.ledger().subnets.len(), desk.durable()), (2, 2));
}
