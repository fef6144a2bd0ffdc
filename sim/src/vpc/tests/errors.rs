//! One test per error code. `Bed::error` also proves that the failed call changed nothing.

use super::*;
use crate::fault::{Fault, FaultKind};
use crate::vpc::request::*;

fn unknown_eni() -> EniId {
    EniId::from("eni-0aaaaaaaaaaaaaaaa")
}

#[test]
fn unknown_and_malformed_ids() {
    let mut bed = Bed::new();
    let delete = |id: &str| DeleteNetworkInterface { network_interface_id: EniId::from(id) };
    let error = bed.error(delete("eni-0aaaaaaaaaaaaaaaa"));
    assert_eq!(error.code, ErrorCode::NetworkInterfaceIdNotFound);
    assert_eq!(error.message, "The networkInterface ID 'eni-0aaaaaaaaaaaaaaaa' does not exist");
    assert_eq!(bed.code(delete("eni-xyz")), "InvalidNetworkInterfaceId.Malformed");
    assert_eq!(bed.code(delete("i-0aaaaaaaaaaaaaaaa")), "InvalidNetworkInterfaceId.Malformed");
    let detach = |id: &str| DetachNetworkInterface { attachment_id: AttachmentId::from(id), force: false };
    assert_eq!(bed.code(detach("eni-attach-0aaaaaaaaaaaaaaaa")), "InvalidAttachmentID.NotFound");
    assert_eq!(bed.code(detach("eni-attach-zz")), "InvalidAttachmentID.Malformed");
    let create = |id: &str| CreateNetworkInterface { subnet_id: SubnetId::from(id), ..Default::default() };
    assert_eq!(bed.code(create("subnet-0aaaaaaaaaaaaaaaa")), "InvalidSubnetID.NotFound");
    assert_eq!(bed.code(create("subnet")), "InvalidSubnetID.Malformed");
    assert_eq!(bed.code(create("")), "MissingParameter");
    let groups = |id: &str| CreateNetworkInterface { groups: vec![id.into()], ..Default::default() };
    let in_subnet = |bed: &Bed, op| CreateNetworkInterface { subnet_id: bed.subnet, ..op };
    let operation = in_subnet(&bed, groups("sg-0aaaaaaaaaaaaaaaa"));
    assert_eq!(bed.code(operation), "InvalidGroup.NotFound");
    let operation = in_subnet(&bed, groups("sg!"));
    assert_eq!(bed.code(operation), "InvalidGroupId.Malformed");
    let eni = bed.created();
    let attach = |id: &str| AttachNetworkInterface {
        network_interface_id: eni,
        instance_id: InstanceId::from(id),
        device_index: 1,
        network_card_index: None,
    };
    assert_eq!(bed.code(attach("i-0aaaaaaaaaaaaaaaa")), "InvalidInstanceID.NotFound");
    assert_eq!(bed.code(attach("i-")), "InvalidInstanceID.Malformed");
    let tag = |id: &str| CreateTags {
        resources: vec![id.to_owned()],
        tags: Tags::from([("a".to_owned(), "b".to_owned())]),
    };
    assert_eq!(bed.code(tag("vpc-0aaaaaaaaaaaaaaaa")), "InvalidVpcID.NotFound");
    assert_eq!(bed.code(tag("vpc-?")), "InvalidVpcID.Malformed");
    assert_eq!(bed.code(tag("nonsense")), "InvalidID");
}

#[test]
fn a_group_of_another_vpc_does_not_exist_here() {
    let mut bed = Bed::new();
    let other = bed.vpc.add_vpc(&[net("10.9.0.0/16")], None, Tags::new()).unwrap();
    let group = bed.vpc.add_security_group(&other, "strange", Tags::new()).unwrap();
    let operation = CreateNetworkInterface { groups: vec![group], ..bed.create() };
    assert_eq!(bed.code(operation), "InvalidGroup.NotFound");
}

#[test]
fn six_groups_are_too_many() {
    let mut bed = Bed::new();
    let group = |n: usize| format!("g{n}");
    let vpc_id = bed.vpc_id;
    let groups: Vec<_> =
        (0..6).map(|n| bed.vpc.add_security_group(&vpc_id, &group(n), Tags::new()).unwrap()).collect();
    let operation = CreateNetworkInterface { groups: groups[..5].to_vec(), ..bed.create() };
    bed.call(operation).unwrap();
    let operation = CreateNetworkInterface { groups, ..bed.create() };
    assert_eq!(bed.code(operation), "SecurityGroupsPerInterfaceLimitExceeded");
}

#[test]
fn an_attached_eni_is_neither_attached_again_nor_deleted() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let operation = bed.attach(&eni, 2);
    assert_eq!(bed.code(operation), "InvalidNetworkInterface.InUse");
    let error = bed.error(DeleteNetworkInterface { network_interface_id: eni });
    assert_eq!(error.code, ErrorCode::InvalidParameterValue);
    assert_eq!(error.message, format!("Network interface '{eni}' is currently in use."));
}

#[test]
fn enis_beyond_the_limit_of_the_type_and_places_that_do_not_exist() {
    let mut bed = Bed::new();
    bed.attached(1);
    bed.attached(2);
    let eni = bed.created();
    let operation = bed.attach(&eni, 3);
    let error = bed.error(operation);
    assert_eq!(error.code, ErrorCode::AttachmentLimitExceeded);
    assert_eq!(error.message, "Interface count 4 exceeds the limit for m5.large");
    let operation = bed.attach(&eni, 2);
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let operation = bed.attach(&eni, -1);
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let operation = AttachNetworkInterface { network_card_index: Some(1), ..bed.attach(&eni, 1) };
    assert_eq!(bed.code(operation), "InvalidParameterValue");
}

#[test]
fn each_network_card_has_its_own_limit_and_its_own_places() {
    let mut bed = Bed::with_type("p5.48xlarge");
    let on = |bed: &Bed, eni: &EniId, card, device| AttachNetworkInterface {
        network_card_index: Some(card),
        ..bed.attach(eni, device)
    };
    let (a, b, c) = (bed.created(), bed.created(), bed.created());
    let operation = on(&bed, &a, 31, 1);
    assert_eq!(bed.call(operation).unwrap().network_card_index, 31);
    let operation = on(&bed, &b, 31, 0);
    bed.call(operation).unwrap();
    let operation = on(&bed, &c, 31, 2);
    assert_eq!(bed.code(operation), "AttachmentLimitExceeded");
    let operation = on(&bed, &c, 30, 1);
    bed.call(operation).unwrap();
    let shown = bed.vpc.imds_view(&bed.node).unwrap();
    let card = |eni: &EniId| shown.interfaces.iter().find(|i| i.interface_id == *eni).unwrap().network_card;
    assert_eq!((card(&a), card(&c)), (Some(31), Some(30)));
}

#[test]
fn addresses_beyond_the_limit_of_the_type() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    assert_eq!(bed.assign(&eni, 9).unwrap().len(), 9);
    let one_more = AssignPrivateIpAddresses {
        network_interface_id: eni,
        secondary_private_ip_address_count: Some(1),
        ..Default::default()
    };
    let error = bed.error(one_more);
    assert_eq!(error.code, ErrorCode::PrivateIpAddressLimitExceeded);
    let one_prefix = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefix_count: Some(1),
        ..Default::default()
    };
    assert_eq!(bed.code(one_prefix), "PrivateIpAddressLimitExceeded");
    let ipv6 = |count| AssignIpv6Addresses {
        network_interface_id: eni,
        ipv6_address_count: Some(count),
        ..Default::default()
    };
    bed.call(ipv6(10)).unwrap();
    assert_eq!(bed.code(ipv6(1)), "PrivateIpAddressLimitExceeded");
}

#[test]
fn an_eni_with_more_addresses_than_the_type_takes_is_not_attached() {
    let mut bed = Bed::new();
    let operation = CreateNetworkInterface { secondary_private_ip_address_count: Some(10), ..bed.create() };
    let eni = bed.call(operation).unwrap().network_interface.network_interface_id;
    let operation = bed.attach(&eni, 1);
    assert_eq!(bed.code(operation), "PrivateIpAddressLimitExceeded");
}

#[test]
fn prefixes_need_nitro() {
    let mut bed = Bed::with_type("m4.4xlarge");
    let (eni, _) = bed.attached(1);
    let operation = AssignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefix_count: Some(1),
        ..Default::default()
    };
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let operation = CreateNetworkInterface { ipv4_prefix_count: Some(1), ..bed.create() };
    let eni = bed.call(operation).unwrap().network_interface.network_interface_id;
    let operation = bed.attach(&eni, 2);
    assert_eq!(bed.code(operation), "InvalidParameterValue");
}

#[test]
fn a_subnet_that_is_full_or_has_no_free_block() {
    let mut bed = Bed::new();
    let tiny = bed.tiny;
    let in_tiny = |count, prefixes| CreateNetworkInterface {
        subnet_id: tiny,
        secondary_private_ip_address_count: count,
        ipv4_prefix_count: prefixes,
        ..Default::default()
    };
    assert_eq!(bed.code(in_tiny(Some(11), None)), "InsufficientFreeAddressesInSubnet");
    assert_eq!(bed.code(in_tiny(None, Some(1))), "InsufficientCidrBlocks");
    bed.call(in_tiny(Some(10), None)).unwrap();
    assert_eq!(bed.free(&bed.tiny), 0);
    assert_eq!(bed.code(in_tiny(None, None)), "InsufficientFreeAddressesInSubnet");
}

#[test]
fn explicit_addresses_that_cannot_be_had() {
    let mut bed = Bed::new();
    let primary =
        |bed: &Bed, text: &str| CreateNetworkInterface { private_ip_address: Some(ip(text)), ..bed.create() };
    for reserved in ["10.0.0.0", "10.0.0.3", "10.0.0.255", "10.0.1.5"] {
        let operation = primary(&bed, reserved);
        assert_eq!(bed.code(operation), "InvalidParameterValue", "{reserved}");
    }
    let operation = primary(&bed, "10.0.0.10");
    let error = bed.error(operation);
    assert_eq!(error.code, ErrorCode::IpAddressInUse);
    assert_eq!(error.message, "Address 10.0.0.10 is in use.");
    let eni = bed.created();
    let prefix = |bed: &mut Bed, text: &str| {
        let operation = AssignPrivateIpAddresses {
            network_interface_id: eni,
            ipv4_prefixes: vec![net(text)],
            ..Default::default()
        };
        bed.call(operation).map_err(|error| error.code().unwrap().to_string())
    };
    for bad in ["10.0.0.0/28", "10.0.0.240/28", "10.0.0.36/28", "10.0.0.32/29", "10.0.1.0/28"] {
        assert_eq!(prefix(&mut bed, bad), Err("InvalidParameterValue".to_owned()), "{bad}");
    }
    bed.vpc.occupy(&bed.subnet.clone(), &[ip("10.0.0.40")]).unwrap();
    assert_eq!(prefix(&mut bed, "10.0.0.32/28"), Err("InvalidParameterValue".to_owned()));
    bed.vpc.vacate(&bed.subnet.clone()).unwrap();
    let mine = bed.eni(&eni).primary_ip().unwrap();
    if !net("10.0.0.32/28").contains(&mine) {
        prefix(&mut bed, "10.0.0.32/28").unwrap();
        let operation = primary(&bed, "10.0.0.33");
        assert_eq!(bed.code(operation), "InvalidIPAddress.InUse");
    }
}

#[test]
fn contradicting_parameters() {
    let mut bed = Bed::new();
    let operation = CreateNetworkInterface {
        secondary_private_ip_address_count: Some(1),
        ipv4_prefix_count: Some(1),
        ..bed.create()
    };
    assert_eq!(bed.code(operation), "InvalidParameterCombination");
    let operation = CreateNetworkInterface {
        private_ip_address: Some(ip("10.0.0.20")),
        private_ip_addresses: vec![PrivateIpSpec { address: ip("10.0.0.21"), primary: true }],
        ..bed.create()
    };
    assert_eq!(bed.code(operation), "InvalidParameterCombination");
    let operation =
        CreateNetworkInterface { ipv6_address_count: Some(1), ipv6_prefix_count: Some(1), ..bed.create() };
    assert_eq!(bed.code(operation), "InvalidParameterCombination");
    let operation = CreateNetworkInterface {
        interface_type: Some("efa-only".to_owned()),
        secondary_private_ip_address_count: Some(1),
        ..bed.create()
    };
    assert_eq!(bed.code(operation), "InvalidParameterCombination");
    let operation = CreateNetworkInterface { interface_type: Some("ether".to_owned()), ..bed.create() };
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let (eni, attachment) = bed.attached(1);
    let modify = ModifyNetworkInterfaceAttribute { network_interface_id: eni, ..Default::default() };
    assert_eq!(bed.code(modify.clone()), "MissingParameter");
    let both = ModifyNetworkInterfaceAttribute {
        description: Some("a".to_owned()),
        source_dest_check: Some(false),
        ..modify.clone()
    };
    assert_eq!(bed.code(both), "InvalidParameterCombination");
    let change = |id: &str| ModifyNetworkInterfaceAttribute {
        attachment: Some(AttachmentChange {
            attachment_id: Some(AttachmentId::from(id)),
            delete_on_termination: Some(true),
        }),
        ..modify.clone()
    };
    assert_eq!(bed.code(change("eni-attach-0aaaaaaaaaaaaaaaa")), "InvalidAttachmentID.NotFound");
    bed.call(change(attachment.as_str())).unwrap();
    assert!(bed.eni(&eni).attachment.unwrap().delete_on_termination);
}

#[test]
fn instance_and_eni_must_be_in_one_zone_and_the_instance_alive() {
    let mut bed = Bed::new();
    let operation = CreateNetworkInterface { subnet_id: bed.elsewhere, ..Default::default() };
    let far = bed.call(operation).unwrap().network_interface.network_interface_id;
    let operation = bed.attach(&far, 1);
    assert_eq!(bed.code(operation), "InvalidParameterCombination");
    let near = bed.created();
    bed.vpc.terminate_instance(&bed.node.clone()).unwrap();
    let operation = bed.attach(&near, 1);
    assert_eq!(bed.code(operation), "IncorrectState");
}

#[test]
fn the_primary_eni_stays_and_nothing_is_detached_twice() {
    let mut bed = Bed::new();
    let primary = bed.vpc.primary_eni(&bed.node).unwrap();
    let attachment = bed.eni(&primary).attachment.unwrap().attachment_id;
    assert_eq!(bed.code(Bed::detach(&attachment)), "OperationNotPermitted");
    let (_, attachment) = bed.attached(1);
    bed.vpc.set_timing(Timing { detach_takes: Duration::from_secs(2), ..Timing::default() }).unwrap();
    bed.call(Bed::detach(&attachment)).unwrap();
    assert_eq!(bed.code(Bed::detach(&attachment)), "IncorrectState");
    bed.second(2);
    assert_eq!(bed.code(Bed::detach(&attachment)), "InvalidAttachmentID.NotFound");
}

#[test]
fn a_pending_eni_is_not_deleted() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { create_takes: Duration::from_secs(1), ..Timing::default() }).unwrap();
    let eni = bed.created();
    let delete = DeleteNetworkInterface { network_interface_id: eni };
    assert_eq!(bed.code(delete.clone()), "IncorrectState");
    bed.second(1);
    bed.call(delete).unwrap();
}

#[test]
fn only_secondary_addresses_of_this_eni_are_unassigned() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let secondary = bed.assign(&eni, 2).unwrap();
    let primary = bed.eni(&eni).primary_ip().unwrap();
    let unassign = |addresses: &[Ipv4Addr]| UnassignPrivateIpAddresses {
        network_interface_id: eni,
        private_ip_addresses: addresses.to_vec(),
        ipv4_prefixes: Vec::new(),
    };
    assert_eq!(bed.code(unassign(&[primary])), "InvalidParameterValue");
    assert_eq!(bed.code(unassign(&[secondary[0], ip("10.0.0.10")])), "InvalidParameterValue");
    assert_eq!(bed.code(unassign(&[])), "MissingParameter");
    bed.call(unassign(&secondary)).unwrap();
    assert_eq!(bed.eni(&eni).secondary_ips().count(), 0);
    assert_eq!(bed.code(unassign(&secondary)), "InvalidParameterValue");
    let prefix = UnassignPrivateIpAddresses {
        network_interface_id: eni,
        ipv4_prefixes: vec![net("10.0.0.32/28")],
        private_ip_addresses: Vec::new(),
    };
    assert_eq!(bed.code(prefix), "InvalidParameterValue");
    let ipv6 = UnassignIpv6Addresses {
        network_interface_id: eni,
        ipv6_addresses: vec!["2600:1f14:1:1000::77".parse().unwrap()],
        ipv6_prefixes: Vec::new(),
    };
    assert_eq!(bed.code(ipv6), "InvalidParameterValue");
}

#[test]
fn an_address_moves_only_when_allowed_and_never_a_primary_one() {
    let mut bed = Bed::new();
    let (from, _) = bed.attached(1);
    let (to, _) = bed.attached(2);
    let address = bed.assign(&from, 1).unwrap()[0];
    let take = |address, allow| AssignPrivateIpAddresses {
        network_interface_id: to,
        private_ip_addresses: vec![address],
        allow_reassignment: allow,
        ..Default::default()
    };
    assert_eq!(bed.code(take(address, false)), "InvalidParameterValue");
    assert_eq!(bed.call(take(address, true)).unwrap().addresses, [address]);
    assert_eq!(bed.eni(&from).secondary_ips().count(), 0);
    assert_eq!(bed.eni(&to).secondary_ips().collect::<Vec<_>>(), [address]);
    let primary = bed.eni(&from).primary_ip().unwrap();
    assert_eq!(bed.code(take(primary, true)), "InvalidParameterValue");
}

#[test]
fn a_client_token_stands_for_one_request() {
    let mut bed = Bed::new();
    let operation = CreateNetworkInterface { client_token: Some("intent-1".to_owned()), ..bed.create() };
    let first = bed.call(operation.clone()).unwrap().network_interface;
    let free = bed.free(&bed.subnet);
    let attach = bed.attach(&first.network_interface_id, 1);
    bed.call(attach).unwrap();
    let again = bed.call(operation.clone()).unwrap().network_interface;
    assert_eq!(again.network_interface_id, first.network_interface_id);
    assert_eq!(again.status.as_str(), "in-use");
    assert_eq!(bed.free(&bed.subnet), free);
    let other = CreateNetworkInterface { description: Some("other".to_owned()), ..operation.clone() };
    assert_eq!(bed.code(other.clone()), "IdempotentParameterMismatch");
    let long = CreateNetworkInterface { client_token: Some("x".repeat(65)), ..operation };
    assert_eq!(bed.code(long), "InvalidParameterValue");
    let fresh = CreateNetworkInterface { client_token: Some("intent-2".to_owned()), ..other };
    assert_ne!(bed.call(fresh).unwrap().network_interface.network_interface_id, first.network_interface_id);
}

#[test]
fn a_failed_creation_does_not_use_up_its_token() {
    let mut bed = Bed::new();
    let token = Some("t".to_owned());
    let operation = CreateNetworkInterface {
        client_token: token.clone(),
        secondary_private_ip_address_count: Some(400),
        ..bed.create()
    };
    assert_eq!(bed.code(operation), "InsufficientFreeAddressesInSubnet");
    let operation = CreateNetworkInterface { client_token: token, ..bed.create() };
    bed.call(operation).unwrap();
}

#[test]
fn tags_have_rules() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let tags = |pairs: &[(&str, &str)]| -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let tag = |tags| CreateTags { resources: vec![eni.to_string()], tags };
    assert_eq!(bed.code(tag(tags(&[("aws:x", "y")]))), "InvalidParameterValue");
    assert_eq!(bed.code(tag(tags(&[("", "y")]))), "InvalidParameterValue");
    assert_eq!(bed.code(tag(Tags::new())), "MissingParameter");
    let many: Tags = (0..50).map(|n| (format!("k{n}"), String::new())).collect();
    bed.call(tag(many)).unwrap();
    assert_eq!(bed.code(tag(tags(&[("one", "more")]))), "TagLimitExceeded");
    let specification = |resource_type: &str| {
        vec![TagSpecification { resource_type: resource_type.to_owned(), tags: tags(&[("a", "b")]) }]
    };
    let operation = CreateNetworkInterface { tag_specifications: specification("instance"), ..bed.create() };
    assert_eq!(bed.code(operation), "InvalidParameterValue");
    let operation =
        CreateNetworkInterface { tag_specifications: specification("network-interface"), ..bed.create() };
    assert_eq!(bed.call(operation).unwrap().network_interface.tags, tags(&[("a", "b")]));
}

#[test]
fn a_dry_run_answers_with_an_error_in_any_case() {
    let mut bed = Bed::new();
    let request = |bed: &Bed| Request { dry_run: true, operation: bed.create().into() };
    let enis = bed.vpc.authoritative().network_interfaces().len();
    let reply = bed.vpc.serve(&bed.caller, request(&bed));
    let Err(CallError::Api(error)) = reply.result else { panic!("{reply:?}") };
    assert_eq!((error.code.as_str(), error.code.http_status()), ("DryRunOperation", 412));
    bed.vpc.set_fault(Fault::new(FaultKind::Deny).on(Action::CreateNetworkInterface)).unwrap();
    let reply = bed.vpc.serve(&bed.caller, request(&bed));
    let Err(CallError::Api(error)) = reply.result else { panic!("{reply:?}") };
    assert_eq!((error.code.as_str(), error.code.http_status()), ("UnauthorizedOperation", 403));
    assert_eq!(bed.vpc.authoritative().network_interfaces().len(), enis);
}

#[test]
fn every_code_survives_its_text() {
    let code = ErrorCode::from("InvalidNetworkInterface.InUse".to_owned());
    assert_eq!(code, ErrorCode::NetworkInterfaceInUse);
    let strange = ErrorCode::from("Client.Odd".to_owned());
    assert_eq!((strange.as_str(), strange.http_status()), ("Client.Odd", 400));
    assert_eq!(ErrorCode::RequestLimitExceeded.http_status(), 503);
}

#[test]
fn an_unknown_eni_is_not_modified() {
    let mut bed = Bed::new();
    let operation = ModifyNetworkInterfaceAttribute {
        network_interface_id: unknown_eni(),
        description: Some(String::new()),
        ..Default::default()
    };
    assert_eq!(bed.code(operation), "InvalidNetworkInterfaceID.NotFound");
}
