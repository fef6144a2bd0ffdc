//! ENIs.

use holdfast_migrations::v2;
use holdfast_model::eni::{EniKind, EniPhase, EniRecord, EniSource, Management};
use holdfast_model::ids::{AttachmentId, EniId, MacAddr, SubnetId};
use holdfast_model::time::BootTime;

use super::{
    BadRecord, Record, freeze_groups, freeze_intent_id, freeze_place, thaw_groups, thaw_intent_id, thaw_place,
};

impl Record for EniRecord {
    type Frozen = v2::Eni;

    fn freeze(&self) -> v2::Eni {
        v2::Eni {
            id: self.id.to_string(),
            mac: self.mac.0,
            place: freeze_place(&self.place),
            kind: match self.kind {
                EniKind::Standard => v2::EniKind::Standard,
                EniKind::Trunk => v2::EniKind::Trunk,
                EniKind::Efa => v2::EniKind::Efa,
                EniKind::EfaOnly => v2::EniKind::EfaOnly,
            },
            management: match self.management {
                Management::Managed => v2::Management::Managed,
                Management::Unmanaged => v2::Management::Unmanaged,
                Management::Excluded => v2::Management::Excluded,
            },
            phase: match &self.phase {
                EniPhase::Available => v2::EniPhase::Available,
                EniPhase::Attached { attachment, delete_on_termination } => v2::EniPhase::Attached {
                    attachment: attachment.to_string(),
                    delete_on_termination: *delete_on_termination,
                },
                EniPhase::Draining { attachment } => {
                    v2::EniPhase::Draining { attachment: attachment.to_string() }
                }
                EniPhase::Detached => v2::EniPhase::Detached,
                EniPhase::Gone => v2::EniPhase::Gone,
            },
            subnet: self.source.subnet.to_string(),
            security_groups: self.source.security_groups.as_ref().map(freeze_groups),
            primary_ipv4: self.primary_ipv4,
            created_by: self.created_by.map(freeze_intent_id),
            since: self.since.0,
            changed: self.changed.0,
        }
    }

    fn thaw(frozen: v2::Eni) -> Result<Self, BadRecord> {
        Ok(Self {
            id: EniId::new(frozen.id),
            mac: MacAddr(frozen.mac),
            place: thaw_place(frozen.place),
            kind: match frozen.kind {
                v2::EniKind::Standard => EniKind::Standard,
                v2::EniKind::Trunk => EniKind::Trunk,
                v2::EniKind::Efa => EniKind::Efa,
                v2::EniKind::EfaOnly => EniKind::EfaOnly,
            },
            management: match frozen.management {
                v2::Management::Managed => Management::Managed,
                v2::Management::Unmanaged => Management::Unmanaged,
                v2::Management::Excluded => Management::Excluded,
            },
            phase: match frozen.phase {
                v2::EniPhase::Available => EniPhase::Available,
                v2::EniPhase::Attached { attachment, delete_on_termination } => {
                    EniPhase::Attached { attachment: AttachmentId::new(attachment), delete_on_termination }
                }
                v2::EniPhase::Draining { attachment } => {
                    EniPhase::Draining { attachment: AttachmentId::new(attachment) }
                }
                v2::EniPhase::Detached => EniPhase::Detached,
                v2::EniPhase::Gone => EniPhase::Gone,
            },
            source: EniSource {
                subnet: SubnetId::new(frozen.subnet),
                security_groups: frozen.security_groups.map(thaw_groups),
            },
            primary_ipv4: frozen.primary_ipv4,
            created_by: frozen.created_by.map(thaw_intent_id),
            since: BootTime(frozen.since),
            changed: BootTime(frozen.changed),
        })
    }
}
