//! What the running process has seen. Nothing here survives a restart, and nothing here is a proof: it tells
//! what is under way and what has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::{EniId, IntentId, SubnetId};
use holdfast_model::refusal::Refusal;
use holdfast_model::time::{BootTime, Now};

use crate::hint::HintDiff;
use crate::intents::{Fault, Settlement};

/// How far a pause reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseScope {
    /// Every call of that API.
    Api,
    /// Calls about this ENI.
    Eni(EniId),
    /// Calls that take addresses from this subnet.
    Subnet(SubnetId),
}

/// Calls of one kind rest until an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which call.
    pub api: Api,
    /// How far it reaches.
    pub scope: PauseScope,
    /// Until when.
    pub until: BootTime,
    /// Why.
    pub cause: Refusal,
    /// How many setbacks in a row led here.
    pub attempts: u32,
}

/// What this process has seen and has under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// ADDs that are held because no address is free.
    pub waiting: u32,
    /// ENIs whose kernel set-up this process has read back. The primary is among them once it was set up.
    pub ready_enis: BTreeSet<EniId>,
    /// ENIs whose kernel set-up is under way.
    pub setting_up: BTreeSet<EniId>,
    /// ENIs whose set-up failed, with the instant of the next try and the failures in a row.
    pub set_up_rests: BTreeMap<EniId, (BootTime, u32)>,
    /// Calls that rest.
    pub pauses: Vec<Pause>,
    /// Intents that this process is carrying out right now.
    pub in_flight: BTreeSet<IntentId>,
    /// Reads that are under way.
    pub reading: Vec<CloudRead>,
    /// Reads that are wanted because an answer contradicted the ledger.
    pub doubts: Vec<CloudRead>,
    /// When the last complete read of the instance's ENIs began.
    pub last_full_read: Option<BootTime>,
    /// When the last read of our unattached ENIs began.
    pub last_orphan_read: Option<BootTime>,
    /// How the metadata service's hint differs from the ledger, if it does.
    pub hint: Option<HintDiff>,
    /// The difference that the last read was made for, and when that read began.
    pub hint_checked: Option<(HintDiff, BootTime)>,
    /// This process's share of jitter for periodic reads, drawn once.
    pub jitter: Duration,
}

impl Observed {
    /// An intent's call is being sent.
    pub fn sent(&mut self, _id: IntentId) {
        unimplemented!("being written")
    }

    /// An intent's call ended. `draw` is random and spreads the pause.
    pub fn settled(&mut self, _id: IntentId, _api: Api, _settlement: &Settlement, _now: &Now, _draw: u64) {
        unimplemented!("being written")
    }

    /// A read is being sent.
    pub fn read_began(&mut self, _read: &CloudRead) {
        unimplemented!("being written")
    }

    /// A read was answered and adopted.
    pub fn read_answered(&mut self, _read: &CloudRead, _began: BootTime) {
        unimplemented!("being written")
    }

    /// A read failed: `fault` is `None` when no answer came. `draw` is random and spreads the pause.
    pub fn read_failed(
        &mut self,
        _read: &CloudRead,
        _fault: Option<Fault>,
        _cause: &str,
        _now: &Now,
        _draw: u64,
    ) {
        unimplemented!("being written")
    }

    /// An ENI's kernel set-up begins.
    pub fn set_up_began(&mut self, _eni: &EniId) {
        unimplemented!("being written")
    }

    /// An ENI's kernel set-up was read back.
    pub fn set_up_done(&mut self, _eni: &EniId) {
        unimplemented!("being written")
    }

    /// An ENI's kernel set-up failed; it is tried again after a short rest.
    pub fn set_up_failed(&mut self, _eni: &EniId, _now: &Now) {
        unimplemented!("being written")
    }
}
