//! From query parameters to a typed request. A parameter that the box does not know is refused, never ignored.

use super::fields::Fields;
use super::refusal::Refusal;
use crate::vpc::{Action, Operation, Request};

/// Reads the request for `action` out of `fields` and refuses what is left over.
pub(crate) fn request(action: Action, mut fields: Fields) -> Result<Request, Refusal> {
    // EC2 has no DryRun for the four address calls.
    let dry_run = match action {
        Action::AssignPrivateIpAddresses
        | Action::UnassignPrivateIpAddresses
        | Action::AssignIpv6Addresses
        | Action::UnassignIpv6Addresses => false,
        _ => fields.flag("DryRun")?,
    };
    let operation = fields.read(|parameters| Operation::read(action, parameters))?;
    Ok(Request { dry_run, operation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpc::Tags;
    use crate::vpc::request::TagSpecification;

    fn read(action: Action, text: &str) -> Result<Request, Refusal> {
        request(action, Fields::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn create_as_the_incumbent_sends_it() {
        let text = "ClientToken=t&Description=aws-K8S-i-1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2&SubnetId=subnet-1\
                    &SecondaryPrivateIpAddressCount=9&TagSpecification.1.ResourceType=network-interface\
                    &TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b\
                    &TagSpecification.1.Tag.2.Key=c";
        let Operation::CreateNetworkInterface(create) =
            read(Action::CreateNetworkInterface, text).unwrap().operation
        else {
            panic!("another operation");
        };
        assert_eq!(create.secondary_private_ip_address_count, Some(9));
        assert_eq!(create.groups, ["sg-1".into(), "sg-2".into()]);
        assert_eq!(create.client_token.as_deref(), Some("t"));
        let tags: Tags = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())].into();
        let specification = TagSpecification { resource_type: "network-interface".to_owned(), tags };
        assert_eq!(create.tag_specifications, [specification]);
    }

    #[test]
    fn every_action_needs_its_parameters_and_refuses_foreign_ones() {
        for &action in Action::ALL {
            let foreign = read(action, "NetworkInterfaceId=eni-1&Colour=red").unwrap_err();
            assert!(
                ["UnknownParameter", "MissingParameter"].contains(&foreign.code),
                "{action}: {foreign:?}"
            );
            let empty = read(action, "");
            if action.is_read() {
                empty.unwrap();
                assert_eq!(read(action, "Colour=red").unwrap_err().code, "UnknownParameter", "{action}");
            } else {
                assert_eq!(empty.unwrap_err().code, "MissingParameter", "{action}");
            }
        }
    }

    #[test]
    fn dry_run_is_read_where_ec2_has_it() {
        assert!(read(Action::DescribeVpcs, "DryRun=true").unwrap().dry_run);
        let refused =
            read(Action::AssignPrivateIpAddresses, "NetworkInterfaceId=eni-1&DryRun=true").unwrap_err();
        assert_eq!(refused.code, "UnknownParameter");
    }

    #[test]
    fn a_description_can_be_cleared() {
        let text = "NetworkInterfaceId=eni-1&Description.Value=";
        let Operation::ModifyNetworkInterfaceAttribute(modify) =
            read(Action::ModifyNetworkInterfaceAttribute, text).unwrap().operation
        else {
            panic!("another operation");
        };
        assert_eq!(modify.description.as_deref(), Some(""));
    }

    #[test]
    fn a_tag_key_comes_once() {
        let twice = read(Action::CreateTags, "ResourceId.1=eni-1&Tag.1.Key=a&Tag.2.Key=a").unwrap_err();
        assert_eq!(twice.code, "InvalidParameterValue");
    }
}
