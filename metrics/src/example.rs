//! A node for tests, as its figures tell it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_engine::{AddressState, Durations, EniFigures, Figures, Found, Repair, Status, Tally};
use holdfast_model::block::Unit;
use holdfast_model::cloud::{Api, CloudAnswer, CloudCall, CloudRead};
use holdfast_model::config::Config;
use holdfast_model::eni::Management;
use holdfast_model::host::NatSeen;
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::refusal::Refusal;
use holdfast_model::time::Now;
use holdfast_ports::{Cloud, CloudError, CloudFault};

use crate::{AddOutcome, Counted, DelOutcome, Record, Snapshot, Source, Standing, ViewFigures};

fn eni(name: &str, management: Management, counts: &[(AddressState, u64)]) -> EniFigures {
    let mut addresses = BTreeMap::new();
    if management != Management::Unmanaged {
        addresses.extend(AddressState::ALL.map(|state| (state, 0)));
        addresses.extend(counts.iter().copied());
    }
    EniFigures { id: EniId::new(name), management, addresses, prefixes: 0 }
}

/// A `t3.medium` (three ENIs, five pod addresses each) with two ENIs of ours and one of others.
pub(crate) fn figures() -> Figures {
    let mut phase = Durations::default();
    phase.note(Duration::from_millis(3));
    let mut tally = Tally {
        found: Found { enis_added: 1, blocks_gone: 2, addresses_taken: 1, ..Found::default() },
        repairs: BTreeMap::from([(Repair::Pod, 4)]),
        failed_set_ups: 2,
        commits: 9,
        ..Tally::default()
    };
    tally.adds.wait = phase;
    let first = [
        (AddressState::Primary, 1),
        (AddressState::Leased, 2),
        (AddressState::Free, 1),
        (AddressState::Cooling, 1),
        (AddressState::Quarantined, 1),
    ];
    Figures {
        status: Status::Ready,
        served_after: Some(Duration::from_millis(30)),
        limits: InstanceLimits::of("t3.medium"),
        unit: Unit::Address,
        enis: vec![
            eni("eni-a", Management::Managed, &first),
            eni("eni-b", Management::Managed, &[(AddressState::Primary, 1), (AddressState::Free, 2)]),
            eni("eni-x", Management::Unmanaged, &[]),
        ],
        leased_by_block: vec![
            ("10.0.0.5/32".parse().unwrap(), 1),
            ("10.0.0.6/32".parse().unwrap(), 1),
            ("10.0.0.7/32".parse().unwrap(), 0),
        ],
        waiting: 2,
        longest_wait: Some(Duration::from_millis(1500)),
        intents: BTreeMap::from([(Api::AssignPrivateIpAddresses, 1)]),
        reads: 1,
        budget: BTreeMap::new(),
        pauses: BTreeMap::new(),
        cut_off: 1,
        violations: 0,
        ledger_writable: true,
        nat: Some(NatSeen::AsWritten),
        tally,
    }
}

pub(crate) fn snapshot(figures: Figures) -> Snapshot {
    Snapshot {
        standing: Standing::Running(Box::new(figures)),
        max_enis: None,
        ledger_bytes: Some(1 << 20),
        views: Some(vec![
            ViewFigures { name: "node", complete: true, stale_for: Some(Duration::from_secs(7)) },
            ViewFigures { name: "node_groups", complete: false, stale_for: None },
        ]),
    }
}

/// With everything that can be told, so that no metric lacks.
pub(crate) fn full() -> Snapshot {
    let cause = Refusal::AllCooling { seconds: 3 };
    snapshot(Figures { status: Status::Short(cause), ..figures() })
}

struct Ec2(Result<CloudAnswer, CloudError>);

impl Cloud for Ec2 {
    async fn perform(&self, _call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.clone()
    }
}

/// Two reads, one of which was throttled, and one that was not answered; two ADDs, of which one got nothing; a DEL.
/// To be called in virtual time.
pub(crate) async fn record() -> Record {
    let record = Record::new("1.2.3");
    let error =
        |fault, code: &str| Err(CloudError { fault, code: code.to_owned(), message: "\"no\"\n".to_owned() });
    let throttled = error(CloudFault::Throttled { retry_after: None }, "RequestLimitExceeded");
    for answer in [Ok(CloudAnswer::Done), throttled, error(CloudFault::Unknown, "DeadlineExceeded")] {
        let cloud = Counted::new(Ec2(answer), Arc::clone(&record.calls));
        let read = CloudRead::InstanceEnis { instance: holdfast_model::ids::InstanceId::new("i-1") };
        drop(cloud.perform(&CloudCall::Read(read)).await);
    }
    record.answers.added(AddOutcome::Added, Duration::from_millis(4));
    record.answers.added(AddOutcome::NoAddress, Duration::from_millis(1));
    record.answers.deleted(DelOutcome::Done, Duration::from_millis(2));
    record.served_after.set(Duration::from_millis(40)).unwrap();
    record
}

/// A source that gives what it was given.
pub(crate) struct Still {
    pub(crate) snapshot: Snapshot,
    pub(crate) ledger: Option<(Ledger, Now)>,
    pub(crate) config: Config,
}

impl Source for Still {
    async fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    async fn ledger(&self) -> Option<(Ledger, Now)> {
        self.ledger.clone()
    }

    fn config(&self) -> Arc<Config> {
        Arc::new(self.config.clone())
    }
}
