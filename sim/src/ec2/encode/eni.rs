//! A network interface, alone and inside an instance.

use super::Setting;
use crate::ec2::xml::Xml;
use crate::vpc::response::{Attachment, GroupIdentifier, NetworkInterface};

/// The elements of an ENI in Describe and Create answers.
pub(super) fn network_interface(x: &mut Xml, eni: &NetworkInterface, setting: &Setting) {
    identity(x, eni, setting);
    x.text("availabilityZone", &eni.availability_zone);
    x.text("requesterId", &eni.requester_id);
    x.text("requesterManaged", eni.requester_managed);
    x.text("interfaceType", &eni.interface_type);
    if let Some(attachment) = &eni.attachment {
        x.element("attachment", |x| {
            x.text("instanceId", &attachment.instance_id);
            x.text("instanceOwnerId", &attachment.instance_owner_id);
            binding(x, attachment, setting);
        });
    }
    super::tag_set(x, &eni.tags);
    addresses(x, eni, setting);
}

/// The elements of an ENI inside `DescribeInstances`: fewer, and the attachment does not repeat the instance.
pub(super) fn instance_network_interface(x: &mut Xml, eni: &NetworkInterface, setting: &Setting) {
    identity(x, eni, setting);
    x.text("interfaceType", &eni.interface_type);
    if let Some(attachment) = &eni.attachment {
        x.element("attachment", |x| binding(x, attachment, setting));
    }
    addresses(x, eni, setting);
}

/// `<groupSet>`, as ENIs and instances have it.
pub(super) fn group_set(x: &mut Xml, groups: &[GroupIdentifier]) {
    x.items("groupSet", groups, |x, group| {
        x.text("groupId", &group.group_id);
        x.text("groupName", &group.group_name);
    });
}

fn identity(x: &mut Xml, eni: &NetworkInterface, setting: &Setting) {
    x.text("networkInterfaceId", &eni.network_interface_id);
    x.text("subnetId", &eni.subnet_id);
    x.text("vpcId", &eni.vpc_id);
    x.text("description", &eni.description);
    x.text("ownerId", &eni.owner_id);
    x.text("status", eni.status.as_str());
    x.text("macAddress", eni.mac_address);
    x.optional("privateIpAddress", eni.primary_ip());
    x.optional("privateDnsName", eni.primary_ip().map(|ip| setting.private_dns_name(ip)));
    x.text("sourceDestCheck", eni.source_dest_check);
    group_set(x, &eni.groups);
}

fn binding(x: &mut Xml, attachment: &Attachment, setting: &Setting) {
    x.text("attachmentId", &attachment.attachment_id);
    x.text("deviceIndex", attachment.device_index);
    x.text("networkCardIndex", attachment.network_card_index);
    x.text("status", attachment.status.as_str());
    x.text("attachTime", setting.instant(attachment.attach_time));
    x.text("deleteOnTermination", attachment.delete_on_termination);
}

fn addresses(x: &mut Xml, eni: &NetworkInterface, setting: &Setting) {
    x.items("privateIpAddressesSet", &eni.private_ip_addresses, |x, ip| {
        x.text("privateIpAddress", ip.address);
        x.text("privateDnsName", setting.private_dns_name(ip.address));
        x.text("primary", ip.primary);
    });
    x.items("ipv6AddressesSet", &eni.ipv6_addresses, |x, ip| x.text("ipv6Address", ip));
    // EC2 leaves these two out when there is nothing in them.
    if !eni.ipv4_prefixes.is_empty() {
        x.items("ipv4PrefixSet", &eni.ipv4_prefixes, |x, prefix| x.text("ipv4Prefix", prefix));
    }
    if !eni.ipv6_prefixes.is_empty() {
        x.items("ipv6PrefixSet", &eni.ipv6_prefixes, |x, prefix| x.text("ipv6Prefix", prefix));
    }
    // Shown only where it was set.
    if let Some(tracking) = &eni.connection_tracking {
        x.element("connectionTrackingConfiguration", |x| {
            x.optional("tcpEstablishedTimeout", tracking.tcp_established_timeout);
            x.optional("udpStreamTimeout", tracking.udp_stream_timeout);
            x.optional("udpTimeout", tracking.udp_timeout);
        });
    }
}
