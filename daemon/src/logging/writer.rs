//! Writes the log's lines, on a thread of its own, which may hang for as long as it likes.

use std::io::{self, Write};
use std::sync::Arc;

use super::queue::{Entry, Queue};

/// Writes lines whole or counts them, and says how many were lost as soon as something can be written again.
pub(super) struct LineWriter<W> {
    out: W,
    /// Words for so many lost lines.
    notice: fn(u64) -> String,
    lost: u64,
    /// Whether the last line was cut off in its middle.
    torn: bool,
}

/// Starts the thread. It ends when the queue is finished and empty; the process does not wait for it.
pub(super) fn spawn<W: Write + Send + 'static>(
    queue: Arc<Queue>,
    mut writer: LineWriter<W>,
) -> io::Result<()> {
    let work = move || {
        while let Some(entry) = queue.next() {
            writer.write(entry);
        }
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(work).map(drop)
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(out: W, notice: fn(u64) -> String) -> Self {
        Self { out, notice, lost: 0, torn: false }
    }

    pub(super) fn write(&mut self, entry: Entry) {
        if let Entry::Lost(lines) = entry {
            self.lost += lines;
        }
        if self.lost > 0 {
            let notice = (self.notice)(self.lost);
            if self.put(notice.as_bytes()) {
                self.lost = 0;
            }
        }
        if let Entry::Line(line) = entry {
            // Not after a hole that could not be told.
            let written = self.lost == 0 && self.put(&line);
            self.lost += u64::from(!written);
        }
    }

    /// Whether it was written whole. A line that could be begun only does not become one with its successor.
    fn put(&mut self, line: &[u8]) -> bool {
        let whole = if self.torn { [b"\n", line].concat() } else { line.to_owned() };
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(written @ 1..) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Takes as many bytes as it is told of each write; `None` fails.
    #[derive(Default)]
    struct Disk {
        will: VecDeque<Option<usize>>,
        written: String,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.will.pop_front() {
                Some(None) => return Err(io::ErrorKind::StorageFull.into()),
                Some(Some(most)) => most.min(bytes.len()),
                None => bytes.len(),
            };
            self.written.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(will: &[Option<usize>], lines: &[&str]) -> String {
        let disk = Disk { will: will.iter().copied().collect(), written: String::new() };
        let mut writer = LineWriter::new(disk, |lines| format!("{lines} lost\n"));
        for line in lines {
            writer.write(Entry::Line(format!("{line}\n").into_bytes()));
        }
        writer.out.written
    }

    #[test]
    fn lines_that_fail_are_counted_and_told_when_writing_works_again() {
        assert_eq!(written(&[], &["a", "b"]), "a\nb\n");
        assert_eq!(written(&[None, None], &["a", "b", "c"]), "2 lost\nc\n");
        assert_eq!(written(&[Some(2), None, None, None], &["a", "b", "c", "d", "e"]), "a\n3 lost\ne\n");
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_and_counted() {
        assert_eq!(written(&[Some(1), None], &["abc", "d"]), "a\n1 lost\nd\n");
        assert_eq!(written(&[Some(1), Some(1)], &["abc", "d"]), "abc\nd\n", "written in pieces");
        assert_eq!(written(&[Some(1), None, Some(1), None], &["abc", "d", "e"]), "a\n\n2 lost\ne\n");
    }

    #[test]
    fn what_the_queue_lost_is_told_without_another_line() {
        let mut writer = LineWriter::new(Disk::default(), |lines| format!("{lines} lost\n"));
        writer.write(Entry::Lost(5));
        assert_eq!(writer.out.written, "5 lost\n");
    }
}
