//! What the engine tells of itself.

use std::time::Duration;

use holdfast_model::invariants;
use holdfast_planner as planner;
use holdfast_ports::Spawner;
use tokio::sync::oneshot;

use crate::dump::{Dump, WaitingAdd};
use crate::engine::Engine;
use crate::pool_told::PoolTold;
use crate::world::World;

/// Journal entries shown: what a person reads through.
const JOURNAL: usize = 500;

/// How long a dump waits for them: they are read behind the commits that are with the disk.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

impl<W: World> Engine<W> {
    pub(crate) fn dump(&self, reply: oneshot::Sender<Dump>) {
        let mut dump = self.state();
        let (send, journal) = oneshot::channel();
        self.book.journal(JOURNAL, move |entries| {
            // Nobody waits any longer: see below.
            let _late: Result<(), _> = send.send(entries);
        });
        self.ports.spawner.spawn(async move {
            // The state is worth more than the journal, most of all when the disk hangs.
            if let Ok(Ok(entries)) = tokio::time::timeout(JOURNAL_PATIENCE, journal).await {
                dump.journal = entries;
            }
            // An asker that went away needs no answer.
            drop(reply.send(dump));
        });
    }

    pub(crate) fn pool_told(&self) -> PoolTold {
        let config = &self.config;
        PoolTold {
            mode: config.warm_mode.value,
            quantile: config.warm_quantile.value,
            refusal: self.refusal(),
            pools: planner::explain(&self.desired(), self.book.ledger(), &self.observed, &self.now()),
        }
    }

    fn state(&self) -> Dump {
        let now = self.now();
        let ledger = self.book.ledger().clone();
        let limits = ledger.limits();
        Dump {
            violations: invariants::check(&ledger, limits.as_ref()),
            waiting: self
                .attachments
                .iter()
                .filter_map(|(sandbox, attachment)| {
                    let add = attachment.add()?;
                    Some(WaitingAdd {
                        sandbox: sandbox.clone(),
                        pod: add.request.pod.to_string(),
                        stage: attachment.stage().to_owned(),
                        for_ms: now.boottime.since(add.since).as_millis(),
                    })
                })
                .collect(),
            refusal: self.refusal(),
            ledger_failing: self.condition().disk_trouble().map(str::to_owned),
            ready_enis: self.observed.ready_enis.iter().map(ToString::to_string).collect(),
            reads_wanted: self.observed.reads_wanted(&now),
            out_of_service: self.out_of_service(),
            pauses: self
                .observed
                .pauses
                .iter()
                .map(|pause| {
                    let until = now.wall_at(pause.until);
                    format!("{:?} {:?} until {until}: {}", pause.api, pause.scope, pause.cause)
                })
                .collect(),
            identified: self.identified,
            cordoned: self.observed.cordoned,
            host_read: self.looked,
            nat: self.nat_seen,
            host_fault: self.setting_fault.clone().or_else(|| self.host_fault.clone()),
            forward_drops: self.forward_drops.clone(),
            cut_off: self.unreached.words(),
            journal: Vec::new(),
            ledger,
        }
    }
}
