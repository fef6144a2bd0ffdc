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

/// The one writer of a store. Dropping it is [`Writer::close`] without telling of errors, but for a
/// [driven](Writer::driven) one: that is how a test lets a process die with commits under way.
pub struct Writer {
    hand: Option<Hand>,
}

struct Hand {
    queue: Mutex<Queue>,
    worker: Worker,
}

enum Worker {
    Thread(JoinHandle<Result<(), CommitError>>),
    Driven(Arc<Mutex<Option<Desk>>>),
}

struct Queue {
    last: u64,
    commands: Sender<Command>,
    wake: Box<dyn Fn() + Send>,
}

/// Commits what a [`Writer::driven`] was given, when told to.
pub struct Drive {
    desk: Arc<Mutex<Option<Desk>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.hand.as_ref().map(|hand| &hand.worker) {
            Some(Worker::Thread(_)) => "Writer(thread)",
            Some(Worker::Driven(_)) => "Writer(driven)",
            None => "Writer(closed)",
        })
    }
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Drive")
    }
}

impl Drive {
    /// Carries out all that is ready, as the thread of [`Writer::spawn`] does in one turn of its loop. Nothing when
    /// nothing is ready or the writer is closed.
    pub fn turn(&self) {
        if let Some(desk) = &mut *hold(&self.desk)
            && let Ok(first) = desk.queue.try_recv()
        {
            desk.work(first);
        }
    }
}

impl Writer {
    /// Gives the store to a thread of its own. `report` is called on that thread; it must neither block nor
    /// panic, since nothing is committed meanwhile, or ever again.
    pub fn spawn(store: Store, report: impl Fn(Report) + Send + 'static) -> io::Result<Self> {
        let (queue, desk) = desk(store, report, || ());
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || desk.run())?;
        Ok(Self { hand: Some(Hand { queue, worker: Worker::Thread(thread) }) })
    }

    /// Gives the store to the caller, who commits by [`Drive::turn`], at an instant of his choice after `wake` told
    /// that there is something: for tests that move time themselves.
    pub fn driven(
        store: Store,
        report: impl Fn(Report) + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> (Self, Drive) {
        let (queue, desk) = desk(store, report, wake);
        let desk = Arc::new(Mutex::new(Some(desk)));
        let worker = Worker::Driven(Arc::clone(&desk));
        (Self { hand: Some(Hand { queue, worker }) }, Drive { desk })
    }

    /// Queues changes that belong together; gives the submission's sequence number, from 1 upwards without
    /// gaps. Submissions may share a transaction, and are never split over two.
    pub fn submit(&self, changes: Vec<Change>) -> u64 {
        // Numbered and queued under one lock, so that both have the same order.
        let mut queue = hold(&self.hand().queue);
        queue.last += 1;
        let number = queue.last;
        queue.send(Command::Submit(number, changes));
        number
    }

    /// Asks, in order with the submissions, that a stopped store be made writable again. Answered by
    /// [`Report::Resumed`] or [`Report::NotResumed`].
    pub fn resume(&self) {
        hold(&self.hand().queue).send(Command::Resume);
    }

    /// Says that what is submitted from now on builds on the ledger that came with [`Report::Resumed`]. Does
    /// nothing at any other time.
    pub fn proceed(&self) {
        hold(&self.hand().queue).send(Command::Proceed);
    }

    /// Hands the newest `limit` journal entries, oldest first, to `reply`, on the writer's thread, in order with
    /// the submissions: those made before are in it.
    pub fn journal(
        &self,
        limit: usize,
        reply: impl FnOnce(Result<Vec<JournalEntry>, ReadError>) + Send + 'static,
    ) {
        hold(&self.hand().queue).send(Command::Journal(limit, Box::new(reply)));
    }

    /// Commits and reports all that was submitted, closes the file in order, and ends the thread.
    pub fn close(mut self) -> Result<(), CommitError> {
        self.end()
    }

    /// Leaves the store to its thread, which ends when the disk answers, or with the process. For a disk that hangs.
    pub fn abandon(mut self) {
        drop(self.hand.take());
    }

    fn end(&mut self) -> Result<(), CommitError> {
        let Some(hand) = self.hand.take() else { return Ok(()) };
        hold(&hand.queue).send(Command::Close);
        match hand.worker {
            Worker::Thread(thread) => {
                thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
            }
            Worker::Driven(desk) => hold(&desk).take().map_or(Ok(()), Desk::run),
        }
    }

    fn hand(&self) -> &Hand {
        self.hand.as_ref().expect("it is taken only by `close` and `drop`, after which nobody has a writer")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let driven = matches!(self.hand, Some(Hand { worker: Worker::Driven(_), .. }));
        if driven || std::thread::panicking() {
            // A thread ends by itself when the queue goes; its own panic must not become a second one here.
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
        (self.wake)();
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
            Ok(ledger) => {
                if let State::Stopped(cause) = &self.state {
                    self.state = State::Resumed(Arc::clone(cause));
                }
                Report::Resumed { ledger: Box::new(ledger) }
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

/// Where the commands arrive and are carried out.
struct Desk {
    queue: Receiver<Command>,
    turn: Turn,
}

fn desk(
    store: Store,
    report: impl Fn(Report) + Send + 'static,
    wake: impl Fn() + Send + 'static,
) -> (Mutex<Queue>, Desk) {
    let (commands, queue) = channel();
    let turn = Turn { store, state: State::Running, report: Box::new(report) };
    (Mutex::new(Queue { last: 0, commands, wake: Box::new(wake) }), Desk { queue, turn })
}

impl Desk {
    /// Takes all that is ready, commits it together, and reports; false after [`Command::Close`].
    fn work(&mut self, first: Command) -> bool {
        let Self { queue, turn } = self;
        let mut group = Group::default();
        for command in std::iter::once(first).chain(queue.try_iter()).take(MOST_PER_TURN) {
            if !matches!(command, Command::Submit(..)) {
                group.flush(turn);
            }
            match command {
                Command::Submit(number, changes) => group.add(number, changes),
                Command::Resume => turn.resume(),
                Command::Proceed => turn.proceed(),
                Command::Journal(limit, reply) => reply(turn.store.journal(limit)),
                Command::Close => return false,
            }
        }
        group.flush(turn);
        true
    }

    /// Works until the end.
    fn run(mut self) -> Result<(), CommitError> {
        while let Ok(first) = self.queue.recv() {
            if !self.work(first) {
                break;
            }
        }
        self.turn.store.close()
    }
}
