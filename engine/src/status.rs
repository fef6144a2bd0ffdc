//! Would an ADD work now?

use holdfast_model::pool::PoolKey;
use holdfast_planner as planner;
use holdfast_ports::HostFault;

use crate::book::chain;
use crate::engine::Engine;
use crate::handle::Status;
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        if let Some(cause) = self.condition().refusal() {
            return Status::Refusing(cause);
        }
        if let Some(cause) = &self.setting_fault {
            // Whatever addresses there are.
            return Status::Impaired(cause.clone());
        }
        let (pool, ledger) = (PoolKey::DEFAULT, self.book.ledger());
        if !planner::free_addresses(pool, ledger, &self.observed, &now).is_empty() {
            return self.host_fault.clone().map_or(Status::Ready, Status::Impaired);
        }
        let report = planner::report(pool, &self.desired(), ledger, &self.observed, &now);
        let shortage = report.shortage(self.config.add_hold.value, &now);
        if shortage.hold && !shortage.hindered { Status::Growing } else { Status::Short(shortage.cause) }
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
