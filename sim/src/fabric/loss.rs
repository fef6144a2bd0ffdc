//! What is lost on the way between a node and the VPC: the one disturbance of packets that a plain kernel can do by
//! itself. Delay, reordering and duplication would need its `netem` scheduler, which is a module that is not everywhere.

use std::fmt::Write as _;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A loss, in both directions, at the router's end of a node's links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Thousandths of the packets; 1000 are all.
    pub permille: u16,
    /// Only by the interface with this device index on card 0; by all where absent.
    #[serde(default)]
    pub device: Option<u32>,
    /// Only of packets to and from these addresses, such as 169.254.169.254/32 for metadata; where absent everything,
    /// questions for neighbours included.
    #[serde(default)]
    pub with: Option<IpNet>,
}

impl Loss {
    /// What cannot be done, in words.
    pub fn problem(&self) -> Option<String> {
        (!(1..=1000).contains(&self.permille))
            .then(|| format!("a loss of {} thousandths is not between 1 and 1000", self.permille))
    }

    /// Whether it concerns the interface at a place.
    pub(super) fn concerns(&self, device: u32, card: u32) -> bool {
        self.device.is_none_or(|wanted| card == 0 && wanted == device)
    }
}

/// Rules of the packet filter for packets that come from a link (`"daddr"` is beyond it) or go out of it (`"saddr"`).
pub(super) fn rules<'a>(losses: impl Iterator<Item = &'a Loss>, beyond: &str) -> String {
    let mut rules = String::new();
    for Loss { permille, with, .. } in losses {
        let which = match with {
            Some(net @ IpNet::V4(_)) => format!("ip {beyond} {net} "),
            Some(net @ IpNet::V6(_)) => format!("ip6 {beyond} {net} "),
            None => String::new(),
        };
        let chance = match permille {
            1000.. => String::new(),
            _ => format!("numgen random mod 1000 < {permille} "),
        };
        writeln!(rules, "{which}{chance}counter drop").expect("a string takes all");
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_a_rule_of_the_right_family_and_side() {
        let loss = |text: &str| -> Loss { toml::from_str(text).unwrap() };
        let all = [loss("permille = 5"), loss("permille = 1000\nwith = \"169.254.169.254/32\"")];
        assert_eq!(
            rules(all.iter(), "daddr"),
            "numgen random mod 1000 < 5 counter drop\n\
             ip daddr 169.254.169.254/32 counter drop\n"
        );
        assert!(rules([loss("permille = 1\nwith = \"fd00::/8\"")].iter(), "saddr").starts_with("ip6 saddr"));
        assert!(loss("permille = 1\ndevice = 1").concerns(1, 0));
        assert!(!loss("permille = 1\ndevice = 1").concerns(1, 1));
        assert!(loss("permille = 0").problem().is_some() && loss("permille = 1000").problem().is_none());
    }
}
