//! The kinds of faults.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::imds::path_below_version;
use crate::vpc::{EniId, ErrorCode, InstanceId};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type", deny_unknown_fields, remote = "Self")]
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
    /// IMDS resets the connection before it does anything, below a path; everywhere where `path` is absent.
    ImdsRequestReset {
        /// Such as `api/token`; a leading slash and a version are left out.
        #[serde(default)]
        path: Option<String>,
    },
    /// IMDS does what it is asked below a path, and resets the connection before its answer or in the middle of it.
    ImdsAnswerReset {
        /// Bytes of the answer that arrive, its head included; none where absent, and never all.
        #[serde(default)]
        keep: u32,
        /// A leading slash and a version are left out; everywhere where absent.
        #[serde(default)]
        path: Option<String>,
    },
    /// IMDS answers with this HTTP status below a path; everywhere where `path` is absent.
    ImdsStatus {
        /// The status, 200 to 599, such as 404 or 503.
        status: u16,
        /// Such as `meta-data/iam`; a leading slash and a version are left out.
        #[serde(default)]
        path: Option<String>,
    },
    /// IMDS answers this much later below a path; everywhere where `path` is absent.
    ImdsLate {
        /// How much, milliseconds.
        #[serde(rename = "by_ms", with = "crate::vpc::millis")]
        by: Duration,
        /// A leading slash and a version are left out.
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
        /// Bytes of the body that arrive; never all.
        keep: u32,
    },
    /// The call is carried out, and something before EC2 answers in its place: a proxy's page, a bare 429.
    AnswerReplaced {
        /// HTTP status, 200 to 599.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// F06: the call is never carried out and never answered.
    RequestLost,
    /// F06: the connection is reset before the call is carried out, which it never is.
    RequestReset,
    /// F06: the call is carried out, and the connection is reset before its answer or in the middle of it.
    AnswerReset {
        /// Bytes of the answer that arrive, its head included; none where absent, and never all.
        #[serde(default)]
        keep: u32,
    },
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
        /// At most so many; none at all where 0.
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
    /// EC2 retires the instance: metadata and `DescribeInstanceStatus` announce it from now on, and after so long it is
    /// stopped. Started again, it is on other hardware. Cleared before, it is called off.
    InstanceRetires {
        /// How long, milliseconds.
        #[serde(rename = "after_ms", with = "crate::vpc::millis")]
        after: Duration,
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

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, out)
    }
}

impl<'de> Deserialize<'de> for FaultKind {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let told = Value::deserialize(input)?;
        let kind = Self::deserialize(&told).map_err(D::Error::custom)?;
        // Beside the tag of a variant without fields, serde takes whatever there is.
        let known = serde_json::to_value(&kind).map_err(D::Error::custom)?;
        let unknown = told.as_object().and_then(|told| told.keys().find(|key| known.get(key).is_none()));
        match unknown {
            Some(key) => Err(D::Error::custom(format!(
                "unknown field `{key}`, {} has none beside `type`",
                known["type"].as_str().unwrap_or_default()
            ))),
            None => Ok(kind),
        }
    }
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
    /// One instance, which must be named.
    Instance,
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
            | Self::ImdsRequestReset { .. }
            | Self::ImdsAnswerReset { .. }
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
            | Self::RequestReset
            | Self::AnswerReset { .. }
            | Self::Throttle
            | Self::ErrorInstead { .. }
            | Self::ErrorAfterEffect { .. }
            | Self::Deny
            | Self::FewerAddresses { .. }
            | Self::TerminateBefore { .. }
            | Self::TerminateAfter { .. } => Reach::Call,
            Self::InstanceRetires { .. } => Reach::Instance,
            Self::ClockAhead { .. } => Reach::Clock,
        }
    }

    /// The ENI that it names.
    pub(crate) fn eni(&self) -> Option<&EniId> {
        match self {
            Self::ImdsOmitsEni { eni } | Self::ImdsOmitsAddresses { eni } => eni.as_ref(),
            Self::DescribeOmitsEni { eni } => Some(eni),
            _ => None,
        }
    }

    /// The instance that it names.
    pub(crate) fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::TerminateBefore { instance } | Self::TerminateAfter { instance } => Some(instance),
            _ => None,
        }
    }

    /// The same with its metadata path spelt as paths are compared.
    pub(crate) fn spelt(mut self) -> Self {
        if let Self::ImdsRequestReset { path: Some(path) }
        | Self::ImdsAnswerReset { path: Some(path), .. }
        | Self::ImdsStatus { path: Some(path), .. }
        | Self::ImdsLate { path: Some(path), .. } = &mut self
        {
            *path = path_below_version(path);
        }
        self
    }

    /// Whether it is about what Describe calls show.
    pub(crate) fn blurs(&self) -> bool {
        matches!(
            self,
            Self::DescribeLags { .. }
                | Self::DescribeOmitsEni { .. }
                | Self::DescribeOmitsAddress { .. }
                | Self::ShortPages { .. }
        )
    }

    /// How long it delays or looks back, by the key that says so. Not when an instance retires: that may be at once.
    pub(super) fn time(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::ImdsRemembers { for_ } => Some(("for_ms", *for_)),
            Self::ImdsLags { by }
            | Self::ImdsLate { by, .. }
            | Self::DescribeLags { by }
            | Self::ChangesLag { by }
            | Self::AnswerLate { by }
            | Self::LinkLate { by }
            | Self::ClockAhead { by } => Some(("by_ms", *by)),
            _ => None,
        }
    }

    /// How far back a view must look for it.
    pub(super) fn looks_back(&self) -> Duration {
        match self {
            Self::ImdsRemembers { for_: by }
            | Self::ImdsLags { by }
            | Self::DescribeLags { by }
            | Self::ChangesLag { by } => *by,
            _ => Duration::ZERO,
        }
    }
}
