//! Random damage to a real ledger file: whatever the bytes, opening ends in a usable ledger, and what it gives
//! is either nothing or a state that was once committed.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use holdfast_model::ledger::Ledger;
use holdfast_store::{Found, Store};
use proptest::prelude::*;
use sample::{ledger_of, options, script};

const COMMITS: usize = 12;

/// A ledger file, and every state that it went through, the empty one first.
struct Real {
    bytes: Vec<u8>,
    states: Vec<Ledger>,
}

fn make(close: bool) -> Real {
    let folder = sample::quick_folder();
    let path = folder.path().join("ledger.redb");
    let script = script(42, COMMITS);
    let mut store = Store::open(&path, &options()).unwrap().store;
    let mut states = vec![Ledger::default()];
    for (at, changes) in script.iter().enumerate() {
        store.commit(changes).unwrap();
        states.push(ledger_of(script[..=at].iter().flatten()));
    }
    if close {
        store.close().unwrap();
        return Real { bytes: fs::read(&path).unwrap(), states };
    }
    Real { bytes: fs::read(&path).unwrap(), states }
}

static CLOSED: LazyLock<Real> = LazyLock::new(|| make(true));
static KILLED: LazyLock<Real> = LazyLock::new(|| make(false));

#[derive(Clone, Debug)]
enum Harm {
    /// Bits of one byte flipped.
    Flip(usize, u8),
    /// A stretch overwritten.
    Fill(usize, usize, u8),
    /// The end cut off.
    Cut(usize),
    /// Bytes after the end.
    Grow(usize),
    /// A stretch copied elsewhere: valid bytes in the wrong place.
    Copy(usize, usize, usize),
}

fn harm(file: &mut Vec<u8>, harm: &Harm) {
    let length = file.len().max(1);
    match *harm {
        Harm::Flip(at, bits) => {
            if let Some(byte) = file.get_mut(at % length) {
                *byte ^= bits;
            }
        }
        Harm::Fill(at, count, with) => {
            let start = at % length;
            let end = (start + count).min(file.len());
            file[start.min(end)..end].fill(with);
        }
        Harm::Cut(keep) => file.truncate(keep % length),
        Harm::Grow(by) => file.resize(file.len() + by, 0xa5),
        Harm::Copy(from, to, count) => {
            let (from, to) = (from % length, to % length);
            let count = count.min(file.len().saturating_sub(from.max(to)));
            file.copy_within(from..from + count, to);
        }
    }
}

/// Places where damage is interesting: the header far more often than its share, then the pages in use.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0_usize..320, 3 => 0_usize..65_536, 1 => any::<usize>()]
}

fn any_harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (place(), 1_u8..).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        2 => (place(), 1_usize..5000, any::<u8>()).prop_map(|(at, count, with)| Harm::Fill(at, count, with)),
        1 => place().prop_map(Harm::Cut),
        1 => (1_usize..10_000).prop_map(Harm::Grow),
        1 => (place(), place(), 1_usize..4096).prop_map(|(from, to, count)| Harm::Copy(from, to, count)),
    ]
}

fn check(path: &Path, real: &Real, harms: &[Harm]) -> Result<(), TestCaseError> {
    let mut bytes = real.bytes.clone();
    for one in harms {
        harm(&mut bytes, one);
    }
    fs::write(path, &bytes).unwrap();
    let mut opened = Store::open(path, &options()).expect("damage is never an error");
    match &opened.found {
        Found::SetAside { file, .. } => {
            prop_assert_eq!(&opened.ledger, &Ledger::default());
            prop_assert!(fs::read(file).unwrap() == bytes, "the evidence was changed");
        }
        Found::Intact => {
            // Closed in order, so there is no commit under way to roll back: all or nothing.
            prop_assert_eq!(&opened.ledger, real.states.last().unwrap());
        }
        Found::Recovered => {
            // A torn last commit looks like one that was under way: the one before it is the most that is lost.
            let newest = &real.states[COMMITS - 1..];
            prop_assert!(newest.contains(&opened.ledger), "neither the last state nor the one before");
        }
        other => prop_assert!(false, "{:?}", other),
    }
    prop_assert_eq!(&opened.store.load().unwrap(), &opened.ledger);
    opened.store.commit(&sample::full_node(2)).unwrap();
    opened.store.close().unwrap();
    prop_assert_eq!(Store::open(path, &options()).unwrap().found, Found::Intact);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_closed_file_under_damage(harms in proptest::collection::vec(any_harm(), 1..4)) {
        let folder = sample::quick_folder();
        check(&folder.path().join("ledger.redb"), &CLOSED, &harms)?;
    }

    #[test]
    fn a_killed_file_under_damage(harms in proptest::collection::vec(any_harm(), 1..4)) {
        let folder = sample::quick_folder();
        check(&folder.path().join("ledger.redb"), &KILLED, &harms)?;
    }
}
