//! Intents.

use holdfast_migrations::v4;
use holdfast_model::block::{Ask, Unit};
use holdfast_model::cloud::CloudChange;
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::time::WallTime;

use super::{
    BadRecord, Record, freeze_groups, freeze_intent_id, freeze_net, freeze_slot, thaw_groups, thaw_intent_id,
    thaw_net, thaw_slot,
};

impl Record for Intent {
    type Frozen = v4::Intent;

    fn freeze(&self) -> v4::Intent {
        v4::Intent {
            id: freeze_intent_id(self.id),
            change: freeze_change(&self.change),
            sending: match self.sending {
                Sending::MaybeSent => v4::Sending::MaybeSent,
                Sending::NeverSent => v4::Sending::NeverSent,
                Sending::Unanswered => v4::Sending::Unanswered,
            },
            planned: self.planned.0,
        }
    }

    fn thaw(frozen: v4::Intent) -> Result<Self, BadRecord> {
        Ok(Self {
            id: thaw_intent_id(frozen.id),
            change: thaw_change(frozen.change)?,
            sending: match frozen.sending {
                v4::Sending::MaybeSent => Sending::MaybeSent,
                v4::Sending::NeverSent => Sending::NeverSent,
                v4::Sending::Unanswered => Sending::Unanswered,
            },
            planned: WallTime(frozen.planned),
        })
    }
}

fn freeze_change(change: &CloudChange) -> v4::CloudChange {
    match change.clone() {
        CloudChange::CreateEni { subnet, security_groups, ask, slot, description, tags } => {
            v4::CloudChange::CreateEni {
                subnet: subnet.to_string(),
                security_groups: freeze_groups(&security_groups),
                ask: freeze_ask(ask),
                slot: freeze_slot(slot),
                description,
                tags,
            }
        }
        CloudChange::AttachEni { eni, instance, slot } => v4::CloudChange::AttachEni {
            eni: eni.to_string(),
            instance: instance.to_string(),
            slot: freeze_slot(slot),
        },
        CloudChange::SetDeleteOnTermination { eni, attachment } => v4::CloudChange::SetDeleteOnTermination {
            eni: eni.to_string(),
            attachment: attachment.to_string(),
        },
        CloudChange::Assign { eni, ask } => {
            v4::CloudChange::Assign { eni: eni.to_string(), ask: freeze_ask(ask) }
        }
        CloudChange::Unassign { eni, nets } => v4::CloudChange::Unassign {
            eni: eni.to_string(),
            nets: nets.into_iter().map(freeze_net).collect(),
        },
        CloudChange::DetachEni { eni, attachment } => {
            v4::CloudChange::DetachEni { eni: eni.to_string(), attachment: attachment.to_string() }
        }
        CloudChange::DeleteEni { eni } => v4::CloudChange::DeleteEni { eni: eni.to_string() },
        CloudChange::SetSecurityGroups { eni, groups } => v4::CloudChange::SetSecurityGroups {
            eni: eni.to_string(),
            groups: groups.iter().map(ToString::to_string).collect(),
        },
    }
}

fn thaw_change(frozen: v4::CloudChange) -> Result<CloudChange, BadRecord> {
    Ok(match frozen {
        v4::CloudChange::CreateEni { subnet, security_groups, ask, slot, description, tags } => {
            CloudChange::CreateEni {
                subnet: SubnetId::new(subnet),
                security_groups: thaw_groups(security_groups),
                ask: thaw_ask(&ask),
                slot: thaw_slot(slot),
                description,
                tags,
            }
        }
        v4::CloudChange::AttachEni { eni, instance, slot } => CloudChange::AttachEni {
            eni: EniId::new(eni),
            instance: InstanceId::new(instance),
            slot: thaw_slot(slot),
        },
        v4::CloudChange::SetDeleteOnTermination { eni, attachment } => CloudChange::SetDeleteOnTermination {
            eni: EniId::new(eni),
            attachment: AttachmentId::new(attachment),
        },
        v4::CloudChange::Assign { eni, ask } => {
            CloudChange::Assign { eni: EniId::new(eni), ask: thaw_assigned(&ask) }
        }
        v4::CloudChange::Unassign { eni, nets } => CloudChange::Unassign {
            eni: EniId::new(eni),
            nets: nets.into_iter().map(thaw_net).collect::<Result<_, _>>()?,
        },
        v4::CloudChange::DetachEni { eni, attachment } => {
            CloudChange::DetachEni { eni: EniId::new(eni), attachment: AttachmentId::new(attachment) }
        }
        v4::CloudChange::DeleteEni { eni } => CloudChange::DeleteEni { eni: EniId::new(eni) },
        v4::CloudChange::SetSecurityGroups { eni, groups } => CloudChange::SetSecurityGroups {
            eni: EniId::new(eni),
            groups: groups.into_iter().map(SecurityGroupId::new).collect(),
        },
    })
}

/// The shape has no word for an IPv6 prefix. Of these there is never more than one to ask for, and nobody assigns no prefix at
/// all (an ENI may be made with none); so that, assigned, stands for one of IPv6. A program that does not know this would ask EC2
/// for none, and be refused.
fn freeze_ask(ask: Ask) -> v4::Ask {
    let (unit, count) = match ask.unit {
        Unit::Address => (v4::Unit::Address, ask.count),
        Unit::Prefix => (v4::Unit::Prefix, ask.count),
        Unit::Ipv6Prefix => (v4::Unit::Prefix, 0),
    };
    v4::Ask { unit, count }
}

fn thaw_ask(frozen: &v4::Ask) -> Ask {
    match frozen.unit {
        v4::Unit::Address => Ask::addresses(frozen.count),
        v4::Unit::Prefix => Ask::prefixes(frozen.count),
    }
}

fn thaw_assigned(frozen: &v4::Ask) -> Ask {
    match (&frozen.unit, frozen.count) {
        (v4::Unit::Prefix, 0) => Ask::ipv6_prefixes(1),
        _ => thaw_ask(frozen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_as_it_is() {
        let eni = EniId::new("eni-a");
        let groups = ["sg-2", "sg-1"].map(SecurityGroupId::new).into();
        let nets = ["10.0.0.16/28", "10.0.0.7/32", "2001:db8::/80"].map(|net| net.parse().unwrap());
        for change in [
            CloudChange::SetSecurityGroups { eni: eni.clone(), groups },
            CloudChange::Assign { eni: eni.clone(), ask: Ask::prefixes(3) },
            CloudChange::Assign { eni: eni.clone(), ask: Ask::addresses(3) },
            CloudChange::Assign { eni: eni.clone(), ask: Ask::ipv6_prefixes(1) },
            CloudChange::Unassign { eni, nets: nets.into() },
        ] {
            assert_eq!(thaw_change(freeze_change(&change)).unwrap(), change);
        }
    }
}
