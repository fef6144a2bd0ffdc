//! VPCs, subnets and security groups.

use super::{Setting, tag_set};
use crate::ec2::xml::Xml;
use crate::vpc::response::{SecurityGroupDescription, SubnetDescription, VpcDescription};

/// The elements of a subnet.
pub(super) fn subnet(x: &mut Xml, it: &SubnetDescription, setting: &Setting) {
    let arn = format!("arn:aws:ec2:{}:{}:subnet/{}", setting.region, it.owner_id, it.subnet_id);
    x.text("subnetId", &it.subnet_id);
    x.text("subnetArn", arn);
    x.text("state", "available");
    x.text("ownerId", &it.owner_id);
    x.text("vpcId", &it.vpc_id);
    x.optional("cidrBlock", it.cidr_block);
    x.items("ipv6CidrBlockAssociationSet", it.ipv6_cidr_block, |x, block| {
        x.text("ipv6CidrBlock", block);
        x.text("associationId", association("subnet-cidr-assoc", it.subnet_id.as_str(), 0));
        x.element("ipv6CidrBlockState", |x| x.text("state", "associated"));
    });
    x.text("availableIpAddressCount", it.available_ip_address_count);
    x.text("availabilityZone", &it.availability_zone);
    x.text("availabilityZoneId", &it.availability_zone_id);
    x.text("defaultForAz", it.default_for_az);
    x.text("mapPublicIpOnLaunch", false);
    x.text("mapCustomerOwnedIpOnLaunch", false);
    x.text("assignIpv6AddressOnCreation", it.ipv6_native);
    x.text("enableDns64", false);
    x.text("ipv6Native", it.ipv6_native);
    x.element("privateDnsNameOptionsOnLaunch", |x| {
        x.text("hostnameType", if it.ipv6_native { "resource-name" } else { "ip-name" });
        x.text("enableResourceNameDnsARecord", false);
        x.text("enableResourceNameDnsAAAARecord", false);
    });
    tag_set(x, &it.tags);
}

/// The elements of a security group. The box's groups let everything through, and say so.
pub(super) fn security_group(x: &mut Xml, it: &SecurityGroupDescription, setting: &Setting) {
    let arn = format!("arn:aws:ec2:{}:{}:security-group/{}", setting.region, it.owner_id, it.group_id);
    x.text("ownerId", &it.owner_id);
    x.text("groupId", &it.group_id);
    x.text("groupName", &it.group_name);
    x.text("groupDescription", &it.description);
    x.text("vpcId", &it.vpc_id);
    x.text("securityGroupArn", arn);
    for direction in ["ipPermissions", "ipPermissionsEgress"] {
        x.items(direction, [()], |x, ()| {
            x.text("ipProtocol", "-1");
            x.element("groups", |_| ());
            x.items("ipRanges", ["0.0.0.0/0"], |x, block| x.text("cidrIp", block));
            x.items("ipv6Ranges", ["::/0"], |x, block| x.text("cidrIpv6", block));
            x.element("prefixListIds", |_| ());
        });
    }
    tag_set(x, &it.tags);
}

/// The elements of a VPC.
pub(super) fn vpc(x: &mut Xml, it: &VpcDescription) {
    x.text("vpcId", &it.vpc_id);
    x.text("ownerId", &it.owner_id);
    x.text("state", "available");
    x.optional("cidrBlock", it.cidr_blocks.first());
    x.items("cidrBlockAssociationSet", it.cidr_blocks.iter().enumerate(), |x, (number, block)| {
        x.text("cidrBlock", block);
        x.text("associationId", association("vpc-cidr-assoc", it.vpc_id.as_str(), number));
        x.element("cidrBlockState", |x| x.text("state", "associated"));
    });
    x.items("ipv6CidrBlockAssociationSet", it.ipv6_cidr_block, |x, block| {
        x.text("ipv6CidrBlock", block);
        x.text("associationId", association("vpc-cidr-assoc", it.vpc_id.as_str(), 0xff));
        x.text("ipv6Pool", "Amazon");
        x.element("ipv6CidrBlockState", |x| x.text("state", "associated"));
    });
    x.text("dhcpOptionsId", "default");
    x.text("instanceTenancy", "default");
    x.text("isDefault", it.is_default);
    tag_set(x, &it.tags);
}

/// The id of the binding of the `number`th block to its VPC or subnet. The core does not keep these bindings, so the id
/// is made from the owner's: the same every time it is asked for.
fn association(prefix: &str, owner: &str, number: usize) -> String {
    let digits = owner.rsplit('-').next().unwrap_or(owner);
    let kept = digits.len().min(15);
    format!("{prefix}-{}{number:02x}", &digits[digits.len() - kept..])
}
