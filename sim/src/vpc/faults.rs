//! The faults in force, which of them hit, and how often each did.

use std::collections::BTreeMap;
use std::net::IpAddr;
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

/// A fault of what metadata shows of an instance, with what it showed when the fault was set.
pub(super) type OfImdsView = (FaultId, FaultKind, Option<ImdsView>);

#[derive(Debug)]
struct Active {
    id: FaultId,
    /// With `skip` and `count` as they are left.
    fault: Fault,
    /// For `ImdsFrozen`.
    frozen: Frozen,
    /// Calls for which it was drawn and that are not over. One call may lead to the arrival of another.
    under_way: u32,
}

/// A fault that was drawn for a call, to be settled when the call is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) id: FaultId,
    pub(super) kind: FaultKind,
    /// The ENI that it is narrowed to.
    pub(super) eni: Option<EniId>,
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

impl Faults {
    pub(super) fn new(chance: Stream) -> Self {
        Self { active: Vec::new(), next: 1, chance, hits: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, fault: Fault, frozen: Frozen) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.hits.insert(id, 0);
        self.active.push(Active { id, fault, frozen, under_way: 0 });
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

    /// Counts a hit.
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
            let used_up = active.fault.count == Some(0) && active.under_way == 0;
            active.fault.until.is_none_or(|until| now < until) && !used_up
        });
    }

    /// Draws what is to hit this call. Whether it did is for [`Faults::settle`] to say.
    pub(super) fn draw(&mut self, action: Action, caller: &Caller, places: impl FnOnce() -> Places) -> Harm {
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
            if !harm.add(&fault.kind, action) {
                continue;
            }
            fault.count = fault.count.map(|count| count - 1);
            active.under_way += 1;
            harm.drawn.push(Drawn { id: active.id, kind: fault.kind.clone(), eni: fault.scope.eni });
        }
        harm
    }

    /// The call for which a fault was drawn is over: it was hit, or the fault is as if it had not been drawn.
    pub(super) fn settle(&mut self, id: FaultId, hit: bool) {
        if hit {
            self.count_hit(id);
        }
        let Some(active) = self.active.iter_mut().find(|active| active.id == id) else { return };
        active.under_way -= 1;
        if !hit {
            active.fault.count = active.fault.count.map(|count| count + 1);
        }
    }

    /// The attachment faults that hit an attachment of these places just now, counted. Where one of them holds it up
    /// for good, the others change nothing.
    pub(super) fn of_attachment(
        &mut self,
        instance: InstanceId,
        places: &Places,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Vec<FaultKind> {
        let covers = |fault: &Fault| {
            fault.kind.reach() == Reach::Attachment
                && wanted(&fault.kind)
                && fault.kind != (FaultKind::LinkLate { by: Duration::ZERO })
                && fault.count != Some(0)
                && fault.scope.instance.is_none_or(|only| only == instance)
                && fault.scope.covers_places(places)
        };
        let mut covering: Vec<&mut Active> =
            self.active.iter_mut().filter(|active| covers(&active.fault)).collect();
        let for_good =
            covering.iter().position(|active| !matches!(active.fault.kind, FaultKind::LinkLate { .. }));
        if let Some(place) = for_good {
            covering = vec![covering.swap_remove(place)];
        }
        let mut found = Vec::new();
        for active in covering {
            active.fault.count = active.fault.count.map(|count| count - 1);
            *self.hits.entry(active.id).or_insert(0) += 1;
            found.push(active.fault.kind.clone());
        }
        found
    }

    /// How far ahead EC2's clock is of this caller's, and by which fault.
    pub(super) fn clock_ahead(&self, caller: &Caller) -> Option<(FaultId, Duration)> {
        let mut furthest: Option<(FaultId, Duration)> = None;
        for active in &self.active {
            if let FaultKind::ClockAhead { by } = active.fault.kind
                && active.fault.scope.instance.is_none_or(|only| caller.instance == Some(only))
                && active.fault.scope.caller.as_ref().is_none_or(|name| *name == caller.name)
                && furthest.is_none_or(|(_, less)| by > less)
            {
                furthest = Some((active.id, by));
            }
        }
        furthest
    }

    /// What the faults do to one request to the metadata service. `path` is without version and leading slash.
    pub(super) fn of_imds_request(&mut self, instance: InstanceId, path: &str) -> ImdsHarm {
        let mut harm = ImdsHarm::default();
        let active = self.active.iter();
        let covering =
            active.filter(|active| active.fault.scope.instance.is_none_or(|only| only == instance));
        let added: Vec<(FaultId, &FaultKind)> = covering
            .filter(|active| harm.add(active.id, &active.fault.kind, path))
            .map(|active| (active.id, &active.fault.kind))
            .collect();
        for (id, _) in added.into_iter().filter(|(_, kind)| harm.is_done_by(kind)) {
            *self.hits.entry(id).or_insert(0) += 1;
        }
        harm
    }

    /// The faults of what metadata shows of one instance, oldest first, with what it showed when each was set.
    pub(super) fn of_imds_view(&self, instance: InstanceId, now: Micros) -> Vec<OfImdsView> {
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
                let frozen = active.frozen.get(&instance).cloned();
                found.push((active.id, active.fault.kind.clone(), frozen));
            }
        }
        found
    }
}

impl Harm {
    /// What becomes of the answer on its way: of a connection that is reset nothing else is seen.
    pub(super) fn garbled(&self) -> Option<Garbled> {
        let reset =
            if self.request_reset { Some(0) } else { self.answer_reset.filter(|_| !self.request_lost) };
        reset.map(Garbled::Reset).or_else(|| self.garbled.clone())
    }

    /// Adds one fault; false when it has nothing to do with this action, or older faults left it nothing to do.
    fn add(&mut self, kind: &FaultKind, action: Action) -> bool {
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
    fn add(&mut self, id: FaultId, kind: &FaultKind, path: &str) -> bool {
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
    fn is_done_by(&self, kind: &FaultKind) -> bool {
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
