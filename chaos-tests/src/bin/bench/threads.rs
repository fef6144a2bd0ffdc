//! The same work many times, so many at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast_chaos_tests::latency::Latencies;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Of each piece.
    pub(crate) each: Latencies,
    /// Of all.
    pub(crate) whole: Duration,
}

impl Run {
    /// Adds another run to this one.
    pub(crate) fn extend(&mut self, other: Self) {
        self.each.extend(other.each);
        self.whole += other.whole;
    }
}

/// Does `work` for each number below `count`, on `at_once` threads. Ends at the first failure.
pub(crate) fn run(
    count: usize,
    at_once: usize,
    work: impl Fn(usize) -> anyhow::Result<Duration> + Sync,
) -> anyhow::Result<Run> {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    let worker = || -> anyhow::Result<Latencies> {
        let mut each = Latencies::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(each);
            }
            match work(number) {
                Ok(took) => each.push(took),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let each = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once.min(count)).map(|_| scope.spawn(worker)).collect();
        let mut each = Latencies::default();
        for thread in threads {
            each.extend(thread.join().map_err(|_panic| anyhow::anyhow!("a worker panicked"))??);
        }
        anyhow::Ok(each)
    })?;
    Ok(Run { each, whole: began.elapsed() })
}
