//! Attaching and detaching at the edges of what EC2 allows, and with instances that are off.

use super::*;
use crate::vpc::request::*;

fn slow(bed: &mut Bed) {
    let takes = Duration::from_secs(30);
    bed.vpc.set_timing(Timing { attach_takes: takes, detach_takes: takes, ..Timing::default() }).unwrap();
}

#[test]
fn an_instance_that_is_off_has_nothing_to_wait_for() {
    let mut bed = Bed::new();
    slow(&mut bed);
    let node = bed.node;
    bed.vpc.stop_instance(&node).unwrap();
    let (eni, attachment) = bed.attached(1);
    assert_eq!(bed.eni(&eni).status.as_str(), "in-use");
    bed.call(Bed::detach(&attachment)).unwrap();
    assert_eq!(bed.eni(&eni).status.as_str(), "available");
}

#[test]
fn an_eni_with_as_many_addresses_as_the_type_takes_is_attached() {
    let mut bed = Bed::new();
    let full = CreateNetworkInterface {
        secondary_private_ip_address_count: Some(9),
        ipv6_address_count: Some(10),
        ..bed.create()
    };
    let eni = bed.call(full).unwrap().network_interface.network_interface_id;
    let attach = bed.attach(&eni, 1);
    bed.call(attach).unwrap();
}

#[test]
fn device_indexes_end_at_99() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let beyond = bed.attach(&eni, 100);
    assert_eq!(bed.code(beyond), "InvalidParameterValue");
    let last = bed.attach(&eni, 99);
    bed.call(last).unwrap();
}
