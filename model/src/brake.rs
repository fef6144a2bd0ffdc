//! The operator's brake: what the daemon is kept from doing to EC2, whatever it would decide.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How hard it is pulled. Each holds back what the one before does, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Brake {
    /// Not at all.
    #[default]
    None,
    /// Nothing is given back: no address, no prefix, no ENI.
    Release,
    /// EC2 is not called at all, for reads either. Pods are served from what is there.
    All,
}

impl Brake {
    /// The setting's name.
    pub const SETTING: &'static str = "HOLDFAST_BRAKE";

    /// Whether what EC2 has given us stays ours.
    pub fn keeps(self) -> bool {
        self >= Self::Release
    }

    /// Whether EC2 is not called.
    pub fn is_silent(self) -> bool {
        self == Self::All
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Release => "release",
            Self::All => "all",
        })
    }
}
