//! Death by SIGKILL on the real kernel: a node whose daemon is a process that kills itself at an appointed step.
//!
//! ```text
//!   test ── Node ── SimVpc, fabric, sandboxes (real network namespaces), ledger (a real file), the clock
//!             └─ Life ── Child ══ stdin, stdout: JSON lines ══ the daemon: the real engine, store,
//!                                                      EC2 adapter and datapath
//! ```
//!
//! The daemon's process is this program once more, called with a word of its own ([`daemon`]). It differs from the shipping
//! one in what is around its ports only. The HTTP requests of the EC2 adapter go over the pipes to the test, which hands
//! them to the box's faces; the clock is the test's; and the kernel port is the real one with a count around it.
//! So the test sees each step as it is passed, and moves time as it likes: quickly, but never before the engine has
//! looked at the instant before, and not at all while the test itself is busy. Cool-downs and the ages of ENIs are
//! minutes; a life with ten of those takes about a second.
//!
//! A step is named by what is done and by how many times it was done before in this life ([`wire::Passed`]): a recorded
//! life gives the list, and another life can be told to die at any of them. Two lives on a real kernel are not equal;
//! a life that never comes to its step says so.
//!
//! Nothing stays behind: namespaces belong to the threads and descriptors of the test and end with it, and
//! the daemon ends when its stdin does. The ledgers are files below the build folder.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod child;
mod daemon;
mod deaths;
mod faults;
mod life;
mod node;
mod room;
mod sabotage;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_model::config::{Config, Setting, WarmTargets};
use libtest_mimic::{Arguments, Trial};

/// Without the usual harness, since that is no daemon: the rest of a test program's manners are the same.
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(daemon::WORD) {
        return daemon::main();
    }
    let deaths = || {
        deaths::sigkill_at_every_step_leaves_nothing_that_the_next_start_does_not_make_good();
        Ok(())
    };
    let found = || {
        sabotage::broken_daemons_are_found();
        Ok(())
    };
    let trials = vec![Trial::test(DEATHS, deaths), Trial::test("broken_daemons_are_found", found)];
    // One after the other: each has as many nodes at once as the machine carries.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The name of the test.
pub(crate) const DEATHS: &str = "sigkill_at_every_step_leaves_nothing_that_the_next_start_does_not_make_good";

/// What the node is configured with: two spare addresses, so that pods make it grow and shrink; and an ADD that is held
/// much longer than usual, because in virtual time a busy machine looks slow.
pub(crate) fn config(ledger: PathBuf) -> Config {
    Config {
        warm: Setting::default_of(WarmTargets { warm_enis: 0, warm_ips: 2, ..WarmTargets::default() }),
        add_hold: Setting::default_of(Duration::from_secs(900)),
        ledger: Setting::default_of(ledger),
        ..Config::default()
    }
}
