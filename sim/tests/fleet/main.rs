//! The box carries a fleet: memory and time by the number of ENIs, and the same from the same seed.
//!
//! The bounds here are wide, for an unoptimised build on a busy machine; `examples/fleet.rs` measures.

mod account;

use std::time::Duration;

use account::{Account, LARGE, Size};

#[test]
fn an_account_of_ten_thousand_enis_stays_small_and_quick() {
    let before = account::resident();
    let mut account = Account::fill(LARGE, 1);
    let per_eni = (account::resident() - before) / 10_000;
    assert!(per_eni <= 20_000, "{per_eni} bytes per ENI");
    assert_eq!(account.vpc.authoritative().network_interfaces().len(), 10_000);
    let by_id = account.median(200, Account::describe_by_id);
    let changes = account.median(200, Account::assign_and_unassign);
    let page = account.median(5, Account::full_page);
    println!("{per_eni} bytes per ENI, {by_id:?} by id, {changes:?} for two changes, {page:?} a full page");
    // Ten times what an optimised build is held to.
    assert!(by_id < Duration::from_micros(500), "{by_id:?}");
    assert!(changes < Duration::from_millis(1), "{changes:?}");
    assert!(page < Duration::from_millis(50), "{page:?}");
    assert_eq!(account.vpc.check(), []);
}

#[test]
fn equal_seeds_give_equal_fleets() {
    let size = Size { nodes: 100, ..LARGE };
    let run = |seed| {
        let mut account = Account::fill(size, seed);
        let calls = account.minutes_at_rest(2);
        assert_eq!(calls, 400, "every call that was sent was counted");
        account.vpc.authoritative().network_interfaces()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
