//! An instance in its reservation.

use super::{Setting, eni, tag_set};
use crate::ec2::xml::Xml;
use crate::vpc::response::{InstanceDescription, Reservation};

/// The elements of one reservation; the box puts each instance into a reservation of its own.
pub(super) fn reservation(x: &mut Xml, reservation: &Reservation, setting: &Setting) {
    x.text("reservationId", &reservation.reservation_id);
    x.text("ownerId", &reservation.owner_id);
    // Groups of EC2-Classic, which is gone; the element stayed.
    x.element("groupSet", |_| ());
    x.items("instancesSet", [&reservation.instance], |x, it| instance(x, it, setting));
}

fn instance(x: &mut Xml, it: &InstanceDescription, setting: &Setting) {
    x.text("instanceId", &it.instance_id);
    x.text("imageId", &it.image_id);
    x.element("instanceState", |x| {
        x.text("code", it.state.code());
        x.text("name", it.state.as_str());
    });
    x.text("privateDnsName", &it.private_dns_name);
    x.text("dnsName", "");
    x.text("reason", "");
    x.text("amiLaunchIndex", 0);
    x.element("productCodes", |_| ());
    x.text("instanceType", &it.instance_type);
    x.text("launchTime", setting.instant(it.launch_time));
    x.element("placement", |x| {
        x.text("availabilityZone", &it.availability_zone);
        x.text("groupName", "");
        x.text("tenancy", "default");
    });
    x.element("monitoring", |x| x.text("state", "disabled"));
    x.text("subnetId", &it.subnet_id);
    x.text("vpcId", &it.vpc_id);
    x.optional("privateIpAddress", it.private_ip_address);
    let primary = it.network_interfaces.iter().find(|eni| {
        eni.attachment.as_ref().is_some_and(|a| a.device_index == 0 && a.network_card_index == 0)
    });
    x.optional("sourceDestCheck", primary.map(|eni| eni.source_dest_check));
    eni::group_set(x, &it.groups);
    x.text("architecture", &it.architecture);
    x.text("rootDeviceType", "ebs");
    x.text("rootDeviceName", "/dev/xvda");
    x.element("blockDeviceMapping", |_| ());
    x.text("virtualizationType", "hvm");
    x.text("clientToken", "");
    tag_set(x, &it.tags);
    // EC2 says "xen" for Nitro instances too; the true hypervisor is in DescribeInstanceTypes.
    x.text("hypervisor", "xen");
    x.items("networkInterfaceSet", &it.network_interfaces, |x, eni| {
        eni::instance_network_interface(x, eni, setting);
    });
    x.text("ebsOptimized", false);
    x.text("enaSupport", it.hypervisor != "xen");
    x.element("metadataOptions", |x| {
        x.text("state", "applied");
        x.text("httpTokens", "required");
        x.text("httpPutResponseHopLimit", 2);
        x.text("httpEndpoint", "enabled");
        x.text("httpProtocolIpv6", "disabled");
        x.text("instanceMetadataTags", "enabled");
    });
}
