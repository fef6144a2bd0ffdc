//! What a node's image sets in its kernel, as far as images differ in it.

use serde::{Deserialize, Serialize};

/// Settings of one node, kept when it boots anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sysctls {
    /// Reverse-path filtering of every link: 0 off, 1 strict, 2 loose. What would apply to all links at once is off, so
    /// that this is what counts: the kernel takes the larger of the two.
    pub rp_filter: u8,
}

impl Default for Sysctls {
    /// As EKS images have it.
    fn default() -> Self {
        Self { rp_filter: 2 }
    }
}

impl Sysctls {
    /// What the kernel would not understand, in words.
    pub fn problem(&self) -> Option<String> {
        let Self { rp_filter } = self;
        (*rp_filter > 2)
            .then(|| format!("sysctls.rp_filter = {rp_filter}: say 0 (off), 1 (strict) or 2 (loose)"))
    }
}
