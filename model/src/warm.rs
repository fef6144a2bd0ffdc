//! How the number of free addresses to keep is found.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// `HOLDFAST_WARM_MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmMode {
    /// By the warm targets, as they are set.
    #[default]
    Static,
    /// By what the node has seen of arrivals and departures.
    Adaptive,
}

impl fmt::Display for WarmMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "static",
            Self::Adaptive => "adaptive",
        })
    }
}

/// `HOLDFAST_WARM_QUANTILE`: the part of all ADDs that are to find a free address, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantile(u32);

impl Quantile {
    /// What it may be, in millionths. More than the highest nobody could tell from the few ADDs that a node sees.
    pub const MILLIONTHS: RangeInclusive<u32> = 500_000..=999_900;

    /// `None`: out of [`Self::MILLIONTHS`].
    pub fn of_millionths(millionths: u32) -> Option<Self> {
        Self::MILLIONTHS.contains(&millionths).then_some(Self(millionths))
    }

    /// A percentage, with at most four digits after the point.
    pub fn of_percent(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_suffix('%').map_or(text, str::trim_end);
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || part.len() > 4 || !digits(whole) || !digits(part) {
            return None;
        }
        let (whole, part): (u32, u32) = (whole.parse().ok()?, format!("{part:0<4}").parse().ok()?);
        Self::of_millionths(whole * 10_000 + part)
    }

    /// The part of all ADDs that may find none, in millionths.
    pub fn missed(self) -> u32 {
        1_000_000 - self.0
    }
}

impl Default for Quantile {
    /// One ADD in a thousand may wait for EC2.
    fn default() -> Self {
        Self(999_000)
    }
}

impl TryFrom<String> for Quantile {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::of_percent(&text).ok_or(text)
    }
}

impl From<Quantile> for String {
    fn from(quantile: Quantile) -> Self {
        quantile.to_string()
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:04}", self.0 % 10_000);
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        write!(f, "{}{point}{part} %", self.0 / 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_to_the_last_digit_or_not_at_all() {
        for (text, millionths, told) in [
            ("99.9", 999_000, "99.9 %"),
            ("99.9%", 999_000, "99.9 %"),
            (" 99.99 % ", 999_900, "99.99 %"),
            ("95", 950_000, "95 %"),
            ("50.0001", 500_001, "50.0001 %"),
            ("99.0500", 990_500, "99.05 %"),
        ] {
            let read = Quantile::of_percent(text);
            assert_eq!(read.map(Quantile::missed), Some(1_000_000 - millionths), "{text:?}");
            assert_eq!(read.unwrap().to_string(), told);
        }
        for text in [
            "",
            "%",
            ".9",
            "100",
            "99.995",
            "49.9",
            "-99",
            "99.99999",
            "1e2",
            "0.999",
            "99,9",
            "4294967295",
            "+99",
            "९९",
        ] {
            assert_eq!(Quantile::of_percent(text), None, "{text:?}");
        }
    }
}
