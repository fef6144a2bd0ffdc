//! Attaching, detaching and deleting ENIs.

use std::sync::Arc;

use super::{Change, Due, Effect, combination, invalid, missing};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::family::Family;
use crate::vpc::ids::AttachmentId;
use crate::vpc::model::{Eni, EniState, Ghost, Instance};
use crate::vpc::request::{AttachNetworkInterface, DeleteNetworkInterface, DetachNetworkInterface};
use crate::vpc::response::{Attached, Attachment, AttachmentStatus, InstanceState};

/// Card and device index on an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    card: u32,
    device: u32,
    /// The caller left the card out.
    card_assumed: bool,
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
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
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
        let place = place(op, &instance.kind.network_cards)?;
        self.room_for(eni, instance, place)?;
        kind_fits(eni, instance)?;
        let others: Vec<&Arc<Eni>> = self.world.enis_of(op.instance_id);
        special(eni, instance, &others, place)?;
        let powered = instance.state == InstanceState::Running;
        let attachment_id = AttachmentId::new(self.ids.id(AttachmentId::PREFIX));
        let takes = self.timing.attach_takes;
        // A stopped instance has nothing that could object.
        let attached_now = takes.is_zero() || !powered;
        self.world.eni_mut(&op.network_interface_id)?.state = EniState::Bound(Attachment {
            attachment_id,
            instance_id: op.instance_id,
            instance_owner_id: self.account.to_owned(),
            device_index: place.device,
            network_card_index: place.card,
            status: if attached_now { AttachmentStatus::Attached } else { AttachmentStatus::Attaching },
            delete_on_termination: false,
            attach_time: self.now,
        });
        if !attached_now {
            self.effects.push(Effect::Later(takes, Due::Attached(attachment_id)));
        }
        if powered {
            self.effects.push(Effect::Later(self.timing.link_appears, Due::LinkAppears(attachment_id)));
        }
        Ok(Attached { attachment_id, network_card_index: place.card })
    }

    fn room_for(&self, eni: &Eni, instance: &Instance, place: Place) -> Result<(), ApiError> {
        let kind = &instance.kind;
        let others: Vec<&Attachment> =
            self.world.enis_of(instance.id).into_iter().filter_map(|eni| eni.attachment()).collect();
        let Place { card, device, card_assumed } = place;
        // EC2's check counts the device indexes of all cards where the caller named none (cilium#42512).
        let taken = |on_card: u32, on_device: u32| on_device == device && (on_card == card || card_assumed);
        if others.iter().any(|a| taken(a.network_card_index, a.device_index))
            || instance.ghosts.iter().any(|ghost| taken(ghost.card, ghost.device))
        {
            return Err(invalid(format!(
                "Instance '{}' already has an interface attached at device index '{device}'.",
                instance.id
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
        let too_many = |family| eni.holding(family).slots() > kind.per_eni(family) as usize;
        if too_many(Family::V4) || too_many(Family::V6) {
            return Err(ApiError::new(
                ErrorCode::PrivateIpAddressLimitExceeded,
                "Number of private addresses will exceed limit.",
            ));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, op: &DetachNetworkInterface) -> Result<(), ApiError> {
        let id = op.attachment_id;
        if id.as_str().is_empty() {
            return Err(missing("attachmentId"));
        }
        if !id.is_well_formed() {
            return Err(ApiError::new(ErrorCode::AttachmentIdMalformed, format!("Invalid id: \"{id}\"")));
        }
        let found = self.world.eni_of_attachment(id).map(Arc::clone);
        let Some((eni, attachment)) =
            found.and_then(|eni| Some((Arc::clone(&eni), eni.attachment()?.clone())))
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
                format!("Network interface '{}' is already being detached.", eni.id),
            ));
        }
        self.effects.push(Effect::Unplugged {
            attachment: id,
            instance: attachment.instance_id,
            eni: eni.id,
            mac: eni.mac,
        });
        let takes = self.timing.detach_takes;
        let powered = self.world.instance(&attachment.instance_id)?.state != InstanceState::Stopped;
        self.world.eni_mut(&eni.id)?.state = if op.force || takes.is_zero() || !powered {
            EniState::Available
        } else {
            self.effects.push(Effect::Later(takes, Due::Detached(id)));
            EniState::Bound(Attachment { status: AttachmentStatus::Detaching, ..attachment.clone() })
        };
        if op.force && powered {
            // EC2's documentation of DetachNetworkInterface warns of both: metadata may not be updated, and the index
            // may not be used again before the instance was stopped and started. Here they always come true.
            self.world.instance_mut(&attachment.instance_id)?.ghosts.push(Ghost {
                card: attachment.network_card_index,
                device: attachment.device_index,
                was: eni,
            });
        }
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
}

/// Card and device index of the request, as far as the type has such a card.
fn place(op: &AttachNetworkInterface, cards: &[u32]) -> Result<Place, ApiError> {
    let card = op.network_card_index.unwrap_or(0);
    let Some(card_index) = u32::try_from(card).ok().filter(|card| (*card as usize) < cards.len()) else {
        return Err(invalid(format!("Network card index '{card}' is not valid for the instance type.")));
    };
    // EC2 takes device indexes far beyond the number of ENIs; clients search 0 to 99.
    let Some(device) = u32::try_from(op.device_index).ok().filter(|device| *device < 100) else {
        return Err(invalid(format!("Value ( {} ) for parameter deviceIndex is invalid.", op.device_index)));
    };
    Ok(Place { card: card_index, device, card_assumed: op.network_card_index.is_none() })
}

fn kind_fits(eni: &Eni, instance: &Instance) -> Result<(), ApiError> {
    let kind = &instance.kind;
    let has_prefixes = !eni.v4.prefixes.is_empty() || !eni.v6.prefixes.is_empty();
    if has_prefixes && !kind.supports_prefixes() {
        return Err(invalid(format!("Prefix delegation is not supported on instance type '{}'", kind.name)));
    }
    Ok(())
}

/// The rules of EFA, trunk and branch interfaces. Facts: EC2's pages on EFA ("you can't attach an EFA to an instance
/// that is in the running state", one per network card) and the VPC resource controller's (a branch is associated with
/// a trunk, one trunk an instance, of the types that can). EC2's words for these are not documented.
fn special(eni: &Eni, instance: &Instance, others: &[&Arc<Eni>], place: Place) -> Result<(), ApiError> {
    let kind = &instance.kind;
    let is_efa = |eni: &Eni| eni.interface_type.starts_with("efa");
    let is_trunk = |eni: &Eni| eni.interface_type == "trunk";
    if is_efa(eni) {
        if !kind.efa_supported {
            return Err(invalid(format!("EFA interfaces are not supported on {}", kind.name)));
        }
        if instance.state != InstanceState::Stopped {
            return Err(ApiError::new(
                ErrorCode::IncorrectState,
                format!(
                    "Instance '{}' is not in the 'stopped' state: an EFA can be attached to a stopped instance only.",
                    instance.id
                ),
            ));
        }
        let on_card = |eni: &Eni| eni.attachment().is_some_and(|a| a.network_card_index == place.card);
        if others.iter().any(|other| is_efa(other) && on_card(other)) {
            return Err(ApiError::new(
                ErrorCode::AttachmentLimitExceeded,
                format!("Network card {} already has an EFA.", place.card),
            ));
        }
    }
    if eni.interface_type == "branch" {
        return Err(invalid(format!(
            "Interface '{}' is a branch interface: it is associated with a trunk, not attached.",
            eni.id
        )));
    }
    if is_trunk(eni) {
        if !kind.trunking_supported {
            return Err(invalid(format!("Trunk interfaces are not supported on {}", kind.name)));
        }
        if others.iter().any(|other| is_trunk(other)) {
            return Err(ApiError::new(
                ErrorCode::AttachmentLimitExceeded,
                format!("Instance '{}' already has a trunk interface.", instance.id),
            ));
        }
    }
    Ok(())
}
