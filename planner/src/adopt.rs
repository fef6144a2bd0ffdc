//! Merging an authoritative read into the ledger.
//!
//! A read proves something about an ENI only if it began after EC2 was last asked to change it, and only if no
//! call about it is under way. A list that lacks what must be there shows what it
//! shows, and proves no absence. What it shows is then taken in. What it does not show is believed only half a
//! minute after the last change, because describes lag, or later where an ENI's link speaks against it; and even then
//! nothing that is leased or rests is forgotten. Tombstones are not revived.

mod known;
pub(crate) mod unknown;

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{
    AttachmentStatus, AttachmentView, CloudRead, EniView, TAG_INSTANCE, TAG_NO_MANAGE,
};
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, EniSlot, Management};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::{Family, PoolKey};
use holdfast_model::time::Now;
use holdfast_model::uses::{Suspicion, Use};
use ipnet::IpNet;

use crate::desired::Desired;
use crate::draft::Draft;
use crate::observed::Observed;
use crate::orphan::intent_tag;
use crate::proof::Left;
use crate::quarantine::rest;
use crate::reading::{DESCRIBES_LAG, Reading, VIEWS_ARE_OLD_AT_MOST};

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
    // What is gone first: what it had may be shown on another ENI. Then what we know: it may make room for an ENI that is found in
    // its slot.
    for record in ledger.enis.values().filter(|record| merge.covers(record)) {
        if !reading.views.iter().any(|view| view.id == record.id) {
            merge.absent(&mut draft, record, None);
        }
    }
    for view in reading.views {
        if let Some(record) = ledger.enis.get(&view.id) {
            merge.known(&mut draft, record, view);
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
            CloudRead::AvailableEnis { .. } | CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => {
                false
            }
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
        // On the other cards, while they are not managed, only what was made for them is ours, and goes.
        let beside = slot.card != PoolKey::DEFAULT.card && !self.desired.config.multi_nic.value;
        let left_over = beside && intent_tag(view).is_none();
        if left_over || matches!(view.kind, EniKind::Trunk | EniKind::EfaOnly) {
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

    /// Takes in the blocks that a view shows on an ENI of ours, and what it does not show.
    ///
    /// What nobody here asked for (`new`) may have been a pod's a moment ago, by a ledger that is lost: it rests first.
    fn blocks(&self, draft: &mut Draft<'_>, record: &EniRecord, view: &EniView, new: New) {
        for known in draft.blocks_on(&record.id) {
            if !view.shows(known.net)
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
        for net in view.blocks() {
            let own = view.primary_ipv4.is_some_and(|own| net.contains(&IpAddr::V4(own)));
            if !own && !draft.has_primary_address(net) {
                self.shown(draft, record, net, new);
            }
        }
    }

    /// A view shows this block on an ENI of ours.
    fn shown(&self, draft: &mut Draft<'_>, record: &EniRecord, net: IpNet, new: New) {
        let mut over = draft.blocks_over(net);
        // We gave it back, longer ago than views lag: somebody has put it there.
        let given_back = |known: &Block| matches!(known.state, BlockState::Gone(at) if self.reading.began.since(at) >= DESCRIBES_LAG);
        let all_given_back = !over.is_empty() && over.iter().all(given_back);
        if all_given_back {
            for known in over.drain(..) {
                draft.drop_block(known.net);
            }
        }
        match &over[..] {
            [] => self.found(draft, &record.id, net, if all_given_back { New::Unasked } else { new }),
            [known] if known.net == net && known.eni == record.id => {
                self.shown_again(draft, record, known.clone());
            }
            // It has left where the book had it, under a sandbox that no lease explains.
            [known]
                if known.net == net
                    && known.state == BlockState::Withdrawn
                    && !has_leased(&draft.ledger, net) =>
            {
                draft.put_block(Block::held(net, record.id.clone(), self.reading.began));
            }
            // The book has it on another ENI, or in another unit, and that may be the newer truth: EC2 gives out again at
            // once what it got back, and this view may be late. It is taken in here when it has left there.
            _ => {}
        }
    }

    /// Whether it is believed that what was not shown is not there. A live pod is not told dead by a view that may be older than its
    /// address; what is nobody's comes back as it went.
    fn is_believed_of(&self, draft: &Draft<'_>, known: &Block) -> bool {
        !draft.ledger.is_somebodys(known) || self.reading.began.since(known.shown) >= VIEWS_ARE_OLD_AT_MOST
    }

    /// A block that the book has there is there.
    fn shown_again(&self, draft: &mut Draft<'_>, record: &EniRecord, known: Block) {
        if matches!(known.state, BlockState::Held | BlockState::Withdrawn) {
            // What was shown since the ENI was last changed needs no newer proof.
            let shown = if known.shown < record.changed { self.reading.began } else { known.shown };
            draft.put_block(Block { state: BlockState::Held, shown, ..known });
        }
    }

    /// Writes down a block that was found, as far as the ENI's limit has room for it in the book: beside one that was taken
    /// away under a live pod there may be one too many.
    fn found(&self, draft: &mut Draft<'_>, eni: &EniId, net: IpNet, new: New) {
        let family = Family::of(net.addr());
        let takes_room = |block: &&Block| block.occupies() && block.family() == family;
        let held = draft.ledger.blocks_on(eni).filter(takes_room).count();
        // What EC2 shows is no less there because nobody has told yet how much there can be.
        let room = draft.ledger.limits().and_then(|limits| limits.blocks_per_eni(family));
        let room = room.map(|room| room as usize);
        if room.is_some_and(|room| held >= room) {
            return;
        }
        let block = Block::held(net, eni.clone(), self.reading.began);
        draft.put_block(block.clone());
        let traces = &self.observed.traces;
        let what = |ip: &IpAddr| {
            if traces.in_use.contains_key(ip) {
                Some(Use::Suspect(Suspicion::MaybeInUse))
            } else if !traces.looked {
                Some(Use::Suspect(Suspicion::LedgerRebuilt))
            } else {
                match new {
                    New::AskedFor => None,
                    New::Unasked => Some(Use::Cooling(rest(self.desired, self.now))),
                }
            }
        };
        // Of an IPv6 prefix, which has more addresses than any book, its first one stands for all that nothing is known of.
        let known = || traces.in_use.keys().copied().filter(|ip| block.net.contains(ip));
        let named: BTreeSet<IpAddr> = match block.whole() {
            Some(whole) => known().chain([whole]).collect(),
            None => block.addresses().collect(),
        };
        for ip in named {
            // What is known of it is kept: a rest that is owed, a sandbox that lives.
            if let Some(what) = what(&ip)
                && !draft.ledger.uses.contains_key(&ip)
            {
                draft.put_use(ip, what);
            }
        }
    }

    fn attached(attachment: &AttachmentView) -> EniPhase {
        EniPhase::Attached {
            attachment: attachment.id.clone(),
            delete_on_termination: attachment.delete_on_termination,
        }
    }
}

fn has_leased(ledger: &Ledger, net: IpNet) -> bool {
    ledger.uses_in(net).any(|(_, what)| matches!(what, Use::Leased(_)))
}

/// Where an address that a read shows comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum New {
    /// We asked for it, or it is on an ENI that nobody has used yet.
    AskedFor,
    /// Nobody here asked for it.
    Unasked,
}
