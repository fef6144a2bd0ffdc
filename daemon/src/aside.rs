//! Threads that may hang, for what a client has sent. Closing a descriptor of somebody else's making, or asking what it is,
//! takes as long as it pleases who made it: a connection lingers over what it has not sent, a file system in user space
//! answers when it likes. Nothing of that is done on the loop that serves everybody.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// At most so many hang at once; what comes then waits.
const THREADS: usize = 64;

/// For what is only to be closed. Whoever may not even ask has it closed here, and hinders no one else.
static CLOSING: Threads = Threads::new("closing");

/// For what is looked at before it is used.
static LOOKING: Threads = Threads::new("looking");

type Work = Box<dyn FnOnce() + Send>;

struct Threads {
    name: &'static str,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    queue: VecDeque<Work>,
    /// Threads that are about to look into the queue.
    free: usize,
    all: usize,
}

impl Threads {
    const fn new(name: &'static str) -> Self {
        let state = State { queue: VecDeque::new(), free: 0, all: 0 };
        Self { name, state: Mutex::new(state), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&'static self, work: Work) {
        let mut state = self.state();
        state.queue.push_back(work);
        self.see_to_it(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// While something waits somebody is free, who has not begun a thing that may hang. So there are ordinarily two threads.
    fn see_to_it(&'static self, state: &mut State) {
        if state.queue.is_empty() || state.free > 0 || state.all >= THREADS {
            return;
        }
        match thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work()) {
            Ok(_) => {
                state.free += 1;
                state.all += 1;
            }
            // What waits is left to who comes back.
            Err(error) => tracing::error!(%error, "a thread cannot be started"),
        }
    }

    fn work(&'static self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.queue.pop_front() {
                state.free -= 1;
                self.see_to_it(&mut state);
                drop(state);
                // Who waits for it hears that it panicked; the thread goes on.
                drop(catch_unwind(AssertUnwindSafe(work)));
                state = self.state();
                state.free += 1;
                continue;
            }
            let (awake, waited) = self.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = awake;
            if waited.timed_out() && state.queue.is_empty() {
                state.free -= 1;
                state.all -= 1;
                return;
            }
        }
    }
}

/// Looks at what a client has sent. `None`: the look panicked.
pub(crate) async fn look<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    // Who does not wait any longer needs no answer; what is in it is dropped here.
    LOOKING.run(Box::new(move || drop(tell.send(work()))));
    told.await.ok()
}

/// What a client has sent, or a connection on which it may have sent more: closed aside, however it ends.
pub(crate) struct Held<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Held<T> {
    pub(crate) fn new(held: T) -> Self {
        Self(Some(held))
    }

    /// To be looked at aside.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("it is there until it is taken or dropped")
    }
}

impl<T: Send + 'static> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is taken or dropped")
    }
}

impl<T: Send + 'static> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is taken or dropped")
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            CLOSING.run(Box::new(move || drop(held)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hangs until it is told to end.
    struct Hangs(mpsc::Receiver<()>, mpsc::Sender<()>);

    impl Drop for Hangs {
        fn drop(&mut self) {
            self.1.send(()).unwrap();
            let _ended = self.0.recv_timeout(Duration::from_secs(20));
        }
    }

    #[test]
    fn what_hangs_as_it_is_closed_holds_nobody() {
        let (closing, closed) = mpsc::channel();
        let ends: Vec<_> = (0..8)
            .map(|_| {
                let (end, ended) = mpsc::channel();
                drop(Held::new(Hangs(ended, closing.clone())));
                end
            })
            .collect();
        for _ in 0..8 {
            closed.recv_timeout(Duration::from_secs(10)).expect("all are being closed at once");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(look(|| 7)), Some(7), "those that are looked at do not wait for them");
        let hangs: Vec<_> = (0..4).map(|_| mpsc::channel::<()>()).collect();
        let (ends_too, waits): (Vec<_>, Vec<_>) = hangs.into_iter().unzip();
        for wait in waits {
            LOOKING.run(Box::new(move || {
                let _over = wait.recv_timeout(Duration::from_secs(20));
            }));
        }
        assert_eq!(runtime.block_on(look(|| 8)), Some(8), "nor for each other");
        assert_eq!(runtime.block_on(look(|| panic!("on purpose"))), None::<u8>);
        drop((ends, ends_too));
    }
}
