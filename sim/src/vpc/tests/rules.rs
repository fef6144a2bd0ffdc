//! Rules of EC2 and of its metadata service that clients stumble over in life, each with its source where it is
//! implemented.

use super::*;
use crate::vpc::request::{
    CreateTags, DescribeNetworkInterfaces, DescribeSubnets, ModifyNetworkInterfaceAttribute,
};
use crate::vpc::response::InstanceState;

fn everything() -> DescribeNetworkInterfaces {
    DescribeNetworkInterfaces::default()
}

#[test]
fn the_published_buckets_hold_per_action_and_for_unfiltered_reads() {
    let mut bed = Bed::new();
    bed.vpc.set_request_limits(RequestLimits::published());
    let throttled = |bed: &mut Bed, calls: u32, call: &dyn Fn(&mut Bed) -> Result<(), CallError>| {
        let refused = |result: Result<(), CallError>| {
            result.is_err_and(|error| error.code() == Some(&ErrorCode::RequestLimitExceeded))
        };
        (0..calls).filter(|_| refused(call(bed))).count()
    };
    let unfiltered = |bed: &mut Bed| bed.call(everything()).map(|_| ());
    assert_eq!(throttled(&mut bed, 60, &unfiltered), 10, "50 at once");
    let filtered = |bed: &mut Bed| {
        let filter = Filter::new("subnet-id", bed.subnet.as_str());
        bed.call(DescribeNetworkInterfaces { filters: vec![filter], ..everything() }).map(|_| ())
    };
    assert_eq!(throttled(&mut bed, 110, &filtered), 10, "100 at once, in a bucket of its own");
    let eni = bed.created();
    let attach = |bed: &mut Bed| {
        let operation = bed.attach(&eni, 1);
        bed.call(operation).map(|_| ())
    };
    assert_eq!(throttled(&mut bed, 60, &attach), 10, "50 at once, refused ones too");
    let tag = |bed: &mut Bed| {
        let tags = Tags::from([("a".to_owned(), "b".to_owned())]);
        bed.call(CreateTags { resources: vec![eni.to_string()], tags }).map(|_| ())
    };
    assert_eq!(throttled(&mut bed, 110, &tag), 10, "100 at once");
    // Refilled in fractions: 10 a second is one each 100 ms, not ten at the turn of the second.
    bed.vpc.advance_to(bed.vpc.now().after(Duration::from_millis(150)));
    assert_eq!(throttled(&mut bed, 2, &tag), 1);
    bed.vpc.advance_to(bed.vpc.now().after(Duration::from_millis(50)));
    assert_eq!(throttled(&mut bed, 2, &tag), 1);
}

#[test]
fn a_full_subnet_has_two_answers() {
    let mut seen = std::collections::BTreeSet::new();
    for full_subnet in [FullSubnet::Either, FullSubnet::Documented, FullSubnet::Support] {
        for seed in 0..8 {
            let mut bed = Bed::new();
            bed.vpc.config.full_subnet = full_subnet;
            bed.vpc.choice = rng::Stream::new(seed, 3);
            let subnet = bed.subnet;
            bed.vpc.occupy_all_but(&subnet, 0).unwrap();
            let operation = bed.create();
            let error = bed.error(operation);
            seen.insert((full_subnet as u8, error.code.to_string(), error.message));
        }
    }
    let documented = "The specified subnet does not have enough free addresses to satisfy the request.";
    let support = "There aren't sufficient free Ipv4 addresses or prefixes";
    let row = |which: FullSubnet, code: &str, text: &str| (which as u8, code.to_owned(), text.to_owned());
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [
            row(FullSubnet::Either, "InsufficientFreeAddressesInSubnet", documented),
            row(FullSubnet::Either, "InvalidParameterValue", support),
            row(FullSubnet::Documented, "InsufficientFreeAddressesInSubnet", documented),
            row(FullSubnet::Support, "InvalidParameterValue", support),
        ]
    );
}

#[test]
fn a_large_account_is_not_listed_at_once() {
    let mut bed = Bed::new();
    bed.vpc.config.large_account = 2;
    bed.created();
    assert_eq!(bed.call(everything()).unwrap().items.len(), 2);
    bed.created();
    assert_eq!(bed.code(everything()), "OperationNotPermitted");
    let paged = DescribeNetworkInterfaces { max_results: Some(5), ..everything() };
    assert_eq!(bed.call(paged).unwrap().items.len(), 3);
    for (name, value) in [
        ("subnet-id", bed.subnet.to_string()),
        ("vpc-id", bed.vpc_id.to_string()),
        ("attachment.instance-id", bed.node.to_string()),
    ] {
        let filters = vec![Filter::new(name, value)];
        bed.call(DescribeNetworkInterfaces { filters, ..everything() }).unwrap();
    }
    let filters = vec![Filter::new("status", "available")];
    assert_eq!(bed.code(DescribeNetworkInterfaces { filters, ..everything() }), "OperationNotPermitted");
    let one = bed.created();
    let by_id = DescribeNetworkInterfaces { network_interface_ids: vec![one], ..everything() };
    bed.call(by_id).unwrap();
}

#[test]
fn pages_may_be_short() {
    let mut bed = Bed::new();
    for _ in 0..7 {
        bed.created();
    }
    let fault = bed.vpc.set_fault(Fault::new(FaultKind::ShortPages { most: 3 })).unwrap();
    let mut found = Vec::new();
    let mut next_token = None;
    for _ in 0..3 {
        let page =
            bed.call(DescribeNetworkInterfaces { max_results: Some(5), next_token, ..everything() }).unwrap();
        assert!(page.items.len() <= 3);
        found.extend(page.items.into_iter().map(|eni| eni.network_interface_id));
        next_token = page.next_token;
    }
    assert_eq!((found.len(), next_token), (8, None));
    assert_eq!(bed.vpc.fault_hits()[&fault], 2, "the last page had no more");
}

#[test]
fn what_was_detached_by_force_haunts_its_place_and_metadata_until_a_stop() {
    let mut bed = Bed::new();
    let (eni, attachment) = bed.attached(1);
    bed.call(DetachNetworkInterface { attachment_id: attachment, force: true }).unwrap();
    let other = bed.created();
    let operation = bed.attach(&other, 1);
    let error = bed.error(operation.clone());
    assert!(error.message.contains("already has an interface attached at device index '1'"), "{error}");
    let listed =
        |bed: &mut Bed| bed.vpc.imds_view(&bed.node).unwrap().interfaces.into_iter().map(|i| i.interface_id);
    assert!(listed(&mut bed).any(|id| id == eni));
    let node = bed.node;
    bed.vpc.stop_instance(&node).unwrap();
    assert_eq!(bed.vpc.imds_view(&node), None);
    bed.vpc.start_instance(&node).unwrap();
    assert!(!listed(&mut bed).any(|id| id == eni));
    bed.call(operation).unwrap();
}

#[test]
fn metadata_is_torn_around_an_attachment_and_a_detachment() {
    let mut bed = Bed::new();
    let timing = Timing {
        imds_torn: Duration::from_secs(2),
        imds_lingers: Duration::from_mins(1),
        ..Timing::default()
    };
    bed.vpc.set_timing(timing).unwrap();
    bed.second(10);
    let (eni, attachment) = bed.attached(1);
    let missing = |bed: &mut Bed| {
        let view = bed.vpc.imds_view(&bed.node).unwrap();
        view.interfaces.into_iter().find(|i| i.interface_id == eni).map(|i| i.missing)
    };
    assert!(missing(&mut bed).unwrap().contains(&"vpc-ipv4-cidr-blocks".to_owned()));
    bed.second(12);
    assert_eq!(missing(&mut bed), Some(Vec::new()));
    bed.call(Bed::detach(&attachment)).unwrap();
    assert_eq!(missing(&mut bed), Some(vec!["device-number".to_owned()]));
    bed.call(request::DeleteNetworkInterface { network_interface_id: eni }).unwrap();
    bed.second(71);
    assert_eq!(missing(&mut bed), Some(vec!["device-number".to_owned()]), "also after it was deleted");
    bed.second(73);
    assert_eq!(missing(&mut bed), None);
}

#[test]
fn describes_lag_object_by_object_and_may_go_back() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { describe_jitter: Duration::from_secs(2), ..Timing::default() }).unwrap();
    bed.second(100);
    let enis = [bed.created(), bed.created(), bed.created(), bed.created()];
    let mut views = Vec::new();
    for step in 1..=40_u64 {
        bed.vpc.advance_to(Micros(100_000_000 + step * 50_000));
        let shown = bed.call(everything()).unwrap().items;
        views.push(enis.map(|id| shown.iter().any(|eni| eni.network_interface_id == id)));
    }
    assert!(views.iter().any(|view| view.contains(&true) && view.contains(&false)), "not one snapshot");
    let goes_back = |place: usize| views.windows(2).any(|two| two[0][place] && !two[1][place]);
    assert!((0..4).any(goes_back), "what one call shows the next one need not");
    assert_eq!(views.last(), Some(&[true; 4]), "and two seconds later all is shown");
}

#[test]
fn a_missing_card_index_is_taken_for_all_cards() {
    let mut bed = Bed::with_type("c6in.32xlarge");
    let eni = bed.created();
    let operation = AttachNetworkInterface { network_card_index: Some(1), ..bed.attach(&eni, 1) };
    bed.call(operation).unwrap();
    let other = bed.created();
    let unnamed = bed.attach(&other, 1);
    assert!(bed.error(unnamed.clone()).message.contains("device index '1'"));
    bed.call(AttachNetworkInterface { network_card_index: Some(0), ..unnamed }).unwrap();
}

fn of_type(bed: &mut Bed, interface_type: &str) -> EniId {
    let operation =
        CreateNetworkInterface { interface_type: Some(interface_type.to_owned()), ..bed.create() };
    bed.call(operation).unwrap().network_interface.network_interface_id
}

#[test]
fn an_efa_is_attached_to_a_stopped_instance_once_a_card() {
    let mut bed = Bed::with_type("p4d.24xlarge");
    let node = bed.node;
    let efas: Vec<EniId> = (0..3).map(|_| of_type(&mut bed, "efa")).collect();
    let at = |bed: &Bed, eni: EniId, card: i64, device: i64| AttachNetworkInterface {
        network_card_index: Some(card),
        ..bed.attach(&eni, device)
    };
    let operation = at(&bed, efas[0], 1, 1);
    assert_eq!(bed.code(operation.clone()), "IncorrectState");
    bed.vpc.stop_instance(&node).unwrap();
    bed.call(operation).unwrap();
    let second_on_card = at(&bed, efas[1], 1, 2);
    assert_eq!(bed.code(second_on_card), "AttachmentLimitExceeded");
    let other_card = at(&bed, efas[1], 2, 1);
    bed.call(other_card).unwrap();
    bed.vpc.drain_events();
    bed.vpc.start_instance(&node).unwrap();
    let plugged = |event: &VpcEvent| matches!(event, VpcEvent::AttachmentVisible { .. });
    assert_eq!(bed.vpc.drain_events().iter().filter(|event| plugged(event)).count(), 3);
}

#[test]
fn branches_are_not_attached_and_trunks_are_one_an_instance_of_the_right_type() {
    let mut bed = Bed::new();
    let branch = of_type(&mut bed, "branch");
    let operation = bed.attach(&branch, 1);
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let trunks = [of_type(&mut bed, "trunk"), of_type(&mut bed, "trunk")];
    let operation = bed.attach(&trunks[0], 1);
    bed.call(operation).unwrap();
    let operation = bed.attach(&trunks[1], 2);
    assert_eq!(bed.code(operation), "AttachmentLimitExceeded");
    let mut small = Bed::with_type("t3.small");
    let trunk = of_type(&mut small, "trunk");
    let operation = small.attach(&trunk, 1);
    assert_eq!(small.code(operation), "InvalidParameterValue");
}

#[test]
fn prefixes_come_from_their_reservation_first_and_nothing_is_chosen_from_an_explicit_one() {
    let mut bed = Bed::new();
    let subnet = bed.subnet;
    let reserved: ipnet::IpNet = "10.0.0.64/27".parse().unwrap();
    let explicit: ipnet::IpNet = "10.0.0.128/25".parse().unwrap();
    bed.vpc.reserve(&subnet, reserved, ReservationKind::Prefix).unwrap();
    bed.vpc.reserve(&subnet, explicit, ReservationKind::Explicit).unwrap();
    bed.vpc.reserve(&subnet, "10.0.0.96/28".parse().unwrap(), ReservationKind::Prefix).unwrap();
    assert!(bed.vpc.reserve(&subnet, reserved, ReservationKind::Explicit).is_err(), "overlaps");
    let eni = bed.created();
    let prefixes = |bed: &mut Bed, count| {
        let ask = AssignPrivateIpAddresses {
            network_interface_id: eni,
            ipv4_prefix_count: Some(count),
            ..Default::default()
        };
        bed.call(ask).map(|answer| answer.prefixes)
    };
    let first: Vec<Ipv4Net> = (0..3).flat_map(|_| prefixes(&mut bed, 1).unwrap()).collect();
    let in_reservations =
        |net: &Ipv4Net| net.to_string() == "10.0.0.96/28" || reserved.contains(&ipnet::IpNet::V4(*net));
    assert!(first.iter().all(in_reservations), "{first:?}");
    let fourth = prefixes(&mut bed, 1).unwrap();
    assert!(!in_reservations(&fourth[0]) && !explicit.contains(&ipnet::IpNet::V4(fourth[0])), "{fourth:?}");
    let singles = bed.assign(&eni, 40).unwrap();
    let chosen_inside = |address: &Ipv4Addr| {
        let address = std::net::IpAddr::V4(*address);
        reserved.contains(&address) || explicit.contains(&address)
    };
    assert!(!singles.iter().any(chosen_inside), "{singles:?}");
    assert_eq!(
        bed.code(AssignPrivateIpAddresses {
            network_interface_id: eni,
            secondary_private_ip_address_count: Some(100),
            ..Default::default()
        }),
        "InsufficientFreeAddressesInSubnet",
        "the rest is kept for those who name it"
    );
    let named = AssignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: vec![ip("10.0.0.200")],
        ..Default::default()
    };
    bed.call(named).unwrap();
}

#[test]
fn the_account_has_a_quota_of_enis() {
    let mut bed = Bed::new();
    bed.vpc.config.eni_quota = 2;
    let eni = bed.created();
    let operation = bed.create();
    assert_eq!(bed.code(operation), "NetworkInterfaceLimitExceeded");
    bed.call(request::DeleteNetworkInterface { network_interface_id: eni }).unwrap();
    bed.created();
}

#[test]
fn a_reassigned_address_reaches_its_new_place_later() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { reassign_takes: Duration::from_secs(3), ..Timing::default() }).unwrap();
    let (from, _) = bed.attached(1);
    let (to, _) = bed.attached(2);
    let address = bed.assign(&from, 1).unwrap()[0];
    bed.vpc.drain_events();
    let moved = AssignPrivateIpAddresses {
        network_interface_id: to,
        private_ip_addresses: vec![address],
        allow_reassignment: true,
        ..Default::default()
    };
    bed.call(moved).unwrap();
    assert_eq!(bed.eni(&to).secondary_ips().collect::<Vec<_>>(), [address]);
    bed.second(2);
    assert_eq!(bed.vpc.drain_events(), []);
    bed.second(3);
    let told: Vec<EniId> = bed
        .vpc
        .drain_events()
        .into_iter()
        .map(|event| match event {
            VpcEvent::AddressesChanged { eni, .. } => eni,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [from, to]);
}

#[test]
fn a_dry_run_says_what_would_be_refused_and_leaves_nothing() {
    let mut bed = Bed::new();
    let whole = bed.vpc.world.clone();
    let dry = |bed: &mut Bed, operation: Operation| {
        let reply = bed.vpc.serve(&bed.caller.clone(), Request { dry_run: true, operation });
        reply.result.unwrap_err().code().unwrap().to_string()
    };
    let create = bed.create();
    assert_eq!(dry(&mut bed, create.clone().into()), "DryRunOperation");
    let unknown = CreateNetworkInterface { subnet_id: "subnet-0aaaaaaaaaaaaaaaa".into(), ..create };
    assert_eq!(dry(&mut bed, unknown.into()), "InvalidSubnetID.NotFound");
    assert_eq!(dry(&mut bed, DescribeSubnets::default().into()), "DryRunOperation");
    assert_eq!(bed.vpc.world, whole);
}

#[test]
fn an_instance_stops_starts_and_reboots_with_its_enis() {
    let mut bed = Bed::new();
    let timing = Timing {
        stop_takes: Duration::from_secs(5),
        start_takes: Duration::from_secs(7),
        ..Timing::default()
    };
    bed.vpc.set_timing(timing).unwrap();
    let (eni, _) = bed.attached(1);
    bed.vpc.drain_events();
    let node = bed.node;
    let state = |bed: &Bed| bed.vpc.authoritative().instances()[0].instance.state;
    bed.vpc.stop_instance(&node).unwrap();
    assert_eq!(state(&bed), InstanceState::Stopping);
    bed.second(5);
    assert_eq!(state(&bed), InstanceState::Stopped);
    let events = bed.vpc.drain_events();
    assert!(
        matches!(
            events[..],
            [VpcEvent::Detached { .. }, VpcEvent::Detached { .. }, VpcEvent::InstanceStopped { .. }]
        ),
        "{events:?}"
    );
    assert_eq!(bed.eni(&eni).attachment.unwrap().instance_id, node, "its ENIs stay attached");
    bed.vpc.start_instance(&node).unwrap();
    assert_eq!(state(&bed), InstanceState::Pending);
    assert_eq!(bed.vpc.imds_view(&node), None);
    bed.second(12);
    assert_eq!(state(&bed), InstanceState::Running);
    let events = bed.vpc.drain_events();
    assert!(
        matches!(
            events[..],
            [
                VpcEvent::InstanceStarted { .. },
                VpcEvent::AttachmentVisible { device_index: 0, .. },
                VpcEvent::AttachmentVisible { device_index: 1, .. },
            ]
        ),
        "{events:?}"
    );
    bed.vpc.reboot_instance(&node).unwrap();
    assert_eq!(bed.vpc.drain_events_of(&node).len(), 6, "links go and come");
    bed.vpc.terminate_instance(&node).unwrap();
    let error = bed.vpc.start_instance(&node).unwrap_err();
    assert_eq!(error.code, ErrorCode::IncorrectInstanceState);
}

#[test]
fn ranges_and_subnets_are_added_while_it_runs() {
    let mut bed = Bed::new();
    let vpc = bed.vpc_id;
    bed.vpc.add_vpc_cidr(&vpc, net("10.1.0.0/16")).unwrap();
    assert!(bed.vpc.add_vpc_cidr(&vpc, net("10.1.0.0/20")).is_err());
    let spec = SubnetSpec {
        vpc,
        availability_zone: "us-west-2a".to_owned(),
        ipv4: Some(net("10.1.0.0/24")),
        ipv6: None,
        tags: Tags::new(),
    };
    let subnet = bed.vpc.add_subnet(spec).unwrap();
    bed.call(CreateNetworkInterface { subnet_id: subnet, ..Default::default() }).unwrap();
    let view = bed.vpc.imds_view(&bed.node).unwrap();
    assert_eq!(view.interfaces[0].vpc_ipv4_cidr_blocks.len(), 2);
}

#[test]
fn groups_of_an_eni_are_replaced_as_a_whole() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let vpc = bed.vpc_id;
    let other = bed.vpc.add_security_group(&vpc, "others", Tags::new()).unwrap();
    let modify = ModifyNetworkInterfaceAttribute {
        network_interface_id: eni,
        groups: vec![other],
        ..Default::default()
    };
    bed.call(modify).unwrap();
    assert_eq!(bed.eni(&eni).groups.iter().map(|group| group.group_id).collect::<Vec<_>>(), [other]);
    let by_group = |group: SecurityGroupId| DescribeNetworkInterfaces {
        filters: vec![Filter::new("group-id", group.as_str())],
        ..everything()
    };
    assert_eq!(bed.call(by_group(other)).unwrap().items.len(), 1);
    let nodes = bed.group;
    assert_eq!(bed.call(by_group(nodes)).unwrap().items.len(), 1, "only the node's own");
}
