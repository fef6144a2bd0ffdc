//! Merging an authoritative read into the ledger.
//!
//! A read proves something about an ENI only if it began after EC2 was last asked to change it, and only if no
//! call about it is under way. A list that lacks what must be there shows what it
//! shows, and proves no absence. What it shows is then taken in. What it does not show is believed only half a
//! minute after the last change, because describes lag, or later where an ENI's link speaks against it; and even then
//! nothing that is leased or rests is forgotten. Tombstones are not revived.

mod known;
pub(crate) mod unknown;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{
    AttachmentStatus, AttachmentView, CloudRead, EniView, TAG_INSTANCE, TAG_NO_MANAGE,
};
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, EniSlot, Management};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::Now;
use holdfast_model::uses::{Suspicion, Use};
use ipnet::IpNet;

use crate::desired::Desired;
use crate::draft::Draft;
use crate::observed::{DESCRIBES_LAG, Observed};
use crate::proof::Left;
use crate::quarantine::rest;
use crate::reading::{Reading, VIEWS_ARE_OLD_AT_MOST};

#[cfg(test)]
mod tests;

/// Merges a read. Also closes open intents that the read settles. Call it before
/// [`crate::Observed::read_adopted`].
pub fn adopt(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    reading: Reading<'_>,
    now: &Now,
) -> Vec<Change> {
    let Some(node) = ledger.node.as_ref().filter(|node| node.boot == now.boot) else {
        return Vec::new();
    };
    let (whole, me) = (reading.is_whole(ledger), node.identity.instance.clone());
    let merge = Merge { desired, observed, reading, whole, now, me };
    let mut draft = Draft::of(ledger, now);
    // What we know first: an ENI that is found gone may make room for one that is found in its slot.
    for view in reading.views {
        if let Some(record) = ledger.enis.get(&view.id) {
            merge.known(&mut draft, record, view);
        }
    }
    for record in ledger.enis.values().filter(|record| merge.covers(record)) {
        if !reading.views.iter().any(|view| view.id == record.id) {
            merge.absent(&mut draft, record, None);
        }
    }
    for view in reading.views {
        if !ledger.enis.contains_key(&view.id) {
            merge.unknown(&mut draft, view);
        }
    }
    draft.into_changes()
}

/// One merge: all that it needs to know, besides the ledger in the making.
struct Merge<'a> {
    desired: &'a Desired<'a>,
    observed: &'a Observed,
    reading: Reading<'a>,
    /// What it does not show is not there.
    whole: bool,
    now: &'a Now,
    me: InstanceId,
}

impl Merge<'_> {
    /// Whether the read would have shown this ENI if it were as the ledger has it.
    fn covers(&self, record: &EniRecord) -> bool {
        match self.reading.read {
            CloudRead::InstanceEnis { .. } => self.whole && record.attachment().is_some(),
            CloudRead::Enis { enis } => enis.contains(&record.id),
            CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } => false,
        }
    }

    /// Whether the read says anything about this ENI.
    fn proves(&self, draft: &Draft<'_>, record: &EniRecord) -> bool {
        self.reading.began >= record.changed
            && !draft.ledger.intents_on(&record.id).any(|intent| self.observed.is_under_way(intent.id))
    }

    /// Whether absence is to be believed, too.
    fn proves_absence(&self, record: &EniRecord) -> Option<Left> {
        Left::not_shown(self.reading, record)
    }

    /// The binding to this instance, unless it is being undone.
    fn here<'v>(&self, view: &'v EniView) -> Option<&'v AttachmentView> {
        view.attachment.as_ref().filter(|attachment| {
            attachment.instance == self.me
                && matches!(attachment.status, AttachmentStatus::Attaching | AttachmentStatus::Attached)
        })
    }

    /// Upstream's order: the primary always; then the card and the kind; then the user's word; then whose it is by tag.
    fn management(&self, view: &EniView, slot: EniSlot) -> Management {
        if slot == EniSlot::PRIMARY {
            return Management::Managed;
        }
        // Pods are served from the first card only.
        if slot.card != 0 || matches!(view.kind, EniKind::Trunk | EniKind::EfaOnly) {
            return Management::Unmanaged;
        }
        let managed = match view.tags.get(TAG_NO_MANAGE) {
            Some(word) => word != "true",
            None => {
                view.tags.get(TAG_INSTANCE).is_some_and(|owner| owner == self.me.as_str())
                    || self.desired.config.manage_untagged.value
            }
        };
        if managed { Management::Managed } else { Management::Unmanaged }
    }

    /// Takes in the addresses that a view shows on an ENI of ours, and what it does not show.
    ///
    /// What nobody here asked for (`new`) may have been a pod's a moment ago, by a ledger that is lost: it rests first.
    fn addresses(&self, draft: &mut Draft<'_>, record: &EniRecord, view: &EniView, new: New) {
        for known in draft.blocks_on(&record.id) {
            let shown = if known.is_host() {
                view.secondary.contains(&known.net.addr())
            } else {
                view.prefixes.iter().any(|prefix| IpNet::V4(*prefix) == known.net)
            };
            if !shown
                && known.state == BlockState::Held
                && self.is_believed_of(draft, &known)
                && let Some(left) = self.proves_absence(record)
            {
                draft.withdraw(&known, &left);
                if draft.ledger.blocks.contains_key(&known.net) {
                    draft.note(format!(
                        "{} on {} was taken away in EC2 while it is in use",
                        known.net, record.id
                    ));
                }
            }
        }
        self.prefixes(draft, record, view);
        for &ip in &view.secondary {
            let own = view.primary_ipv4.is_some_and(|own| std::net::IpAddr::V4(own) == ip);
            if own || draft.is_primary_address(ip) {
                continue;
            }
            match draft.ledger.block_of(ip).cloned() {
                // We gave it back, longer ago than views lag: somebody has put it there.
                Some(Block { net, state: BlockState::Gone(at), .. })
                    if self.reading.began.since(at) >= DESCRIBES_LAG =>
                {
                    draft.drop_block(net);
                    self.found(draft, &record.id, ip, New::Unasked);
                }
                Some(known) if known.eni == record.id => self.shown_again(draft, record, known),
                // It has left where the book had it, under a sandbox that no lease explains.
                Some(known) if known.state == BlockState::Withdrawn && !is_leased(&draft.ledger, ip) => {
                    draft.put_block(Block::held(known.net, record.id.clone(), self.reading.began));
                }
                // The book has it on another ENI, and that may be the newer truth: EC2 gives out again at once
                // what it got back, and this view may be late. It is taken in here when it has left there.
                Some(_) => {}
                None => self.found(draft, &record.id, ip, new),
            }
        }
    }

    /// Whether it is believed that what was not shown is not there. A live pod is not told dead by a view that may be older than its
    /// address; what is nobody's comes back as it went.
    fn is_believed_of(&self, draft: &Draft<'_>, known: &Block) -> bool {
        !draft.ledger.is_somebodys(known) || self.reading.began.since(known.shown) >= VIEWS_ARE_OLD_AT_MOST
    }

    /// Delegated prefixes: nothing is leased from them, and they take up room.
    fn prefixes(&self, draft: &mut Draft<'_>, record: &EniRecord, view: &EniView) {
        for &prefix in &view.prefixes {
            match draft.ledger.blocks.get(&IpNet::V4(prefix)).cloned() {
                Some(known) if known.eni == record.id => self.shown_again(draft, record, known),
                Some(_) => {}
                None => {
                    draft.put_block(Block::held(prefix.into(), record.id.clone(), self.reading.began));
                }
            }
        }
    }

    /// A block that the book has there is there.
    fn shown_again(&self, draft: &mut Draft<'_>, record: &EniRecord, known: Block) {
        if matches!(known.state, BlockState::Held | BlockState::Withdrawn) {
            // What was shown since the ENI was last changed needs no newer proof.
            let shown = if known.shown < record.changed { self.reading.began } else { known.shown };
            draft.put_block(Block { state: BlockState::Held, shown, ..known });
        }
    }

    /// Writes down an address that was found, as far as the ENI's limit has room for it in the book: beside an
    /// address that was taken away under a live pod there may be one too many.
    fn found(&self, draft: &mut Draft<'_>, eni: &EniId, ip: std::net::IpAddr, new: New) {
        let held = draft.ledger.blocks_on(eni).filter(|block| block.occupies()).count();
        // What EC2 shows is no less there because nobody has told yet how much there can be.
        let room = draft.ledger.limits().map(|limits| limits.pod_addresses_per_eni() as usize);
        if room.is_some_and(|room| held >= room) {
            return;
        }
        let what = if self.observed.traces.in_use.contains_key(&ip) {
            Some(Use::Suspect(Suspicion::MaybeInUse))
        } else if !self.observed.traces.looked {
            Some(Use::Suspect(Suspicion::LedgerRebuilt))
        } else {
            match new {
                New::AskedFor => None,
                New::Unasked => Some(Use::Cooling(rest(self.desired, self.now))),
            }
        };
        draft.put_block(Block::held(IpNet::from(ip), eni.clone(), self.reading.began));
        // What is known of it is kept: a rest that is owed, a sandbox that lives.
        if let Some(what) = what
            && !draft.ledger.uses.contains_key(&ip)
        {
            draft.put_use(ip, what);
        }
    }

    fn attached(attachment: &AttachmentView) -> EniPhase {
        EniPhase::Attached {
            attachment: attachment.id.clone(),
            delete_on_termination: attachment.delete_on_termination,
        }
    }
}

fn is_leased(ledger: &Ledger, ip: std::net::IpAddr) -> bool {
    matches!(ledger.uses.get(&ip), Some(Use::Leased(_)))
}

/// Where an address that a read shows comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum New {
    /// We asked for it, or it is on an ENI that nobody has used yet.
    AskedFor,
    /// Nobody here asked for it.
    Unasked,
}
