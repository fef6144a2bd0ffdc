//! A process by its number and its start: numbers are given again, starts are not.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Field of `/proc/PID/stat` with the parent, counted after the program's name, which may hold anything.
const STATE: usize = 0;
const PARENT: usize = 1;
const START: usize = 19;

/// One process and no later one, as this program's `/proc` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start: Stat::of(pid)?.start })
    }

    /// The only child of this process, once it has one.
    pub fn child(self) -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut stats = pids.filter_map(|pid| Some((pid, Stat::of(pid)?)));
        let (pid, stat) = stats.find(|(_, stat)| stat.parent == self.pid)?;
        self.is_alive().then_some(Self { pid, start: stat.start })
    }

    /// The number of its parent.
    pub(crate) fn parent(self) -> Option<u32> {
        let stat = Stat::of(self.pid).filter(|stat| stat.start == self.start)?;
        Some(stat.parent)
    }

    /// Whether it runs still. One that has ended and was not waited for does not.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.start == self.start && stat.state != 'Z' && stat.state != 'X')
    }

    /// SIGKILL, if it is still the same; and it is gone when this returns.
    pub fn end(self, patience: Duration) -> Result<()> {
        let pid = i32::try_from(self.pid).unwrap_or(i32::MAX);
        if self.is_alive() {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(Error::Kernel { what: format!("ending process {pid}"), errno }),
            }
        }
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > patience {
                return Err(Error::Late {
                    what: format!("process {pid} ended"),
                    seconds: patience.as_secs(),
                    why: "it was killed and is still there".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    start: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let state = fields.get(STATE)?.chars().next()?;
        Some(Self {
            state,
            parent: fields.get(PARENT)?.parse().ok()?,
            start: fields.get(START)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "12 (a) S 7 (b) R 3 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'R', parent: 3, start: 4711 }));
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn one_is_ended_and_a_later_one_of_the_same_number_is_not() {
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        let id = ProcessId::of(sleeper.id()).unwrap();
        let other = ProcessId { start: id.start + 1, ..id };
        assert!(id.is_alive() && !other.is_alive());
        other.end(Duration::from_secs(5)).unwrap();
        assert!(id.is_alive(), "it has another start");
        id.end(Duration::from_secs(5)).unwrap();
        sleeper.wait().unwrap();
        assert!(!id.is_alive());
    }

    #[test]
    fn a_child_is_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & read _"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let id = ProcessId::of(shell.id()).unwrap();
        let begun = Instant::now();
        let child = loop {
            if let Some(child) = id.child() {
                break child;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "the shell has no child");
            std::thread::yield_now();
        };
        child.end(Duration::from_secs(5)).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(id.child(), None);
    }
}
