//! Aims: what a figure must be at most, and how much more may be the machine's doing.

use serde_json::{Value, json};

/// An aim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    /// What is measured.
    pub(crate) name: &'static str,
    /// The most it may be.
    pub(crate) most: f64,
    /// What runs of the same program differ by, as a share of the aim; of what is counted it is nothing.
    pub(crate) noise: f64,
    /// Behind the figures.
    pub(crate) unit: &'static str,
}

/// What became of an aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    /// More than the aim, by no more than noise.
    Near,
    Missed,
}

impl Aim {
    fn judge(&self, is: f64) -> Verdict {
        if is <= self.most {
            Verdict::Reached
        } else if is <= self.most * (1.0 + self.noise) {
            Verdict::Near
        } else {
            // Also what is no number.
            Verdict::Missed
        }
    }
}

/// All aims of a run.
#[derive(Debug, Default)]
pub(crate) struct Aims {
    missed: Vec<String>,
}

impl Aims {
    /// Tells how a figure stands beside its aim, in a line and for the file.
    pub(crate) fn hold(&mut self, aim: Aim, is: f64) -> Value {
        let Aim { name, most, noise, unit } = aim;
        let verdict = aim.judge(is);
        let word = match verdict {
            Verdict::Reached => "reached",
            Verdict::Near => "within noise",
            Verdict::Missed => "MISSED",
        };
        let line = format!("{name}: {is:.2}{unit}, aim {most}{unit}, noise {:.0} %: {word}", noise * 100.0);
        println!("  {line}");
        if verdict == Verdict::Missed {
            self.missed.push(line);
        }
        json!({ "value": is, "aim": most, "noise": noise, "verdict": word })
    }

    /// An error that names what was missed by more than noise.
    pub(crate) fn all_held(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.missed.is_empty(), "missed by more than noise: {}", self.missed.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_forgiven_and_nothing_more() {
        let aim = Aim { name: "it", most: 2.0, noise: 0.1, unit: " ms" };
        let mut aims = Aims::default();
        for (is, word) in [(2.0, "reached"), (2.19, "within noise")] {
            assert_eq!(aims.hold(aim, is)["verdict"], word);
        }
        aims.all_held().unwrap();
        assert_eq!(aims.hold(aim, 2.21)["verdict"], "MISSED");
        assert_eq!(aims.hold(aim, f64::NAN)["verdict"], "MISSED");
        let error = aims.all_held().unwrap_err().to_string();
        assert!(error.contains("it: 2.21 ms, aim 2 ms, noise 10 %"), "{error}");
        let counted = Aim { noise: 0.0, ..aim };
        assert_eq!(aims.hold(counted, 2.01)["verdict"], "MISSED");
    }
}
