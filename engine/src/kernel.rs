//! The host's network: read it, compare it with the ledger, mend it; find sandboxes that are gone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use holdfast_model::chain;
use holdfast_model::host::{
    EniLink, HostAction, HostObserved, LinkAlias, Look, NatSeen, NatWanted, PodWiring,
};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::pool::Family;
use holdfast_planner::{self as planner, Spared};
use holdfast_ports::{HostFault, HostNet};

use crate::before_look::BeforeLook;
use crate::book::Then;
use crate::engine::Engine;
use crate::event::Event;
use crate::tally::Repair;
use crate::timers::{self, DRIFT_SETTLE, KERNEL_RETRY, OBSERVE_EVERY, STUBBORN_RETRY};
use crate::world::World;

/// As many of hundreds of repairs as tell what is going on.
const SHOWN: usize = 8;

impl<W: World> Engine<W> {
    /// Reads the host's network, unless a read is under way.
    pub(crate) fn observe(&mut self) {
        if self.observing {
            self.observe_again = true;
            return;
        }
        self.observing = true;
        self.before_look = self.before_look();
        let nat = planner::desired_host(self.book.ledger(), &self.config).nat;
        let host = self.ports.host.clone();
        self.beside(async move { Event::HostSeen(host.observe(&nat).await) });
    }

    /// How a sandbox is to be wired.
    pub(crate) fn wirings(&self, lease: &Lease) -> Vec<PodWiring> {
        planner::wirings_of(self.book.ledger(), &self.config, lease)
    }

    /// A sign of drift: look soon. Signs come in bursts.
    pub(crate) fn drifted(&mut self) {
        let now = self.now();
        timers::sooner(&mut self.timers.observe, now.boottime.after(DRIFT_SETTLE));
        // An ENI that is waited for may be among what changed.
        self.observed.links_changed(&now);
        self.watch_for_drift();
    }

    pub(crate) fn watch_for_drift(&self) {
        let host = self.ports.host.clone();
        self.beside(async move {
            host.drifted().await;
            Event::Drifted
        });
    }

    pub(crate) fn host_seen(&mut self, result: Result<HostObserved, HostFault>) {
        // It is held against what there was when it began, so the next one begins after that.
        self.look_ended(result);
        self.observing = false;
        if std::mem::take(&mut self.observe_again) {
            self.observe();
        }
    }

    fn look_ended(&mut self, result: Result<HostObserved, HostFault>) {
        let now = self.now();
        timers::sooner(&mut self.timers.observe, now.boottime.after(OBSERVE_EVERY));
        let observed = match result {
            Ok(observed) => observed,
            Err(fault) => {
                tracing::error!(error = %chain(&fault), "reading the host's network failed; trying again");
                self.host_fault = Some(chain(&fault));
                timers::sooner(&mut self.timers.observe, now.boottime.after(KERNEL_RETRY));
                return;
            }
        };
        if self.book.failing().is_some() {
            return;
        }
        self.macs = Some(observed.links.iter().filter_map(|link| link.mac).collect());
        if !self.looked {
            self.first_look();
        } else if self.is_in_doubt() {
            // A link that was missed may have come.
            self.recover(None);
        }
        self.weigh_identity();
        let look = Look::over(&observed);
        let here = |mac: &MacAddr| !matches!(look.eni_link(*mac), EniLink::Missing);
        let enis = self.book.ledger().enis.values().map(|eni| eni.mac).filter(here).collect();
        self.observed.links_seen(self.book.ledger(), &enis, &now);
        self.note_enis(&observed);
        self.nat_seen = observed.nat;
        self.note_way_out(match self.config.family.value {
            Family::V4 => observed.way_out,
            Family::V6 => observed.ipv6.way_out,
        });
        if let Some(drops) = &observed.forward_drops {
            self.note_forward_drops(drops);
        }
        self.nat_ready |= !self.config.wants_nat_table()
            || (observed.nat == NatSeen::AsWritten && !self.before_look.outdated);
        self.look_for_traces(&observed);
        self.rebuild();
        self.mend(&observed);
        self.look_for_the_unreached(&observed);
        self.look_for_the_unlinked(&observed);
        self.look_for_the_diverted();
    }

    /// ENIs that are set up as they should be, such as after a restart, serve at once.
    fn note_enis(&mut self, seen: &HostObserved) {
        if self.before_look.outdated {
            return;
        }
        let known: BTreeSet<_> = self.observed.ready_enis.union(&self.observed.setting_up).cloned().collect();
        for eni in planner::set_up_already(self.book.ledger(), &self.config, seen, &known) {
            tracing::info!(%eni, "ENI is set up");
            self.observed.set_up_done(&eni);
        }
    }

    fn note_way_out(&mut self, way_out: Option<bool>) {
        match (self.way_out, way_out) {
            (Some(true) | None, Some(false)) => {
                tracing::error!(
                    "the main routing table has no default route: pods do not get out of their subnet"
                );
            }
            (Some(false), Some(true)) => tracing::info!("the main routing table has a default route again"),
            _ => {}
        }
        self.way_out = way_out;
    }

    fn note_forward_drops(&mut self, drops: &[String]) {
        if self.forward_drops == drops {
            return;
        }
        if drops.is_empty() {
            tracing::info!("no packet filter drops what is forwarded any more");
        } else {
            tracing::warn!(
                chains = drops.join(", "),
                "packet filters of others drop what is forwarded unless a rule of theirs accepts it: pods reach only what \
                 these rules let through"
            );
        }
        self.forward_drops = drops.to_vec();
    }

    fn before_look(&self) -> BeforeLook {
        let ledger = self.book.ledger();
        let settled =
            |lease: &&Lease| lease.phase == LeasePhase::Active && !self.attachments.is_busy(&lease.sandbox);
        let ready = self.observed.ready_enis.iter().filter(|eni| !self.observed.setting_up.contains(*eni));
        BeforeLook {
            links: ledger.leases.values().flat_map(LinkAlias::all_of).collect(),
            addresses: ledger.leases.values().flat_map(Lease::addresses).collect(),
            settled: ledger.leases.values().filter(settled).map(|lease| lease.sandbox.clone()).collect(),
            enis: ready.cloned().collect(),
            outdated: false,
        }
    }

    /// What was made, changed or taken away since the look began: it was seen half made, or not at all.
    fn spared(&self) -> Spared {
        let ledger = self.book.ledger();
        let mut spared = planner::spared(ledger);
        spared.all_orphans |= !self.observed.traces.is_empty();
        for lease in ledger.leases.values().filter(|lease| !self.before_look.settled.contains(&lease.sandbox))
        {
            spared.links.extend(LinkAlias::all_of(lease));
            spared.addresses.extend(lease.addresses());
        }
        let leased: BTreeSet<IpAddr> = ledger.leases.values().flat_map(Lease::addresses).collect();
        spared.addresses.extend(self.before_look.addresses.difference(&leased));
        let settled =
            |eni: &&EniId| self.before_look.enis.contains(*eni) && self.observed.ready_enis.contains(*eni);
        spared.enis = ledger.enis.keys().filter(|eni| !settled(eni)).cloned().collect();
        spared
    }

    /// Sandboxes that live in the kernel and that the ledger has lost: as soon as EC2 has shown its address, each gets its
    /// lease back.
    fn rebuild(&mut self) {
        let changes = planner::rebuild_leases(self.book.ledger(), &self.observed, &self.now());
        if !changes.is_empty() {
            tracing::warn!(?changes, "leases were read back from the kernel");
        }
        self.book.commit(changes, Then::Nothing);
    }

    /// Puts back what is missing, removes what is left over.
    fn mend(&mut self, observed: &HostObserved) {
        if self.mending {
            // What was seen may lack more than what is being put right: look again when that is done.
            self.mend_again = true;
            return;
        }
        let ledger = self.book.ledger();
        let desired = planner::desired_host(ledger, &self.config);
        let actions = planner::host_diff(&desired, observed, &self.spared());
        let nat_in_doubt = observed.nat == NatSeen::Unknown && matches!(desired.nat, NatWanted::Table(_));
        if nat_in_doubt {
            // Nothing tells when it can be looked at again.
            let at = self.now().boottime.after(STUBBORN_RETRY);
            timers::sooner(&mut self.timers.observe, at);
        }
        if actions.is_empty() {
            if !nat_in_doubt {
                self.host_fault = None;
            }
            return;
        }
        let some: Vec<_> = actions.iter().take(SHOWN).collect();
        tracing::info!(count = actions.len(), actions = ?some, "the host's network is put right");
        self.mending = true;
        let nat = actions.iter().any(|action| matches!(action, HostAction::ReplaceNat(_)));
        self.being_repaired = actions.iter().map(Repair::of).collect();
        let host = self.ports.host.clone();
        self.beside(async move { Event::HostMended { nat, result: host.apply(actions).await } });
    }

    pub(crate) fn host_mended(&mut self, nat: bool, result: Result<(), HostFault>) {
        self.mending = false;
        let repairs = std::mem::take(&mut self.being_repaired);
        match result {
            Ok(()) => self.tally.repaired(repairs),
            Err(_) => self.tally.failed_repairs += 1,
        }
        if std::mem::take(&mut self.mend_again) {
            self.observe();
        }
        self.nat_ready |= nat && result.is_ok() && !std::mem::take(&mut self.mend_outdated);
        if nat && result.is_ok() {
            // Written, and not seen yet.
            self.nat_seen = NatSeen::Unknown;
            self.observe();
        }
        let cause = result.as_ref().err().map(|fault| chain(fault));
        if let Some(cause) = &cause {
            // Told once, and not tried every second: something of somebody else's may be in the way for days.
            let pause = if self.host_fault.as_ref() == Some(cause) {
                STUBBORN_RETRY
            } else {
                tracing::error!(error = %cause, "putting the host's network right failed; trying again");
                KERNEL_RETRY
            };
            let at = self.now().boottime.after(pause);
            timers::sooner(&mut self.timers.observe, at);
        }
        self.host_fault = cause;
    }

    /// Sandboxes that live although no lease explains them, and their addresses: nobody else gets those.
    fn look_for_traces(&mut self, observed: &HostObserved) {
        let now = self.now();
        let traces = planner::traces_of(self.book.ledger(), &self.before_look.links, observed)
            .and_of_the_host(observed);
        if traces.links != self.observed.traces.links && !traces.is_empty() {
            tracing::warn!(links = ?traces.links, "pods run here that the ledger does not know: it has lost something");
            self.observed.ledger_lost(&now);
        }
        self.observed.traces = traces;
        let changes =
            planner::review_quarantine(&self.desired(), self.book.ledger(), &self.observed.traces, &now);
        self.book.commit(changes, Then::Nothing);
    }
}
