//! How many addresses were leased at once, lately.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// So long what was needed is taken for what is needed, and at most twice that.
pub(crate) const SPAN: Duration = Duration::from_secs(150);

/// The most that were leased at one instant, in two spans of time: the one that runs and the one before. So it is known of
/// the last span in full, and of as much again at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    running: Option<Span>,
    /// The most in the span before. `None`: it was not watched.
    before: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    begun: BootTime,
    most: u32,
    /// How many there were when it was looked at last.
    last: u32,
}

impl Peak {
    /// With so many leased now.
    pub(crate) fn with(self, leased: u32, now: BootTime) -> Self {
        let Some(mut running) = self.running else {
            return Self { running: Some(Span { begun: now, most: leased, last: leased }), before: None };
        };
        let mut before = self.before;
        if now >= running.begun.after(SPAN) {
            // Where nobody looked for a whole span, nothing had changed.
            let all_of_it = now.since(running.begun) >= SPAN * 2;
            before = Some(if all_of_it { running.last } else { running.most });
            running = Span { begun: now, most: running.last, last: running.last };
        }
        (running.most, running.last) = (running.most.max(leased), leased);
        Self { running: Some(running), before }
    }

    /// The most of the last span and of what runs. `None`: it was not watched for so long.
    pub(crate) fn most(self) -> Option<u32> {
        Some(self.running?.most.max(self.before?))
    }

    /// When time alone makes it another.
    pub(crate) fn ends(self) -> Option<BootTime> {
        self.running.map(|running| running.begun.after(SPAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(counts: &[(u64, u32)]) -> Option<u32> {
        let mut peak = Peak::default();
        for (fifth, leased) in counts {
            peak = peak.with(*leased, BootTime(fifth * 5000));
        }
        peak.most()
    }

    #[test]
    fn the_most_of_the_last_span_is_known_and_that_of_long_ago_is_forgotten() {
        for (counts, most) in [
            (&[][..], None),
            (&[(0, 5)], None),
            (&[(0, 5), (29, 7)], None),
            (&[(0, 5), (29, 7), (30, 6)], Some(7)),
            (&[(0, 5), (29, 7), (30, 6), (59, 6)], Some(7)),
            // What there was at the end of a span is there at the beginning of the next.
            (&[(0, 9), (30, 6), (60, 5)], Some(9)),
            (&[(0, 9), (30, 6), (60, 5), (90, 4)], Some(6)),
            (&[(0, 9), (31, 4), (61, 3)], Some(9)),
            (&[(0, 9), (31, 4), (61, 3), (91, 3)], Some(4)),
            (&[(0, 9), (10, 4), (31, 4), (62, 4)], Some(4)),
            // Nobody looks where nothing changes.
            (&[(0, 9), (10, 4), (300, 4)], Some(4)),
            (&[(0, 9), (300, 3)], Some(9)),
            // A span of nothing.
            (&[(0, 0), (30, 0)], Some(0)),
        ] {
            assert_eq!(noted(counts), most, "{counts:?}");
        }
    }
}
