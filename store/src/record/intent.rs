//! Intents.

use holdfast_migrations::v2;
use holdfast_model::cloud::CloudChange;
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::time::WallTime;

use super::{
    BadRecord, Record, freeze_groups, freeze_intent_id, freeze_slot, thaw_groups, thaw_intent_id, thaw_slot,
};

impl Record for Intent {
    type Frozen = v2::Intent;

    fn freeze(&self) -> v2::Intent {
        v2::Intent {
            id: freeze_intent_id(self.id),
            change: freeze_change(&self.change),
            sending: match self.sending {
                Sending::MaybeSent => v2::Sending::MaybeSent,
                Sending::NeverSent => v2::Sending::NeverSent,
                Sending::Unanswered => v2::Sending::Unanswered,
            },
            planned: self.planned.0,
        }
    }

    fn thaw(frozen: v2::Intent) -> Result<Self, BadRecord> {
        Ok(Self {
            id: thaw_intent_id(frozen.id),
            change: thaw_change(frozen.change),
            sending: match frozen.sending {
                v2::Sending::MaybeSent => Sending::MaybeSent,
                v2::Sending::NeverSent => Sending::NeverSent,
                v2::Sending::Unanswered => Sending::Unanswered,
            },
            planned: WallTime(frozen.planned),
        })
    }
}

fn freeze_change(change: &CloudChange) -> v2::CloudChange {
    match change.clone() {
        CloudChange::CreateEni { subnet, security_groups, secondary_addresses, slot, description, tags } => {
            v2::CloudChange::CreateEni {
                subnet: subnet.to_string(),
                security_groups: freeze_groups(&security_groups),
                secondary_addresses,
                slot: freeze_slot(slot),
                description,
                tags,
            }
        }
        CloudChange::AttachEni { eni, instance, slot } => v2::CloudChange::AttachEni {
            eni: eni.to_string(),
            instance: instance.to_string(),
            slot: freeze_slot(slot),
        },
        CloudChange::SetDeleteOnTermination { eni, attachment } => v2::CloudChange::SetDeleteOnTermination {
            eni: eni.to_string(),
            attachment: attachment.to_string(),
        },
        CloudChange::AssignAddresses { eni, count } => {
            v2::CloudChange::AssignAddresses { eni: eni.to_string(), count }
        }
        CloudChange::UnassignAddresses { eni, addresses } => {
            v2::CloudChange::UnassignAddresses { eni: eni.to_string(), addresses }
        }
        CloudChange::DetachEni { eni, attachment } => {
            v2::CloudChange::DetachEni { eni: eni.to_string(), attachment: attachment.to_string() }
        }
        CloudChange::DeleteEni { eni } => v2::CloudChange::DeleteEni { eni: eni.to_string() },
        CloudChange::SetSecurityGroups { eni, groups } => v2::CloudChange::SetSecurityGroups {
            eni: eni.to_string(),
            groups: groups.iter().map(ToString::to_string).collect(),
        },
    }
}

fn thaw_change(frozen: v2::CloudChange) -> CloudChange {
    match frozen {
        v2::CloudChange::CreateEni {
            subnet,
            security_groups,
            secondary_addresses,
            slot,
            description,
            tags,
        } => CloudChange::CreateEni {
            subnet: SubnetId::new(subnet),
            security_groups: thaw_groups(security_groups),
            secondary_addresses,
            slot: thaw_slot(slot),
            description,
            tags,
        },
        v2::CloudChange::AttachEni { eni, instance, slot } => CloudChange::AttachEni {
            eni: EniId::new(eni),
            instance: InstanceId::new(instance),
            slot: thaw_slot(slot),
        },
        v2::CloudChange::SetDeleteOnTermination { eni, attachment } => CloudChange::SetDeleteOnTermination {
            eni: EniId::new(eni),
            attachment: AttachmentId::new(attachment),
        },
        v2::CloudChange::AssignAddresses { eni, count } => {
            CloudChange::AssignAddresses { eni: EniId::new(eni), count }
        }
        v2::CloudChange::UnassignAddresses { eni, addresses } => {
            CloudChange::UnassignAddresses { eni: EniId::new(eni), addresses }
        }
        v2::CloudChange::DetachEni { eni, attachment } => {
            CloudChange::DetachEni { eni: EniId::new(eni), attachment: AttachmentId::new(attachment) }
        }
        v2::CloudChange::DeleteEni { eni } => CloudChange::DeleteEni { eni: EniId::new(eni) },
        v2::CloudChange::SetSecurityGroups { eni, groups } => CloudChange::SetSecurityGroups {
            eni: EniId::new(eni),
            groups: groups.into_iter().map(SecurityGroupId::new).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_groups_is_kept_as_it_is() {
        let change = CloudChange::SetSecurityGroups {
            eni: EniId::new("eni-a"),
            groups: ["sg-2", "sg-1"].map(SecurityGroupId::new).into(),
        };
        assert_eq!(thaw_change(freeze_change(&change)), change);
    }
}
