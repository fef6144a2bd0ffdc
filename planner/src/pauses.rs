//! Back-off: calls that rest after a setback, so long as the setbacks in a row ask for.

use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::ids::{EniId, SubnetId};
use holdfast_model::refusal::{CredentialsFault, Refusal};
use holdfast_model::time::{BootTime, Now};

use crate::outcome::{PauseScope, Setback};

#[cfg(test)]
mod tests;

/// A pause that ended this long ago is forgotten: the next setback counts as the first again.
pub(crate) const SETBACKS_FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// Calls of one kind rest until an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which call.
    pub api: Api,
    /// How far it reaches.
    pub scope: PauseScope,
    /// Until when.
    pub until: BootTime,
    /// Why.
    pub cause: Refusal,
    /// How many setbacks in a row led here.
    pub attempts: u32,
    /// When the last of them was told. What was sent before that and fails too says nothing new: calls leave in volleys.
    pub since: BootTime,
}

/// All pauses: those that hold, and those that ended lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    all: Vec<Pause>,
}

impl Pauses {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pause> {
        self.all.iter()
    }

    /// Whether a subnet was found without addresses, or prefixes, from one instant to the other.
    pub(crate) fn found_full(&self, from: BootTime, to: BootTime) -> bool {
        let full = |scope: &PauseScope| matches!(scope, PauseScope::Subnet(_) | PauseScope::Prefixes(_));
        self.all.iter().any(|pause| full(&pause.scope) && pause.since >= from && pause.since <= to)
    }

    /// The pause that holds back this call at this instant.
    pub(crate) fn find(
        &self,
        api: Api,
        eni: Option<&EniId>,
        subnet: Option<&SubnetId>,
        now: &Now,
    ) -> Option<&Pause> {
        self.all.iter().filter(|pause| pause.until > now.boottime).find(|pause| match &pause.scope {
            PauseScope::Api => pause.api == api,
            PauseScope::Eni(id) => pause.api == api && Some(id) == eni,
            PauseScope::Subnet(id) => Some(id) == subnet,
            PauseScope::MadeIn(id) => pause.api == api && Some(id) == subnet,
            PauseScope::Prefixes(_) => false,
            PauseScope::Others => matches!(api, Api::AttachNetworkInterface | Api::CreateNetworkInterface),
        })
    }

    /// The last time that this subnet was found full, while that is remembered.
    pub(crate) fn low_subnet(&self, subnet: &SubnetId, now: &Now) -> Option<&Pause> {
        self.all.iter().find(|pause| {
            matches!(&pause.scope, PauseScope::Subnet(id) if id == subnet)
                && now.boottime.since(pause.until) < SETBACKS_FORGOTTEN_AFTER
        })
    }

    /// Why no prefixes are asked of this subnet now.
    pub(crate) fn of_prefixes(&self, subnet: &SubnetId, now: &Now) -> Option<&Pause> {
        self.all.iter().find(|pause| {
            matches!(&pause.scope, PauseScope::Prefixes(id) if id == subnet) && pause.until > now.boottime
        })
    }

    /// A subnet has given prefixes.
    pub(crate) fn prefixes_given(&mut self, subnet: &SubnetId) {
        self.all.retain(|pause| !matches!(&pause.scope, PauseScope::Prefixes(id) if id == subnet));
    }

    /// A call that was sent then had a setback.
    pub(crate) fn setback(&mut self, setback: &Setback, sent: BootTime, now: &Now, draw: u64) {
        self.all.retain(|pause| now.boottime.since(pause.until) < SETBACKS_FORGOTTEN_AFTER);
        let at = self.all.iter().position(|p| p.api == setback.api && p.scope == setback.scope);
        if let Some(known) = at.map(|at| &mut self.all[at])
            && sent < known.since
        {
            known.until = known.until.max(now.boottime.after(setback.at_least));
            return;
        }
        let attempts = at.map_or(1, |at| self.all[at].attempts.saturating_add(1));
        let rest = (setback.first * 2_u32.pow(attempts.saturating_sub(1).min(16))).min(setback.longest);
        let rest = jittered(setback, rest, draw);
        let pause = Pause {
            api: setback.api,
            scope: setback.scope.clone(),
            until: now.boottime.after(rest),
            cause: setback.cause.clone(),
            attempts,
            since: now.boottime,
        };
        match at {
            Some(at) => self.all[at] = pause,
            None => self.all.push(pause),
        }
    }

    /// A call of this API, about this ENI if about one, went well.
    pub(crate) fn recovered(&mut self, api: Api, eni: Option<&EniId>) {
        self.all.retain(|pause| {
            pause.api != api
                || match &pause.scope {
                    PauseScope::Api | PauseScope::Subnet(_) => false,
                    PauseScope::Eni(id) => Some(id) != eni,
                    // What of another unit, or elsewhere, went well says nothing.
                    PauseScope::Prefixes(_) | PauseScope::MadeIn(_) | PauseScope::Others => true,
                }
        });
    }

    /// ENIs are to be made from something else now: what EC2 had against what it was says nothing.
    pub(crate) fn made_otherwise(&mut self) {
        self.all.retain(|pause| {
            let refused = matches!(pause.cause, Refusal::Rejected { .. });
            let of_creations = pause.api == Api::CreateNetworkInterface && refused;
            !of_creations && !matches!(pause.scope, PauseScope::MadeIn(_))
        });
    }

    /// The right that was found lacking last, while it is not known to be there.
    pub(crate) fn denial(&self, now: &Now) -> Option<&Refusal> {
        let denied = |pause: &&Pause| {
            matches!(pause.cause, Refusal::Denied { .. })
                && now.boottime.since(pause.until) < SETBACKS_FORGOTTEN_AFTER
        };
        self.all.iter().filter(denied).max_by_key(|pause| pause.since).map(|pause| &pause.cause)
    }

    /// Calls that lacked credentials need rest no longer.
    pub(crate) fn credentials_can_be_had(&mut self, now: &Now) {
        for pause in &mut self.all {
            if let Refusal::Credentials {
                fault: CredentialsFault::Missing | CredentialsFault::Expired, ..
            } = pause.cause
            {
                pause.until = pause.until.min(now.boottime);
            }
        }
    }
}

/// Full jitter where others who call as often as we do are what is waited for: nothing spreads a crowd better. Where the
/// state of something is, at least the half of the rest. After EC2 named a time never less than that, and not all at the
/// very instant either.
fn jittered(setback: &Setback, rest: Duration, draw: u64) -> Duration {
    let crowd = setback.cause.is_outage();
    let least = if crowd { Duration::ZERO } else { rest / 2 }.max(setback.at_least);
    let most = if setback.at_least.is_zero() { rest } else { rest.max(setback.at_least + setback.first) };
    let spread = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
    least + Duration::from_millis(draw % spread.saturating_add(1))
}
