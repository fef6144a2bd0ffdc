//! Would an ADD work now?

use std::net::IpAddr;

use holdfast_model::chain;
use holdfast_model::host::NatSeen;
use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::PodRef;
use holdfast_planner as planner;
use holdfast_ports::HostFault;

use crate::engine::Engine;
use crate::ready::Status;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        if let Some(cause) = self.condition().refusal() {
            return Status::Refusing(cause);
        }
        if let Some(cause) = self.impairment() {
            // Whatever addresses there are.
            return Status::Impaired(cause);
        }
        let (pool, ledger) = (self.desired().pool(), self.book.ledger());
        if !self.free_addresses(pool, &now).is_empty() {
            return self.doubt().map_or(Status::Ready, Status::Impaired);
        }
        let report = planner::report(pool, &self.desired(), ledger, &self.observed, &now);
        let shortage = report.shortage(self.config.add_hold.value, &now);
        if !shortage.hold || shortage.hindered {
            return Status::Short(shortage.cause);
        }
        self.without().map_or(Status::Growing, Status::Impaired)
    }

    /// Those that were answered for; of a pod with several addresses the first.
    pub(crate) fn pods(&self) -> Vec<(PodRef, IpAddr)> {
        let answered = self.book.ledger().leases.values().filter(|lease| lease.phase == LeasePhase::Active);
        answered.filter_map(|lease| Some((lease.pod.clone(), lease.faces.first()?.address))).collect()
    }

    /// What may keep packets from pods although all that is ours is as it should be.
    fn doubt(&self) -> Option<String> {
        let drops = || {
            let chains = self.forward_drops.join(", ");
            let words = "drops what is forwarded unless a rule of its accepts it: pods reach only what these rules let through";
            (!chains.is_empty()).then(|| format!("{chains} {words}"))
        };
        let lost = || self.out_of_service().into_iter().next();
        self.host_fault.clone().or_else(drops).or_else(lost).or_else(|| self.without())
    }

    /// What EC2 has given for pods and no pod can use, in words.
    pub(crate) fn out_of_service(&self) -> Vec<String> {
        self.observed.out_of_service(self.book.ledger(), &self.now())
    }

    /// What the pool makes do without.
    fn without(&self) -> Option<String> {
        self.report()?.without.as_ref().map(ToString::to_string)
    }

    /// What pods lack that run here, whatever addresses there are for others.
    fn impairment(&self) -> Option<String> {
        let nat_gone = self.config.wants_nat_table() && self.nat_seen == NatSeen::Differs;
        let no_nat = "the NAT table is missing or was changed, and is being written: until then pods do not get out of \
                      the VPC";
        let no_way_out = "the main routing table has no default route: pods on the primary ENI, and all that leaves the \
                          VPC, go nowhere";
        self.setting_fault
            .clone()
            .or_else(|| self.unreached.summary())
            .or_else(|| (self.way_out == Some(false)).then(|| no_way_out.to_owned()))
            .or_else(|| nat_gone.then(|| self.host_fault.clone().unwrap_or_else(|| no_nat.to_owned())))
    }

    /// A setting of the kernel's is every pod's affair, unlike what else fails when one is set up.
    pub(crate) fn note_settings(&mut self, fault: Option<&HostFault>) {
        match fault {
            None => self.setting_fault = None,
            Some(fault @ HostFault::Setting { .. }) => self.setting_fault = Some(chain(fault)),
            Some(_) => {}
        }
    }
}
