//! Whether this program is being removed from the cluster, or only stopped.
//!
//! A pod of a DaemonSet is told to end in the same way when it is restarted, when its node is drained, and when its DaemonSet
//! is deleted. Only in the last case nobody comes after it, and a network configuration that stayed would name a plugin whose daemon is gone:
//! the node would be Ready and fail every pod. So the own DaemonSet is followed, and what was heard of it before the word to end counts.
//! (To ask then would be late: whoever uninstalls takes the rights away within the same second.)

use holdfast_cluster::watch::View;
use holdfast_cluster::watch::objects::DaemonSetView;
use tokio::sync::watch;

/// What is heard of the own DaemonSet. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removal {
    heard: watch::Sender<Heard>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heard {
    /// Nothing, or it was never there: it may be called otherwise.
    #[default]
    Nothing,
    There,
    Deleted,
}

impl Heard {
    /// What lacks in a view counts only if it was there before, and the view is whole.
    fn and(self, view: &View<DaemonSetView>) -> Self {
        match view.only() {
            Some(daemon_set) if daemon_set.deleting => Self::Deleted,
            Some(_) => Self::There,
            None if view.complete && self != Self::Nothing => Self::Deleted,
            None => self,
        }
    }
}

impl Removal {
    /// Takes in what is known of the DaemonSet, for as long as somebody follows it.
    pub(crate) async fn hear(&self, mut known: watch::Receiver<View<DaemonSetView>>) {
        loop {
            let view = known.borrow_and_update().clone();
            self.heard.send_modify(|heard| *heard = heard.and(&view));
            if known.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the DaemonSet was deleted, by what was heard last.
    pub(crate) fn is_sure(&self) -> bool {
        *self.heard.borrow() == Heard::Deleted
    }
}

#[cfg(test)]
mod tests {
    use holdfast_cluster::watch::ObjectKey;

    use super::*;

    fn view(complete: bool, deleting: Option<bool>) -> View<DaemonSetView> {
        let daemon_set = deleting.map(|deleting| DaemonSetView { deleting, ..DaemonSetView::default() });
        let objects = daemon_set.into_iter().map(|view| (ObjectKey::new("kube-system", "aws-node"), view));
        View { complete, objects: objects.collect(), ..View::default() }
    }

    #[test]
    fn only_one_that_was_there_is_removed() {
        let (there, going, gone) = (view(true, Some(false)), view(true, Some(true)), view(true, None));
        let unread = view(false, None);
        let heard =
            |views: &[&View<DaemonSetView>]| views.iter().fold(Heard::Nothing, |heard, view| heard.and(view));
        assert_eq!(heard(&[&unread, &gone]), Heard::Nothing, "it may have another name");
        assert_eq!(heard(&[&unread, &there]), Heard::There);
        assert_eq!(heard(&[&there, &unread]), Heard::There, "not whole");
        assert_eq!(heard(&[&there, &gone]), Heard::Deleted);
        assert_eq!(heard(&[&there, &going, &gone]), Heard::Deleted);
        assert_eq!(heard(&[&going]), Heard::Deleted);
        assert_eq!(heard(&[&there, &gone, &there]), Heard::There, "made anew: its pods come");
    }

    #[tokio::test]
    async fn what_is_heard_last_counts() {
        let (known, removal) = (watch::Sender::new(view(true, Some(false))), Removal::default());
        let hearing = tokio::spawn({
            let (removal, known) = (removal.clone(), known.subscribe());
            async move { removal.hear(known).await }
        });
        tokio::task::yield_now().await;
        assert!(!removal.is_sure());
        known.send_replace(view(true, None));
        tokio::task::yield_now().await;
        assert!(removal.is_sure());
        drop(known);
        hearing.await.unwrap();
        assert!(removal.is_sure(), "the word stays");
    }
}
