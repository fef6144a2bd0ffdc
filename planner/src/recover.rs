//! What a start makes of the ledger it finds.
//!
//! Open intents are not touched here: the plan repeats them, or reads what became of them.

use holdfast_model::block::{Block, BlockState};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::{Cooldown, Use};

use crate::desired::Desired;
use crate::draft::Draft;
use crate::here::Here;
use crate::proof::{Anothers, NewBoot, Whose, whose};
use crate::quarantine::rest;

#[cfg(test)]
mod tests;

/// What kind of start it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The ledger knows no node. Without an identity nothing can be planned yet.
    Fresh,
    /// The process was restarted: sandboxes may be alive.
    SameBoot,
    /// The node was restarted: all sandboxes are gone, and so is all kernel state of ours.
    NewBoot,
    /// The ledger is another instance's (baked into an image) and was forgotten. Without an identity nothing
    /// can be planned yet.
    Foreign,
    /// Instance metadata names another instance than the ledger, and the kernel does not bear it out; or the node was restarted
    /// without the ledger's primary link, and metadata is silent. Nothing is forgotten on one word alone: ask again, look again.
    Doubtful,
}

/// The result of [`recover`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// What kind of start it is.
    pub kind: Recovery,
    /// Changes to commit before anything else is done.
    pub changes: Vec<Change>,
}

/// Brings the ledger to this boot and this instance. Call it at start, and again when the identity is learnt;
/// repeating it changes nothing.
///
/// After a reboot every lease becomes a rest, and every rest begins anew with the boot, which has ended all sandboxes:
/// boot times of another boot say nothing about how much of it is over. Nothing is given back to EC2 for that reason. A reboot without metadata is
/// recovered on the ledger's word, so that a node without any connection still serves its pods.
pub fn recover(desired: &Desired<'_>, ledger: &Ledger, here: Here<'_>, now: &Now) -> Recovered {
    let mut draft = Draft::of(ledger, now);
    let Some(node) = &ledger.node else {
        if let Some(identity) = here.identity {
            if here.lacks(identity.primary_mac) {
                return Recovered { kind: Recovery::Doubtful, changes: Vec::new() };
            }
            put_node(&mut draft, identity, now);
        }
        return Recovered { kind: Recovery::Fresh, changes: draft.into_changes() };
    };
    match whose(node, here, now) {
        Whose::Ours => {}
        Whose::Anothers(proof) => {
            forget_all(&mut draft, ledger, &proof);
            if let Some(identity) = here.identity {
                put_node(&mut draft, identity, now);
            }
            return Recovered { kind: Recovery::Foreign, changes: draft.into_changes() };
        }
        Whose::Unclear => return Recovered { kind: Recovery::Doubtful, changes: Vec::new() },
    }
    let new_boot = NewBoot::of(node, now);
    if let Some(proof) = &new_boot {
        begin_boot(&mut draft, desired, ledger, proof, now);
    }
    put_node(&mut draft, here.identity.unwrap_or(&node.identity), now);
    let kind = if new_boot.is_some() { Recovery::NewBoot } else { Recovery::SameBoot };
    Recovered { kind, changes: draft.into_changes() }
}

/// The process starts: the calls of open intents that an earlier one was carrying out were cut off, and may be carried
/// out yet. Once, before anything is sent.
pub fn cut_off(ledger: &Ledger, now: &Now) -> Vec<Change> {
    let mut draft = Draft::of(ledger, now);
    for intent in ledger.intents.values().filter(|intent| intent.sending != Sending::NeverSent) {
        draft.put_intent(Intent { sending: Sending::Unanswered, ..intent.clone() });
        if let Some(eni) = intent.change.eni() {
            draft.touch(eni);
        }
    }
    draft.into_changes()
}

fn put_node(draft: &mut Draft<'_>, identity: &NodeIdentity, now: &Now) {
    let record = NodeRecord { identity: identity.clone(), boot: now.boot.clone() };
    if draft.ledger.node.as_ref() != Some(&record) {
        draft.push(Change::PutNode(record));
    }
    let subnet = SubnetRecord {
        id: identity.subnet.clone(),
        ipv4: Some(identity.subnet_cidr),
        ipv6: draft.ledger.subnets.get(&identity.subnet).and_then(|known| known.ipv6),
    };
    if draft.ledger.subnets.get(&subnet.id) != Some(&subnet) {
        draft.push(Change::PutSubnet(subnet));
    }
}

fn forget_all(draft: &mut Draft<'_>, ledger: &Ledger, _proof: &Anothers) {
    for key in ledger.leases.keys() {
        draft.push(Change::DropLease(key.clone()));
    }
    for net in ledger.blocks.keys() {
        draft.drop_block(*net);
    }
    for ip in ledger.uses.keys() {
        draft.drop_use(*ip);
    }
    for id in ledger.subnets.keys() {
        draft.push(Change::DropSubnet(id.clone()));
    }
    for id in ledger.intents.keys() {
        draft.drop_intent(*id);
    }
    for id in ledger.enis.keys() {
        draft.push(Change::DropEni(id.clone()));
    }
}

fn begin_boot(draft: &mut Draft<'_>, desired: &Desired<'_>, ledger: &Ledger, _proof: &NewBoot, now: &Now) {
    for key in ledger.leases.keys() {
        draft.push(Change::DropLease(key.clone()));
    }
    for (ip, what) in &ledger.uses {
        // Whoever held it has not lived since the kernel booted, which has kept nothing of its flows; whoever else could
        // still send to it has had that time to learn so.
        let mut again = Cooldown { since: BootTime(0), ..rest(desired, now) };
        if let Use::Cooling(old) = what {
            again.period_ms = again.period_ms.max(old.period_ms);
        }
        draft.put_use(*ip, Use::Cooling(again));
    }
    for block in ledger.blocks.values() {
        let state = match block.state {
            BlockState::Withdrawn | BlockState::Gone(_) => BlockState::Gone(now.boottime),
            BlockState::Held | BlockState::Leaving(_) => block.state,
        };
        draft.put_block(Block { state, shown: BootTime(0), ..block.clone() });
    }
    for eni in ledger.enis.values() {
        let mut eni = eni.clone();
        // As young as can be: that delays what waits for age, and hurries nothing.
        eni.since = now.boottime;
        eni.changed = now.boottime;
        draft.put_eni(eni);
    }
}
