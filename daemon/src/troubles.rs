//! Pods that got no network, and why, for as long as that is news.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_cluster::watch::ObjectKey;
use holdfast_cluster::write::{Regarding, Warning, WarningId};
use holdfast_model::sandbox::PodRef;
use holdfast_model::time::WallTime;

/// A pod that nobody tries to start any more is no news after this.
const NEWS: Duration = Duration::from_secs(600);

/// Of more pods than this nobody reads: those that were refused last are kept.
const MOST: usize = 256;

/// Why, in one word.
const REASON: &str = "PodNetworkNotReady";

/// What is kept, by everybody who answers an ADD.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<PodRef, Trouble>>);

#[derive(Clone, Debug)]
struct Trouble {
    cause: String,
    count: u32,
    first: WallTime,
    last: WallTime,
}

impl Troubles {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<PodRef, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod's ADD failed.
    pub(crate) fn refused(&self, pod: &PodRef, cause: &str, now: WallTime) {
        if pod.name.is_empty() {
            // The runtime did not say whose sandbox it is.
            return;
        }
        let mut kept = self.kept();
        let trouble = kept.entry(pod.clone()).or_insert_with(|| Trouble {
            cause: String::new(),
            count: 0,
            first: now,
            last: now,
        });
        cause.clone_into(&mut trouble.cause);
        trouble.count = trouble.count.saturating_add(1);
        trouble.last = now;
        if kept.len() > MOST
            && let Some(oldest) =
                kept.iter().min_by_key(|(_, trouble)| trouble.last).map(|(pod, _)| pod.clone())
        {
            kept.remove(&oldest);
        }
    }

    /// A pod's ADD was served, or it is gone.
    pub(crate) fn over(&self, pod: &PodRef) {
        self.kept().remove(pod);
    }

    /// What is to be told of it.
    pub(crate) fn warnings(&self, now: WallTime) -> BTreeMap<WarningId, Warning> {
        let mut kept = self.kept();
        kept.retain(|_, trouble| u128::from(now.0.saturating_sub(trouble.last.0)) < NEWS.as_millis());
        let warning = |(pod, trouble): (&PodRef, &Trouble)| {
            let key = ObjectKey::new(&pod.namespace, &pod.name);
            let regarding = Regarding::Pod { key, uid: pod.uid.clone() };
            let warning = Warning {
                action: "SetUpNetwork".to_owned(),
                message: trouble.cause.clone(),
                count: trouble.count,
                first: trouble.first,
                last: trouble.last,
            };
            (WarningId { regarding, reason: REASON.to_owned() }, warning)
        };
        kept.iter().map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "n".into(), name: name.into(), uid: Some(format!("uid-{name}")) }
    }

    #[test]
    fn what_is_wrong_stands_until_it_is_over_or_no_news() {
        let troubles = Troubles::default();
        troubles.refused(&pod("a"), "full", WallTime(1_000));
        troubles.refused(&pod("a"), "still full", WallTime(61_000));
        troubles.refused(&pod("b"), "full", WallTime(1_000));
        let told = troubles.warnings(WallTime(61_000));
        assert_eq!(told.len(), 2);
        let (id, first) = told.iter().next().unwrap();
        assert!(
            matches!(&id.regarding, Regarding::Pod { key, uid } if key.name == "a" && uid.as_deref() == Some("uid-a"))
        );
        assert_eq!((first.count, first.message.as_str()), (2, "still full"));
        assert_eq!((first.first, first.last), (WallTime(1_000), WallTime(61_000)));
        assert_eq!(troubles.warnings(WallTime(601_000)).len(), 1, "b is no news any more");
        troubles.over(&pod("a"));
        assert_eq!(troubles.warnings(WallTime(61_000)).len(), 0);
        troubles.refused(&PodRef { name: String::new(), ..pod("") }, "full", WallTime(0));
        assert_eq!(troubles.warnings(WallTime(0)).len(), 0, "nobody's");
    }

    #[test]
    fn of_too_many_the_last_are_kept() {
        let troubles = Troubles::default();
        for number in 0..MOST as u64 + 10 {
            troubles.refused(&pod(&number.to_string()), "full", WallTime(number));
        }
        let told = troubles.warnings(WallTime(1_000));
        assert_eq!(told.len(), MOST);
        assert!(told.values().all(|warning| warning.last >= WallTime(10)));
    }
}
