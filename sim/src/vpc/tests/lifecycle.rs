//! The lives of ENIs, attachments and instances, delays, and what the fabric is told of them.

use super::*;
use crate::vpc::request::*;

fn statuses(bed: &Bed, eni: &EniId) -> (&'static str, Option<&'static str>) {
    let eni = bed.eni(eni);
    (eni.status.as_str(), eni.attachment.map(|a| a.status.as_str()))
}

#[test]
fn every_state_lasts_as_long_as_its_setting_says() {
    let mut bed = Bed::new();
    bed.vpc
        .set_timing(Timing {
            create_takes: Duration::from_secs(1),
            attach_takes: Duration::from_secs(2),
            link_appears: Duration::from_secs(3),
            detach_takes: Duration::from_secs(4),
            ..Timing::default()
        })
        .unwrap();
    bed.vpc.drain_events();
    let eni = bed.created();
    assert_eq!(statuses(&bed, &eni), ("pending", None));
    assert_eq!(bed.vpc.next_due(), Some(Micros(1_000_000)));
    bed.second(1);
    assert_eq!(statuses(&bed, &eni), ("available", None));
    let operation = bed.attach(&eni, 1);
    let attachment = bed.call(operation).unwrap().attachment_id;
    assert_eq!(statuses(&bed, &eni), ("attaching", Some("attaching")));
    assert_eq!(bed.vpc.imds_view(&bed.node).unwrap().interfaces.len(), 1);
    bed.vpc.advance_to(Micros(2_999_999));
    assert_eq!(statuses(&bed, &eni), ("attaching", Some("attaching")));
    bed.second(3);
    assert_eq!(statuses(&bed, &eni), ("in-use", Some("attached")));
    assert_eq!(bed.vpc.imds_view(&bed.node).unwrap().interfaces.len(), 2);
    assert_eq!(bed.vpc.drain_events(), []);
    bed.second(4);
    let events = bed.vpc.drain_events();
    assert!(
        matches!(&events[..], [VpcEvent::AttachmentVisible { eni: seen, device_index: 1, .. }] if *seen == eni)
    );
    bed.call(Bed::detach(&attachment)).unwrap();
    assert_eq!(statuses(&bed, &eni), ("detaching", Some("detaching")));
    assert!(matches!(&bed.vpc.drain_events()[..], [VpcEvent::Detached { .. }]));
    bed.second(8);
    assert_eq!(statuses(&bed, &eni), ("available", None));
    assert_eq!(bed.vpc.next_due(), None);
    bed.vpc.advance_to(Micros(1));
    assert_eq!(bed.vpc.now(), Micros(8_000_000), "time does not run back");
}

#[test]
fn a_forced_detach_does_not_wait() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { detach_takes: Duration::from_mins(1), ..Timing::default() }).unwrap();
    let (eni, attachment) = bed.attached(1);
    bed.call(Bed::detach(&attachment)).unwrap();
    bed.call(DetachNetworkInterface { attachment_id: attachment, force: true }).unwrap();
    assert_eq!(statuses(&bed, &eni), ("available", None));
    let operation = bed.attach(&eni, 2);
    bed.call(operation).unwrap();
    bed.second(100);
    assert_eq!(
        statuses(&bed, &eni),
        ("in-use", Some("attached")),
        "the old detach does not end the new binding"
    );
}

#[test]
fn a_link_that_was_detached_before_it_appeared_is_never_told_of() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { link_appears: Duration::from_secs(1), ..Timing::default() }).unwrap();
    bed.vpc.drain_events();
    let (eni, attachment) = bed.attached(1);
    bed.assign(&eni, 1).unwrap();
    bed.call(Bed::detach(&attachment)).unwrap();
    bed.second(10);
    assert_eq!(bed.vpc.drain_events(), []);
}

#[test]
fn the_fabric_hears_of_addresses_and_checks_of_visible_interfaces_in_order() {
    let mut bed = Bed::new();
    let primary = bed.vpc.primary_eni(&bed.node).unwrap();
    bed.vpc.add_vpc_cidr(&bed.vpc_id.clone(), net("100.64.0.0/16")).unwrap();
    let subnet = |event: &VpcEvent| match event {
        VpcEvent::SubnetAdded { subnet, .. } => Some(*subnet),
        _ => None,
    };
    let [subnets @ .., first, block] = &bed.vpc.drain_events()[..] else { panic!("the bed was just made") };
    let known: Vec<_> = subnets.iter().filter_map(subnet).collect();
    assert_eq!(known, [bed.subnet, bed.tiny, bed.elsewhere]);
    assert!(matches!(first, VpcEvent::AttachmentVisible { eni, .. } if *eni == primary));
    assert!(matches!(block, VpcEvent::CidrAdded { vpc, .. } if *vpc == bed.vpc_id));
    let loose = bed.created();
    bed.assign(&loose, 1).unwrap();
    assert_eq!(bed.vpc.drain_events(), [], "it is attached to nothing");
    let address = bed.assign(&primary, 1).unwrap()[0];
    bed.call(ModifyNetworkInterfaceAttribute {
        network_interface_id: primary,
        source_dest_check: Some(false),
        ..Default::default()
    })
    .unwrap();
    let events = bed.vpc.drain_events();
    let [
        VpcEvent::AddressesChanged { addresses, .. },
        VpcEvent::SourceDestCheckChanged { enabled: false, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(addresses.ipv4, [ip("10.0.0.10"), address]);
    let operation = bed.attach(&loose, 1);
    bed.call(operation).unwrap();
    let taken = AssignPrivateIpAddresses {
        network_interface_id: loose,
        private_ip_addresses: vec![address],
        allow_reassignment: true,
        ..Default::default()
    };
    bed.call(taken).unwrap();
    let moved: Vec<_> = bed
        .vpc
        .drain_events()
        .into_iter()
        .filter_map(|event| match event {
            VpcEvent::AddressesChanged { eni, addresses, .. } => {
                Some((eni, addresses.ipv4.contains(&address)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(moved, [(primary, false), (loose, true)], "the old place is told first");
}

#[test]
fn the_end_of_an_instance_deletes_some_enis_and_frees_the_others() {
    let mut bed = Bed::new();
    let primary = bed.vpc.primary_eni(&bed.node).unwrap();
    let (kept, _) = bed.attached(1);
    let (doomed, attachment) = bed.attached(2);
    bed.call(ModifyNetworkInterfaceAttribute {
        network_interface_id: doomed,
        attachment: Some(AttachmentChange {
            attachment_id: Some(attachment),
            delete_on_termination: Some(true),
        }),
        ..Default::default()
    })
    .unwrap();
    bed.vpc.drain_events();
    bed.vpc.set_timing(Timing { terminate_takes: Duration::from_secs(5), ..Timing::default() }).unwrap();
    let free = bed.free(&bed.subnet);
    bed.vpc.terminate_instance(&bed.node.clone()).unwrap();
    assert_eq!(bed.vpc.authoritative().instances()[0].instance.state.as_str(), "shutting-down");
    assert_eq!(statuses(&bed, &kept).0, "in-use");
    bed.second(5);
    assert_eq!(statuses(&bed, &kept), ("available", None));
    let left = bed.vpc.authoritative().network_interfaces();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(bed.free(&bed.subnet), free + 2);
    assert!(bed.vpc.authoritative().network_interface(&primary).is_err());
    let events = bed.vpc.drain_events();
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(matches!(events.last(), Some(VpcEvent::InstanceTerminated { .. })));
    bed.vpc.terminate_instance(&bed.node.clone()).unwrap();
    assert_eq!(bed.vpc.drain_events(), []);
}

#[test]
fn imds_lags_by_its_setting_and_a_new_instance_still_sees_itself() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing::measured()).unwrap();
    bed.second(10);
    let (eni, _) = bed.attached(1);
    let sees = |bed: &mut Bed| {
        bed.vpc.imds_view(&bed.node).unwrap().interfaces.iter().any(|i| i.interface_id == eni)
    };
    assert!(!sees(&mut bed));
    bed.vpc.advance_to(Micros(10_499_999));
    assert!(!sees(&mut bed));
    bed.vpc.advance_to(Micros(10_500_000));
    assert!(sees(&mut bed));
    let young = bed
        .vpc
        .run_instance(InstanceSpec {
            instance_type: "t3.small".to_owned(),
            subnet: bed.elsewhere,
            security_groups: Vec::new(),
            private_ip: None,
            ipv6_address_count: 0,
            tags: Tags::new(),
        })
        .unwrap();
    let view = bed.vpc.imds_view(&young).unwrap();
    assert_eq!((view.interfaces.len(), view.availability_zone_id.as_str()), (1, "usw2-az2"));
    assert_eq!(view.security_groups, ["default"]);
}

#[test]
fn latencies_are_told_for_reads_writes_and_attach() {
    let bed = Bed::new();
    let timing = Timing::measured();
    let latency = |request: Request| timing.latency_of(&request).as_millis();
    assert_eq!(latency(DescribeSubnets::default().into()), 30);
    assert_eq!(latency(bed.create().into()), 150);
    assert_eq!(latency(AttachNetworkInterface::default().into()), 500);
}

#[test]
fn the_log_counts_calls_and_starts_again() {
    let mut bed = Bed::new();
    bed.created();
    bed.call(DescribeSubnets::default()).unwrap();
    bed.call(DescribeSubnets::default()).unwrap();
    bed.call(DeleteNetworkInterface { network_interface_id: "eni-0aaaaaaaaaaaaaaaa".into() }).unwrap_err();
    let other = Caller::named("other");
    bed.vpc.call(&other, DescribeVpcs::default()).unwrap();
    let log = bed.vpc.log();
    assert_eq!(log.count(Action::DescribeSubnets), 2);
    assert_eq!(log.counts()[&Action::CreateNetworkInterface], 1);
    assert_eq!(log.by(&bed.caller).count(), 4);
    assert_eq!(log.records().nth(3).unwrap().outcome, Outcome::Failed(ErrorCode::NetworkInterfaceIdNotFound));
    bed.vpc.log_mut().reset();
    bed.call(DescribeVpcs::default()).unwrap();
    let numbers: Vec<u64> = bed.vpc.log().records().map(|record| record.number).collect();
    assert_eq!(numbers, [6]);
}
