//! `aws-cni`: the CNI plugin that a container runtime runs for each pod event.
//!
//! It decides nothing. It checks what the runtime gave it, opens the sandbox's network namespace, asks the node's
//! daemon over a unix socket, and prints the answer in the runtime's version of the specification. The one thing it
//! does alone is DEL without a daemon: it leaves a tombstone for the daemon to find and succeeds.
//!
//! stdout carries the result or the error object and nothing else. Reading order: [`command`], then [`del`].

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use holdfast_wire::cni::env::{CniEnv, Command};

mod ask;
mod call;
mod command;
mod del;
mod failure;
mod log;
mod netns;

const VERSION: &str = env!("CARGO_PKG_VERSION");

const USAGE: &str = "\
is the CNI plugin of Holdfast, the pod network of a Kubernetes node on AWS.
It is not run by hand: a container runtime runs it with CNI_COMMAND and the other CNI_* variables in its
environment and a network configuration on its standard input.
  CNI_COMMAND   ADD, DEL, CHECK, STATUS, GC or VERSION
  --version     prints this program's version";

fn main() -> ExitCode {
    let started = Instant::now();
    let Some(command) = std::env::var_os("CNI_COMMAND").filter(|c| !c.is_empty()) else {
        return without_command();
    };
    let env = CniEnv::read(|name| std::env::var_os(name));
    let command = command.to_str().and_then(Command::parse).ok_or(command);
    let call = call::Call {
        command: command.as_ref().copied().map_err(|text| text.to_string_lossy().into_owned()),
        env: &env,
        now: SystemTime::now(),
        pid: std::process::id(),
    };
    let outcome = command::run(&call, |limit| {
        let mut text = Vec::new();
        std::io::stdin().lock().take(limit).read_to_end(&mut text).map(|_| text)
    });
    // Before the log: the runtime waits for this, and nobody for that.
    let printed = print(&outcome.stdout());
    log::record(&call, &outcome, started.elapsed());
    if printed && outcome.result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints `text`; whether it arrived. A runtime that is gone is no reason to panic.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    text.is_empty() || (writeln!(out, "{text}").is_ok() && out.flush().is_ok())
}

/// Somebody ran it by hand.
fn without_command() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|a| a == "--version" || a == "-V") {
        return if print(&format!("aws-cni (Holdfast) {VERSION}")) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    // Nobody to tell if stderr is closed.
    drop(writeln!(std::io::stderr(), "aws-cni (Holdfast) {VERSION} {USAGE}"));
    ExitCode::FAILURE
}
