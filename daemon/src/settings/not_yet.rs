//! Settings of upstream's that this version does not honour.

use super::reader::Bad;
use super::values::boolean;

/// A variable of upstream's that this version does not honour: which values ask for it, whether pods would be wrong
/// without it, and what to tell.
pub(super) type NotYet = (&'static str, fn(&str) -> bool, Bad, &'static str);

/// What would give pods another network than was asked for stops the start; the rest is told.
pub(super) const NOT_YET: &[NotYet] = &[
    (
        "ENABLE_POD_ENI",
        on,
        Bad::Refused,
        "this version knows no security groups for pods: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "NETWORK_POLICY_ENFORCING_MODE",
        |value| value.eq_ignore_ascii_case("strict"),
        Bad::Refused,
        "this version enforces no network policy, and strict mode asks for pods that start isolated: unset it",
    ),
    (
        "NETWORK_POLICY_ENFORCING_MODE",
        |value| value.eq_ignore_ascii_case("standard"),
        Bad::Ignored,
        "this version enforces no network policy",
    ),
    (
        "AWS_EXTERNAL_SERVICE_CIDRS",
        |value| !value.is_empty(),
        Bad::Ignored,
        "this version makes no rules for them",
    ),
    (
        "AWS_VPC_K8S_CNI_CONNMARK",
        |value| !matches!(value, "" | "0x80" | "128"),
        Bad::Ignored,
        "this version always uses 0x80",
    ),
    (
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
        |value| !matches!(value, "" | "prng"),
        Bad::Ignored,
        "this version always chooses source ports at random",
    ),
    (
        "ENABLE_V4_EGRESS",
        on,
        Bad::Ignored,
        "this version gives pods with IPv6 addresses no way to IPv4 destinations",
    ),
    (
        "ENABLE_V6_EGRESS",
        on,
        Bad::Ignored,
        "this version gives pods with IPv4 addresses no way to IPv6 destinations",
    ),
];

fn on(value: &str) -> bool {
    boolean(value) == Ok(true)
}
