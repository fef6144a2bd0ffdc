//! Whether an upgrade is under way: DaemonSet and ConfigMap each say of which render they are, and whoever upgrades writes one
//! after the other.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// How long whoever upgrades has for the other of the two. Helm needs moments, and waits for nothing in between.
pub const SETTLING: Duration = Duration::from_secs(60);

/// What is known of the two.
#[derive(Clone, Debug, Default)]
pub struct Renders {
    /// The render that both were of, when they last agreed.
    agreed: Option<String>,
    /// The two as they differ, and since when they were seen so.
    differ: Option<(String, Option<String>, BootTime)>,
}

impl Renders {
    /// The DaemonSet was just made to be of this render, which is the ConfigMap's.
    pub fn made(&mut self, render: &str) {
        *self = Self { agreed: Some(render.to_owned()), differ: None };
    }

    /// From when on the DaemonSet may be made what the ConfigMap says: now, or later.
    ///
    /// Where the ConfigMap went ahead of a DaemonSet that is still what both were, that is what an upgrade wants, and the sooner it
    /// stands the fewer there are who could be in its way. Where the DaemonSet went ahead its new word must not be taken back,
    /// and the ConfigMap is to follow.
    pub fn ready(&mut self, map: &str, daemon_set: Option<&str>, now: BootTime) -> BootTime {
        if daemon_set == Some(map) {
            *self = Self { agreed: Some(map.to_owned()), differ: None };
            return now;
        }
        if self.agreed.is_some() && self.agreed.as_deref() == daemon_set {
            return now;
        }
        let since = match &self.differ {
            Some((one, other, since)) if one == map && other.as_deref() == daemon_set => *since,
            _ => {
                self.differ = Some((map.to_owned(), daemon_set.map(str::to_owned), now));
                now
            }
        };
        since.after(SETTLING).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000_000);

    #[test]
    fn a_map_that_went_ahead_is_followed_at_once() {
        let mut renders = Renders::default();
        assert_eq!(renders.ready("old", Some("old"), NOW), NOW);
        assert_eq!(renders.ready("new", Some("old"), NOW), NOW);
        assert_eq!(renders.ready("new", Some("new"), NOW), NOW);
    }

    #[test]
    fn one_upgrade_after_the_other_is_followed_at_once() {
        let mut renders = Renders::default();
        renders.ready("a", Some("a"), NOW);
        renders.made("b");
        assert_eq!(renders.ready("c", Some("b"), NOW), NOW, "although nobody has seen the two agree on b");
    }

    #[test]
    fn a_daemon_set_that_went_ahead_is_left_alone_until_the_map_follows() {
        let mut renders = Renders::default();
        renders.ready("old", Some("old"), NOW);
        let end = NOW.after(SETTLING);
        assert_eq!(renders.ready("old", Some("new"), NOW), end);
        let later = NOW.after(SETTLING / 2);
        assert_eq!(renders.ready("old", Some("new"), later), end, "counted from when it was first seen");
        assert_eq!(renders.ready("new", Some("new"), later), later);
    }

    #[test]
    fn one_that_never_follows_counts_in_the_end() {
        let mut renders = Renders::default();
        renders.ready("old", Some("old"), NOW);
        renders.ready("old", Some("edited"), NOW);
        let end = NOW.after(SETTLING);
        assert_eq!(renders.ready("old", Some("edited"), end), end);
        // Another edit of the same is another one.
        assert_eq!(renders.ready("old", None, end), end.after(SETTLING));
    }

    #[test]
    fn who_has_seen_no_agreement_waits() {
        let mut renders = Renders::default();
        assert_eq!(renders.ready("new", Some("old"), NOW), NOW.after(SETTLING));
        assert_eq!(Renders::default().ready("new", None, NOW), NOW.after(SETTLING));
    }

    #[test]
    fn two_that_both_moved_on_to_other_renders_wait() {
        let mut renders = Renders::default();
        renders.ready("a", Some("a"), NOW);
        assert_eq!(renders.ready("b", Some("c"), NOW), NOW.after(SETTLING));
    }
}
