//! What the outcome of a call proves.
//!
//! A definite answer closes the intent: what EC2 surely did not carry out is as it was before. Where the refusal suggests
//! that an earlier call was carried out, or one was not answered, an unassignment and a detachment stay open until a read
//! has told what became of them. A call that never left proves nothing.

use holdfast_model::block::{Ask, Block, BlockState, Unit};
use holdfast_model::cloud::{CloudAnswer, CloudChange, CloudRead, EniView};
use holdfast_model::eni::{EniPhase, EniPlace, EniRecord, EniSlot, EniSource, Management};
use holdfast_model::ids::{EniId, IntentId, SubnetId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{BootTime, Now};
use ipnet::IpNet;

use crate::claims::{claimed_slots, lowest_free_slot};
use crate::draft::Draft;
use crate::outcome::{Fault, Outcome, PauseScope, Setback, Settlement};
use crate::proof::Left;

#[cfg(test)]
mod tests;

/// What an outcome means. An intent that is no longer open means nothing.
pub fn settle(ledger: &Ledger, id: IntentId, outcome: &Outcome, now: &Now) -> Settlement {
    let Some(intent) = ledger.intents.get(&id) else {
        return Settlement::default();
    };
    if let Outcome::NotCarriedOut { fault, cause } = outcome
        && fault.never_left()
    {
        let never = intent.sending == Sending::MaybeSent;
        let changes =
            never.then(|| Change::PutIntent(Intent { sending: Sending::NeverSent, ..intent.clone() }));
        return Settlement {
            eni: intent.change.eni().cloned(),
            changes: changes.into_iter().collect(),
            setback: Some(setback(ledger, intent, Some(fault), cause)),
            ..Settlement::default()
        };
    }
    let mut draft = Draft::of(ledger, now);
    // What may have been carried out: from here on, reads that began earlier prove nothing about this ENI.
    if !matches!(outcome, Outcome::NotCarriedOut { .. })
        && let Some(eni) = intent.change.eni()
    {
        draft.touch(eni);
    }
    let (setback, doubt) = match outcome {
        Outcome::Answered(answer) => {
            if answered(&mut draft, intent, answer) {
                (None, None)
            } else {
                let words = format!("an answer that does not fit: {answer:?}");
                (Some(setback(ledger, intent, None, &words)), None)
            }
        }
        Outcome::Unknown { cause } => {
            draft.put_intent(Intent { sending: Sending::Unanswered, ..intent.clone() });
            (Some(setback(ledger, intent, None, cause)), None)
        }
        Outcome::NotCarriedOut { fault, cause } => {
            let doubt = refused(&mut draft, ledger, intent, *fault);
            // An object that is to go and is gone is no setback.
            let over = *fault == Fault::NotFound
                && matches!(intent.change, CloudChange::DeleteEni { .. } | CloudChange::DetachEni { .. });
            ((!over).then(|| setback(ledger, intent, Some(fault), cause)), doubt)
        }
    };
    let too_many = match outcome {
        Outcome::NotCarriedOut { fault: Fault::AddressLimit, .. } => asked_for(&intent.change),
        _ => None,
    };
    let prefixes = asked_in_prefixes(ledger, &intent.change);
    let no_blocks = match outcome {
        Outcome::NotCarriedOut { fault: Fault::NoFreeBlock | Fault::SubnetFull, .. } => prefixes.clone(),
        _ => None,
    };
    let gave_prefixes = match outcome {
        Outcome::Answered(_) if setback.is_none() => prefixes.map(|(subnet, _)| subnet),
        _ => None,
    };
    let taken = match (outcome, &intent.change) {
        (Outcome::NotCarriedOut { fault: Fault::SlotTaken, .. }, CloudChange::AttachEni { slot, .. }) => {
            Some(*slot)
        }
        _ => None,
    };
    let eni = intent.change.eni().cloned();
    let changes = draft.into_changes();
    Settlement { eni, changes, setback, doubt, too_many, no_blocks, gave_prefixes, taken }
}

/// How many of an ENI's slots a change fills, and of which ENI, if there is one yet.
fn asked_for(change: &CloudChange) -> Option<(Option<EniId>, u32)> {
    match change {
        // Of IPv6 there is one to ask for, and the room is another one.
        CloudChange::Assign { ask: Ask { unit: Unit::Ipv6Prefix, .. }, .. } => None,
        CloudChange::Assign { eni, ask } => Some((Some(eni.clone()), ask.count)),
        CloudChange::CreateEni { ask, .. } => Some((None, ask.count)),
        _ => None,
    }
}

/// Of which subnet a change asks how many prefixes.
fn asked_in_prefixes(ledger: &Ledger, change: &CloudChange) -> Option<(SubnetId, u32)> {
    let (subnet, ask) = match change {
        CloudChange::CreateEni { subnet, ask, .. } => (subnet, ask),
        CloudChange::Assign { eni, ask } => (&ledger.enis.get(eni)?.source.subnet, ask),
        _ => return None,
    };
    (ask.unit == Unit::Prefix && ask.count > 0).then(|| (subnet.clone(), ask.count))
}

/// Takes an answer in; false when it is not an answer to this change.
fn answered(draft: &mut Draft<'_>, intent: &Intent, answer: &CloudAnswer) -> bool {
    match (&intent.change, answer) {
        (CloudChange::CreateEni { slot, .. }, CloudAnswer::Created(view)) => {
            draft.drop_intent(intent.id);
            created(draft, intent.id, *slot, view);
        }
        (CloudChange::AttachEni { eni, .. }, CloudAnswer::Attached(attachment)) => {
            draft.drop_intent(intent.id);
            let attachment = attachment.clone();
            draft.enter(eni, EniPhase::Attached { attachment, delete_on_termination: false });
        }
        (CloudChange::SetDeleteOnTermination { eni, attachment }, CloudAnswer::Done) => {
            draft.drop_intent(intent.id);
            if let Some(mut record) = draft.ledger.enis.get(eni).cloned()
                && let EniPhase::Attached { attachment: own, delete_on_termination } = &mut record.phase
                && own == attachment
            {
                *delete_on_termination = true;
                draft.put_eni(record);
            }
        }
        (CloudChange::Assign { eni, .. }, CloudAnswer::Assigned(nets)) => {
            draft.drop_intent(intent.id);
            for net in nets {
                given(draft, eni, *net);
            }
        }
        (CloudChange::Unassign { nets, .. }, CloudAnswer::Done) => {
            for net in nets {
                departed(draft, intent.id, *net);
            }
            draft.drop_intent(intent.id);
        }
        (CloudChange::DetachEni { eni, .. }, CloudAnswer::Done) => {
            draft.drop_intent(intent.id);
            draft.enter(eni, EniPhase::Detached);
        }
        (CloudChange::SetSecurityGroups { eni, groups }, CloudAnswer::Done) => {
            draft.drop_intent(intent.id);
            if let Some(mut record) = draft.ledger.enis.get(eni).cloned() {
                record.source.security_groups = Some(groups.clone());
                draft.put_eni(record);
            }
        }
        (CloudChange::DeleteEni { eni }, CloudAnswer::Done) => {
            draft.drop_intent(intent.id);
            if let Some(left) = Left::deleted(intent) {
                draft.bury(eni, &left);
            }
        }
        _ => return false,
    }
    true
}

/// A definite refusal; gives what has to be read before the ledger is believed again.
fn refused(draft: &mut Draft<'_>, ledger: &Ledger, intent: &Intent, fault: Fault) -> Option<CloudRead> {
    let this = |eni: &EniId| CloudRead::Enis { enis: vec![eni.clone()] };
    let all = || {
        ledger.node.as_ref().map(|node| CloudRead::InstanceEnis { instance: node.identity.instance.clone() })
    };
    match &intent.change {
        CloudChange::Unassign { eni, .. } => {
            let unclear = matches!(fault, Fault::Rejected | Fault::NotFound | Fault::Conflict);
            if unclear || intent.sending == Sending::Unanswered {
                return Some(this(eni));
            }
            not_unassigned(draft, intent);
            None
        }
        CloudChange::CreateEni { .. } => {
            draft.drop_intent(intent.id);
            // A group that is not there any more: the primary has others by now.
            if fault == Fault::NotFound { all() } else { None }
        }
        CloudChange::AttachEni { eni, slot, .. } => {
            draft.drop_intent(intent.id);
            match fault {
                Fault::Conflict => Some(this(eni)),
                Fault::AttachmentLimit => all(),
                Fault::SlotTaken => {
                    let mut claimed = claimed_slots(&draft.ledger);
                    claimed.insert(*slot);
                    if let Some(record) = draft.ledger.enis.get(eni).cloned() {
                        let place = EniPlace::Device(lowest_free_slot(slot.card, &claimed));
                        draft.put_eni(EniRecord { place, ..record });
                    }
                    all()
                }
                Fault::NotFound => {
                    // A new ENI may be unknown to a part of EC2 for a moment, and it may be the instance that
                    // was not found. So nothing is concluded; deletion will tell, in the end.
                    if let Some(record) = draft.ledger.enis.get(eni)
                        && draft.now().since(record.since) >= crate::lifecycle::GIVE_UP_ATTACHING_UNKNOWN
                    {
                        draft.enter(eni, EniPhase::Detached);
                    }
                    None
                }
                _ => None,
            }
        }
        CloudChange::SetDeleteOnTermination { eni, .. }
        | CloudChange::SetSecurityGroups { eni, .. }
        | CloudChange::Assign { eni, .. } => {
            draft.drop_intent(intent.id);
            match fault {
                Fault::AddressLimit | Fault::Conflict => Some(this(eni)),
                Fault::NotFound => all(),
                _ => None,
            }
        }
        CloudChange::DetachEni { eni, .. } => match fault {
            // Most likely it was carried out the first time. The read settles the intent.
            Fault::Conflict => Some(this(eni)),
            Fault::NotFound => {
                draft.drop_intent(intent.id);
                draft.enter(eni, EniPhase::Detached);
                None
            }
            _ if intent.sending == Sending::Unanswered => Some(this(eni)),
            _ => {
                draft.drop_intent(intent.id);
                None
            }
        },
        CloudChange::DeleteEni { eni } => {
            draft.drop_intent(intent.id);
            match fault {
                Fault::NotFound => {
                    if let Some(left) = Left::not_found(intent, fault) {
                        draft.bury(eni, &left);
                    }
                    None
                }
                // Usually the detachment is not finished. If it lasts, somebody attached the ENI again.
                Fault::Conflict
                    if draft.ledger.enis.get(eni).is_some_and(|record| {
                        draft.now().since(record.since) >= crate::lifecycle::DETACHMENT_TAKES_AT_MOST
                    }) =>
                {
                    Some(this(eni))
                }
                _ => None,
            }
        }
    }
}

fn setback(ledger: &Ledger, intent: &Intent, fault: Option<&Fault>, words: &str) -> Setback {
    let api = intent.change.api();
    // An unknown outcome of a creation says something about EC2, not about an ENI that nobody has seen.
    let scope = intent.change.eni().map_or(PauseScope::Api, |eni| PauseScope::Eni(eni.clone()));
    // What EC2 has against prefixes it need not have against single addresses.
    let against_prefixes = matches!(fault, Some(Fault::NoFreeBlock | Fault::SubnetFull | Fault::Rejected));
    let scope = match asked_in_prefixes(ledger, &intent.change).filter(|_| against_prefixes) {
        Some((subnet, _)) => PauseScope::Prefixes(subnet),
        None => scope,
    };
    let subnet = match &intent.change {
        CloudChange::CreateEni { subnet, .. } => Some(subnet),
        CloudChange::Assign { eni, .. } => ledger.enis.get(eni).map(|eni| &eni.source.subnet),
        _ => None,
    };
    let scope = match (&intent.change, fault) {
        // It is about this subnet, or the groups there.
        (CloudChange::CreateEni { subnet, .. }, Some(Fault::Rejected | Fault::NotFound))
            if matches!(scope, PauseScope::Api) =>
        {
            PauseScope::MadeIn(subnet.clone())
        }
        _ => scope,
    };
    Setback::of(api, scope, fault, words, subnet)
}

/// Writes a created ENI down, with its addresses.
fn created(draft: &mut Draft<'_>, intent: IntentId, slot: EniSlot, view: &EniView) {
    if !draft.ledger.enis.contains_key(&view.id) {
        let claimed = claimed_slots(&draft.ledger);
        // The slot was claimed by this very intent until a moment ago; somebody else's ENI may sit there now.
        let slot = if claimed.contains(&slot) { lowest_free_slot(slot.card, &claimed) } else { slot };
        let record = EniRecord {
            id: view.id.clone(),
            mac: view.mac,
            place: EniPlace::Device(slot),
            kind: view.kind,
            management: Management::Managed,
            phase: EniPhase::Available,
            source: source_of(view),
            primary_ipv4: view.primary_ipv4,
            created_by: Some(intent),
            since: draft.now(),
            changed: draft.now(),
        };
        draft.put_eni(record);
    }
    for net in view.blocks() {
        given(draft, &view.id, net);
    }
}

/// EC2 gave us this block in answer to our own call. What its addresses are used for is not touched: a rest is owed
/// wherever an address is now.
fn given(draft: &mut Draft<'_>, eni: &EniId, net: IpNet) {
    if draft.has_primary_address(net) || !draft.ledger.enis.contains_key(eni) {
        return;
    }
    let there = |known: &Block| known.net == net && &known.eni == eni;
    for known in draft.blocks_over(net).into_iter().filter(|known| !there(known)) {
        left_for(draft, known, eni, net);
    }
    // What is in use elsewhere, by the book, keeps its place there: it is taken in when it has left.
    let known = draft.blocks_over(net);
    let leaving = |known: &Block| there(known) && matches!(known.state, BlockState::Leaving(_));
    if known.is_empty() || known.iter().all(|known| there(known) && !leaving(known)) {
        draft.put_block(Block::held(net, eni.clone(), draft.now()));
    }
}

/// A block that the book has has left where it was: EC2 has given its addresses to us as `net` on another ENI, or in
/// another unit.
fn left_for(draft: &mut Draft<'_>, known: Block, eni: &EniId, net: IpNet) {
    match known.state {
        BlockState::Held | BlockState::Withdrawn if draft.ledger.is_somebodys(&known) => {
            draft.note(format!(
                "{net} was assigned to {eni}, and the ledger has {} in use on {}: somebody took it away there",
                known.net, known.eni
            ));
            draft.set_state(known.net, BlockState::Withdrawn);
        }
        // What is still open there must not name it any longer.
        BlockState::Leaving(open) => {
            if let Some(mut intent) = draft.ledger.intents.get(&open).cloned()
                && let CloudChange::Unassign { nets, .. } = &mut intent.change
            {
                nets.retain(|other| *other != known.net);
                if nets.is_empty() {
                    draft.drop_intent(open);
                } else {
                    draft.put_intent(intent);
                }
            }
            draft.drop_block(known.net);
        }
        BlockState::Held | BlockState::Withdrawn | BlockState::Gone(_) => draft.drop_block(known.net),
    }
}

/// EC2 surely did not carry an unassignment out: its addresses are ours as before.
pub(crate) fn not_unassigned(draft: &mut Draft<'_>, intent: &Intent) {
    draft.drop_intent(intent.id);
    let leaving = draft.ledger.blocks.values().filter(|block| block.state == BlockState::Leaving(intent.id));
    for block in leaving.cloned().collect::<Vec<_>>() {
        draft.put_block(Block { state: BlockState::Held, shown: draft.now(), ..block });
    }
}

/// EC2 took this block away in answer to our own call.
pub(crate) fn departed(draft: &mut Draft<'_>, intent: IntentId, net: IpNet) {
    if draft.ledger.blocks.get(&net).is_some_and(|known| known.state == BlockState::Leaving(intent)) {
        let gone_at: BootTime = draft.now();
        draft.set_state(net, BlockState::Gone(gone_at));
    }
}

/// What an ENI is made from, as EC2 shows it.
pub(crate) fn source_of(view: &EniView) -> EniSource {
    EniSource { subnet: view.subnet.clone(), security_groups: Some(view.security_groups.clone()) }
}
