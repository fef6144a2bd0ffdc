//! Whether pods can be served, and what stands in the way: the first thing that does.

use holdfast_model::refusal::Refusal;

/// The engine's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The disk refuses writes, or has left one unanswered for too long: nothing new is begun.
    DiskTrouble { cause: String },
    /// The host's network was not read since the start: nothing is leased or released, since nobody knows what lives there.
    HostUnread,
    /// It is not known which node this is, or whether the ledger is this node's.
    NodeUnknown,
    /// Packets that leave the VPC are not translated yet: no pod is answered for before.
    NatAwaited,
    /// Nothing does.
    Serving,
}

/// What a condition is told from.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    /// Why the disk refuses.
    pub(crate) disk_refuses: Option<&'a str>,
    /// The disk hangs; for how many seconds a commit waits until that is said.
    pub(crate) disk_hangs: Option<u64>,
    /// The host's network was read since the start, and since the disk refused last.
    pub(crate) host_read: bool,
    /// The ledger was brought to this node and this boot.
    pub(crate) node_known: bool,
    /// The NAT table stands, or is not waited for any longer.
    pub(crate) nat_stands: bool,
}

impl Condition {
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let hangs = facts.disk_hangs.map(|most| format!("the disk has not answered for more than {most} s"));
        match facts.disk_refuses.map(str::to_owned).or(hangs) {
            Some(cause) => Self::DiskTrouble { cause },
            None if !facts.host_read => Self::HostUnread,
            None if !facts.node_known => Self::NodeUnknown,
            None if !facts.nat_stands => Self::NatAwaited,
            None => Self::Serving,
        }
    }

    /// Why nothing can be made durable.
    pub(crate) fn disk_trouble(&self) -> Option<&str> {
        match self {
            Self::DiskTrouble { cause } => Some(cause),
            _ => None,
        }
    }

    /// Whether anything may be planned.
    pub(crate) fn plans(&self) -> bool {
        !matches!(self, Self::DiskTrouble { .. } | Self::HostUnread)
    }

    /// Why nobody is served.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::DiskTrouble { cause } => Some(Refusal::LedgerClosed { cause: cause.clone() }),
            Self::HostUnread => Some(Refusal::HostNotRead),
            Self::NodeUnknown => Some(Refusal::NotReady),
            Self::NatAwaited => Some(Refusal::NatAwaited),
            Self::Serving => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Facts<'_> =
        Facts { disk_refuses: None, disk_hangs: None, host_read: true, node_known: true, nat_stands: true };

    #[test]
    fn the_first_thing_in_the_way_is_the_condition() {
        assert_eq!(Condition::of(&WELL), Condition::Serving);
        let no_nat = Facts { nat_stands: false, ..WELL };
        assert_eq!(Condition::of(&no_nat), Condition::NatAwaited);
        let unknown = Facts { node_known: false, ..no_nat };
        assert_eq!(Condition::of(&unknown), Condition::NodeUnknown);
        let unread = Facts { host_read: false, ..unknown };
        assert_eq!(Condition::of(&unread), Condition::HostUnread);
        let hangs = Facts { disk_hangs: Some(2), ..unread.clone() };
        assert!(Condition::of(&hangs).disk_trouble().is_some_and(|cause| cause.contains("2 s")));
        let refuses = Facts { disk_refuses: Some("no space left"), ..hangs };
        assert_eq!(Condition::of(&refuses).disk_trouble(), Some("no space left"));
    }

    #[test]
    fn each_but_serving_has_words_and_planning_waits_for_disk_and_kernel_only() {
        let facts = [
            (Facts { disk_refuses: Some("x"), ..WELL }, false),
            (Facts { host_read: false, ..WELL }, false),
            (Facts { node_known: false, ..WELL }, true),
            (Facts { nat_stands: false, ..WELL }, true),
        ];
        for (facts, plans) in facts {
            let condition = Condition::of(&facts);
            assert!(condition.refusal().is_some(), "{condition:?}");
            assert_eq!(condition.plans(), plans, "{condition:?}");
        }
        assert!(Condition::Serving.refusal().is_none() && Condition::Serving.plans());
    }
}
