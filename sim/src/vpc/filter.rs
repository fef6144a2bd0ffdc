//! Filters of Describe calls: several must all match, of one filter's values any.

use super::error::{ApiError, ErrorCode};
use super::limits::InstanceType;
use super::request::{Filter, Tags};
use super::response::{
    InstanceStatus, NetworkInterface, Reservation, SecurityGroupDescription, SubnetDescription,
    TagDescription, VpcDescription,
};

/// EC2's limit on the values of one filter, and of the filters together.
const MAX_VALUES: usize = 200;

/// A field that can be filtered by: its name, and how to get its values, which may be none, one or several.
pub(super) type Field<T> = (&'static str, fn(&T) -> Vec<String>);

/// What a Describe call returns can be filtered by named fields.
pub(super) trait Filterable: Sized + 'static {
    /// What EC2 filters this kind by and the box supports, apart from tags.
    const FIELDS: &'static [Field<Self>];

    /// Names that EC2 knows and the box does not support. Fact: botocore's documentation of the operation.
    const BEYOND: &'static [&'static str] = &[];

    /// The tags, where `tag:` and `tag-key` filters make sense.
    fn tags(&self) -> Option<&Tags>;
}

/// Refuses filters that EC2 does not know.
pub(super) fn check_filters<T: Filterable>(filters: &[Filter], has_tags: bool) -> Result<(), ApiError> {
    for filter in filters {
        let name = filter.name.as_str();
        let of_tags =
            has_tags && (name == "tag-key" || name.strip_prefix("tag:").is_some_and(|k| !k.is_empty()));
        if T::BEYOND.contains(&name) {
            // Never in EC2's words: the caller is right, and the box is short of it.
            return Err(ApiError::new(
                ErrorCode::Other("NotInTheBox".to_owned()),
                format!("EC2 has the filter '{name}', this simulator has not"),
            ));
        }
        if !of_tags && field::<T>(name).is_none() {
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

/// How to get the values of the field of this name.
fn field<T: Filterable>(name: &str) -> Option<fn(&T) -> Vec<String>> {
    T::FIELDS.iter().find(|(known, _)| *known == name).map(|(_, values)| *values)
}

/// Whether all filters match.
pub(super) fn matches_all<T: Filterable>(item: &T, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| {
        let fields = match (filter.name.as_str(), item.tags()) {
            ("tag-key", Some(tags)) => tags.keys().cloned().collect(),
            (name, Some(tags)) if name.starts_with("tag:") => {
                tags.get(&name["tag:".len()..]).cloned().into_iter().collect()
            }
            (name, _) => field(name).map(|values| values(item)).unwrap_or_default(),
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

fn all<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

impl Filterable for NetworkInterface {
    const BEYOND: &'static [&'static str] = &[
        "addresses.association.owner-id",
        "addresses.association.public-ip",
        "association.allocation-id",
        "association.association-id",
        "association.ip-owner-id",
        "association.public-dns-name",
        "association.public-ip",
        "attachment.attach-time",
        "operator.managed",
        "operator.principal",
        "private-dns-name",
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("addresses.primary", |eni| all(eni.private_ip_addresses.iter().map(|ip| &ip.primary))),
        ("addresses.private-ip-address", |eni| all(eni.private_ip_addresses.iter().map(|ip| &ip.address))),
        ("attachment.attachment-id", |eni| all(eni.attachment.as_ref().map(|a| &a.attachment_id))),
        ("attachment.delete-on-termination", |eni| {
            all(eni.attachment.as_ref().map(|a| a.delete_on_termination))
        }),
        ("attachment.device-index", |eni| all(eni.attachment.as_ref().map(|a| a.device_index))),
        ("attachment.instance-id", |eni| all(eni.attachment.as_ref().map(|a| &a.instance_id))),
        ("attachment.instance-owner-id", |eni| all(eni.attachment.as_ref().map(|a| &a.instance_owner_id))),
        ("attachment.network-card-index", |eni| all(eni.attachment.as_ref().map(|a| a.network_card_index))),
        ("attachment.status", |eni| all(eni.attachment.as_ref().map(|a| a.status.as_str()))),
        ("availability-zone", |eni| one(&eni.availability_zone)),
        ("description", |eni| one(&eni.description)),
        ("group-id", |eni| all(eni.groups.iter().map(|group| &group.group_id))),
        ("group-name", |eni| all(eni.groups.iter().map(|group| &group.group_name))),
        ("interface-type", |eni| one(&eni.interface_type)),
        ("ipv4-prefixes.ipv4-prefix", |eni| all(&eni.ipv4_prefixes)),
        ("ipv6-addresses.ipv6-address", |eni| all(&eni.ipv6_addresses)),
        ("ipv6-prefixes.ipv6-prefix", |eni| all(&eni.ipv6_prefixes)),
        ("mac-address", |eni| one(eni.mac_address)),
        ("network-interface-id", |eni| one(eni.network_interface_id)),
        ("owner-id", |eni| one(&eni.owner_id)),
        ("private-ip-address", |eni| all(eni.primary_ip())),
        ("requester-id", |eni| one(&eni.requester_id)),
        ("requester-managed", |eni| one(eni.requester_managed)),
        ("source-dest-check", |eni| one(eni.source_dest_check)),
        ("status", |eni| one(eni.status.as_str())),
        ("subnet-id", |eni| one(eni.subnet_id)),
        ("vpc-id", |eni| one(eni.vpc_id)),
    ];

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for Reservation {
    const FIELDS: &'static [Field<Self>] = &[
        ("architecture", |it| one(&it.instance.architecture)),
        ("availability-zone", |it| one(&it.instance.availability_zone)),
        ("hypervisor", |it| one(&it.instance.hypervisor)),
        ("image-id", |it| one(&it.instance.image_id)),
        ("instance-id", |it| one(it.instance.instance_id)),
        ("instance-state-code", |it| one(it.instance.state.code())),
        ("instance-state-name", |it| one(it.instance.state.as_str())),
        ("instance-type", |it| one(&it.instance.instance_type)),
        ("instance.group-id", |it| all(it.instance.groups.iter().map(|group| &group.group_id))),
        ("network-interface.network-interface-id", |it| {
            all(it.instance.network_interfaces.iter().map(|eni| &eni.network_interface_id))
        }),
        ("owner-id", |it| one(&it.owner_id)),
        ("private-dns-name", |it| one(&it.instance.private_dns_name)),
        ("private-ip-address", |it| all(it.instance.private_ip_address)),
        ("reservation-id", |it| one(it.reservation_id)),
        ("subnet-id", |it| one(it.instance.subnet_id)),
        ("vpc-id", |it| one(it.instance.vpc_id)),
    ];

    fn tags(&self) -> Option<&Tags> {
        Some(&self.instance.tags)
    }
}

impl Filterable for InstanceStatus {
    const BEYOND: &'static [&'static str] = &[
        "attached-ebs-status.status",
        "event.not-after",
        "event.not-before",
        "event.not-before-deadline",
        "operator.managed",
        "operator.principal",
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("availability-zone", |it| one(&it.availability_zone)),
        ("availability-zone-id", |it| one(&it.availability_zone_id)),
        ("event.code", |it| all(it.events.iter().map(|event| &event.code))),
        ("event.description", |it| all(it.events.iter().map(|event| &event.description))),
        ("event.instance-event-id", |it| all(it.events.iter().map(|event| &event.instance_event_id))),
        ("instance-state-code", |it| one(it.state.code())),
        ("instance-state-name", |it| one(it.state.as_str())),
        ("instance-status.reachability", |it| all(it.reachability())),
        ("instance-status.status", |it| one(it.checks())),
        ("system-status.reachability", |it| all(it.reachability())),
        ("system-status.status", |it| one(it.checks())),
    ];

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

impl Filterable for SubnetDescription {
    const BEYOND: &'static [&'static str] = &[
        "customer-owned-ipv4-pool",
        "enable-dns64",
        "enable-lni-at-device-index",
        "ipv6-cidr-block-association.association-id",
        "ipv6-cidr-block-association.state",
        "map-customer-owned-ip-on-launch",
        "map-public-ip-on-launch",
        "outpost-arn",
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
        "private-dns-name-options-on-launch.hostname-type",
        "subnet-arn",
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("availability-zone", |it| one(&it.availability_zone)),
        ("availability-zone-id", |it| one(&it.availability_zone_id)),
        ("available-ip-address-count", |it| one(it.available_ip_address_count)),
        ("cidr", |it| all(it.cidr_block)),
        ("cidr-block", |it| all(it.cidr_block)),
        ("default-for-az", |it| one(it.default_for_az)),
        ("ipv6-cidr-block-association.ipv6-cidr-block", |it| all(it.ipv6_cidr_block)),
        ("ipv6-native", |it| one(it.ipv6_native)),
        ("owner-id", |it| one(&it.owner_id)),
        ("state", |_| one("available")),
        ("subnet-id", |it| one(it.subnet_id)),
        ("vpc-id", |it| one(it.vpc_id)),
    ];

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for InstanceType {
    const FIELDS: &'static [Field<Self>] = &[
        ("bare-metal", |it| one(it.bare_metal)),
        ("hypervisor", |it| one(&it.hypervisor)),
        ("instance-type", |it| one(&it.name)),
        ("network-info.efa-supported", |it| one(it.efa_supported)),
        ("network-info.maximum-network-cards", |it| one(it.network_cards.len())),
        ("network-info.maximum-network-interfaces", |it| one(it.max_enis)),
        ("processor-info.supported-architecture", |it| one(&it.architecture)),
    ];

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

impl Filterable for SecurityGroupDescription {
    const FIELDS: &'static [Field<Self>] = &[
        ("description", |it| one(&it.description)),
        ("group-id", |it| one(it.group_id)),
        ("group-name", |it| one(&it.group_name)),
        ("owner-id", |it| one(&it.owner_id)),
        ("vpc-id", |it| one(it.vpc_id)),
    ];

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for VpcDescription {
    const FIELDS: &'static [Field<Self>] = &[
        ("cidr", |it| all(it.cidr_blocks.first())),
        ("cidr-block-association.cidr-block", |it| all(&it.cidr_blocks)),
        ("ipv6-cidr-block-association.ipv6-cidr-block", |it| all(it.ipv6_cidr_block)),
        ("is-default", |it| one(it.is_default)),
        ("owner-id", |it| one(&it.owner_id)),
        ("state", |_| one("available")),
        ("vpc-id", |it| one(it.vpc_id)),
    ];

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Filterable for TagDescription {
    const FIELDS: &'static [Field<Self>] = &[
        ("key", |it| one(&it.key)),
        ("resource-id", |it| one(&it.resource_id)),
        ("resource-type", |it| one(&it.resource_type)),
        ("value", |it| one(&it.value)),
    ];

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
