//! The faults in force, which of them hit, and how often each did.

use std::collections::BTreeMap;
use std::time::Duration;

use super::harm::{Drawn, Harm, ImdsHarm};
use super::ids::InstanceId;
use super::imds_view::ImdsView;
use super::request::{Action, Caller};
use super::rng::Stream;
use super::tally::Tally;
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

/// All faults in force.
#[derive(Debug)]
pub(super) struct Faults {
    active: Vec<Active>,
    next: u64,
    chance: Stream,
    tally: Tally,
}

impl Faults {
    pub(super) fn new(chance: Stream) -> Self {
        Self { active: Vec::new(), next: 1, chance, tally: Tally::default() }
    }

    pub(super) fn set(&mut self, fault: Fault, frozen: Frozen) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.active.push(Active { id, fault, frozen, under_way: 0 });
        self.tally.begin(id, |id| self.active.iter().any(|active| active.id == id));
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
        self.tally.count(id);
    }

    pub(super) fn list(&self) -> Vec<(FaultId, Fault)> {
        self.active.iter().map(|active| (active.id, active.fault.clone())).collect()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
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
            self.tally.count(active.id);
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
            self.tally.count(id);
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
