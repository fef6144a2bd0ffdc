//! Pods that were answered for and that nothing reaches any more. No runtime asks for them, so it is told: in the log as
//! it begins and ends, and in status and dump while it lasts.

use std::collections::BTreeMap;

use holdfast_model::sandbox::SandboxKey;
use holdfast_planner::UnreachedBy;

/// How many are told of in lines of their own at a time.
const LINES: usize = 10;

/// How many are named in one line.
const NAMED: usize = 3;

/// Pods that nothing reaches, and why.
#[derive(Default)]
pub(crate) struct Unreached {
    /// What the last look showed.
    pub(crate) seen: BTreeMap<SandboxKey, UnreachedBy>,
    /// Why those are without a link that are: it could not be put back.
    pub(crate) unmended: BTreeMap<SandboxKey, String>,
    /// Whose packets others send elsewhere, and where.
    pub(crate) diverted: BTreeMap<SandboxKey, String>,
    /// As it was told.
    pub(crate) pods: BTreeMap<SandboxKey, Told>,
}

pub(crate) struct Told {
    pub(crate) pod: String,
    pub(crate) cause: String,
}

impl Unreached {
    /// Each in words.
    pub(crate) fn words(&self) -> Vec<String> {
        self.pods.values().map(|told| format!("{}: {}", told.pod, told.cause)).collect()
    }

    /// All in one line; `None` when all pods are reached.
    pub(crate) fn summary(&self) -> Option<String> {
        let count = self.pods.len();
        let mut named = self.words();
        named.truncate(NAMED);
        let more = if count > NAMED { "; …" } else { "" };
        let pods = if count == 1 { "1 pod is" } else { &format!("{count} pods are") };
        (count > 0).then(|| format!("{pods} cut off: {}{more}", named.join("; ")))
    }

    /// A link that is gone is told of once it is clear that it stays so.
    pub(crate) fn cause(&self, sandbox: &SandboxKey) -> Option<String> {
        match self.seen.get(sandbox) {
            Some(UnreachedBy::LinkGone(_)) => self.unmended.get(sandbox).cloned(),
            Some(other) => Some(other.to_string()),
            None => self.diverted.get(sandbox).cloned(),
        }
    }

    /// Where one thing cuts off hundreds, a few lines and their number say as much, however often it comes and goes.
    pub(crate) fn update(&mut self, now: BTreeMap<SandboxKey, Told>) {
        let news = |(sandbox, told): &(&SandboxKey, &Told)| {
            self.pods.get(*sandbox).is_none_or(|before| before.cause != told.cause)
        };
        let new: Vec<_> = now.iter().filter(news).collect();
        for (sandbox, told) in new.iter().take(LINES) {
            tracing::error!(%sandbox, pod = told.pod, cause = told.cause, "a pod is cut off");
        }
        if new.len() > LINES {
            tracing::error!(more = new.len() - LINES, "more pods are cut off; `holdfast dump` lists all");
        }
        let over: Vec<_> = self.pods.iter().filter(|(sandbox, _)| !now.contains_key(*sandbox)).collect();
        for (sandbox, told) in over.iter().take(LINES) {
            tracing::info!(%sandbox, pod = told.pod, "the pod is cut off no more, or gone");
        }
        if over.len() > LINES {
            tracing::info!(more = over.len() - LINES, "more pods are cut off no more, or gone");
        }
        self.pods = now;
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::sandbox::SandboxNames;

    use super::*;

    #[test]
    fn the_summary_names_a_few_and_counts_all() {
        let mut unreached = Unreached::default();
        assert_eq!(unreached.summary(), None);
        let sandbox = |number: usize| {
            SandboxKey::from(SandboxNames {
                container_id: format!("c{number}"),
                ifname: "eth0".into(),
                network: "aws-cni".into(),
            })
        };
        let told = |number| {
            let told = Told { pod: format!("default/web-{number}"), cause: "gone".into() };
            (sandbox(number), told)
        };
        unreached.update((0..1).map(told).collect());
        assert_eq!(unreached.summary().as_deref(), Some("1 pod is cut off: default/web-0: gone"));
        unreached.update((0..3).map(told).collect());
        assert!(
            unreached
                .summary()
                .is_some_and(|all| all.starts_with("3 pods are cut off") && !all.contains('…'))
        );
        unreached.update((0..5).map(told).collect());
        let summary = unreached.summary().unwrap_or_default();
        assert!(summary.starts_with("5 pods are cut off: default/web-0: gone; "), "{summary}");
        assert!(summary.ends_with("default/web-2: gone; …"), "{summary}");
        assert_eq!(unreached.words().len(), 5);
    }
}
