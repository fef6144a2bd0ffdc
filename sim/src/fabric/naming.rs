//! What a node calls its interfaces. In life the image decides: the kernel numbers them as they come, udev renames them
//! a moment later, some not at all, and some images have other names than a program expects.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest name that the kernel takes, in bytes.
const LONGEST: usize = 15;

/// The interfaces of one node, as its image has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interfaces {
    /// What they are called.
    pub names: Names,
    /// What they are called as they appear, where that is another name.
    pub first_names: Option<Names>,
    /// How long they bear it. The primary one is renamed before it is configured.
    pub renamed_after_ms: u64,
    /// Device indices of card 0 at which nothing ever appears, whatever EC2 says.
    pub never: BTreeSet<u32>,
}

/// How names are made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// `ens5` for device 0 of card 0, counting on; other cards show their number.
    #[default]
    Ens,
    /// `eth0` for device 0 of card 0, counting on.
    Eth,
    /// By device index of card 0; what is not listed is called as with [`Names::Ens`].
    #[serde(untagged)]
    Listed(Vec<String>),
}

impl Names {
    /// The name at a place.
    pub(super) fn at(&self, device: u32, card: u32) -> String {
        let numbered = |prefix: &str, number: u32| match card {
            0 => format!("{prefix}{number}"),
            card => format!("{prefix}{number}c{card}"),
        };
        match self {
            Self::Eth => numbered("eth", device),
            Self::Listed(names) if card == 0 && (device as usize) < names.len() => {
                names[device as usize].clone()
            }
            Self::Ens | Self::Listed(_) => numbered("ens", device.saturating_add(5)),
        }
    }
}

impl Interfaces {
    /// The name at a place, and the one that it has first.
    pub(super) fn at(&self, device: u32, card: u32) -> (String, Option<String>) {
        let name = self.names.at(device, card);
        let first = self.first_names.as_ref().map(|names| names.at(device, card));
        (name.clone(), first.filter(|first| *first != name))
    }

    /// Whether an interface appears at a place at all.
    pub(super) fn appears(&self, device: u32, card: u32) -> bool {
        card != 0 || !self.never.contains(&device)
    }

    /// How long a first name lasts.
    pub(super) fn renamed_after(&self) -> Duration {
        Duration::from_millis(self.renamed_after_ms)
    }

    /// What the kernel would not do, in words.
    pub fn problem(&self) -> Option<String> {
        if self.never.contains(&0) {
            return Some("a node without its primary interface would never be seen".to_owned());
        }
        let lists = [Some(&self.names), self.first_names.as_ref()].into_iter().flatten();
        for names in lists {
            let Names::Listed(names) = names else { continue };
            let mut seen = BTreeSet::new();
            for name in names {
                let fits = (1..=LONGEST).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                    && !matches!(name.as_str(), "." | ".." | "lo");
                if !fits {
                    return Some(format!("{name:?} cannot name an interface"));
                }
                if !seen.insert(name) {
                    return Some(format!("two interfaces cannot both be called {name:?}"));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        for names in [Names::Ens, Names::Eth] {
            for (device, card) in [(0, 0), (14, 0), (1, 31)] {
                assert!(names.at(device, card).len() <= LONGEST);
            }
        }
        assert_eq!(Names::Ens.at(1, 2), "ens6c2");
        assert_eq!(Names::Eth.at(1, 0), "eth1");
        let listed = Names::Listed(vec!["wan".to_owned()]);
        assert_eq!([listed.at(0, 0), listed.at(1, 0), listed.at(0, 1)], ["wan", "ens6", "ens5c1"]);
    }

    #[test]
    fn a_first_name_that_is_the_last_one_is_none() {
        let eth = Interfaces { first_names: Some(Names::Eth), ..Interfaces::default() };
        assert_eq!(eth.at(1, 0), ("ens6".to_owned(), Some("eth1".to_owned())));
        let same = Interfaces { first_names: Some(Names::Ens), ..Interfaces::default() };
        assert_eq!(same.at(1, 0), ("ens6".to_owned(), None));
    }
}
