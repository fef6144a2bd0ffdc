//! The index narrows, and forgets with the tables.

use super::*;
use crate::vpc::request::*;

#[test]
fn each_filter_that_the_index_knows_leaves_the_one_eni() {
    let mut bed = Bed::new();
    let vpc = bed.vpc_id;
    let group = bed.vpc.add_security_group(&vpc, "of-one", Tags::new()).unwrap();
    for _ in 0..3 {
        bed.created();
    }
    let create = CreateNetworkInterface {
        subnet_id: bed.subnet,
        groups: vec![group],
        ipv6_address_count: Some(1),
        tag_specifications: vec![TagSpecification {
            resource_type: "network-interface".to_owned(),
            tags: Tags::from([("owner".to_owned(), "one".to_owned())]),
        }],
        ..Default::default()
    };
    let eni = bed.call(create).unwrap().network_interface.network_interface_id;
    let node = bed
        .vpc
        .run_instance(InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet: bed.tiny,
            security_groups: Vec::new(),
            private_ip: None,
            ipv6_address_count: 0,
            tags: Tags::new(),
        })
        .unwrap();
    let primary = bed.vpc.primary_eni(&node).unwrap();
    let (shown, bound) = (bed.eni(&eni), bed.eni(&primary));
    let address = shown.primary_ip().unwrap();
    let candidates = |bed: &Bed, name: &str, value: String| {
        bed.vpc.world.index.candidates(&[Filter::new("vpc-id", vpc.as_str()), Filter::new(name, value)])
    };
    for (name, value, expected) in [
        ("attachment.instance-id", node.to_string(), primary),
        ("attachment.attachment-id", bound.attachment.unwrap().attachment_id.to_string(), primary),
        ("subnet-id", bed.tiny.to_string(), primary),
        ("group-id", group.to_string(), eni),
        ("mac-address", shown.mac_address.to_string(), eni),
        ("private-ip-address", address.to_string(), eni),
        ("addresses.private-ip-address", address.to_string(), eni),
        ("ipv6-addresses.ipv6-address", shown.ipv6_addresses[0].to_string(), eni),
        ("tag:owner", "one".to_owned(), eni),
    ] {
        assert_eq!(candidates(&bed, name, value), Some(vec![expected]), "{name}");
    }
    assert_eq!(candidates(&bed, "status", "available".to_owned()).map(|found| found.len()), Some(4));
    assert_eq!(candidates(&bed, "tag:owner", "o*".to_owned()), None, "a pattern is looked for everywhere");
}

#[test]
fn what_is_gone_longer_than_anything_is_kept_leaves_nothing_behind() {
    let mut bed = Bed::new();
    let whole = bed.vpc.world.clone();
    let (eni, attachment) = bed.attached(1);
    bed.assign(&eni, 3).unwrap();
    bed.second(1);
    bed.call(Bed::detach(&attachment)).unwrap();
    bed.call(DeleteNetworkInterface { network_interface_id: eni }).unwrap();
    bed.second(1 + HORIZON.as_secs());
    // What is over is forgotten when the next change is made, whichever it is.
    let subnet = bed.tiny;
    bed.vpc.occupy_all_but(&subnet, 0).unwrap();
    assert_ne!(bed.vpc.world.index, whole.index, "not yet: it lies no longer back than that");
    bed.second(2 + HORIZON.as_secs());
    bed.vpc.vacate(&subnet).unwrap();
    assert_eq!(bed.vpc.world.index, whole.index);
    assert_eq!(bed.vpc.world.enis.ids_ever(None).count(), 1);
}
