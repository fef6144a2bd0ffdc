//! The real plugin binary, run the way a runtime runs it, against a daemon played by the test.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod add;
mod del;
mod fake_daemon;
mod inside;
mod others;
mod runtime;
