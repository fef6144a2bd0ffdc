//! Virtual time and the delays of the simulated service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{Action, Request};

/// An instant of the box's virtual clock: microseconds since the box began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// This instant and `by` more; stays at the end of time rather than wrap.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// This instant less `by`, `None` before the box began.
    pub fn before(self, by: Duration) -> Option<Self> {
        u64::try_from(by.as_micros()).ok().and_then(|by| self.0.checked_sub(by)).map(Self)
    }

    /// Time from `earlier` to here, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// How long things take. Every delay defaults to zero: then effects are immediate and visible everywhere.
/// In JSON and TOML each is a whole number of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// A Describe call, from its sending to its arrival.
    #[serde(with = "millis")]
    pub read_latency: Duration,
    /// Any other call, from its sending to its arrival.
    #[serde(with = "millis")]
    pub write_latency: Duration,
    /// `AttachNetworkInterface`, from its sending to its arrival; where zero, `write_latency` counts.
    #[serde(with = "millis")]
    pub attach_latency: Duration,
    /// A new ENI is `pending` this long.
    #[serde(with = "millis")]
    pub create_takes: Duration,
    /// An attachment is `attaching` this long after the effect of Attach.
    #[serde(with = "millis")]
    pub attach_takes: Duration,
    /// An attachment is `detaching` this long after the effect of Detach.
    #[serde(with = "millis")]
    pub detach_takes: Duration,
    /// An instance is `shutting-down` this long.
    #[serde(with = "millis")]
    pub terminate_takes: Duration,
    /// An instance is `stopping` this long.
    #[serde(with = "millis")]
    pub stop_takes: Duration,
    /// An instance that is started again is `pending` this long.
    #[serde(with = "millis")]
    pub start_takes: Duration,
    /// The interface appears in the instance this long after the effect of Attach.
    #[serde(with = "millis")]
    pub link_appears: Duration,
    /// The network follows a reassigned address this long after EC2 shows it at its new place.
    #[serde(with = "millis")]
    pub reassign_takes: Duration,
    /// IMDS shows the world as it was this long ago.
    #[serde(with = "millis")]
    pub imds_lag: Duration,
    /// IMDS shows an interface without the ranges of its VPC this long after its attachment.
    #[serde(with = "millis")]
    pub imds_torn: Duration,
    /// IMDS goes on listing an interface this long after its detachment, without its device number.
    #[serde(with = "millis")]
    pub imds_lingers: Duration,
    /// Describe calls show the world as it was this long ago.
    #[serde(with = "millis")]
    pub describe_lag: Duration,
    /// Each object is shown up to this much older still, drawn anew for each object and call: what one call showed
    /// the next one need not.
    #[serde(with = "millis")]
    pub describe_jitter: Duration,
}

impl Timing {
    /// The longest that any view may lag, with what faults make of it: Describe calls lag by `describe` where that is
    /// longer, and metadata by `imds` more, which it remembers or lags. See [`super::HORIZON`].
    pub(super) fn longest_lag(&self, describe: Duration, imds: Duration) -> Duration {
        let imds_lag = self.imds_lag + imds;
        (self.describe_lag.max(describe) + self.describe_jitter)
            .max(imds_lag + self.imds_lingers)
            .max(imds_lag + self.imds_torn)
    }

    /// Delays as they are seen in life, where creating, attaching and detaching take seconds and no two views agree
    /// for a while. EC2 publishes none of them: these are of the order that users of large clusters report.
    pub fn life() -> Self {
        let millis = Duration::from_millis;
        Self {
            read_latency: millis(60),
            write_latency: millis(250),
            attach_latency: millis(600),
            create_takes: millis(1500),
            attach_takes: millis(3000),
            detach_takes: millis(8000),
            terminate_takes: millis(20_000),
            stop_takes: millis(15_000),
            start_takes: millis(10_000),
            link_appears: millis(2000),
            reassign_takes: millis(1000),
            imds_lag: millis(1000),
            imds_torn: millis(2000),
            imds_lingers: millis(60_000),
            describe_lag: Duration::ZERO,
            describe_jitter: millis(1000),
        }
    }

    /// The delays that the incumbent was measured with: reads 30 ms, writes 150 ms, Attach 500 ms, link 1 s
    /// after Attach, IMDS 0.5 s behind EC2.
    pub fn measured() -> Self {
        Self {
            read_latency: Duration::from_millis(30),
            write_latency: Duration::from_millis(150),
            attach_latency: Duration::from_millis(500),
            link_appears: Duration::from_secs(1),
            imds_lag: Duration::from_millis(500),
            ..Self::default()
        }
    }

    /// How long `request` is under way before it arrives.
    pub fn latency_of(&self, request: &Request) -> Duration {
        match request.action() {
            action if action.is_read() => self.read_latency,
            Action::AttachNetworkInterface if !self.attach_latency.is_zero() => self.attach_latency,
            _ => self.write_latency,
        }
    }
}

/// Serde form of a duration: whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}
