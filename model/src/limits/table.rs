//! Common types. Source: EC2's published limits, as upstream's table carries them (reference: vpc-cni 3.13).

use super::InstanceLimits;

/// One type: as many ENIs on each of its cards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    enis: u32,
    ipv4_per_eni: u32,
    cards: u8,
}

impl Entry {
    pub(super) fn limits(self) -> InstanceLimits {
        InstanceLimits {
            enis: vec![self.enis; usize::from(self.cards)],
            ipv4_per_eni: self.ipv4_per_eni,
            supports_prefixes: None,
        }
    }
}

const fn one_card(enis: u32, ipv4_per_eni: u32) -> Entry {
    Entry { enis, ipv4_per_eni, cards: 1 }
}

const fn cards(enis: u32, ipv4_per_eni: u32, cards: u8) -> Entry {
    Entry { enis, ipv4_per_eni, cards }
}

/// Sorted by name.
pub(super) const LIMITS: &[(&str, Entry)] = &[
    ("c5.4xlarge", one_card(8, 30)),
    ("c5.large", one_card(3, 10)),
    ("c5.xlarge", one_card(4, 15)),
    ("c6in.32xlarge", cards(8, 50, 2)),
    ("c7gn.16xlarge", one_card(15, 50)),
    ("c8gn.48xlarge", cards(12, 50, 2)),
    ("dl1.24xlarge", cards(15, 50, 4)),
    ("g4dn.metal", one_card(15, 50)),
    ("g5.48xlarge", one_card(7, 50)),
    ("g6e.48xlarge", cards(10, 50, 4)),
    ("hpc6id.32xlarge", cards(1, 50, 2)),
    ("hpc7a.96xlarge", cards(2, 50, 2)),
    ("m4.4xlarge", one_card(8, 30)),
    ("m5.24xlarge", one_card(15, 50)),
    ("m5.2xlarge", one_card(4, 15)),
    ("m5.4xlarge", one_card(8, 30)),
    ("m5.large", one_card(3, 10)),
    ("m5.xlarge", one_card(4, 15)),
    ("m6i.32xlarge", one_card(15, 50)),
    ("m6in.32xlarge", cards(8, 50, 2)),
    ("m7g.large", one_card(3, 10)),
    ("m7i.48xlarge", one_card(15, 50)),
    ("m8a.48xlarge", one_card(24, 64)),
    ("m8gn.48xlarge", cards(12, 50, 2)),
    ("p3dn.24xlarge", one_card(15, 50)),
    ("p4d.24xlarge", cards(15, 50, 4)),
    ("p4de.24xlarge", cards(15, 50, 4)),
    ("p5.48xlarge", cards(2, 50, 32)),
    ("p5e.48xlarge", cards(2, 50, 32)),
    ("p5en.48xlarge", cards(4, 50, 16)),
    ("p6-b200.48xlarge", cards(4, 50, 8)),
    ("p6-b300.48xlarge", cards(4, 50, 17)),
    ("r6idn.32xlarge", cards(8, 50, 2)),
    ("t3.medium", one_card(3, 6)),
    ("t3.nano", one_card(2, 2)),
    ("t3.small", one_card(3, 4)),
    ("t3.xlarge", one_card(4, 15)),
    ("t4g.micro", one_card(2, 2)),
    ("trn1.32xlarge", cards(5, 50, 8)),
    ("trn1n.32xlarge", cards(5, 50, 16)),
    ("trn2.48xlarge", cards(2, 50, 16)),
];
