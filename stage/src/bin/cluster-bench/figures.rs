//! What is measured, and how it is read.

/// Milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Of the plugin, each.
    pub(crate) adds: Vec<f64>,
    pub(crate) dels: Vec<f64>,
    /// Until all pods of a burst ran.
    pub(crate) bursts: Vec<f64>,
    /// Of each node's first pod with a network, by kubelet's own account.
    pub(crate) first_pod: Vec<f64>,
    /// Of the first pod of a kubelet that was started anew on a node that has pods.
    pub(crate) first_again: Vec<f64>,
    /// From the start of the daemon's process to the network configuration.
    pub(crate) ready: Vec<f64>,
}

impl Figures {
    pub(crate) fn add(&mut self, more: Self) {
        self.adds.extend(more.adds);
        self.dels.extend(more.dels);
        self.bursts.extend(more.bursts);
        self.first_pod.extend(more.first_pod);
        self.first_again.extend(more.first_again);
        self.ready.extend(more.ready);
    }
}

/// Not a number where there is none.
pub(crate) fn mean(of: &[f64]) -> f64 {
    // Not so many that a float would lose one.
    of.iter().sum::<f64>() / of.iter().map(|_| 1.0).sum::<f64>()
}

/// Not a number where there is none.
pub(crate) fn median(of: &[f64]) -> f64 {
    percentile(of, 50)
}

/// The smallest value that so many of a hundred do not exceed; not a number where there is none.
pub(crate) fn percentile(of: &[f64], percent: usize) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The times of a verb, of what `cni-timer` has written.
pub(crate) fn timer_lines(log: &str, verb: &str) -> Vec<f64> {
    let of_verb = log.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == verb).then(|| words.next()?.parse::<f64>().ok()).flatten()
    });
    of_verb.map(|nanoseconds| nanoseconds / 1e6).collect()
}

/// Of kubelet's metrics.
pub(crate) fn first_pod(metrics: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with("kubelet_first_network_pod_start_sli_duration_seconds "))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|seconds| seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_there_is() {
        let of: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((median(&of) - 50.0).abs() < 1e-9 && (percentile(&of, 99) - 99.0).abs() < 1e-9);
        assert!((median(&[3.0]) - 3.0).abs() < 1e-9 && (percentile(&[3.0], 99) - 3.0).abs() < 1e-9);
        assert!(median(&[]).is_nan() && mean(&[]).is_nan());
        assert!((mean(&[1.0, 2.0, 6.0]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn lines_are_read_by_verb() {
        let log = "ptp ADD 2000000\nptp DEL 1000000\nptp ADD 3500000\nptp ADD\n";
        assert_eq!(timer_lines(log, "ADD"), [2.0, 3.5]);
        assert_eq!(timer_lines(log, "DEL"), [1.0]);
        let metrics = "# HELP x y\nkubelet_first_network_pod_start_sli_duration_seconds 0.35\n";
        assert_eq!(first_pod(metrics), Some(350.0));
        assert_eq!(first_pod("kubelet_first_network_pod_start_total_sli_duration_seconds 1\n"), None);
    }
}
