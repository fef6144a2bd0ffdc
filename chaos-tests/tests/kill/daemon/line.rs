//! The line to the test: words out, answers in.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::{FromNode, ToNode};
use tokio::sync::oneshot;

/// Stdout, and who waits for an answer from stdin.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    questions: u64,
    askers: BTreeMap<u64, oneshot::Sender<ToNode>>,
}

impl Line {
    /// Says something; the test has it when this returns, whatever becomes of the process. A test that went away
    /// hears nothing, and ends us by the end of stdin.
    #[expect(clippy::unused_self, reason = "there is one line")]
    pub(crate) fn say(&self, message: &FromNode) {
        let mut text = serde_json::to_vec(message).expect("messages are plain data with text as keys");
        text.push(b'\n');
        let mut out = std::io::stdout().lock();
        drop(out.write_all(&text).and_then(|()| out.flush()));
    }

    /// Asks something and waits for the answer, which comes unless the test has gone away.
    pub(crate) async fn ask(&self, question: impl FnOnce(u64) -> FromNode) -> ToNode {
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut waiting = self.lock();
            waiting.questions += 1;
            let number = waiting.questions;
            waiting.askers.insert(number, reply);
            number
        };
        self.say(&question(number));
        match answer.await {
            Ok(answer) => answer,
            Err(_dropped) => std::future::pending().await,
        }
    }

    /// Hands an answer to who asked.
    pub(crate) fn answered(&self, question: u64, answer: ToNode) {
        if let Some(asker) = self.lock().askers.remove(&question) {
            // An asker that went away needs no answer.
            drop(asker.send(answer));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what the test says. Its end is ours.
pub(crate) fn listen(mut take: impl FnMut(ToNode)) {
    for line in std::io::stdin().lock().lines() {
        let message = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?));
        match message {
            Ok(message) => take(message),
            Err(error) => {
                tracing::error!(%error, "the test cannot be understood");
                break;
            }
        }
    }
    std::process::exit(1);
}
