//! `ModifyNetworkInterfaceAttribute`.

use super::{Change, Effect, combination, missing};
use crate::vpc::error::{ApiError, ErrorCode};
use crate::vpc::ids::EniId;
use crate::vpc::model::EniState;
use crate::vpc::request::{AttachmentChange, ModifyNetworkInterfaceAttribute};

impl Change<'_> {
    pub(super) fn modify(&mut self, op: &ModifyNetworkInterfaceAttribute) -> Result<(), ApiError> {
        let id = op.network_interface_id;
        let eni = self.world.eni(&id)?;
        let given = [
            op.attachment.is_some(),
            !op.groups.is_empty(),
            op.description.is_some(),
            op.source_dest_check.is_some(),
        ];
        match given.into_iter().filter(|given| *given).count() {
            0 => {
                return Err(ApiError::new(
                    ErrorCode::MissingParameter,
                    "The request must contain one attribute to modify",
                ));
            }
            1 => {}
            _ => return Err(combination("Only one attribute can be modified at a time")),
        }
        if !op.groups.is_empty() {
            let vpc = self.world.subnet(&eni.subnet)?.vpc;
            let groups = self.groups(op.groups.clone(), vpc)?;
            self.world.eni_mut(&id)?.groups = groups;
        }
        if let Some(description) = &op.description {
            self.world.eni_mut(&id)?.description.clone_from(description);
        }
        if let Some(enabled) = op.source_dest_check {
            self.world.eni_mut(&id)?.source_dest_check = enabled;
            self.effects.push(Effect::SourceDestCheck(id));
        }
        if let Some(change) = &op.attachment {
            self.modify_attachment(id, change)?;
        }
        Ok(())
    }

    fn modify_attachment(&mut self, id: EniId, change: &AttachmentChange) -> Result<(), ApiError> {
        let wanted = change.attachment_id.as_ref().ok_or_else(|| missing("attachment.attachmentId"))?;
        if !wanted.is_well_formed() {
            return Err(ApiError::new(ErrorCode::AttachmentIdMalformed, format!("Invalid id: \"{wanted}\"")));
        }
        match &mut self.world.eni_mut(&id)?.state {
            EniState::Bound(attachment) if attachment.attachment_id == *wanted => {
                if let Some(delete) = change.delete_on_termination {
                    attachment.delete_on_termination = delete;
                }
                Ok(())
            }
            _ => Err(ApiError::new(
                ErrorCode::AttachmentIdNotFound,
                format!("An interface attachment with ID '{wanted}' does not exist on interface '{id}'"),
            )),
        }
    }
}
