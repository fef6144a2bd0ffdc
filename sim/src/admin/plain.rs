//! The names that this interface had before it took EC2's: `network_interface_id` for `networkInterfaceId`. Scripts that
//! were written then go on working: requests may use either, and `GET /state` speaks the older ones.

use serde_json::{Map, Value};

/// A list or structure of EC2's with another name here, and the member that is all there is of its items, if one is.
const RENAMED: [(&str, &str, Option<&str>); 10] = [
    ("privateIpAddressesSet", "private_ip_addresses", None),
    ("ipv4PrefixSet", "ipv4_prefixes", Some("ipv4Prefix")),
    ("ipv6AddressesSet", "ipv6_addresses", Some("ipv6Address")),
    ("ipv6PrefixSet", "ipv6_prefixes", Some("ipv6Prefix")),
    ("groupSet", "groups", None),
    ("tagSet", "tags", None),
    ("networkInterfaceSet", "network_interfaces", None),
    ("instanceState", "state", None),
    ("connectionTrackingConfiguration", "connection_tracking", None),
    ("groupDescription", "description", None),
];

/// A request in either spelling, in EC2's.
pub(super) fn to_ec2(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (camel(&name), to_ec2(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(to_ec2).collect(),
        plain => plain,
    }
}

/// What is in EC2's spelling, in the older one.
pub(super) fn of_ec2(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let known = RENAMED.iter().find(|(ec2, ..)| *ec2 == name);
                match known {
                    Some((.., plain, Some(only))) => ((*plain).to_owned(), alone(value, only)),
                    Some((_, "tags", None)) => ("tags".to_owned(), tags(value)),
                    Some((_, "private_ip_addresses", None)) => {
                        ("private_ip_addresses".to_owned(), addresses(value))
                    }
                    Some((_, plain, None)) => ((*plain).to_owned(), of_ec2(value)),
                    None => (snake(&name), of_ec2(value)),
                }
            });
            members.collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(of_ec2).collect(),
        plain => plain,
    }
}

fn items(value: Value) -> impl Iterator<Item = Value> {
    let items = match value {
        Value::Array(items) => items,
        other => vec![other],
    };
    items.into_iter()
}

fn alone(value: Value, only: &str) -> Value {
    items(value).map(|mut item| item[only].take()).collect()
}

fn tags(value: Value) -> Value {
    let tag = |mut tag: Value| Some((tag["key"].as_str()?.to_owned(), tag["value"].take()));
    items(value).filter_map(tag).collect::<Map<_, _>>().into()
}

fn addresses(value: Value) -> Value {
    let address = |mut ip: Value| {
        let (address, primary) = (ip["privateIpAddress"].take(), ip["primary"].take());
        Value::from(Map::from_iter([("address".to_owned(), address), ("primary".to_owned(), primary)]))
    };
    items(value).map(address).collect()
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

fn snake(name: &str) -> String {
    let mut plain = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(letter.to_ascii_lowercase());
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_read_in_either_spelling() {
        let older =
            json!({"AssignPrivateIpAddresses": {"network_interface_id": "eni-1", "ipv4_prefix_count": 2}});
        let ec2 = json!({"AssignPrivateIpAddresses": {"networkInterfaceId": "eni-1", "ipv4PrefixCount": 2}});
        assert_eq!(to_ec2(older), ec2);
        assert_eq!(to_ec2(ec2.clone()), ec2);
    }

    #[test]
    fn the_state_is_told_in_the_older_spelling() {
        let ec2 = json!({
            "networkInterfaceId": "eni-1",
            "privateIpAddressesSet": [{"privateIpAddress": "10.0.0.4", "primary": true}],
            "ipv4PrefixSet": [{"ipv4Prefix": "10.0.0.16/28"}],
            "groupSet": [{"groupId": "sg-1", "groupName": "a"}],
            "attachment": {"instanceId": "i-1", "deleteOnTermination": true},
            "tagSet": [{"key": "Name", "value": "x_Y"}],
        });
        let older = json!({
            "network_interface_id": "eni-1",
            "private_ip_addresses": [{"address": "10.0.0.4", "primary": true}],
            "ipv4_prefixes": ["10.0.0.16/28"],
            "groups": [{"group_id": "sg-1", "group_name": "a"}],
            "attachment": {"instance_id": "i-1", "delete_on_termination": true},
            "tags": {"Name": "x_Y"},
        });
        assert_eq!(of_ec2(ec2), older);
    }
}
