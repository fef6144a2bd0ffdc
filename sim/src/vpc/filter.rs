//! Filters of Describe calls: several must all match, of one filter's values any.

use super::error::{ApiError, ErrorCode};
use super::limits::InstanceType;
use super::request::{Filter, Tags};
use super::response::{
    NetworkInterface, Reservation, SecurityGroupDescription, SubnetDescription, TagDescription,
    VpcDescription,
};

/// EC2's limit on the values of one filter, and of the filters together.
const MAX_VALUES: usize = 200;

/// What a Describe call returns can be filtered by named fields.
pub(super) trait Filterable {
    /// The names that EC2 knows for this kind and that the box supports, apart from those of tags.
    const NAMES: &'static [&'static str];

    /// The values of the field of this name: none, one or several.
    fn field(&self, name: &str) -> Vec<String>;

    /// The tags, where `tag:` and `tag-key` filters make sense.
    fn tags(&self) -> Option<&Tags>;
}

/// Refuses filters that EC2 does not know.
pub(super) fn check_filters<T: Filterable>(filters: &[Filter], has_tags: bool) -> Result<(), ApiError> {
    for filter in filters {
        let name = filter.name.as_str();
        let of_tags =
            has_tags && (name == "tag-key" || name.strip_prefix("tag:").is_some_and(|k| !k.is_empty()));
        if !of_tags && !T::NAMES.contains(&name) {
            return Err(ApiError::new(
                ErrorCode::InvalidParameterValue,
                format!("The filter '{name}' is invalid"),
            ));
        }
        if filter.values.is_empty() {
            return Err(ApiError::new(
                ErrorCode::MissingParameter,
                format!("The request must contain a value for the filter '{name}'"),
            ));
        }
    }
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > MAX_VALUES {
        return Err(ApiError::new(
            ErrorCode::FilterLimitExceeded,
            format!("The maximum number of filter values specified on a single call is {MAX_VALUES}"),
        ));
    }
    Ok(())
}

/// Whether all filters match.
pub(super) fn matches_all<T: Filterable>(item: &T, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| {
        let fields = match (filter.name.as_str(), item.tags()) {
            ("tag-key", Some(tags)) => tags.keys().cloned().collect(),
            (name, Some(tags)) if name.starts_with("tag:") => {
                tags.get(&name["tag:".len()..]).cloned().into_iter().collect()
            }
            (name, _) => item.field(name),
        };
        filter.values.iter().any(|pattern| fields.iter().any(|field| wildcard(pattern, field)))
    })
}

/// One piece of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    AnyText,
    AnyChar,
    This(char),
}

/// Whether a pattern stands for itself only.
pub(super) fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '\\'])
}

/// `*` stands for any text, `?` for any one character, a backslash takes the next character as it is.
/// The comparison is case-sensitive, as EC2's.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    let mut pieces = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::AnyText,
            '?' => Piece::AnyChar,
            '\\' => Piece::This(chars.next().unwrap_or('\\')),
            other => Piece::This(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where in the text its match is tried to end.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pieces.get(p), retry) {
            (Some(Piece::AnyText), _) => {
                p += 1;
                retry = Some((p, t));
            }
            (Some(Piece::AnyChar), _) => (p, t) = (p + 1, t + 1),
            (Some(Piece::This(c)), _) if *c == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((after_star, end))) => {
                retry = Some((after_star, end + 1));
                (p, t) = (after_star, end + 1);
            }
            (_, None) => return false,
        }
    }
    pieces[p..].iter().all(|piece| *piece == Piece::AnyText)
}

fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

fn some<T: ToString>(value: Option<T>) -> Vec<String> {
    value.into_iter().map(|value| value.to_string()).collect()
}

impl Filterable for NetworkInterface {
    const NAMES: &'static [&'static str] = &[
        "addresses.primary",
        "addresses.private-ip-address",
        "attachment.attachment-id",
        "attachment.delete-on-termination",
        "attachment.device-index",
        "attachment.instance-id",
        "attachment.instance-owner-id",
        "attachment.network-card-index",
        "attachment.status",
        "availability-zone",
        "description",
        "group-id",
        "group-name",
        "interface-type",
        "ipv4-prefixes.ipv4-prefix",
        "ipv6-addresses.ipv6-address",
        "ipv6-prefixes.ipv6-prefix",
        "mac-address",
        "network-interface-id",
        "owner-id",
        "private-ip-address",
        "requester-id",
        "requester-managed",
        "source-dest-check",
        "status",
        "subnet-id",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        let attachment = self.attachment.as_ref();
        match name {
            "addresses.primary" => {
                self.private_ip_addresses.iter().map(|ip| ip.primary.to_string()).collect()
            }
            "addresses.private-ip-address" => {
                self.private_ip_addresses.iter().map(|ip| ip.address.to_string()).collect()
            }
            "attachment.attachment-id" => some(attachment.map(|a| &a.attachment_id)),
            "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination)),
            "attachment.device-index" => some(attachment.map(|a| a.device_index)),
            "attachment.instance-id" => some(attachment.map(|a| &a.instance_id)),
            "attachment.instance-owner-id" => some(attachment.map(|a| &a.instance_owner_id)),
            "attachment.network-card-index" => some(attachment.map(|a| a.network_card_index)),
            "attachment.status" => some(attachment.map(|a| a.status.as_str())),
            "availability-zone" => one(&self.availability_zone),
            "description" => one(&self.description),
            "group-id" => self.groups.iter().map(|group| group.group_id.to_string()).collect(),
            "group-name" => self.groups.iter().map(|group| group.group_name.clone()).collect(),
            "interface-type" => one(&self.interface_type),
            "ipv4-prefixes.ipv4-prefix" => self.ipv4_prefixes.iter().map(ToString::to_string).collect(),
            "ipv6-addresses.ipv6-address" => self.ipv6_addresses.iter().map(ToString::to_string).collect(),
            "ipv6-prefixes.ipv6-prefix" => self.ipv6_prefixes.iter().map(ToString::to_string).collect(),
            "mac-address" => one(self.mac_address),
            "network-interface-id" => one(self.network_interface_id),
            "owner-id" => one(&self.owner_id),
            "private-ip-address" => some(self.primary_ip()),
            "requester-id" => one(&self.requester_id),
            "requester-managed" => one(self.requester_managed),
            "source-dest-check" => one(self.source_dest_check),
            "status" => one(self.status.as_str()),
            "subnet-id" => one(self.subnet_id),
            "vpc-id" => one(self.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for Reservation {
    const NAMES: &'static [&'static str] = &[
        "architecture",
        "availability-zone",
        "hypervisor",
        "image-id",
        "instance-id",
        "instance-state-code",
        "instance-state-name",
        "instance-type",
        "instance.group-id",
        "network-interface.network-interface-id",
        "owner-id",
        "private-dns-name",
        "private-ip-address",
        "reservation-id",
        "subnet-id",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        let instance = &self.instance;
        match name {
            "architecture" => one(&instance.architecture),
            "availability-zone" => one(&instance.availability_zone),
            "hypervisor" => one(&instance.hypervisor),
            "image-id" => one(&instance.image_id),
            "instance-id" => one(instance.instance_id),
            "instance-state-code" => one(instance.state.code()),
            "instance-state-name" => one(instance.state.as_str()),
            "instance-type" => one(&instance.instance_type),
            "instance.group-id" => instance.groups.iter().map(|group| group.group_id.to_string()).collect(),
            "network-interface.network-interface-id" => {
                instance.network_interfaces.iter().map(|eni| eni.network_interface_id.to_string()).collect()
            }
            "owner-id" => one(&self.owner_id),
            "private-dns-name" => one(&instance.private_dns_name),
            "private-ip-address" => some(instance.private_ip_address),
            "reservation-id" => one(self.reservation_id),
            "subnet-id" => one(instance.subnet_id),
            "vpc-id" => one(instance.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.instance.tags)
    }
}

impl Filterable for SubnetDescription {
    const NAMES: &'static [&'static str] = &[
        "availability-zone",
        "availability-zone-id",
        "available-ip-address-count",
        "cidr",
        "cidr-block",
        "default-for-az",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "ipv6-native",
        "owner-id",
        "state",
        "subnet-id",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        match name {
            "availability-zone" => one(&self.availability_zone),
            "availability-zone-id" => one(&self.availability_zone_id),
            "available-ip-address-count" => one(self.available_ip_address_count),
            "cidr" | "cidr-block" => some(self.cidr_block),
            "default-for-az" => one(self.default_for_az),
            "ipv6-cidr-block-association.ipv6-cidr-block" => some(self.ipv6_cidr_block),
            "ipv6-native" => one(self.ipv6_native),
            "owner-id" => one(&self.owner_id),
            "state" => one("available"),
            "subnet-id" => one(self.subnet_id),
            "vpc-id" => one(self.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for InstanceType {
    const NAMES: &'static [&'static str] = &[
        "bare-metal",
        "hypervisor",
        "instance-type",
        "network-info.efa-supported",
        "network-info.maximum-network-cards",
        "network-info.maximum-network-interfaces",
        "processor-info.supported-architecture",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        match name {
            "bare-metal" => one(self.bare_metal),
            "hypervisor" => one(&self.hypervisor),
            "instance-type" => one(&self.name),
            "network-info.efa-supported" => one(self.efa_supported),
            "network-info.maximum-network-cards" => one(self.network_cards.len()),
            "network-info.maximum-network-interfaces" => one(self.max_enis),
            "processor-info.supported-architecture" => one(&self.architecture),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

impl Filterable for SecurityGroupDescription {
    const NAMES: &'static [&'static str] = &["description", "group-id", "group-name", "owner-id", "vpc-id"];

    fn field(&self, name: &str) -> Vec<String> {
        match name {
            "description" => one(&self.description),
            "group-id" => one(self.group_id),
            "group-name" => one(&self.group_name),
            "owner-id" => one(&self.owner_id),
            "vpc-id" => one(self.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for VpcDescription {
    const NAMES: &'static [&'static str] = &[
        "cidr",
        "cidr-block-association.cidr-block",
        "ipv6-cidr-block-association.ipv6-cidr-block",
        "is-default",
        "owner-id",
        "state",
        "vpc-id",
    ];

    fn field(&self, name: &str) -> Vec<String> {
        match name {
            "cidr" => some(self.cidr_blocks.first()),
            "cidr-block-association.cidr-block" => self.cidr_blocks.iter().map(ToString::to_string).collect(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => some(self.ipv6_cidr_block),
            "is-default" => one(self.is_default),
            "owner-id" => one(&self.owner_id),
            "state" => one("available"),
            "vpc-id" => one(self.vpc_id),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for TagDescription {
    const NAMES: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn field(&self, name: &str) -> Vec<String> {
        match name {
            "key" => one(&self.key),
            "resource-id" => one(&self.resource_id),
            "resource-type" => one(&self.resource_type),
            "value" => one(&self.value),
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards_match_as_ec2_documents_them() {
        for (pattern, text, expected) in [
            ("vpc-1", "vpc-1", true),
            ("vpc-1", "vpc-12", false),
            ("vpc-12", "vpc-1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("aws-K8S-*", "aws-K8S-i-1", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("*\\?", "what?", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }
}
