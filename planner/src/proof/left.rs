//! What EC2 no longer has for us.

use std::fmt;
use std::time::Duration;

use holdfast_model::cloud::{CloudChange, CloudRead, EniView};
use holdfast_model::eni::EniRecord;
use holdfast_model::ids::InstanceId;
use holdfast_model::intent::Intent;

use crate::orphan::is_claimed;
use crate::outcome::Fault;
use crate::reading::{ABSENCE_BELIEVED_AFTER, Reading, TOMBSTONE};

#[cfg(test)]
mod tests;

/// An ENI, or what the ledger has on it, is not there any more in EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left(How);

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Deleted,
    NotFound,
    Elsewhere,
    Claimed,
    NotShown,
}

impl Left {
    /// EC2 carried our deletion out, and said so.
    pub(crate) fn deleted(intent: &Intent) -> Option<Self> {
        matches!(intent.change, CloudChange::DeleteEni { .. }).then_some(Self(How::Deleted))
    }

    /// EC2 does not know it, asked to delete it.
    pub(crate) fn not_found(intent: &Intent, fault: Fault) -> Option<Self> {
        let asked = matches!(intent.change, CloudChange::DeleteEni { .. });
        (asked && fault == Fault::NotFound).then_some(Self(How::NotFound))
    }

    /// EC2 does not know its id, asked for it.
    pub(crate) fn unknown(reading: Reading<'_>, record: &EniRecord, view: Option<&EniView>) -> Option<Self> {
        let asked = matches!(reading.read, CloudRead::Enis { enis } if enis.contains(&record.id));
        (asked && view.is_none()).then_some(Self(How::NotFound))
    }

    /// A read shows an ENI that we have not attached bound to another instance by somebody else, or marked as none of ours.
    pub(crate) fn taken(view: &EniView, me: &InstanceId) -> Option<Self> {
        match &view.attachment {
            Some(at) if at.instance != *me => Some(Self(How::Elsewhere)),
            // By us it is detached, whatever a late view still shows: its tags are as new as the view.
            _ => is_claimed(view, me).then_some(Self(How::Claimed)),
        }
    }

    /// A read that would show it, if it were there, does not; our last change of it is too long ago for a view that lags.
    pub(crate) fn not_shown(reading: Reading<'_>, record: &EniRecord) -> Option<Self> {
        Self::not_shown_for(ABSENCE_BELIEVED_AFTER, reading, record)
    }

    /// The same of an ENI whose link may still be on this host: EC2 takes the link away with the attachment, so it speaks
    /// against a view that lags, for as long as views were seen to.
    pub(crate) fn unbound(reading: Reading<'_>, record: &EniRecord, may_have_link: bool) -> Option<Self> {
        let waits = if may_have_link { TOMBSTONE } else { ABSENCE_BELIEVED_AFTER };
        Self::not_shown_for(waits, reading, record)
    }

    fn not_shown_for(waits: Duration, reading: Reading<'_>, record: &EniRecord) -> Option<Self> {
        (reading.began.since(record.changed) >= waits).then_some(Self(How::NotShown))
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            How::Deleted => "EC2 has deleted it",
            How::NotFound => "EC2 does not know it",
            How::Elsewhere => "somebody attached it elsewhere",
            How::Claimed => "it is marked as another's, or to be left alone",
            How::NotShown => "EC2 does not show it there any more, and not by our doing",
        })
    }
}
