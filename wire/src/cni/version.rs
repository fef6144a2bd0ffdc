//! Versions of the specification.

use std::fmt;

use serde::Serialize;

/// A version of the specification that this plugin speaks, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CniVersion {
    /// 0.3.0: results with interfaces; configuration lists.
    V0_3_0,
    /// 0.3.1: same shape.
    V0_3_1,
    /// 0.4.0: CHECK; DEL gets the ADD's result.
    V0_4_0,
    /// 1.0.0: no `version` in the addresses of a result.
    V1_0_0,
    /// 1.1.0: STATUS and GC.
    V1_1_0,
}

impl CniVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// The version written as `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == text)
    }

    /// As the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether addresses of a result carry `"version": "4"` (dropped in 1.0.0).
    pub fn names_address_family(self) -> bool {
        self < Self::V1_0_0
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What VERSION prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReply {
    cni_version: &'static str,
    supported_versions: Vec<&'static str>,
}

impl VersionReply {
    /// The reply to a caller that speaks `asked`: in that version if it is ours, else in the newest.
    pub fn to(asked: Option<&str>) -> Self {
        Self {
            cni_version: asked.and_then(CniVersion::parse).unwrap_or(CniVersion::NEWEST).as_str(),
            supported_versions: CniVersion::ALL.map(CniVersion::as_str).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back() {
        for version in CniVersion::ALL {
            assert_eq!(CniVersion::parse(version.as_str()), Some(version));
        }
        for foreign in ["", "0.1.0", "0.2.0", "1.2.0", "1.0", "v1.0.0"] {
            assert_eq!(CniVersion::parse(foreign), None);
        }
    }

    #[test]
    fn the_reply_speaks_the_version_of_the_caller() {
        let of = |asked| serde_json::to_value(VersionReply::to(asked)).unwrap();
        assert_eq!(of(Some("0.4.0"))["cniVersion"], "0.4.0");
        assert_eq!(of(Some("9.0.0"))["cniVersion"], "1.1.0");
        assert_eq!(
            of(None)["supportedVersions"],
            serde_json::json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
    }
}
