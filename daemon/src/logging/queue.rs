//! Lines on their way to the log's writer. Bounded in bytes: when nobody takes them, the newest are counted, not kept.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the writer gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A line, with its end.
    Line(Vec<u8>),
    /// In this place so many lines are missing.
    Lost(u64),
}

/// The queue between those who log and the one who writes.
pub(super) struct Queue {
    room: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Of the lines in `entries`.
    bytes: usize,
    /// Whether the writer has an entry in hand.
    writing: bool,
    /// Whether the writer may end.
    closed: bool,
}

impl Queue {
    /// A queue that keeps up to `room` bytes; one line is kept whatever its size.
    pub(super) fn new(room: usize) -> Self {
        Self { room, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a line, or counts it. Never waits for the writer, who has the lock for moments only.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes == 0 || state.bytes + line.len() <= self.room {
            state.bytes += line.len();
            state.entries.push_back(Entry::Line(line.to_owned()));
        } else if let Some(Entry::Lost(lines)) = state.entries.back_mut() {
            *lines += 1;
        } else {
            state.entries.push_back(Entry::Lost(1));
        }
        self.changed.notify_all();
    }

    /// The next entry, waited for; none when the queue was finished and is empty. The one before has been dealt with.
    pub(super) fn next(&self) -> Option<Entry> {
        let mut state = self.lock();
        state.writing = false;
        self.changed.notify_all();
        let waiting = |state: &mut State| state.entries.is_empty() && !state.closed;
        let mut state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        let entry = state.entries.pop_front()?;
        if let Entry::Line(line) = &entry {
            state.bytes -= line.len();
        }
        state.writing = true;
        Some(entry)
    }

    /// Waits until all has been dealt with, at most this long; whether it was.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        let busy = |state: &mut State| state.writing || !state.entries.is_empty();
        let waited = self.changed.wait_timeout_while(state, patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Whoever panicked while it held the lock has left the queue whole: each change is a few plain moves.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Entry {
        Entry::Line(text.as_bytes().to_owned())
    }

    #[test]
    fn lines_over_the_room_are_counted_in_their_place() {
        let queue = Queue::new(8);
        for text in ["one\n", "two\n", "three\n", "four\n"] {
            queue.push(text.as_bytes());
        }
        assert_eq!(queue.next(), Some(line("one\n")));
        queue.push(b"5\n");
        assert_eq!(queue.next(), Some(line("two\n")));
        assert_eq!(queue.next(), Some(Entry::Lost(2)));
        assert_eq!(queue.next(), Some(line("5\n")));
    }

    #[test]
    fn a_line_larger_than_the_room_passes_when_it_is_alone() {
        let queue = Queue::new(2);
        queue.push(b"large\n");
        queue.push(b"x\n");
        assert_eq!(queue.next(), Some(line("large\n")));
        assert_eq!(queue.next(), Some(Entry::Lost(1)));
    }

    #[test]
    fn finishing_waits_for_what_is_in_hand_and_not_for_ever() {
        let queue = Queue::new(8);
        queue.push(b"x\n");
        assert!(!queue.finish(Duration::from_millis(1)), "nobody takes it");
        assert_eq!(queue.next(), Some(line("x\n")));
        assert!(!queue.finish(Duration::from_millis(1)), "it is being written");
        assert_eq!(queue.next(), None);
        assert!(queue.finish(Duration::ZERO));
    }
}
