//! A ledger in the making: changes are seen by the decisions that follow, and writes that change nothing are
//! left out.

use std::net::IpAddr;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniPhase, EniRecord};
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::intent::Intent;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;
use ipnet::IpNet;

use crate::proof::Left;

pub(crate) struct Draft<'a> {
    pub(crate) ledger: Ledger,
    changes: Vec<Change>,
    now: &'a Now,
}

impl<'a> Draft<'a> {
    pub(crate) fn of(ledger: &Ledger, now: &'a Now) -> Self {
        Self { ledger: ledger.clone(), changes: Vec::new(), now }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.ledger.apply(&change);
        self.changes.push(change);
    }

    pub(crate) fn put_eni(&mut self, record: EniRecord) {
        if self.ledger.enis.get(&record.id) != Some(&record) {
            self.push(Change::PutEni(record));
        }
    }

    pub(crate) fn put_block(&mut self, block: Block) {
        if self.ledger.blocks.get(&block.net) != Some(&block) {
            self.push(Change::PutBlock(block));
        }
    }

    pub(crate) fn put_use(&mut self, ip: IpAddr, what: Use) {
        if self.ledger.uses.get(&ip) != Some(&what) {
            self.push(Change::PutUse(ip, what));
        }
    }

    pub(crate) fn put_intent(&mut self, intent: Intent) {
        if self.ledger.intents.get(&intent.id) != Some(&intent) {
            self.push(Change::PutIntent(intent));
        }
    }

    /// The ENI has left, and nothing on it is owed.
    pub(crate) fn drop_eni(&mut self, id: &EniId, _proof: &Left) {
        if self.ledger.enis.contains_key(id) {
            self.push(Change::DropEni(id.clone()));
        }
    }

    pub(crate) fn drop_block(&mut self, net: IpNet) {
        if self.ledger.blocks.contains_key(&net) {
            self.push(Change::DropBlock(net));
        }
    }

    pub(crate) fn drop_use(&mut self, ip: IpAddr) {
        if self.ledger.uses.contains_key(&ip) {
            self.push(Change::DropUse(ip));
        }
    }

    pub(crate) fn drop_intent(&mut self, id: IntentId) {
        if self.ledger.intents.contains_key(&id) {
            self.push(Change::DropIntent(id));
        }
    }

    pub(crate) fn note(&mut self, what: String) {
        self.push(Change::Journal(JournalEntry { at: self.now.wall, what }));
    }

    /// Puts an ENI into a phase and stamps the instant.
    pub(crate) fn enter(&mut self, id: &EniId, phase: EniPhase) {
        if let Some(record) = self.ledger.enis.get(id)
            && record.phase != phase
        {
            let mut record = record.clone();
            record.phase = phase;
            record.since = self.now.boottime;
            self.put_eni(record);
        }
    }

    /// EC2 was asked about this ENI, or answered.
    pub(crate) fn touch(&mut self, id: &EniId) {
        if let Some(record) = self.ledger.enis.get(id) {
            let mut record = record.clone();
            record.changed = self.now.boottime;
            self.put_eni(record);
        }
    }

    pub(crate) fn set_state(&mut self, net: IpNet, state: BlockState) {
        if let Some(block) = self.ledger.blocks.get(&net) {
            self.put_block(Block { state, ..block.clone() });
        }
    }

    /// The blocks recorded on an ENI.
    pub(crate) fn blocks_on(&self, eni: &EniId) -> Vec<Block> {
        self.ledger.blocks_on(eni).cloned().collect()
    }

    /// The open intents that name an ENI.
    pub(crate) fn intents_on(&self, eni: &EniId) -> Vec<Intent> {
        self.ledger.intents_on(eni).cloned().collect()
    }

    /// The ENI does not exist any more. What is somebody's on it stays in the book, and rests are owed in full; all
    /// else on it is forgotten.
    pub(crate) fn bury(&mut self, id: &EniId, left: &Left) {
        self.note(format!("{id}: {left}"));
        self.enter(id, EniPhase::Gone);
        self.strip(id, left);
    }

    /// EC2 no longer has this ENI's blocks for us.
    pub(crate) fn strip(&mut self, id: &EniId, left: &Left) {
        for block in self.blocks_on(id) {
            self.withdraw(&block, left);
        }
    }

    /// EC2 no longer has this block for us, and not by our doing.
    pub(crate) fn withdraw(&mut self, block: &Block, _proof: &Left) {
        match block.state {
            BlockState::Held | BlockState::Withdrawn if self.ledger.is_somebodys(block) => {
                self.set_state(block.net, BlockState::Withdrawn);
            }
            // What is being given back is settled by its intent.
            BlockState::Leaving(_) => {}
            BlockState::Held | BlockState::Withdrawn | BlockState::Gone(_) => self.drop_block(block.net),
        }
    }

    /// The blocks that share an address with a network.
    pub(crate) fn blocks_over(&self, net: IpNet) -> Vec<Block> {
        self.ledger.blocks_over(net).cloned().collect()
    }

    /// Whether the own address of an ENI that exists is in the network.
    pub(crate) fn has_primary_address(&self, net: IpNet) -> bool {
        self.ledger
            .enis
            .values()
            .filter(|eni| eni.phase != EniPhase::Gone)
            .any(|eni| eni.primary_ipv4.is_some_and(|own| net.contains(&IpAddr::V4(own))))
    }

    pub(crate) fn now(&self) -> BootTime {
        self.now.boottime
    }
}
