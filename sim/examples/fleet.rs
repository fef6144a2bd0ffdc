//! Measures the box with a fleet: `cargo run --release -p holdfast-sim --example fleet`. Exits non-zero when an aim is
//! missed.

#[path = "../tests/fleet/account.rs"]
mod account;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use account::{Account, LARGE};

fn main() -> ExitCode {
    let mut missed = false;
    let mut told = |what: &str, found: String, aim: &str, met: bool| {
        println!("{what:<48} {found:>12}   aim {aim:>8}   {}", if met { "met" } else { "MISSED" });
        missed |= !met;
    };
    let (before, start) = (account::resident(), Instant::now());
    let mut fleet = Account::fill(LARGE, 1);
    println!("2,000 nodes, 10,000 ENIs and 200,000 addresses made in {:.1} s", start.elapsed().as_secs_f32());
    let per_eni = (account::resident() - before) / 10_000;
    told("memory per ENI", format!("{per_eni} B"), "20 KB", per_eni <= 20_000);
    let by_id = fleet.median(2000, Account::describe_by_id);
    told("Describe of one id", format!("{by_id:.1?}"), "50 µs", by_id <= Duration::from_micros(50));
    let two = fleet.median(2000, Account::assign_and_unassign);
    told(
        "Assign and Unassign of one address, each",
        format!("{:.1?}", two / 2),
        "50 µs",
        two <= Duration::from_micros(100),
    );
    let page = fleet.median(50, Account::full_page);
    told("a page of 1,000", format!("{page:.1?}"), "5 ms", page <= Duration::from_millis(5));
    let start = Instant::now();
    let calls = fleet.minutes_at_rest(60);
    let took = start.elapsed();
    let what = format!("an hour, {calls} reads, on one core");
    told(&what, format!("{:.1} s", took.as_secs_f32()), "300 s", took <= Duration::from_mins(5));
    ExitCode::from(u8::from(missed))
}
