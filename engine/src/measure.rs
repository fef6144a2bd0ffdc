//! Taking the node's state in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::block::Block;
use holdfast_model::eni::Management;
use holdfast_model::invariants;

use crate::engine::Engine;
use crate::figures::{EniFigures, Figures, counted, leased_in};
use crate::tally::Tally;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn figures(&self) -> Figures {
        let (now, ledger) = (self.now(), self.book.ledger());
        let free = self.pools().into_iter().flat_map(|pool| self.free_addresses(pool, &now));
        let free: BTreeSet<IpAddr> = free.map(|choice| choice.address).collect();
        let limits = ledger.limits();
        let attached = ledger.enis.values().filter(|eni| eni.attachment().is_some());
        let ours = |block: &&Block| {
            let eni = ledger.enis.get(&block.eni);
            block.occupies() && eni.is_some_and(|eni| eni.management != Management::Unmanaged)
        };
        let mut intents: BTreeMap<_, u32> = BTreeMap::new();
        for intent in ledger.intents.values() {
            *intents.entry(intent.change.api()).or_default() += 1;
        }
        let mut pauses: BTreeMap<_, u32> = BTreeMap::new();
        for pause in self.observed.pauses.iter().filter(|pause| pause.until > now.boottime) {
            *pauses.entry(pause.api).or_default() += 1;
        }
        let waits = || self.attachments.waiting().map(|(_, add)| now.boottime.since(add.since));
        Figures {
            status: self.status(),
            served_after: self.served_after,
            unit: self.desired().unit(),
            enis: attached.map(|eni| EniFigures::of(eni, ledger, &free, &now)).collect(),
            leased_by_block: (ledger.blocks.values().filter(ours))
                .map(|block| (block.net, leased_in(block, ledger)))
                .collect(),
            waiting: counted(waits().count()),
            longest_wait: waits().max(),
            intents,
            reads: counted(self.observed.reads.under_way()),
            budget: self.observed.budget.levels(now.boottime),
            pauses,
            cut_off: counted(self.unreached.pods.len()),
            violations: counted(invariants::check(ledger, limits.as_ref()).len()),
            limits,
            ledger_writable: self.condition().disk_trouble().is_none(),
            nat: self.config.wants_nat_table().then_some(self.nat_seen),
            tally: Tally { adds: self.phases.took.clone(), ..self.tally.clone() },
        }
    }
}
