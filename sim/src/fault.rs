//! The fault menu: what can go wrong with the simulated EC2 and IMDS, as data that can be set while it runs.
//!
//! A [`Fault`] is a kind, a scope and a life. Call faults are looked at once per matching call, IMDS faults once
//! per view. The published outages behind each kind are in the project's incident list under the same `F` numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vpc::{Action, Caller, EniId, ErrorCode, InstanceId, Micros};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum FaultKind {
    /// F02: IMDS leaves out an attached secondary ENI; every secondary one where `eni` is absent.
    ImdsOmitsEni {
        /// The ENI.
        #[serde(default)]
        eni: Option<EniId>,
    },
    /// F02, partial: IMDS shows the ENI with its primary address only.
    ImdsOmitsAddresses {
        /// The ENI; all where absent.
        #[serde(default)]
        eni: Option<EniId>,
    },
    /// F03: IMDS goes on showing ENIs, addresses and prefixes for this long after they are gone. Like every view of
    /// the past it reaches ten minutes back at most.
    ImdsRemembers {
        /// How long, milliseconds.
        #[serde(rename = "for_ms", with = "crate::vpc::millis")]
        for_: Duration,
    },
    /// F04: IMDS shows the world of the moment at which the fault was set.
    ImdsFrozen,
    /// IMDS lags EC2 by this much more.
    ImdsLags {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// F05: Describe calls show the world as it was this long ago.
    DescribeLags {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// F06: the call is carried out and its answer is lost.
    AnswerLost,
    /// F06: the call is carried out and its answer comes this much later.
    AnswerLate {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// F06: the call is never carried out and never answered.
    RequestLost,
    /// F07: `RequestLimitExceeded`.
    Throttle,
    /// F08: this error instead of carrying the call out.
    ErrorInstead {
        /// Code.
        code: ErrorCode,
        /// Text.
        message: String,
    },
    /// F08: this error after the call was carried out.
    ErrorAfterEffect {
        /// Code.
        code: ErrorCode,
        /// Text.
        message: String,
    },
    /// The caller lacks the permission: `UnauthorizedOperation`, for a dry run too.
    Deny,
    /// F09: the instance ends just before the call is carried out.
    TerminateBefore {
        /// Which.
        instance: InstanceId,
    },
    /// F09: the instance ends just after the call was carried out, before its answer.
    TerminateAfter {
        /// Which.
        instance: InstanceId,
    },
}

/// Whom a fault hits. An absent or empty part does not narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Calls of these actions; no meaning for IMDS.
    pub actions: Vec<Action>,
    /// Calls with the role of this instance, or its IMDS.
    pub instance: Option<InstanceId>,
    /// Calls of the caller of this name; no meaning for IMDS.
    pub caller: Option<String>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// Whom.
    #[serde(default)]
    pub scope: Scope,
    /// The first so many matching calls pass unharmed. No meaning for IMDS.
    #[serde(default)]
    pub skip: u32,
    /// Ends after so many hits; endless where absent. No meaning for IMDS.
    #[serde(default)]
    pub count: Option<u32>,
    /// Ends at this instant of the virtual clock; endless where absent.
    #[serde(default)]
    pub until: Option<Micros>,
    /// Chance of a hit per matching call, in thousandths. No meaning for IMDS.
    #[serde(default = "always")]
    pub permille: u32,
}

fn always() -> u32 {
    1000
}

impl Fault {
    /// Hits everyone, always, without end.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, scope: Scope::default(), skip: 0, count: None, until: None, permille: always() }
    }

    /// Only calls of this action (and of those named before).
    #[must_use]
    pub fn on(mut self, action: Action) -> Self {
        self.scope.actions.push(action);
        self
    }

    /// Only this instance.
    #[must_use]
    pub fn of_instance(mut self, instance: &InstanceId) -> Self {
        self.scope.instance = Some(instance.clone());
        self
    }

    /// Only so many hits.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Only up to this instant.
    #[must_use]
    pub fn until(mut self, until: Micros) -> Self {
        self.until = Some(until);
        self
    }

    /// Only after so many matching calls.
    #[must_use]
    pub fn skipping(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Only with this chance, in thousandths.
    #[must_use]
    pub fn with_permille(mut self, permille: u32) -> Self {
        self.permille = permille;
        self
    }
}

impl Scope {
    /// Whether a call of `action` by `caller` is meant.
    pub fn covers(&self, action: Action, caller: &Caller) -> bool {
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.instance.is_none() || self.instance == caller.instance)
            && self.caller.as_ref().is_none_or(|name| *name == caller.name)
    }
}

/// Handle of a set fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);
