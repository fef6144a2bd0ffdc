//! The fault menu: what can go wrong with the simulated EC2 and IMDS, as data that can be set while it runs.
//!
//! A [`Fault`] is a kind, a scope and a life. What a kind cannot be narrowed by is refused, never ignored. Every hit is
//! counted, so that a test can tell a fault that did nothing. The published outages behind each kind are in the
//! project's incident list under the same `F` numbers.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vpc::{Action, Caller, EniId, ErrorCode, HORIZON, InstanceId, Micros, SubnetId};

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
    /// F03: IMDS goes on showing ENIs, addresses and prefixes for this long after they are gone.
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
    /// IMDS closes every connection without a byte.
    ImdsAway,
    /// IMDS answers with this HTTP status below a path; everywhere where `path` is absent.
    ImdsStatus {
        /// The status, such as 404 or 503.
        status: u16,
        /// Without version and leading slash, such as `meta-data/iam`.
        #[serde(default)]
        path: Option<String>,
    },
    /// IMDS answers this much later below a path; everywhere where `path` is absent.
    ImdsLate {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
        /// Without version and leading slash.
        #[serde(default)]
        path: Option<String>,
    },
    /// IMDS gives no token: 403.
    ImdsTokenRefused,
    /// The role credentials that IMDS hands out are over already.
    ImdsExpiredCredentials,
    /// F05: Describe calls show the world as it was this long ago. Narrowed to an ENI, only that ENI.
    DescribeLags {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// Calls that change something do not find an ENI that was made less than this long ago: `NotFound`.
    ChangesLag {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// Describe calls leave out an ENI.
    DescribeOmitsEni {
        /// The ENI.
        eni: EniId,
    },
    /// Describe calls leave out a secondary address.
    DescribeOmitsAddress {
        /// The address.
        address: Ipv4Addr,
    },
    /// Pages hold fewer results than asked for.
    ShortPages {
        /// At most so many.
        most: u32,
    },
    /// F06: the call is carried out and its answer is lost.
    AnswerLost,
    /// F06: the call is carried out and its answer comes this much later.
    AnswerLate {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// The call is carried out and its answer ends after so many bytes.
    AnswerTruncated {
        /// Bytes of the body that arrive.
        keep: u32,
    },
    /// The call is carried out, and something before EC2 answers in its place: a proxy's page, a bare 429.
    AnswerReplaced {
        /// HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
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
    /// An Assign by number gives at most so many, without an error.
    FewerAddresses {
        /// At most so many.
        most: u32,
    },
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
    /// An attachment stays `attaching` while this is in force.
    AttachHangs,
    /// An attachment stays `detaching` while this is in force.
    DetachHangs,
    /// The link of an ENI that is attached from now on comes this much later than usual.
    LinkLate {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
    /// The link of an ENI that is attached from now on never comes.
    LinkNever,
    /// EC2's clock is ahead of its callers' by this much: what they sign is old.
    ClockAhead {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
    },
}

/// What a kind of fault is about, which decides what can narrow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Single calls: everything narrows it.
    Call,
    /// What Describe calls show.
    Describe,
    /// Attachments under way: instance, ENI, subnet and zone.
    Attachment,
    /// The metadata service: the instance.
    Imds,
    /// EC2's clock: instance and caller.
    Clock,
}

impl FaultKind {
    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::ImdsOmitsEni { .. }
            | Self::ImdsOmitsAddresses { .. }
            | Self::ImdsRemembers { .. }
            | Self::ImdsFrozen
            | Self::ImdsLags { .. }
            | Self::ImdsAway
            | Self::ImdsStatus { .. }
            | Self::ImdsLate { .. }
            | Self::ImdsTokenRefused
            | Self::ImdsExpiredCredentials => Reach::Imds,
            Self::DescribeLags { .. } => Reach::Describe,
            Self::AttachHangs | Self::DetachHangs | Self::LinkLate { .. } | Self::LinkNever => {
                Reach::Attachment
            }
            Self::ChangesLag { .. }
            | Self::DescribeOmitsEni { .. }
            | Self::DescribeOmitsAddress { .. }
            | Self::ShortPages { .. }
            | Self::AnswerLost
            | Self::AnswerLate { .. }
            | Self::AnswerTruncated { .. }
            | Self::AnswerReplaced { .. }
            | Self::RequestLost
            | Self::Throttle
            | Self::ErrorInstead { .. }
            | Self::ErrorAfterEffect { .. }
            | Self::Deny
            | Self::FewerAddresses { .. }
            | Self::TerminateBefore { .. }
            | Self::TerminateAfter { .. } => Reach::Call,
            Self::ClockAhead { .. } => Reach::Clock,
        }
    }

    /// How far back a view must look for it.
    fn looks_back(&self) -> Duration {
        match self {
            Self::ImdsRemembers { for_: by }
            | Self::ImdsLags { by }
            | Self::DescribeLags { by }
            | Self::ChangesLag { by } => *by,
            _ => Duration::ZERO,
        }
    }
}

/// Whom a fault hits. An absent or empty part does not narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Calls of these actions.
    pub actions: Vec<Action>,
    /// Calls with the role of this instance, its attachments, or its IMDS.
    pub instance: Option<InstanceId>,
    /// Calls of the caller of this name.
    pub caller: Option<String>,
    /// Calls that name this ENI or its attachment; its attachments.
    pub eni: Option<EniId>,
    /// Calls that name this subnet or an ENI of it; attachments of its ENIs.
    pub subnet: Option<SubnetId>,
    /// The same for all subnets of this zone.
    pub zone: Option<String>,
    /// Calls that name this identifier, whatever it is of.
    pub resource: Option<String>,
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
    /// The first so many matching calls pass unharmed.
    #[serde(default)]
    pub skip: u32,
    /// Ends after so many hits; endless where absent.
    #[serde(default)]
    pub count: Option<u32>,
    /// Ends at this instant of the virtual clock; endless where absent.
    #[serde(default)]
    pub until: Option<Micros>,
    /// Chance of a hit per matching call, in thousandths.
    #[serde(default = "always")]
    pub permille: u32,
}

/// Why a fault cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this fault cannot be set: {0}")]
pub struct BadFault(pub String);

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
        self.scope.instance = Some(*instance);
        self
    }

    /// Only this ENI.
    #[must_use]
    pub fn of_eni(mut self, eni: EniId) -> Self {
        self.scope.eni = Some(eni);
        self
    }

    /// Only this subnet.
    #[must_use]
    pub fn of_subnet(mut self, subnet: SubnetId) -> Self {
        self.scope.subnet = Some(subnet);
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

    /// Refuses what this kind of fault cannot do.
    pub(crate) fn check(&self) -> Result<(), BadFault> {
        let no = |text: &str| Err(BadFault(text.to_owned()));
        let scope = &self.scope;
        let counted = self.skip > 0 || self.count.is_some() || self.permille != always();
        let of_calls = !scope.actions.is_empty() || scope.caller.is_some() || scope.resource.is_some();
        let of_places = scope.eni.is_some() || scope.subnet.is_some() || scope.zone.is_some();
        if self.permille > always() {
            return no("a chance is at most 1000 thousandths");
        }
        if self.count == Some(0) {
            return no("a count of 0 never hits");
        }
        if self.kind.looks_back() > HORIZON {
            return Err(BadFault(format!("nothing older than {HORIZON:?} is kept")));
        }
        match self.kind.reach() {
            Reach::Describe if counted => no("it hits whole periods, not single calls"),
            Reach::Describe if scope.subnet.is_some() || scope.zone.is_some() || scope.resource.is_some() => {
                no("it can be narrowed to an action, a caller, an instance or an ENI")
            }
            Reach::Attachment if of_calls || self.skip > 0 || self.permille != always() => {
                no("it hits attachments, not calls: narrow it by instance, ENI, subnet or zone")
            }
            Reach::Attachment
                if self.count.is_some()
                    && matches!(self.kind, FaultKind::AttachHangs | FaultKind::DetachHangs) =>
            {
                no("it hits for as long as it is set, and cannot be counted down")
            }
            Reach::Imds if of_calls || of_places || counted => no(
                "the metadata service is of one instance, and each look at it is hit: narrow it by instance only",
            ),
            Reach::Clock if of_places || counted || !scope.actions.is_empty() || scope.resource.is_some() => {
                no("EC2 has one clock: narrow it by instance or caller only")
            }
            Reach::Call | Reach::Describe | Reach::Attachment | Reach::Imds | Reach::Clock => Ok(()),
        }
    }
}

impl Scope {
    /// Whether a call of `action` by `caller` is meant, as far as those tell.
    pub(crate) fn covers_call(&self, action: Action, caller: &Caller) -> bool {
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.instance.is_none() || self.instance == caller.instance)
            && self.caller.as_ref().is_none_or(|name| *name == caller.name)
    }

    /// Whether the places that a call or an attachment is about are meant.
    pub(crate) fn covers_places(&self, places: &Places) -> bool {
        self.eni.is_none_or(|eni| places.enis.contains(&eni))
            && self.subnet.is_none_or(|subnet| places.subnets.contains(&subnet))
            && self.zone.as_ref().is_none_or(|zone| places.zones.contains(zone))
            && self.resource.as_ref().is_none_or(|id| places.named.contains(id))
    }

    /// Whether anything depends on the places.
    pub(crate) fn asks_for_places(&self) -> bool {
        self.eni.is_some() || self.subnet.is_some() || self.zone.is_some() || self.resource.is_some()
    }
}

/// What a call or an attachment is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) enis: Vec<EniId>,
    pub(crate) subnets: Vec<SubnetId>,
    pub(crate) zones: Vec<String>,
    /// Every identifier that the request names.
    pub(crate) named: Vec<String>,
}

/// Handle of a set fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);
