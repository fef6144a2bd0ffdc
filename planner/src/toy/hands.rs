//! What tests do to the small world by hand.

use holdfast_model::cloud::{Api, CloudChange, CloudRead};
use holdfast_model::eni::EniRecord;
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::ledger::Change;
use uuid::Uuid;

use crate::outcome::Setback;
use crate::toy::Toy;
use crate::{Fault, PauseScope, Plan, open, plan};

impl Toy {
    /// What would be done now.
    pub(crate) fn planned(&self) -> Plan {
        self.with_desired(|desired| plan(desired, &self.ledger, &self.observed, &self.now))
    }

    /// A change is made an intent, after a look at its ENI if it needs one, and its call is under way from now on.
    pub(crate) fn open(&mut self, change: CloudChange) -> IntentId {
        if let Some(eni) = change.eni().filter(|_| change.gives_back()) {
            self.has_seen(&eni.clone());
        }
        self.next += 1;
        let (id, api) = (IntentId(Uuid::from_u128(u128::from(self.next) << 64)), change.api());
        let changes = open(&self.ledger, &self.observed, change, id, &self.now).expect("it is admitted");
        self.commit(&changes);
        self.observed.sent(id, api, &self.now);
        id
    }

    /// A call of that kind had a setback just now; no fault: it was not answered. Similar calls rest from now on.
    pub(crate) fn set_back(&mut self, api: Api, scope: PauseScope, fault: Option<Fault>) {
        let subnet = holdfast_model::ids::SubnetId::new("subnet-1");
        let setback = Setback::of(api, scope, fault.as_ref(), "no", Some(&subnet));
        self.observed.pauses.setback(&setback, self.now.boottime, &self.now, 400);
    }

    /// A read has just shown an ENI as the ledger has it.
    pub(crate) fn has_seen(&mut self, eni: &EniId) {
        let (read, shown) = (CloudRead::Enis { enis: vec![eni.clone()] }, [eni.clone()].into());
        self.observed.reads.failed(&read);
        self.observed.reads.looked(&read, self.now.boottime, shown, &self.ledger);
    }

    /// An ENI's record becomes another one.
    pub(crate) fn alter(&mut self, eni: &EniId, change: impl FnOnce(&mut EniRecord)) {
        let mut record = self.ledger.enis[eni].clone();
        change(&mut record);
        self.ledger.apply(&Change::PutEni(record));
    }
}
