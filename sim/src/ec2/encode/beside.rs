//! What EC2 tells beside what the core decides: names made of other members, instants by the wall clock, members that
//! are the same for every object of the box, and the nesting of a few.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Setting;
use crate::server::timestamp;
use crate::vpc::Micros;
use crate::vpc::response::{
    InstanceDescription, InstanceStatus, InstanceTypeInfo, NetworkInterface, Reservation,
    SecurityGroupDescription, SubnetDescription, VpcDescription,
};

/// Names of addresses, and when it was attached.
pub(super) fn network_interface(eni: &NetworkInterface, value: &mut Value, setting: &Setting) {
    let name = |address| private_dns_name(address, setting);
    value["privateIpAddress"] = json!(eni.primary_ip());
    value["privateDnsName"] = json!(eni.primary_ip().map(name));
    for (number, ip) in eni.private_ip_addresses.iter().enumerate() {
        value["privateIpAddressesSet"][number]["privateDnsName"] = name(ip.address).into();
    }
    if let Some(attachment) = &eni.attachment {
        value["attachment"]["attachTime"] = instant(attachment.attach_time, setting).into();
    }
}

/// An instance, alone in its reservation.
pub(super) fn reservation(reservation: &Reservation, value: &mut Value, setting: &Setting) {
    let mut it = take(value, "instance");
    instance(&reservation.instance, &mut it, setting);
    value["instancesSet"] = [it].into_iter().collect();
    // Groups of EC2-Classic, which is gone; the element stayed.
    value["groupSet"] = json!([]);
}

fn instance(it: &InstanceDescription, value: &mut Value, setting: &Setting) {
    value["instanceState"] = json!({ "code": it.state.code(), "name": it.state });
    value["launchTime"] = instant(it.launch_time, setting).into();
    value["placement"] =
        json!({ "availabilityZone": take(value, "availabilityZone"), "groupName": "", "tenancy": "default" });
    let primary = it.network_interfaces.iter().find(|eni| {
        eni.attachment.as_ref().is_some_and(|at| at.device_index == 0 && at.network_card_index == 0)
    });
    value["sourceDestCheck"] = json!(primary.map(|eni| eni.source_dest_check));
    for (number, eni) in it.network_interfaces.iter().enumerate() {
        let value = &mut value["networkInterfaceSet"][number];
        network_interface(eni, value, setting);
        // An instance tells less of its ENIs, and does not repeat itself in their attachments.
        for name in ["availabilityZone", "requesterId", "requesterManaged", "tagSet"] {
            take(value, name);
        }
        for name in ["instanceId", "instanceOwnerId"] {
            take(&mut value["attachment"], name);
        }
    }
    // EC2 says "xen" for Nitro instances too; the true hypervisor is in DescribeInstanceTypes.
    value["hypervisor"] = "xen".into();
    value["enaSupport"] = (it.hypervisor != "xen").into();
    add(
        value,
        json!({
            "dnsName": "",
            "reason": "",
            "amiLaunchIndex": 0,
            "productCodes": [],
            "monitoring": { "state": "disabled" },
            "rootDeviceType": "ebs",
            "rootDeviceName": "/dev/xvda",
            "blockDeviceMapping": [],
            "virtualizationType": "hvm",
            "clientToken": "",
            "ebsOptimized": false,
            "metadataOptions": {
                "state": "applied",
                "httpTokens": "required",
                "httpPutResponseHopLimit": 2,
                "httpEndpoint": "enabled",
                "httpProtocolIpv6": "disabled",
                "instanceMetadataTags": "enabled",
            },
        }),
    );
}

/// When its events are, and what its status checks say.
pub(super) fn instance_status(it: &InstanceStatus, value: &mut Value, setting: &Setting) {
    value["instanceState"] = json!({ "code": it.state.code(), "name": it.state });
    for (number, event) in it.events.iter().enumerate() {
        value["eventsSet"][number]["notBefore"] = instant(event.not_before, setting).into();
    }
    let mut checks = json!({ "status": it.checks() });
    if let Some(reachability) = it.reachability() {
        checks["details"] = json!([{ "name": "reachability", "status": reachability }]);
    }
    add(value, json!({ "systemStatus": checks, "instanceStatus": checks }));
}

/// An instance type with its network limits. What the box has no data for (prices, storage, accelerators) is left out.
pub(super) fn instance_type(it: &InstanceTypeInfo) -> Value {
    let cards = it.network_cards.iter().enumerate();
    let card = |(index, enis)| json!({ "networkCardIndex": index, "maximumNetworkInterfaces": enis });
    json!({
        "instanceType": it.name,
        "currentGeneration": it.hypervisor != "xen",
        "supportedVirtualizationTypes": ["hvm"],
        "bareMetal": it.bare_metal,
        "hypervisor": Some(&it.hypervisor).filter(|hypervisor| !hypervisor.is_empty()),
        "processorInfo": { "supportedArchitectures": [it.architecture] },
        "vCpuInfo": { "defaultVCpus": it.vcpus },
        "memoryInfo": { "sizeInMiB": it.memory_mib },
        "networkInfo": {
            "maximumNetworkInterfaces": it.max_enis,
            "maximumNetworkCards": it.network_cards.len(),
            "defaultNetworkCardIndex": 0,
            "networkCards": cards.map(card).collect::<Vec<_>>(),
            "ipv4AddressesPerInterface": it.ipv4_per_eni,
            "ipv6AddressesPerInterface": it.ipv6_per_eni,
            "ipv6Supported": it.ipv6_per_eni > 0,
            "enaSupport": if it.hypervisor == "xen" { "supported" } else { "required" },
            "efaSupported": it.efa_supported,
        },
    })
}

/// The binding of a subnet's IPv6 block, and settings of launches.
pub(super) fn subnet(it: &SubnetDescription, value: &mut Value, setting: &Setting) {
    take(value, "ipv6CidrBlock");
    let ipv6 = it.ipv6_cidr_block.map(|block| {
        json!({
            "ipv6CidrBlock": block,
            "associationId": association("subnet-cidr-assoc", it.subnet_id.as_str(), 0),
            "ipv6CidrBlockState": { "state": "associated" },
        })
    });
    add(
        value,
        json!({
            "subnetArn": arn("subnet", it.subnet_id.as_str(), &it.owner_id, setting),
            "state": "available",
            "ipv6CidrBlockAssociationSet": Vec::from_iter(ipv6),
            "mapPublicIpOnLaunch": false,
            "mapCustomerOwnedIpOnLaunch": false,
            "assignIpv6AddressOnCreation": it.ipv6_native,
            "enableDns64": false,
            "privateDnsNameOptionsOnLaunch": {
                "hostnameType": if it.ipv6_native { "resource-name" } else { "ip-name" },
                "enableResourceNameDnsARecord": false,
                "enableResourceNameDnsAAAARecord": false,
            },
        }),
    );
}

/// The box's groups let everything through, and say so.
pub(super) fn security_group(it: &SecurityGroupDescription, value: &mut Value, setting: &Setting) {
    let all = json!([{
        "ipProtocol": "-1",
        "groups": [],
        "ipRanges": [{ "cidrIp": "0.0.0.0/0" }],
        "ipv6Ranges": [{ "cidrIpv6": "::/0" }],
        "prefixListIds": [],
    }]);
    add(
        value,
        json!({
            "securityGroupArn": arn("security-group", it.group_id.as_str(), &it.owner_id, setting),
            "ipPermissions": all,
            "ipPermissionsEgress": all,
        }),
    );
}

/// The bindings of a VPC's blocks.
pub(super) fn vpc(it: &VpcDescription, value: &mut Value) {
    take(value, "cidrBlocks");
    take(value, "ipv6CidrBlock");
    let binding = |number| association("vpc-cidr-assoc", it.vpc_id.as_str(), number);
    let ipv4 = |(number, block)| {
        json!({
            "cidrBlock": block,
            "associationId": binding(number),
            "cidrBlockState": { "state": "associated" },
        })
    };
    let ipv6 = it.ipv6_cidr_block.map(|block| {
        json!({
            "ipv6CidrBlock": block,
            "associationId": binding(0xff),
            "ipv6Pool": "Amazon",
            "ipv6CidrBlockState": { "state": "associated" },
        })
    });
    add(
        value,
        json!({
            "state": "available",
            "cidrBlock": it.cidr_blocks.first(),
            "cidrBlockAssociationSet": it.cidr_blocks.iter().enumerate().map(ipv4).collect::<Vec<_>>(),
            "ipv6CidrBlockAssociationSet": Vec::from_iter(ipv6),
            "dhcpOptionsId": "default",
            "instanceTenancy": "default",
        }),
    );
}

fn add(value: &mut Value, more: Value) {
    if let (Value::Object(members), Value::Object(more)) = (value, more) {
        members.extend(more);
    }
}

fn take(value: &mut Value, name: &str) -> Value {
    value.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default()
}

fn instant(at: Micros, setting: &Setting) -> String {
    timestamp::millis(setting.epoch + Duration::from_micros(at.0))
}

/// Name of an address in the VPC's resolver.
fn private_dns_name(address: Ipv4Addr, setting: &Setting) -> String {
    let [a, b, c, d] = address.octets();
    let (zone, parent) = match setting.region.as_str() {
        "us-east-1" => ("ec2", "internal"),
        region => (region, "compute.internal"),
    };
    format!("ip-{a}-{b}-{c}-{d}.{zone}.{parent}")
}

fn arn(kind: &str, id: &str, owner: &str, setting: &Setting) -> String {
    format!("arn:aws:ec2:{}:{owner}:{kind}/{id}", setting.region)
}

/// The id of the binding of the `number`th block to its VPC or subnet. The core does not keep these bindings, so the id
/// is made from the owner's: the same every time it is asked for.
fn association(prefix: &str, owner: &str, number: usize) -> String {
    let digits = owner.rsplit('-').next().unwrap_or(owner);
    let kept = digits.len().min(15);
    format!("{prefix}-{}{number:02x}", &digits[digits.len() - kept..])
}
