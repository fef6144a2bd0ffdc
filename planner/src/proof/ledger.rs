//! Whose ledger it is, and of which boot.

use holdfast_model::ids::MacAddr;
use holdfast_model::node::NodeRecord;
use holdfast_model::time::Now;

use crate::here::Here;

/// The node was started since the ledger was written: nothing of what ran then is alive, and no state of the kernel is left.
#[derive(Debug)]
pub(crate) struct NewBoot(());

impl NewBoot {
    pub(crate) fn of(node: &NodeRecord, now: &Now) -> Option<Self> {
        (node.boot != now.boot).then_some(Self(()))
    }
}

/// The ledger is another instance's, baked into an image or on a disk that was moved.
#[derive(Debug)]
pub(crate) struct Anothers(());

/// Whose a ledger is.
#[derive(Debug)]
pub(crate) enum Whose {
    Ours,
    Anothers(Anothers),
    /// Metadata and the host's links do not say the same, or one of them has not said anything.
    Unclear,
}

/// To take a ledger for another's costs every pod its network, and every rest and open intent its memory. Metadata answers wrongly now
/// and then, and a link may be away or come late after a boot: only both together are a proof.
pub(crate) fn whose(node: &NodeRecord, here: Here<'_>, now: &Now) -> Whose {
    let is_here = |mac: MacAddr| here.macs.map(|macs| macs.contains(&mac));
    let of_ledger = is_here(node.identity.primary_mac);
    let Some(identity) = here.identity else {
        // Within a boot a link may be away; an instance is not. After one, it may be another instance's first.
        let in_doubt = NewBoot::of(node, now).is_some() && of_ledger == Some(false);
        return if in_doubt { Whose::Unclear } else { Whose::Ours };
    };
    if identity.instance == node.identity.instance {
        return Whose::Ours;
    }
    match (of_ledger, is_here(identity.primary_mac)) {
        (Some(false), Some(true)) => Whose::Anothers(Anothers(())),
        _ => Whose::Unclear,
    }
}
