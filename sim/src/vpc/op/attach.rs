//! Attaching, detaching and deleting ENIs, and the end of an instance.

use std::sync::Arc;

use super::{Change, Due, Effect, combination, invalid, missing};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::{AttachmentId, EniId, InstanceId};
use crate::vpc::model::{Eni, EniState, World};
use crate::vpc::request::{AttachNetworkInterface, DeleteNetworkInterface, DetachNetworkInterface};
use crate::vpc::response::{Attached, Attachment, AttachmentStatus, InstanceState};

impl World {
    /// The ENI that an attachment binds.
    pub(in crate::vpc) fn eni_of_attachment(&self, id: &AttachmentId) -> Option<&Eni> {
        self.enis
            .values()
            .map(AsRef::as_ref)
            .find(|eni| eni.attachment().is_some_and(|attachment| attachment.attachment_id == *id))
    }
}

impl Change<'_> {
    pub(super) fn attach(&mut self, op: &AttachNetworkInterface) -> Result<Attached, ApiError> {
        let eni = self.world.eni(&op.network_interface_id)?;
        let instance = self.world.instance(&op.instance_id)?;
        if eni.attachment().is_some() {
            return Err(ApiError::new(
                ErrorCode::NetworkInterfaceInUse,
                format!("Interface: [{}] in use.", eni.id),
            ));
        }
        if instance.state != InstanceState::Running {
            return Err(ApiError::new(
                ErrorCode::IncorrectState,
                format!("Instance '{}' is not in a valid state for this operation.", instance.id),
            ));
        }
        let subnet = self.world.subnet(&eni.subnet)?;
        if subnet.zone != instance.zone {
            return Err(combination(
                "You may not attach a network interface to an instance if they are not in the same availability zone",
            ));
        }
        if subnet.vpc != instance.vpc {
            return Err(combination("The instance and the network interface are in different VPCs"));
        }
        let (card, device) = place(op, &instance.kind.network_cards)?;
        self.limits(eni, &op.instance_id, card, device)?;
        let attachment_id = AttachmentId::new(self.ids.id(AttachmentId::PREFIX));
        let attached_now = self.timing.attach_takes.is_zero();
        self.world.eni_mut(&op.network_interface_id)?.state = EniState::Bound(Attachment {
            attachment_id: attachment_id.clone(),
            instance_id: op.instance_id.clone(),
            instance_owner_id: self.account.to_owned(),
            device_index: device,
            network_card_index: card,
            status: if attached_now { AttachmentStatus::Attached } else { AttachmentStatus::Attaching },
            delete_on_termination: false,
            attach_time: self.now,
        });
        if !attached_now {
            self.effects.push(Effect::Later(self.timing.attach_takes, Due::Attached(attachment_id.clone())));
        }
        self.effects.push(Effect::Later(self.timing.link_appears, Due::LinkAppears(attachment_id.clone())));
        Ok(Attached { attachment_id, network_card_index: card })
    }

    fn limits(&self, eni: &Eni, instance: &InstanceId, card: u32, device: u32) -> Result<(), ApiError> {
        let kind = &self.world.instance(instance)?.kind;
        let others: Vec<&Attachment> =
            self.world.enis_of(instance).into_iter().filter_map(Eni::attachment).collect();
        if others.iter().any(|a| a.network_card_index == card && a.device_index == device) {
            return Err(invalid(format!(
                "Instance '{instance}' already has an interface attached at device index '{device}'."
            )));
        }
        let on_card = others.iter().filter(|a| a.network_card_index == card).count() + 1;
        let allowed_on_card = kind.network_cards[card as usize] as usize;
        let wanted = others.len() + 1;
        if on_card > allowed_on_card || wanted > kind.max_enis as usize {
            return Err(ApiError::new(
                ErrorCode::AttachmentLimitExceeded,
                format!("Interface count {wanted} exceeds the limit for {}", kind.name),
            ));
        }
        if eni.ipv4.len() + eni.ipv4_prefixes.len() > kind.ipv4_per_eni as usize
            || eni.ipv6.len() + eni.ipv6_prefixes.len() > kind.ipv6_per_eni as usize
        {
            return Err(ApiError::new(
                ErrorCode::PrivateIpAddressLimitExceeded,
                "Number of private addresses will exceed limit.",
            ));
        }
        let has_prefixes = !eni.ipv4_prefixes.is_empty() || !eni.ipv6_prefixes.is_empty();
        if has_prefixes && !kind.supports_prefixes() {
            return Err(invalid(format!(
                "Prefix delegation is not supported on instance type '{}'",
                kind.name
            )));
        }
        if eni.interface_type.starts_with("efa") && !kind.efa_supported {
            return Err(invalid(format!("EFA interfaces are not supported on {}", kind.name)));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, op: &DetachNetworkInterface) -> Result<(), ApiError> {
        let id = &op.attachment_id;
        if id.as_str().is_empty() {
            return Err(missing("attachmentId"));
        }
        if !id.is_well_formed() {
            return Err(ApiError::new(ErrorCode::AttachmentIdMalformed, format!("Invalid id: \"{id}\"")));
        }
        let Some((eni, attachment)) = self
            .world
            .eni_of_attachment(id)
            .and_then(|eni| Some((eni.id.clone(), eni.attachment()?.clone())))
        else {
            return Err(ApiError::new(
                ErrorCode::AttachmentIdNotFound,
                format!("An interface attachment with ID '{id}' does not exist"),
            ));
        };
        if attachment.device_index == 0 && attachment.network_card_index == 0 {
            return Err(ApiError::new(
                ErrorCode::OperationNotPermitted,
                "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ));
        }
        if attachment.status == AttachmentStatus::Detaching && !op.force {
            return Err(ApiError::new(
                ErrorCode::IncorrectState,
                format!("Network interface '{eni}' is already being detached."),
            ));
        }
        let mac = self.world.eni(&eni)?.mac;
        self.effects.push(Effect::Unplugged {
            attachment: id.clone(),
            instance: attachment.instance_id.clone(),
            eni: eni.clone(),
            mac,
        });
        let takes = self.timing.detach_takes;
        self.world.eni_mut(&eni)?.state = if op.force || takes.is_zero() {
            EniState::Available
        } else {
            self.effects.push(Effect::Later(takes, Due::Detached(id.clone())));
            EniState::Bound(Attachment { status: AttachmentStatus::Detaching, ..attachment })
        };
        Ok(())
    }

    pub(super) fn delete(&mut self, op: &DeleteNetworkInterface) -> Result<(), ApiError> {
        let eni = self.world.eni(&op.network_interface_id)?;
        match eni.state {
            EniState::Available => {
                self.world.remove_eni(&op.network_interface_id);
                Ok(())
            }
            EniState::Pending => Err(ApiError::new(
                ErrorCode::IncorrectState,
                format!("Network interface '{}' is in the pending state.", eni.id),
            )),
            EniState::Bound(_) => {
                Err(invalid(format!("Network interface '{}' is currently in use.", eni.id)))
            }
        }
    }

    /// Begins the end of an instance; [`Change::finish_termination`] is its end.
    pub(in crate::vpc) fn terminate(&mut self, id: &InstanceId) -> Result<(), ApiError> {
        if self.world.instance(id)?.state != InstanceState::Running {
            return Ok(());
        }
        let takes = self.timing.terminate_takes;
        self.world.instance_mut(id)?.state = InstanceState::ShuttingDown;
        if takes.is_zero() {
            self.finish_termination(id);
        } else {
            self.effects.push(Effect::Later(takes, Due::Terminated(id.clone())));
        }
        Ok(())
    }

    /// Deletes the instance's delete-on-termination ENIs, frees the others, and ends the instance.
    pub(in crate::vpc) fn finish_termination(&mut self, id: &InstanceId) {
        let bound: Vec<EniId> = self.world.enis_of(id).into_iter().map(|eni| eni.id.clone()).collect();
        for eni_id in bound {
            let Some(eni) = self.world.enis.get_mut(&eni_id) else { continue };
            let Some(attachment) = eni.attachment() else { continue };
            self.effects.push(Effect::Unplugged {
                attachment: attachment.attachment_id.clone(),
                instance: id.clone(),
                eni: eni_id.clone(),
                mac: eni.mac,
            });
            if attachment.delete_on_termination {
                self.world.remove_eni(&eni_id);
            } else {
                Arc::make_mut(eni).state = EniState::Available;
            }
        }
        if let Some(instance) = self.world.instances.get_mut(id) {
            Arc::make_mut(instance).state = InstanceState::Terminated;
        }
        self.effects.push(Effect::InstanceOver(id.clone()));
    }
}

/// Card and device index of the request, as far as the type has such a card.
fn place(op: &AttachNetworkInterface, cards: &[u32]) -> Result<(u32, u32), ApiError> {
    let card = op.network_card_index.unwrap_or(0);
    let card_index = u32::try_from(card).ok().filter(|card| (*card as usize) < cards.len());
    let Some(card_index) = card_index else {
        return Err(invalid(format!("Network card index '{card}' is not valid for the instance type.")));
    };
    // EC2 takes device indexes far beyond the number of ENIs; clients search 0 to 99.
    let device = u32::try_from(op.device_index).ok().filter(|device| *device < 100);
    let Some(device) = device else {
        return Err(invalid(format!("Value ( {} ) for parameter deviceIndex is invalid.", op.device_index)));
    };
    Ok((card_index, device))
}
