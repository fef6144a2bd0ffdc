//! Group commit: submissions that are ready at the same time share one durable transaction.
//!
//! ```text
//!              submit                    submit
//!   ┌────────> Running ──commit failed──> Stopped ──resume, disk takes it──> Resumed ──proceed──> Running
//!   │             │ one transaction         │ submissions fail                 │ submissions fail
//!   │          Committed                 Failed, same cause                 Failed, same cause
//! ```
//!
//! **Failure.** The engine's memory runs ahead of the disk: what it submits was computed on top of what it
//! submitted before. So when a commit fails, all that follows fails too, with the same cause, whether it was
//! queued before or after the engine heard of the failure; nothing of it ever reaches the disk. The engine then
//! calls [`Writer::resume`], at once or after a pause. With [`Report::Resumed`] comes the ledger as the disk now
//! holds it: exactly the sum of the submissions that were reported committed. The engine takes it as its memory,
//! calls [`Writer::proceed`], and goes on as after a restart: what it had done in the world and could not write
//! down is found there by looking. `proceed` is what tells submissions computed on the old memory from those
//! computed on the new: commands are carried out in the order in which they were given, so the former fail and
//! the latter are tried, whatever was on its way in between.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};

use crate::error::{CommitError, ReadError};
use crate::store::Store;

/// At most so many commands are taken in one turn, so that the first of them is not kept waiting for ever by
/// those that keep coming.
const MOST_PER_TURN: usize = 1024;

/// What became of submissions. Reports come in the order of the submissions, each covering all sequence numbers
/// after the previous `Committed` or `Failed` up to its own.
#[derive(Clone, Debug)]
pub enum Report {
    /// All of them are durable.
    Committed {
        /// The last one covered.
        through: u64,
    },
    /// None of them happened, nor will any that follows until [`Writer::proceed`].
    Failed {
        /// The last one covered.
        through: u64,
        /// Why the first one's commit failed.
        cause: Arc<CommitError>,
    },
    /// Answer to [`Writer::resume`]: take this ledger for your memory, and call [`Writer::proceed`].
    Resumed {
        /// What the disk holds: the sum of what was reported committed.
        ledger: Box<Ledger>,
    },
    /// Answer to [`Writer::resume`]: the disk still refuses, and submissions keep failing. Ask again later.
    NotResumed {
        /// Why.
        cause: Arc<CommitError>,
    },
}

type JournalReply = Box<dyn FnOnce(Result<Vec<JournalEntry>, ReadError>) + Send>;

enum Command {
    Submit(u64, Vec<Change>),
    Resume,
    Proceed,
    Journal(usize, JournalReply),
    Close,
}

/// The one writer of a store. Dropping it is [`Writer::close`] without telling of errors.
pub struct Writer {
    hand: Option<Hand>,
}

enum Hand {
    Thread { queue: Mutex<Queue>, thread: JoinHandle<Result<(), CommitError>> },
    Inline(Box<Mutex<(u64, Turn)>>),
}

struct Queue {
    last: u64,
    commands: Sender<Command>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.hand {
            Some(Hand::Thread { .. }) => "Writer(thread)",
            Some(Hand::Inline(_)) => "Writer(inline)",
            None => "Writer(closed)",
        })
    }
}

impl Writer {
    /// Gives the store to a thread of its own. `report` is called on that thread; it must neither block nor
    /// panic, since nothing is committed meanwhile, or ever again.
    pub fn spawn(store: Store, report: impl Fn(Report) + Send + 'static) -> io::Result<Self> {
        let (commands, queue) = channel();
        let turn = Turn { store, state: State::Running, report: Box::new(report) };
        let thread =
            std::thread::Builder::new().name("ledger".to_owned()).spawn(move || run(turn, &queue))?;
        let queue = Mutex::new(Queue { last: 0, commands });
        Ok(Self { hand: Some(Hand::Thread { queue, thread }) })
    }

    /// Commits in [`Writer::submit`] itself, on the caller's thread: for deterministic tests. `report` is called
    /// before the method returns, and must not call the writer.
    pub fn inline(store: Store, report: impl Fn(Report) + Send + 'static) -> Self {
        let turn = Turn { store, state: State::Running, report: Box::new(report) };
        Self { hand: Some(Hand::Inline(Box::new(Mutex::new((0, turn))))) }
    }

    /// Queues changes that belong together; gives the submission's sequence number, from 1 upwards without
    /// gaps. Submissions may share a transaction, and are never split over two.
    pub fn submit(&self, changes: Vec<Change>) -> u64 {
        match self.hand() {
            Hand::Thread { queue, .. } => {
                // Numbered and queued under one lock, so that both have the same order.
                let mut queue = hold(queue);
                queue.last += 1;
                let number = queue.last;
                queue.send(Command::Submit(number, changes));
                number
            }
            Hand::Inline(inline) => {
                let (last, turn) = &mut *hold(inline);
                *last += 1;
                turn.commit(&changes, *last);
                *last
            }
        }
    }

    /// Asks, in order with the submissions, that a stopped store be made writable again. Answered by
    /// [`Report::Resumed`] or [`Report::NotResumed`].
    pub fn resume(&self) {
        match self.hand() {
            Hand::Thread { queue, .. } => hold(queue).send(Command::Resume),
            Hand::Inline(inline) => hold(inline).1.resume(),
        }
    }

    /// Says that what is submitted from now on builds on the ledger that came with [`Report::Resumed`]. Does
    /// nothing at any other time.
    pub fn proceed(&self) {
        match self.hand() {
            Hand::Thread { queue, .. } => hold(queue).send(Command::Proceed),
            Hand::Inline(inline) => hold(inline).1.proceed(),
        }
    }

    /// Hands the newest `limit` journal entries, oldest first, to `reply`, on the writer's thread, in order with
    /// the submissions: those made before are in it.
    pub fn journal(
        &self,
        limit: usize,
        reply: impl FnOnce(Result<Vec<JournalEntry>, ReadError>) + Send + 'static,
    ) {
        match self.hand() {
            Hand::Thread { queue, .. } => hold(queue).send(Command::Journal(limit, Box::new(reply))),
            Hand::Inline(inline) => reply(hold(inline).1.store.journal(limit)),
        }
    }

    /// Commits and reports all that was submitted, closes the file in order, and ends the thread.
    pub fn close(mut self) -> Result<(), CommitError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), CommitError> {
        match self.hand.take() {
            None => Ok(()),
            Some(Hand::Inline(inline)) => {
                inline.into_inner().unwrap_or_else(PoisonError::into_inner).1.store.close()
            }
            Some(Hand::Thread { queue, thread }) => {
                hold(&queue).send(Command::Close);
                thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
            }
        }
    }

    fn hand(&self) -> &Hand {
        self.hand.as_ref().expect("it is taken only by `close` and `drop`, after which nobody has a writer")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The thread ends by itself when the queue goes; its own panic must not become a second one here.
            return;
        }
        self.end().ok();
    }
}

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn send(&self, command: Command) {
        // It can only fail when `report` panicked and took the thread with it; `close` passes that panic on.
        self.commands.send(command).ok();
    }
}

/// The store and what it has come to.
struct Turn {
    store: Store,
    state: State,
    report: Box<dyn Fn(Report) + Send>,
}

/// See the diagram at the top of this module.
enum State {
    Running,
    Stopped(Arc<CommitError>),
    Resumed(Arc<CommitError>),
}

impl Turn {
    /// Commits the changes of all submissions since the last report, up to and including `through`.
    fn commit(&mut self, changes: &[Change], through: u64) {
        if matches!(self.state, State::Running)
            && let Err(error) = self.store.commit(changes)
        {
            self.state = State::Stopped(Arc::new(error));
        }
        (self.report)(match &self.state {
            State::Running => Report::Committed { through },
            State::Stopped(cause) | State::Resumed(cause) => {
                Report::Failed { through, cause: Arc::clone(cause) }
            }
        });
    }

    fn resume(&mut self) {
        (self.report)(match self.store.resume() {
            Ok(()) => {
                if let State::Stopped(cause) = &self.state {
                    self.state = State::Resumed(Arc::clone(cause));
                }
                Report::Resumed { ledger: Box::new(self.store.durable().clone()) }
            }
            Err(error) => Report::NotResumed { cause: Arc::new(error) },
        });
    }

    fn proceed(&mut self) {
        if matches!(self.state, State::Resumed(_)) {
            self.state = State::Running;
        }
    }
}

/// Submissions that will share a transaction.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    through: Option<u64>,
}

impl Group {
    fn add(&mut self, number: u64, changes: Vec<Change>) {
        self.changes.extend(changes);
        self.through = Some(number);
    }

    fn flush(&mut self, turn: &mut Turn) {
        if let Some(through) = self.through.take() {
            turn.commit(&self.changes, through);
            self.changes.clear();
        }
    }
}

/// The writer's thread: takes all that is ready, commits it together, reports, and looks again.
fn run(mut turn: Turn, queue: &Receiver<Command>) -> Result<(), CommitError> {
    let mut group = Group::default();
    while let Ok(first) = queue.recv() {
        for command in std::iter::once(first).chain(queue.try_iter()).take(MOST_PER_TURN) {
            if !matches!(command, Command::Submit(..)) {
                group.flush(&mut turn);
            }
            match command {
                Command::Submit(number, changes) => group.add(number, changes),
                Command::Resume => turn.resume(),
                Command::Proceed => turn.proceed(),
                Command::Journal(limit, reply) => reply(turn.store.journal(limit)),
                Command::Close => return turn.store.close(),
            }
        }
        group.flush(&mut turn);
    }
    turn.store.close()
}
