//! What the demo and the benchmarks tell a person while they work: numbered steps, one line for each thing that was
//! seen to hold with the time it took, and words that stand out only where a terminal can show them.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where the times are, counted from the left.
const COLUMN: usize = 96;

/// Prints as the work goes on.
#[derive(Debug)]
pub struct Report {
    began: Instant,
    /// When the last line was printed: the next one took from then on.
    last: Instant,
    steps: usize,
    step: usize,
    title: String,
    colour: bool,
}

impl Report {
    /// Begins, with a line on top. So many steps will follow.
    pub fn begin(headline: &str, steps: usize) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let now = Instant::now();
        let report = Self { began: now, last: now, steps, step: 0, title: String::new(), colour };
        report.line(&report.bold(headline));
        report
    }

    /// Begins the next step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        title.clone_into(&mut self.title);
        self.line("");
        self.line(&self.bold(&format!("{}/{}  {title}", self.step, self.steps)));
        self.last = Instant::now();
    }

    /// Something was done and seen to hold; the time since the line before stands beside it.
    pub fn held(&mut self, what: &str) {
        let took = self.last.elapsed();
        let ok = self.paint("32", "ok");
        let width = COLUMN - 10;
        self.line(&format!("  {ok}  {what:<width$}{:>9}", seconds(took)));
        self.last = Instant::now();
    }

    /// Something to know, without a time.
    pub fn note(&self, what: &str) {
        self.line(&format!("      {what}"));
    }

    /// A row of a summary.
    pub fn row(&self, name: &str, value: &str) {
        self.line(&format!("  {name:<28} {value}"));
    }

    /// A line that stands out.
    pub fn headline(&self, text: &str) {
        self.line("");
        self.line(&self.bold(text));
    }

    /// A promise was broken: says which, and in which step.
    pub fn broken(&self, error: &anyhow::Error) {
        let broken = self.paint("31;1", "BROKEN");
        self.line(&format!("  {broken}  in step {}, {}: {error:#}", self.step, self.title));
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A reader that went away (`| head`) is no reason to stop in the middle, or to fail.
    #[expect(clippy::unused_self, reason = "there is one way to print, and it is this")]
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        drop(writeln!(out, "{text}").and_then(|()| out.flush()));
    }
}

/// Seconds with two digits.
pub fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
