//! Of which family pods' addresses are. It follows from several variables, and where they do not go together, nothing but the
//! person who set them knows which one is meant.

use holdfast_model::config::Setting;
use holdfast_model::pool::Family;

use super::layers::{Given, Place};
use super::reader::{Bad, Problem, Reader};
use super::values::boolean;

/// The smallest MTU that a link with IPv6 may have (RFC 8200, section 5).
const LEAST_MTU: u32 = 1280;

/// What else is set, as far as it has to go together with the family.
pub(super) struct Beside {
    pub(super) prefixes: bool,
    pub(super) eni_mtu: u32,
    pub(super) pod_mtu: u32,
}

/// As upstream: exactly one of `ENABLE_IPv4` and `ENABLE_IPv6`, and IPv6 with prefixes. Which families an instance type carries
/// is not known here.
pub(super) fn family<F: Fn(&str) -> Option<String>>(
    reader: &mut Reader<'_, F>,
    beside: &Beside,
) -> Setting<Family> {
    let ipv6 = reader.get("ENABLE_IPv6", Bad::Ignored, false, boolean);
    // Who asks for one has decided on the other.
    let ipv4 = reader.get("ENABLE_IPv4", Bad::Ignored, !ipv6.value, boolean);
    let wrong = match (ipv4.value, ipv6.value) {
        (true, false) => return Setting { value: Family::V4, origin: ipv6.origin },
        (false, true) => lacking(reader, beside),
        (true, true) => {
            Some(("ENABLE_IPv6", "pods have addresses of one family: set ENABLE_IPv4 to false, or this"))
        }
        (false, false) => Some((
            "ENABLE_IPv4",
            "pods have addresses of one family: set this to true, or ENABLE_IPv6 and ENABLE_PREFIX_DELEGATION",
        )),
    };
    let Some((name, wanted)) = wrong else { return Setting { value: Family::V6, origin: ipv6.origin } };
    if let Some(given) = reader.layers.of(name).into_iter().next() {
        tell(reader, &given, wanted);
    }
    Setting::default_of(Family::V4)
}

/// What is not as pods with IPv6 addresses need it, and what to do about it.
fn lacking<F: Fn(&str) -> Option<String>>(
    reader: &Reader<'_, F>,
    beside: &Beside,
) -> Option<(&'static str, &'static str)> {
    let on = |name| reader.layers.of(name).first().is_some_and(|given| boolean(&given.text) == Ok(true));
    if !beside.prefixes {
        let wanted = "IPv6 addresses come out of prefixes only: set ENABLE_PREFIX_DELEGATION to true as well";
        return Some(("ENABLE_IPv6", wanted));
    }
    if on("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG") {
        let wanted =
            "custom networking is for IPv4: set AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG to false, or ENABLE_IPv6";
        return Some(("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", wanted));
    }
    if on("ENABLE_MULTI_NIC") {
        let wanted = "in this version IPv6 addresses are of the first network card only: set it to false, or ENABLE_IPv6";
        return Some(("ENABLE_MULTI_NIC", wanted));
    }
    if on("DISABLE_POD_V6") {
        let wanted = "it turns IPv6 off in pods that have no other address: set it to false, or ENABLE_IPv6";
        return Some(("DISABLE_POD_V6", wanted));
    }
    if beside.eni_mtu < LEAST_MTU {
        return Some((
            "AWS_VPC_ENI_MTU",
            "IPv6 needs links with an MTU of 1280 at least: set it to 1280 to 9001",
        ));
    }
    (beside.pod_mtu < LEAST_MTU)
        .then_some(("POD_MTU", "IPv6 needs links with an MTU of 1280 at least: set it to 1280 to 9001"))
}

/// One slip in the cluster's objects stops nobody.
fn tell<F>(reader: &mut Reader<'_, F>, given: &Given, wanted: &str) {
    let problem = Problem::of(given, wanted.to_owned());
    match given.place {
        Place::Environment => reader.refused.push(problem),
        Place::Cluster(_) => reader.ignored.push(problem),
    }
}
