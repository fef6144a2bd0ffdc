//! The life of an instance: started, stopped, rebooted, ended.
//!
//! ```text
//! run -> pending -> running -> shutting-down -> terminated
//!           ^          |
//!         stopped <- stopping
//! ```

use std::time::Duration;

use super::{Change, Due, Effect};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::{EniId, InstanceId};
use crate::vpc::model::EniState;
use crate::vpc::response::InstanceState;
use crate::vpc::retirement::RetirementEnd;

impl Change<'_> {
    /// Begins the end of an instance, also of a stopped one; [`Change::finish_termination`] is its end. Ending an
    /// ended one again does nothing.
    pub(in crate::vpc) fn terminate(&mut self, id: InstanceId) -> Result<(), ApiError> {
        if matches!(self.world.instance(&id)?.state, InstanceState::ShuttingDown | InstanceState::Terminated)
        {
            return Ok(());
        }
        self.world.instance_mut(&id)?.state = InstanceState::ShuttingDown;
        let takes = self.timing.terminate_takes;
        if takes.is_zero() {
            self.finish_termination(id);
        } else {
            self.effects.push(Effect::Later(takes, Due::Terminated(id)));
        }
        Ok(())
    }

    /// Deletes the instance's delete-on-termination ENIs, frees the others, and ends the instance.
    pub(in crate::vpc) fn finish_termination(&mut self, id: InstanceId) {
        if self.world.instances.get(&id).is_none_or(|i| i.state != InstanceState::ShuttingDown) {
            return;
        }
        self.unplug_all(id);
        let bound: Vec<(EniId, bool)> = self
            .world
            .enis_of(id)
            .into_iter()
            .filter_map(|eni| Some((eni.id, eni.attachment()?.delete_on_termination)))
            .collect();
        for (eni, delete) in bound {
            if delete {
                self.world.remove_eni(&eni);
            } else if let Some(eni) = self.world.enis.edit(&eni) {
                eni.state = EniState::Available;
            }
        }
        let now = self.now;
        if let Some(instance) = self.world.instances.edit(&id) {
            instance.state = InstanceState::Terminated;
            instance.ghosts.clear();
            instance.end_retirement(RetirementEnd::Completed, now);
        }
        self.effects.push(Effect::InstanceOver(id));
    }

    /// Begins to stop a running instance. Stopping a stopped one does nothing, as with `StopInstances`.
    pub(in crate::vpc) fn stop(&mut self, id: InstanceId) -> Result<(), ApiError> {
        match self.world.instance(&id)?.state {
            InstanceState::Running => {}
            InstanceState::Stopping | InstanceState::Stopped => return Ok(()),
            state => return Err(wrong_state(id, state, "stopped")),
        }
        self.world.instance_mut(&id)?.state = InstanceState::Stopping;
        let takes = self.timing.stop_takes;
        if takes.is_zero() {
            self.finish_stop(id);
        } else {
            self.effects.push(Effect::Later(takes, Due::Stopped(id)));
        }
        Ok(())
    }

    /// The instance is off: its links are gone, its ENIs stay attached, and what forced detachments left is cleared.
    pub(in crate::vpc) fn finish_stop(&mut self, id: InstanceId) {
        if self.world.instances.get(&id).is_none_or(|i| i.state != InstanceState::Stopping) {
            return;
        }
        self.unplug_all(id);
        let now = self.now;
        if let Some(instance) = self.world.instances.edit(&id) {
            instance.state = InstanceState::Stopped;
            instance.ghosts.clear();
            // It starts on other hardware.
            instance.end_retirement(RetirementEnd::Completed, now);
        }
        self.effects.push(Effect::InstanceStopped(id));
    }

    /// Begins to start a stopped instance. Starting a running one does nothing.
    pub(in crate::vpc) fn start(&mut self, id: InstanceId) -> Result<(), ApiError> {
        match self.world.instance(&id)?.state {
            InstanceState::Stopped => {}
            InstanceState::Pending | InstanceState::Running => return Ok(()),
            state => return Err(wrong_state(id, state, "started")),
        }
        self.world.instance_mut(&id)?.state = InstanceState::Pending;
        let takes = self.timing.start_takes;
        if takes.is_zero() {
            self.finish_start(id);
        } else {
            self.effects.push(Effect::Later(takes, Due::Started(id)));
        }
        Ok(())
    }

    /// The instance runs again, and every interface is there at once: it was there when the instance booted.
    pub(in crate::vpc) fn finish_start(&mut self, id: InstanceId) {
        if self.world.instances.get(&id).is_none_or(|i| i.state != InstanceState::Pending) {
            return;
        }
        if let Some(instance) = self.world.instances.edit(&id) {
            instance.state = InstanceState::Running;
        }
        self.effects.push(Effect::InstanceStarted(id));
        self.plug_all(id);
    }

    /// The instance boots again: its links go and come, and nothing changes in EC2.
    pub(in crate::vpc) fn reboot(&mut self, id: InstanceId) -> Result<(), ApiError> {
        let state = self.world.instance(&id)?.state;
        if state != InstanceState::Running {
            return Err(wrong_state(id, state, "rebooted"));
        }
        self.unplug_all(id);
        self.effects.push(Effect::InstanceStopped(id));
        self.effects.push(Effect::InstanceStarted(id));
        self.plug_all(id);
        Ok(())
    }

    fn unplug_all(&mut self, id: InstanceId) {
        for eni in self.world.enis_of(id) {
            let Some(attachment) = eni.attachment() else { continue };
            self.effects.push(Effect::Unplugged {
                attachment: attachment.attachment_id,
                instance: id,
                eni: eni.id,
                mac: eni.mac,
            });
        }
    }

    fn plug_all(&mut self, id: InstanceId) {
        for eni in self.world.enis_of(id) {
            let Some(attachment) = eni.attachment() else { continue };
            self.effects.push(Effect::Later(Duration::ZERO, Due::LinkAppears(attachment.attachment_id)));
        }
    }
}

fn wrong_state(id: InstanceId, state: InstanceState, wanted: &str) -> ApiError {
    ApiError::new(
        ErrorCode::IncorrectInstanceState,
        format!("The instance '{id}' is in the '{}' state and cannot be {wanted}.", state.as_str()),
    )
}
