//! The writer: what shares a transaction, what is reported, and what a failure does to what follows it.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_store::{CommitError, CommitObserver, Found, OpenOptions, Report, Store, Writer};
use sample::{NOW, full_node, ledger_of, options, script};

const SOON: Duration = Duration::from_secs(20);

/// Counts commits, and holds each one back while closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    waiting: Mutex<u64>,
    arrived: Condvar,
    commits: Mutex<u64>,
}

impl Gate {
    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    /// Returns when a commit stands before the gate.
    fn await_one(&self) {
        let waiting = self.waiting.lock().unwrap();
        let (_waiting, timeout) = self.arrived.wait_timeout_while(waiting, SOON, |n| *n == 0).unwrap();
        assert!(!timeout.timed_out(), "no commit came");
    }
}

impl CommitObserver for Gate {
    fn before(&self, _n: u64) {
        *self.waiting.lock().unwrap() += 1;
        self.arrived.notify_all();
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_timeout_while(closed, SOON, |closed| *closed).unwrap());
        *self.waiting.lock().unwrap() -= 1;
    }

    fn after(&self, _n: u64) {
        *self.commits.lock().unwrap() += 1;
    }
}

fn too_large() -> Change {
    let mut node = sample::node(1);
    node.identity.zone = "z".repeat(100_000);
    Change::PutNode(node)
}

fn note(text: &str) -> Change {
    Change::Journal(JournalEntry { at: NOW, what: text.to_owned() })
}

fn spawned(store: Store) -> (Writer, Receiver<Report>) {
    let (send, reports) = channel();
    let writer = Writer::spawn(store, move |report| send.send(report).unwrap()).unwrap();
    (writer, reports)
}

/// A report in one word, for comparing.
fn word(report: &Report) -> String {
    match report {
        Report::Committed { through } => format!("committed {through}"),
        Report::Failed { through, .. } => format!("failed {through}"),
        Report::Resumed { .. } => "resumed".to_owned(),
        Report::NotResumed { .. } => "not resumed".to_owned(),
    }
}

fn next(reports: &Receiver<Report>) -> Report {
    reports.recv_timeout(SOON).expect("a report")
}

#[test]
fn what_is_ready_shares_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let gate = Arc::new(Gate::default());
    let options = OpenOptions { observer: Some(Arc::clone(&gate) as Arc<dyn CommitObserver>), ..options() };
    let (writer, reports) = spawned(Store::open(&path, &options).unwrap().store);
    assert_eq!(*gate.commits.lock().unwrap(), 1, "making the file is a durable step too");

    let script = script(3, 21);
    gate.close();
    assert_eq!(writer.submit(script[0].clone()), 1);
    gate.await_one();
    for (at, changes) in script.iter().enumerate().skip(1) {
        assert_eq!(writer.submit(changes.clone()), at as u64 + 1);
    }
    assert!(reports.try_recv().is_err(), "nothing is reported before it is durable");
    gate.open();
    assert_eq!(word(&next(&reports)), "committed 1");
    assert_eq!(word(&next(&reports)), "committed 21");
    assert_eq!(*gate.commits.lock().unwrap(), 3);
    writer.close().unwrap();
    let again = Store::open(&path, &sample::options()).unwrap();
    assert_eq!(again.found, Found::Intact);
    assert_eq!(again.ledger, ledger_of(script.iter().flatten()));
}

#[test]
fn close_commits_what_was_submitted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let script = script(4, 200);
    let (writer, reports) = spawned(Store::open(&path, &options()).unwrap().store);
    for changes in &script {
        writer.submit(changes.clone());
    }
    writer.close().unwrap();
    let last = reports.iter().last().unwrap();
    assert_eq!(word(&last), "committed 200");
    assert_eq!(Store::open(&path, &options()).unwrap().ledger, ledger_of(script.iter().flatten()));
}

/// Whoever has to end does not wait for a disk that hangs.
#[test]
fn a_writer_that_a_hanging_disk_keeps_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let options = OpenOptions { observer: Some(Arc::clone(&gate) as Arc<dyn CommitObserver>), ..options() };
    let (writer, _reports) =
        spawned(Store::open(&folder.path().join("ledger.redb"), &options).unwrap().store);
    gate.close();
    writer.submit(script(6, 1).remove(0));
    gate.await_one();
    let begun = Instant::now();
    writer.abandon();
    assert!(begun.elapsed() < SOON / 4, "{:?}", begun.elapsed());
    gate.open();
}

#[test]
fn dropping_the_writer_commits_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let script = script(5, 20);
    let (writer, _reports) = spawned(Store::open(&path, &options()).unwrap().store);
    for changes in &script {
        writer.submit(changes.clone());
    }
    drop(writer);
    let again = Store::open(&path, &options()).unwrap();
    assert_eq!((again.found, again.ledger), (Found::Intact, ledger_of(script.iter().flatten())));
}

/// Runs the failure's life against either kind of writer; `step` returns the next report.
fn failure(writer: &Writer, step: &dyn Fn() -> Report) -> Ledger {
    let script = script(6, 4);
    writer.submit(script[0].clone());
    assert_eq!(word(&step()), "committed 1");
    writer.submit(vec![note("lost"), too_large()]);
    let Report::Failed { through: 2, cause } = step() else { panic!() };
    assert!(matches!(&*cause, CommitError::Record { .. }), "{cause}");

    // Computed on top of what failed.
    writer.submit(script[1].clone());
    let Report::Failed { through: 3, cause: again } = step() else { panic!() };
    assert!(Arc::ptr_eq(&cause, &again), "the same cause");
    // Proceeding without having been resumed is nothing.
    writer.proceed();
    writer.submit(script[1].clone());
    let Report::Failed { through: 4, cause: again } = step() else { panic!() };
    assert!(Arc::ptr_eq(&cause, &again), "the same cause");

    writer.resume();
    let Report::Resumed { ledger } = step() else { panic!() };
    assert_eq!(*ledger, ledger_of(&script[0]));
    // Still computed on the old memory: the engine has not said that it took the new one.
    writer.submit(script[2].clone());
    assert_eq!(word(&step()), "failed 5");

    writer.proceed();
    writer.submit(script[3].clone());
    assert_eq!(word(&step()), "committed 6");
    // Resuming what runs is harmless, and stops nothing.
    writer.resume();
    assert_eq!(word(&step()), "resumed");
    writer.submit(vec![note("after")]);
    assert_eq!(word(&step()), "committed 7");
    ledger_of(script[0].iter().chain(&script[3]))
}

#[test]
fn after_a_failure_everything_fails_until_the_engine_proceeds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let (writer, reports) = spawned(Store::open(&path, &options()).unwrap().store);
    let expected = failure(&writer, &|| next(&reports));
    let (send, journal) = channel();
    writer.journal(100, move |entries| send.send(entries).unwrap());
    let words: Vec<String> =
        journal.recv_timeout(SOON).unwrap().unwrap().into_iter().map(|entry| entry.what).collect();
    assert!(words.contains(&"after".to_owned()) && !words.contains(&"lost".to_owned()), "{words:?}");
    writer.close().unwrap();
    assert_eq!(Store::open(&path, &options()).unwrap().ledger, expected);
}

#[test]
fn a_driven_writer_does_the_same_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let (send, reports) = channel();
    let (woken, wakes) = channel();
    let (writer, drive) = Writer::driven(
        Store::open(&path, &options()).unwrap().store,
        move |report| send.send(report).unwrap(),
        move || woken.send(()).unwrap(),
    );
    let expected = failure(&writer, &|| {
        assert!(reports.try_recv().is_err(), "reported before it was told to commit");
        wakes.try_recv().expect("told that there is something");
        drive.turn();
        reports.try_recv().expect("reported by the turn")
    });
    let (send, journal) = channel();
    writer.journal(1, move |entries| send.send(entries.unwrap()).unwrap());
    drive.turn();
    assert_eq!(journal.try_recv().unwrap()[0].what, "after");
    writer.close().unwrap();
    drive.turn();
    assert_eq!(Store::open(&path, &options()).unwrap().ledger, expected);
}

#[test]
fn what_a_dropped_driven_writer_had_queued_never_reaches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let store = Store::open(&path, &options()).unwrap().store;
    let (writer, drive) = Writer::driven(store, drop, || ());
    let (kept, queued) = (full_node(3), full_node(5));
    assert_ne!(ledger_of(&kept), ledger_of(kept.iter().chain(&queued)), "it would be seen");
    writer.submit(kept.clone());
    drive.turn();
    writer.submit(queued);
    drop((writer, drive));
    assert_eq!(Store::open(&path, &options()).unwrap().ledger, ledger_of(&kept));
}

#[test]
fn submissions_queued_behind_a_failing_one_never_reach_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let gate = Arc::new(Gate::default());
    let options = OpenOptions { observer: Some(Arc::clone(&gate) as Arc<dyn CommitObserver>), ..options() };
    let (writer, reports) = spawned(Store::open(&path, &options).unwrap().store);
    let (kept, queued) = (full_node(3), full_node(5));
    gate.close();
    writer.submit(kept.clone());
    gate.await_one();
    // These wait together: one of them spoils the transaction of both, and a journal request splits the turn.
    writer.submit(vec![too_large()]);
    writer.submit(queued.clone());
    writer.journal(1, drop);
    writer.submit(queued);
    gate.open();
    let words: Vec<String> = (0..3).map(|_| word(&next(&reports))).collect();
    assert_eq!(words, ["committed 1", "failed 3", "failed 4"]);
    drop(writer);
    assert_eq!(Store::open(&path, &sample::options()).unwrap().ledger, ledger_of(&kept));
}

/// A disk that hangs holds nobody up who gives the store up.
#[test]
fn an_abandoned_store_is_left_to_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let gate = Arc::new(Gate::default());
    let options = OpenOptions { observer: Some(Arc::clone(&gate) as Arc<dyn CommitObserver>), ..options() };
    let (writer, reports) = spawned(Store::open(&path, &options).unwrap().store);
    let before = *gate.commits.lock().unwrap();
    let script = script(9, 1);
    gate.close();
    writer.submit(script[0].clone());
    gate.await_one();
    writer.abandon();
    assert_eq!(*gate.commits.lock().unwrap(), before, "nobody waited for it");
    gate.open();
    assert_eq!(word(&next(&reports)), "committed 1");
}
