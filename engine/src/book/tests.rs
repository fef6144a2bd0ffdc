use std::sync::{Arc, Mutex};

use holdfast_model::ids::SubnetId;
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::WallTime;
use holdfast_store::{CommitError, Drive, OpenOptions, Store};

use super::*;

/// A book over a ledger of its own, whose disk does something when it is told.
struct Bench {
    book: Book,
    drive: Drive,
    reports: Arc<Mutex<Vec<Report>>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.redb");
        let opened = Store::open(&path, &OpenOptions::at(WallTime(0))).unwrap();
        let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
        let heard = Arc::clone(&reports);
        let (writer, drive) =
            Writer::driven(opened.store, move |report| heard.lock().unwrap().push(report), || {});
        Self { book: Book::new(opened.ledger, writer), drive, reports, _folder: folder }
    }

    /// The disk does what it was given, and the book hears of it.
    fn turn(&mut self) -> Vec<Turned> {
        self.drive.turn();
        let reports = std::mem::take(&mut *self.reports.lock().unwrap());
        reports.into_iter().map(|report| self.book.turn(report)).collect()
    }

    fn known(&self) -> Vec<String> {
        self.book.ledger().subnets.keys().map(ToString::to_string).collect()
    }
}

fn subnet(id: &str) -> Vec<Change> {
    vec![Change::PutSubnet(SubnetRecord { id: SubnetId::new(id), ipv4: None, ipv6: None })]
}

/// What nobody waited for as the disk failed is found out anew: after the failure it would be written onto a ledger that it
/// was not made for, and memory would not have it.
#[test]
fn what_was_lazy_before_a_failure_is_not_written_after_it() {
    let mut bench = Bench::new();
    bench.book.commit(subnet("durable"), Then::Nothing);
    bench.turn();
    bench.book.commit_lazily(subnet("lazy"));
    assert_eq!(bench.known(), ["durable", "lazy"]);
    let cause = Arc::new(CommitError::Record { table: "leases", reason: "too large".to_owned() });
    assert!(matches!(bench.book.turn(Report::Failed { through: 1, cause }), Turned::Failed { .. }));
    assert!(bench.turn().contains(&Turned::Resumed));
    assert_eq!(bench.known(), ["durable"], "memory has what the disk has");
    assert!(!bench.book.has_lazy());
    bench.book.commit(subnet("next"), Then::Nothing);
    bench.turn();
    assert_eq!(bench.known(), ["durable", "next"]);
    bench.book.close().unwrap();
    let path = bench._folder.path().join("ledger.redb");
    let again = Store::open(&path, &OpenOptions::at(WallTime(0))).unwrap().ledger;
    assert_eq!(again.subnets.keys().map(ToString::to_string).collect::<Vec<_>>(), ["durable", "next"]);
}
