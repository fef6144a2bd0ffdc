//! What the faults do, as plain data: to one call, to what a Describe shows, and to one request for metadata.

use std::net::IpAddr;
use std::time::Duration;

use super::error::{ApiError, ErrorCode};
use super::ids::{EniId, InstanceId};
use super::request::Action;
use crate::fault::{FaultId, FaultKind};

/// A fault that was drawn for a call, to be settled when the call is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) id: FaultId,
    pub(super) kind: FaultKind,
    /// The ENI that it is narrowed to.
    pub(super) eni: Option<EniId>,
}

/// What the faults do to one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Harm {
    pub(super) request_lost: bool,
    /// Instead of carrying it out, for a dry run too.
    pub(super) refused: Option<ApiError>,
    /// Instead of carrying it out, when it is meant.
    pub(super) instead: Option<ApiError>,
    pub(super) after: Option<ApiError>,
    pub(super) answer_lost: bool,
    pub(super) request_reset: bool,
    /// After so many bytes of the answer.
    pub(super) answer_reset: Option<u32>,
    pub(super) late_by: Duration,
    pub(super) garbled: Option<Garbled>,
    pub(super) terminate_before: Vec<InstanceId>,
    pub(super) terminate_after: Vec<InstanceId>,
    pub(super) gives_at_most: Option<u32>,
    /// A change does not find what is younger.
    pub(super) finds_older_than: Duration,
    /// The faults behind all this, and those that blur what a Describe call shows, oldest first.
    pub(super) drawn: Vec<Drawn>,
}

/// What becomes of an answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbled {
    /// Only the first so many bytes of its body arrive.
    Truncated(u32),
    /// Only the first so many bytes of it arrive, its head included; then the connection is reset.
    Reset(u32),
    /// Something else answers in its place.
    Replaced {
        /// HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
}

/// What a Describe call does not show as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blur {
    /// How long ago everything is shown.
    pub(super) lag: Duration,
    /// How much older one ENI is shown.
    pub(super) lagging: Vec<(EniId, Duration)>,
    pub(super) without: Vec<EniId>,
    pub(super) without_addresses: Vec<IpAddr>,
    /// Results of a page at most.
    pub(super) page: Option<u32>,
}

/// What the metadata faults do to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImdsHarm {
    /// The connection closes without a byte.
    pub away: bool,
    /// The connection is reset, and nothing is done.
    pub request_reset: bool,
    /// What is asked is done; the connection is reset after so many bytes of the answer.
    pub answer_reset: Option<u32>,
    /// No token is given.
    pub token_refused: bool,
    /// Answered with this status.
    pub status: Option<u16>,
    /// Answered this much later.
    pub late_by: Duration,
    /// Credentials that are shown are over already, by this fault.
    pub expired_credentials: Option<FaultId>,
}

impl Harm {
    /// What becomes of the answer on its way: of a connection that is reset nothing else is seen.
    pub(super) fn garbled(&self) -> Option<Garbled> {
        let reset =
            if self.request_reset { Some(0) } else { self.answer_reset.filter(|_| !self.request_lost) };
        reset.map(Garbled::Reset).or_else(|| self.garbled.clone())
    }

    /// Adds one fault; false when it has nothing to do with this action, or older faults left it nothing to do.
    pub(super) fn add(&mut self, kind: &FaultKind, action: Action) -> bool {
        let assigns = matches!(action, Action::AssignPrivateIpAddresses | Action::AssignIpv6Addresses);
        match kind {
            FaultKind::RequestLost => set(&mut self.request_lost),
            FaultKind::AnswerLost => set(&mut self.answer_lost),
            FaultKind::RequestReset => set(&mut self.request_reset),
            FaultKind::AnswerReset { keep } => lower(&mut self.answer_reset, *keep),
            FaultKind::AnswerLate { by } => raise(&mut self.late_by, *by),
            FaultKind::AnswerTruncated { keep } => self.garble(Garbled::Truncated(*keep)),
            FaultKind::AnswerReplaced { status, body } => {
                self.garble(Garbled::Replaced { status: *status, body: body.clone() })
            }
            FaultKind::Throttle => first(&mut self.refused, throttled),
            FaultKind::Deny => first(&mut self.refused, || {
                ApiError::new(
                    ErrorCode::UnauthorizedOperation,
                    "You are not authorized to perform this operation.",
                )
            }),
            FaultKind::ErrorInstead { code, message } => {
                first(&mut self.instead, || ApiError::new(code.clone(), message.clone()))
            }
            FaultKind::ErrorAfterEffect { code, message } => {
                first(&mut self.after, || ApiError::new(code.clone(), message.clone()))
            }
            FaultKind::FewerAddresses { most } => assigns && lower(&mut self.gives_at_most, *most),
            FaultKind::TerminateBefore { instance } => once(&mut self.terminate_before, *instance),
            FaultKind::TerminateAfter { instance } => once(&mut self.terminate_after, *instance),
            FaultKind::ChangesLag { by } => !action.is_read() && raise(&mut self.finds_older_than, *by),
            _ => kind.blurs() && action.is_read(),
        }
    }

    fn garble(&mut self, by: Garbled) -> bool {
        let by = Some(by);
        by != std::mem::replace(&mut self.garbled, by.clone())
    }
}

impl Blur {
    /// Adds one fault of what Describe calls show; false when it is of another kind.
    pub(super) fn add(&mut self, fault: &Drawn) -> bool {
        match &fault.kind {
            FaultKind::DescribeLags { by } => match fault.eni {
                Some(eni) => self.lagging.push((eni, *by)),
                None => self.lag = self.lag.max(*by),
            },
            FaultKind::DescribeOmitsEni { eni } => self.without.push(*eni),
            FaultKind::DescribeOmitsAddress { address } => {
                self.without_addresses.push(IpAddr::V4(*address));
            }
            FaultKind::ShortPages { most } => {
                lower(&mut self.page, *most);
            }
            _ => return false,
        }
        true
    }
}

impl ImdsHarm {
    /// Adds one fault; false when it has nothing to do with this path, or older faults left it nothing to do.
    pub(super) fn add(&mut self, id: FaultId, kind: &FaultKind, path: &str) -> bool {
        let below =
            |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| path.starts_with(wanted.as_str()));
        match kind {
            FaultKind::ImdsAway => set(&mut self.away),
            FaultKind::ImdsRequestReset { path } => below(path) && set(&mut self.request_reset),
            FaultKind::ImdsAnswerReset { keep, path } => below(path) && lower(&mut self.answer_reset, *keep),
            FaultKind::ImdsStatus { status, path } => {
                below(path) && self.status.replace(*status) != Some(*status)
            }
            FaultKind::ImdsLate { by, path } => below(path) && raise(&mut self.late_by, *by),
            FaultKind::ImdsTokenRefused => path == "api/token" && set(&mut self.token_refused),
            FaultKind::ImdsExpiredCredentials => {
                path.contains("security-credentials") && first(&mut self.expired_credentials, || id)
            }
            _ => false,
        }
    }

    /// Whether a fault that was added shows, beside all the others. The face tells of those in what is read.
    pub(super) fn is_done_by(&self, kind: &FaultKind) -> bool {
        match kind {
            FaultKind::ImdsAway => true,
            _ if self.away => false,
            FaultKind::ImdsRequestReset { .. } => true,
            _ if self.request_reset => false,
            FaultKind::ImdsAnswerReset { keep, .. } => self.answer_reset == Some(*keep),
            FaultKind::ImdsStatus { status, .. } => !self.token_refused && self.status == Some(*status),
            FaultKind::ImdsLate { by, .. } => self.late_by == *by,
            FaultKind::ImdsTokenRefused => true,
            _ => false,
        }
    }
}

/// Whether it was not so before.
fn set(flag: &mut bool) -> bool {
    !std::mem::replace(flag, true)
}

/// Whether that is longer than before.
fn raise(longest: &mut Duration, by: Duration) -> bool {
    let longer = by > *longest;
    *longest = by.max(*longest);
    longer
}

/// Whether that is less than before.
fn lower(least: &mut Option<u32>, to: u32) -> bool {
    let less = least.is_none_or(|least| to < least);
    *least = Some(least.map_or(to, |least| least.min(to)));
    less
}

/// Whether there was none before.
fn first<T>(place: &mut Option<T>, make: impl FnOnce() -> T) -> bool {
    let none = place.is_none();
    place.get_or_insert_with(make);
    none
}

/// Whether it was not among them before.
fn once<T: PartialEq>(all: &mut Vec<T>, one: T) -> bool {
    let new = !all.contains(&one);
    if new {
        all.push(one);
    }
    new
}

/// EC2's answer to a caller that is too fast.
pub(super) fn throttled() -> ApiError {
    ApiError::new(ErrorCode::RequestLimitExceeded, "Request limit exceeded.")
}
