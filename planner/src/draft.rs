//! A ledger in the making: changes are seen by the decisions that follow, and writes that change nothing are
//! left out.

use std::net::IpAddr;

use holdfast_model::address::{AddressRecord, AddressState};
use holdfast_model::eni::{EniPhase, EniRecord};
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::intent::Intent;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::time::{BootTime, Now};

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

    pub(crate) fn put_address(&mut self, record: AddressRecord) {
        if self.ledger.addresses.get(&record.ip) != Some(&record) {
            self.push(Change::PutAddress(record));
        }
    }

    pub(crate) fn put_intent(&mut self, intent: Intent) {
        if self.ledger.intents.get(&intent.id) != Some(&intent) {
            self.push(Change::PutIntent(intent));
        }
    }

    pub(crate) fn drop_eni(&mut self, id: &EniId) {
        if self.ledger.enis.contains_key(id) {
            self.push(Change::DropEni(id.clone()));
        }
    }

    pub(crate) fn drop_address(&mut self, ip: IpAddr) {
        if self.ledger.addresses.contains_key(&ip) {
            self.push(Change::DropAddress(ip));
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

    pub(crate) fn set_state(&mut self, ip: IpAddr, state: AddressState) {
        if let Some(record) = self.ledger.addresses.get(&ip) {
            let mut record = record.clone();
            record.state = state;
            self.put_address(record);
        }
    }

    pub(crate) fn set_assigned(&mut self, ip: IpAddr, assigned: bool) {
        if let Some(record) = self.ledger.addresses.get(&ip) {
            let mut record = record.clone();
            record.assigned = assigned;
            self.put_address(record);
        }
    }

    /// The addresses recorded on an ENI.
    pub(crate) fn addresses_on(&self, eni: &EniId) -> Vec<AddressRecord> {
        self.ledger.addresses_on(eni).cloned().collect()
    }

    /// The open intents that name an ENI.
    pub(crate) fn intents_on(&self, eni: &EniId) -> Vec<Intent> {
        self.ledger.intents_on(eni).cloned().collect()
    }

    /// The ENI does not exist any more. Its leases and resting addresses stay in the book, the lease because it
    /// is somebody's, the rest because it is owed in full; all else on it is forgotten.
    pub(crate) fn bury(&mut self, id: &EniId) {
        self.enter(id, EniPhase::Gone);
        self.strip(id);
    }

    /// EC2 no longer has this ENI's addresses for us.
    pub(crate) fn strip(&mut self, id: &EniId) {
        for address in self.addresses_on(id) {
            match &address.state {
                AddressState::Leased | AddressState::Quarantined(_) | AddressState::Departing(_) => {
                    self.set_assigned(address.ip, false);
                }
                AddressState::Cooling(rest) if rest.remaining(self.now).is_some() => {
                    self.set_assigned(address.ip, false);
                }
                AddressState::Free | AddressState::Cooling(_) | AddressState::Gone(_) => {
                    self.drop_address(address.ip);
                }
            }
        }
    }

    /// Whether the address is some ENI's own.
    pub(crate) fn is_primary_address(&self, ip: IpAddr) -> bool {
        self.ledger.enis.values().any(|eni| eni.primary_ipv4.is_some_and(|own| IpAddr::V4(own) == ip))
    }

    pub(crate) fn now(&self) -> BootTime {
        self.now.boottime
    }
}
