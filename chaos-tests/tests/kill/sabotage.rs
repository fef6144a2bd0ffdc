//! The deaths find a broken daemon, also where nobody dies.

use std::process::Command;

use crate::{DEATHS, daemon};

/// How the daemon is broken, and what is said of it.
const LIST: [(&str, &str); 5] = [
    // The daemon finds it out by itself, and wires it anew, ever later.
    ("wires-nothing", "has no link in the host's namespace"),
    ("small-mtu", "MTU 1400 on its eth0"),
    ("sets-up-no-eni", "do not go by table 2 but"),
    ("gives-one-twice", "were both given"),
    ("leaves-a-rule", "rule 700 to 10.99.0.0/16 lookup 77 belongs to nobody"),
];

pub(crate) fn broken_daemons_are_found() {
    for (how, words) in LIST {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([DEATHS, "--exact"])
            .env(daemon::BROKEN, how)
            .env("HOLDFAST_KILL_EVERY", "1000")
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let end: String = said.chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect();
        assert!(!output.status.success(), "{how} went unnoticed:\n{end}");
        assert!(said.contains(words), "{how} was noticed, but {words:?} was not said:\n{end}");
        println!("{how} is found");
    }
}
