//! The faults in force, which of them hit, and how often each did.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::error::{ApiError, ErrorCode};
use super::ids::{EniId, InstanceId};
use super::imds_view::ImdsView;
use super::request::{Action, Caller};
use super::rng::Stream;
use super::time::Micros;
use crate::fault::{Fault, FaultId, FaultKind, Places, Reach};

/// What metadata showed of each instance when a fault was set.
pub(super) type Frozen = BTreeMap<InstanceId, ImdsView>;

#[derive(Debug)]
struct Active {
    id: FaultId,
    /// With `skip` and `count` as they are left.
    fault: Fault,
    /// For `ImdsFrozen`.
    frozen: Frozen,
}

/// All faults in force.
#[derive(Debug)]
pub(super) struct Faults {
    active: Vec<Active>,
    next: u64,
    chance: Stream,
    /// Of every fault that was ever set.
    hits: BTreeMap<FaultId, u64>,
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
    pub(super) view: Blur,
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
    /// Credentials that are shown are over already.
    pub expired_credentials: bool,
}

impl Faults {
    pub(super) fn new(chance: Stream) -> Self {
        Self { active: Vec::new(), next: 1, chance, hits: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, fault: Fault, frozen: Frozen) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.hits.insert(id, 0);
        self.active.push(Active { id, fault, frozen });
        id
    }

    pub(super) fn clear(&mut self, id: FaultId) -> bool {
        let before = self.active.len();
        self.active.retain(|active| active.id != id);
        self.active.len() < before
    }

    /// A fault in force.
    pub(super) fn get(&self, id: FaultId) -> Option<&Fault> {
        self.active.iter().find(|active| active.id == id).map(|active| &active.fault)
    }

    /// Counts a hit of a fault that happens by itself.
    pub(super) fn count_hit(&mut self, id: FaultId) {
        *self.hits.entry(id).or_insert(0) += 1;
    }

    pub(super) fn list(&self) -> Vec<(FaultId, Fault)> {
        self.active.iter().map(|active| (active.id, active.fault.clone())).collect()
    }

    pub(super) fn hits(&self) -> &BTreeMap<FaultId, u64> {
        &self.hits
    }

    /// Drops the faults whose time is over.
    pub(super) fn expire(&mut self, now: Micros) {
        self.active.retain(|active| {
            active.fault.until.is_none_or(|until| now < until) && active.fault.count != Some(0)
        });
    }

    /// Draws what hits this call, and counts it.
    pub(super) fn hit(&mut self, action: Action, caller: &Caller, places: impl FnOnce() -> Places) -> Harm {
        let mut harm = Harm::default();
        let mut places = Some(places);
        let mut known: Option<Places> = None;
        for active in &mut self.active {
            let fault = &mut active.fault;
            let reach = fault.kind.reach();
            let about_calls = match reach {
                Reach::Call => true,
                Reach::Describe => action.is_read(),
                Reach::Attachment | Reach::Imds | Reach::Instance | Reach::Clock => false,
            };
            if !about_calls || !fault.scope.covers_call(action, caller) || fault.count == Some(0) {
                continue;
            }
            // A lag narrowed to an ENI hits that ENI in every view, whatever the call names.
            if reach == Reach::Call && fault.scope.asks_for_places() {
                let places =
                    known.get_or_insert_with(|| places.take().map(|places| places()).unwrap_or_default());
                if !fault.scope.covers_places(places) {
                    continue;
                }
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.permille < 1000 && self.chance.below(1000) >= u64::from(fault.permille) {
                continue;
            }
            if !harm.add(&fault.kind, fault.scope.eni, action) {
                continue;
            }
            fault.count = fault.count.map(|count| count - 1);
            *self.hits.entry(active.id).or_insert(0) += 1;
        }
        harm
    }

    /// The attachment faults that hit an attachment of these places just now, counted.
    pub(super) fn of_attachment(
        &mut self,
        instance: InstanceId,
        places: &Places,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Vec<FaultKind> {
        let mut found = Vec::new();
        for active in &mut self.active {
            let fault = &mut active.fault;
            let covered = fault.kind.reach() == Reach::Attachment
                && wanted(&fault.kind)
                && fault.count != Some(0)
                && fault.scope.instance.is_none_or(|only| only == instance)
                && fault.scope.covers_places(places);
            if covered {
                fault.count = fault.count.map(|count| count - 1);
                *self.hits.entry(active.id).or_insert(0) += 1;
                found.push(fault.kind.clone());
            }
        }
        found
    }

    /// How far ahead EC2's clock is of this caller's.
    pub(super) fn clock_ahead(&mut self, caller: &Caller) -> Duration {
        let mut ahead = Duration::ZERO;
        for active in &self.active {
            if let FaultKind::ClockAhead { by } = active.fault.kind
                && active.fault.scope.instance.is_none_or(|only| caller.instance == Some(only))
                && active.fault.scope.caller.as_ref().is_none_or(|name| *name == caller.name)
            {
                ahead = ahead.max(by);
                *self.hits.entry(active.id).or_insert(0) += 1;
            }
        }
        ahead
    }

    /// What the faults do to one request to the metadata service. `path` is without version and leading slash.
    pub(super) fn of_imds_request(&mut self, instance: InstanceId, path: &str) -> ImdsHarm {
        let mut harm = ImdsHarm::default();
        let below =
            |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| path.starts_with(wanted.as_str()));
        for active in &self.active {
            if active.fault.scope.instance.is_some_and(|only| only != instance) {
                continue;
            }
            match &active.fault.kind {
                FaultKind::ImdsAway => harm.away = true,
                FaultKind::ImdsRequestReset { path } if below(path) => harm.request_reset = true,
                FaultKind::ImdsAnswerReset { keep, path } if below(path) => {
                    harm.answer_reset = Some(harm.answer_reset.map_or(*keep, |less| less.min(*keep)));
                }
                FaultKind::ImdsStatus { status, path } if below(path) => harm.status = Some(*status),
                FaultKind::ImdsLate { by, path } if below(path) => harm.late_by = harm.late_by.max(*by),
                FaultKind::ImdsTokenRefused if path == "api/token" => harm.token_refused = true,
                FaultKind::ImdsExpiredCredentials if path.contains("security-credentials") => {
                    harm.expired_credentials = true;
                }
                _ => continue,
            }
            *self.hits.entry(active.id).or_insert(0) += 1;
        }
        harm
    }

    /// The faults of what metadata shows of one instance, oldest first, with what it showed when each was set.
    pub(super) fn of_imds_view(
        &mut self,
        instance: InstanceId,
        now: Micros,
    ) -> Vec<(FaultKind, Option<ImdsView>)> {
        let mut found = Vec::new();
        for active in &self.active {
            let shown = matches!(
                active.fault.kind,
                FaultKind::ImdsOmitsEni { .. }
                    | FaultKind::ImdsOmitsAddresses { .. }
                    | FaultKind::ImdsRemembers { .. }
                    | FaultKind::ImdsFrozen
                    | FaultKind::ImdsLags { .. }
            );
            let covered = active.fault.until.is_none_or(|until| now < until)
                && active.fault.scope.instance.is_none_or(|only| only == instance);
            if shown && covered {
                *self.hits.entry(active.id).or_insert(0) += 1;
                found.push((active.fault.kind.clone(), active.frozen.get(&instance).cloned()));
            }
        }
        found
    }
}

impl Harm {
    /// What becomes of the answer on its way: of a connection that is reset nothing else is seen.
    pub(super) fn garbled(&mut self) -> Option<Garbled> {
        let reset = if self.request_reset { Some(0) } else { self.answer_reset };
        reset.map(Garbled::Reset).or_else(|| self.garbled.take())
    }

    /// Adds one fault; false when it has nothing to do with this action.
    fn add(&mut self, kind: &FaultKind, eni: Option<EniId>, action: Action) -> bool {
        let assigns = matches!(action, Action::AssignPrivateIpAddresses | Action::AssignIpv6Addresses);
        match kind {
            FaultKind::RequestLost => self.request_lost = true,
            FaultKind::AnswerLost => self.answer_lost = true,
            FaultKind::RequestReset => self.request_reset = true,
            FaultKind::AnswerReset { keep } => {
                self.answer_reset = Some(self.answer_reset.map_or(*keep, |less| less.min(*keep)));
            }
            FaultKind::AnswerLate { by } => self.late_by = self.late_by.max(*by),
            FaultKind::AnswerTruncated { keep } => self.garbled = Some(Garbled::Truncated(*keep)),
            FaultKind::AnswerReplaced { status, body } => {
                self.garbled = Some(Garbled::Replaced { status: *status, body: body.clone() });
            }
            FaultKind::Throttle => {
                self.refused.get_or_insert_with(throttled);
            }
            FaultKind::Deny => {
                self.refused.get_or_insert_with(|| {
                    ApiError::new(
                        ErrorCode::UnauthorizedOperation,
                        "You are not authorized to perform this operation.",
                    )
                });
            }
            FaultKind::ErrorInstead { code, message } => {
                self.instead.get_or_insert_with(|| ApiError::new(code.clone(), message.clone()));
            }
            FaultKind::ErrorAfterEffect { code, message } => {
                self.after.get_or_insert_with(|| ApiError::new(code.clone(), message.clone()));
            }
            FaultKind::FewerAddresses { most } if assigns => {
                self.gives_at_most = Some(self.gives_at_most.map_or(*most, |less| less.min(*most)));
            }
            FaultKind::TerminateBefore { instance } => self.terminate_before.push(*instance),
            FaultKind::TerminateAfter { instance } => self.terminate_after.push(*instance),
            FaultKind::DescribeLags { by } => match eni {
                Some(eni) => self.view.lagging.push((eni, *by)),
                None => self.view.lag = self.view.lag.max(*by),
            },
            FaultKind::ChangesLag { by } if !action.is_read() => {
                self.finds_older_than = self.finds_older_than.max(*by);
            }
            FaultKind::DescribeOmitsEni { eni } if action.is_read() => self.view.without.push(*eni),
            FaultKind::DescribeOmitsAddress { address } if action.is_read() => {
                self.view.without_addresses.push(IpAddr::V4(Ipv4Addr::clone(address)));
            }
            FaultKind::ShortPages { most } if action.is_read() => {
                self.view.page = Some(self.view.page.map_or(*most, |less| less.min(*most)));
            }
            _ => return false,
        }
        true
    }
}

/// EC2's answer to a caller that is too fast.
pub(super) fn throttled() -> ApiError {
    ApiError::new(ErrorCode::RequestLimitExceeded, "Request limit exceeded.")
}
