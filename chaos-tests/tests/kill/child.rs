//! The process and its pipes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use holdfast_datapath::netns;

use crate::wire::{FromNode, ToNode};

/// What was heard from the process.
#[derive(Debug)]
pub(crate) enum Heard {
    /// This.
    Message(Box<FromNode>),
    /// Nothing for as long as one was ready to wait.
    Nothing,
    /// It has ended, and this was all.
    End,
}

/// Tells the process something, on its stdin.
#[derive(Clone, Debug)]
pub(crate) struct Mouth(Arc<Mutex<ChildStdin>>);

impl Mouth {
    /// A process that has ended hears nothing, and its end is seen when it is listened to.
    pub(crate) fn tell(&self, message: &ToNode) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        match told {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("telling the daemon something")
            }
            _ => Ok(()),
        }
    }
}

/// A running daemon. Killed, and waited for, when dropped; it also ends when its stdin does, so it never outlives
/// the test.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    mouth: Mouth,
    inbox: mpsc::Receiver<anyhow::Result<FromNode>>,
    log: PathBuf,
}

impl Child {
    /// Starts it inside a network namespace; its stderr is appended to `log`.
    pub(crate) fn start(mut command: Command, netns: &Arc<OwnedFd>, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut process = netns::run_in(netns, || command.spawn())?.context("starting the daemon")?;
        let mouth = Mouth(Arc::new(Mutex::new(process.stdin.take().context("its stdin is a pipe")?)));
        let stdout = process.stdout.take().context("its stdout is a pipe")?;
        let (heard, inbox) = mpsc::channel();
        std::thread::Builder::new().name("heard".to_owned()).spawn(move || {
            let mut lines = BufReader::new(stdout);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                // SIGKILL may cut the last line short: nobody was told that.
                if line.last() != Some(&b'\n') {
                    break;
                }
                let message = serde_json::from_slice(&line).context("what the daemon says is no message");
                if heard.send(message).is_err() {
                    break;
                }
                line.clear();
            }
        })?;
        Ok(Self { process, mouth, inbox, log: log.to_owned() })
    }

    /// What tells it something.
    pub(crate) fn mouth(&self) -> Mouth {
        self.mouth.clone()
    }

    /// The next that it says, waited for at most this long.
    pub(crate) fn hear(&self, wait: Duration) -> anyhow::Result<Heard> {
        match self.inbox.recv_timeout(wait) {
            Ok(message) => Ok(Heard::Message(Box::new(message?))),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Heard::End),
        }
    }

    /// How it ended. It has closed its stdout already, so it is about to.
    pub(crate) fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().context("waiting for the daemon")? {
                return Ok(status);
            }
            if begun.elapsed() > patience {
                bail!("the daemon did not end within {} ms", patience.as_millis());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it wrote to stderr, as the last of all lives: its end.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only when it has ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
