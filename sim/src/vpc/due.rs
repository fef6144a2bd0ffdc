//! The passing of time: what follows from a change at once, and what falls due by itself later.

use std::time::Duration;

use super::SimVpc;
use super::error::{ApiError, ErrorCode};
use super::event::VpcEvent;
use super::ids::{AttachmentId, EniId, InstanceId};
use super::model::{Eni, EniState};
use super::op::{Change, Due, Effect};
use super::request::Caller;
use super::response::{AttachmentStatus, InstanceState};
use super::time::Micros;
use crate::fault::FaultKind;

/// How often an attachment that hangs is looked at again.
const HANGS: Duration = Duration::from_millis(500);

impl SimVpc {
    /// Lets something happen by itself after a while.
    pub(super) fn schedule(&mut self, after: Duration, due: Due) {
        self.due.insert((self.now.after(after), self.next_due), due);
        self.next_due += 1;
    }

    pub(super) fn follow(&mut self, effect: Effect) {
        match effect {
            Effect::Later(delay, Due::LinkAppears(id)) => self.expect_link(delay, id),
            Effect::Later(delay, due) => self.schedule(delay, due),
            Effect::Addresses(id) => self.tell_addresses(id),
            Effect::SourceDestCheck(id) => self.tell(id, |instance, eni| VpcEvent::SourceDestCheckChanged {
                instance,
                eni: eni.id,
                enabled: eni.source_dest_check,
            }),
            Effect::Unplugged { attachment, instance, eni, mac } => {
                if self.visible.remove(&attachment) {
                    self.event(VpcEvent::Detached { instance, eni, mac });
                }
            }
            Effect::InstanceOver(instance) => self.event(VpcEvent::InstanceTerminated { instance }),
            Effect::InstanceStopped(instance) => self.event(VpcEvent::InstanceStopped { instance }),
            Effect::InstanceStarted(instance) => self.event(VpcEvent::InstanceStarted { instance }),
            Effect::SubnetAdded(id) => {
                let Some(subnet) = self.world.subnets.get(&id) else { return };
                let (vpc, ipv4, ipv6) = (subnet.vpc, subnet.ipv4, subnet.ipv6);
                self.event(VpcEvent::SubnetAdded { vpc, subnet: id, ipv4, ipv6 });
            }
            Effect::CidrAdded(vpc, cidr) => self.event(VpcEvent::CidrAdded { vpc, cidr }),
        }
    }

    /// The link of an attachment is on its way, as the faults have it.
    fn expect_link(&mut self, delay: Duration, id: AttachmentId) {
        let faults = self
            .attachment_faults(id, |kind| matches!(kind, FaultKind::LinkLate { .. } | FaultKind::LinkNever));
        let mut delay = delay;
        for fault in faults {
            match fault {
                FaultKind::LinkLate { by } => delay = delay.saturating_add(by),
                FaultKind::LinkNever => return,
                _ => {}
            }
        }
        self.schedule(delay, Due::LinkAppears(id));
    }

    fn attachment_faults(&mut self, id: AttachmentId, wanted: impl Fn(&FaultKind) -> bool) -> Vec<FaultKind> {
        self.faults.expire(self.now);
        let Some(eni) = self.world.eni_of_attachment(id) else { return Vec::new() };
        let Some(attachment) = eni.attachment() else { return Vec::new() };
        let places = self.world.places_of(eni.id);
        self.faults.of_attachment(attachment.instance_id, &places, wanted)
    }

    fn event(&mut self, event: VpcEvent) {
        self.events.push(event);
    }

    fn tell_addresses(&mut self, id: EniId) {
        self.tell(id, |instance, eni| VpcEvent::AddressesChanged {
            instance,
            eni: eni.id,
            addresses: eni.addresses(),
        });
    }

    /// Reports a change of an ENI that is visible in an instance.
    fn tell(&mut self, id: EniId, event: impl FnOnce(InstanceId, &Eni) -> VpcEvent) {
        let Some(eni) = self.world.enis.get(&id) else { return };
        let Some(attachment) = eni.attachment().filter(|a| self.visible.contains(&a.attachment_id)) else {
            return;
        };
        let event = event(attachment.instance_id, eni);
        self.event(event);
    }

    /// Moves the virtual clock, carrying out what falls due on the way, in order. Never moves it back.
    pub fn advance_to(&mut self, now: Micros) {
        self.run_due(now);
        self.now = self.now.max(now);
        self.faults.expire(self.now);
    }

    /// When the next thing falls due by itself, if anything does.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Carries out what is due until then. What falls due while something does is next, not within it: at one instant thousands
    /// may.
    pub(super) fn run_due(&mut self, until: Micros) {
        if self.is_running_due {
            return;
        }
        self.is_running_due = true;
        while let Some(entry) = self.due.first_entry() {
            let (at, _) = *entry.key();
            if at > until {
                break;
            }
            let due = entry.remove();
            self.now = self.now.max(at);
            self.come_due(due);
        }
        self.is_running_due = false;
    }

    fn come_due(&mut self, due: Due) {
        match due {
            Due::Arrives(ticket) => self.arrive(ticket),
            Due::Retires(fault) => self.retire(fault),
            Due::LinkAppears(id) => self.show_link(id),
            Due::Reassigned(id) => self.tell_addresses(id),
            Due::Attached(id) if self.hangs(id, AttachmentStatus::Attaching, &FaultKind::AttachHangs) => {
                self.schedule(HANGS, due);
            }
            Due::Detached(id) if self.hangs(id, AttachmentStatus::Detaching, &FaultKind::DetachHangs) => {
                self.schedule(HANGS, due);
            }
            _ => {
                let done = self.change(&Caller::named("ec2"), |change| change.come_due(due));
                // What it was about may be gone by now: deleted, force-detached, ended with its instance.
                drop(done);
            }
        }
    }

    /// Whether an attachment stays in the state in which it is to be.
    fn hangs(&mut self, id: AttachmentId, state: AttachmentStatus, fault: &FaultKind) -> bool {
        let attachment = self.world.eni_of_attachment(id).and_then(|eni| eni.attachment());
        attachment.is_some_and(|attachment| attachment.status == state)
            && !self.attachment_faults(id, |kind| kind == fault).is_empty()
    }

    fn show_link(&mut self, id: AttachmentId) {
        let Some(eni) = self.world.eni_of_attachment(id) else { return };
        let Some(attachment) = eni.attachment() else { return };
        let powered = self
            .world
            .instances
            .get(&attachment.instance_id)
            .is_some_and(|instance| instance.state == InstanceState::Running);
        if attachment.status == AttachmentStatus::Detaching || !powered || !self.visible.insert(id) {
            return;
        }
        let event = VpcEvent::AttachmentVisible {
            instance: attachment.instance_id,
            eni: eni.id,
            mac: eni.mac,
            device_index: attachment.device_index,
            network_card: attachment.network_card_index,
            subnet: eni.subnet,
            addresses: eni.addresses(),
            source_dest_check: eni.source_dest_check,
        };
        self.event(event);
    }
}

impl Change<'_> {
    fn come_due(&mut self, due: Due) -> Result<(), ApiError> {
        match due {
            Due::Created(id) => {
                let eni = self.world.eni_mut(&id)?;
                if eni.state == EniState::Pending {
                    eni.state = EniState::Available;
                }
            }
            Due::Attached(id) => self.move_attachment(id, |state| match state {
                EniState::Bound(attachment) if attachment.status == AttachmentStatus::Attaching => {
                    attachment.status = AttachmentStatus::Attached;
                }
                _ => {}
            })?,
            Due::Detached(id) => self.move_attachment(id, |state| *state = EniState::Available)?,
            Due::Terminated(id) => self.finish_termination(id),
            Due::Stopped(id) => self.finish_stop(id),
            Due::Started(id) => self.finish_start(id),
            Due::LinkAppears(_) | Due::Reassigned(_) | Due::Arrives(_) | Due::Retires(_) => {}
        }
        Ok(())
    }

    /// Changes the state of the ENI that an attachment binds.
    fn move_attachment(
        &mut self,
        id: AttachmentId,
        change: impl FnOnce(&mut EniState),
    ) -> Result<(), ApiError> {
        let eni = self.world.eni_of_attachment(id).map(|eni| eni.id);
        let eni = eni.ok_or_else(|| ApiError::new(ErrorCode::AttachmentIdNotFound, id.as_str()))?;
        change(&mut self.world.eni_mut(&eni)?.state);
        Ok(())
    }
}
