//! What each call is about, as a fault's scope tells: a call that names something is hit by a fault on it, and one that
//! names something else is not.

use super::*;
use crate::fault::Scope;
use crate::vpc::request::*;

/// Whether a fault of this scope hits the call, which is then refused without effect.
fn hits(bed: &mut Bed, scope: Scope, operation: &Operation) -> bool {
    let fault = bed.vpc.set_fault(Fault { scope, ..Fault::new(FaultKind::Deny) }).unwrap();
    let refused =
        bed.vpc.serve(&bed.caller.clone(), Request { dry_run: true, operation: operation.clone() }).result;
    bed.vpc.clear_fault(fault);
    refused.unwrap_err().code() == Some(&ErrorCode::UnauthorizedOperation)
}

fn resource(id: impl ToString) -> Scope {
    Scope { resource: Some(id.to_string()), ..Scope::default() }
}

/// Every kind of call, with the ENI it is about, if any, and what else it names.
fn calls(bed: &mut Bed) -> Vec<(Operation, Option<EniId>, Vec<String>)> {
    let (eni, attachment) = bed.attached(1);
    let loose = bed.created();
    let (node, subnet, group, vpc) = (bed.node, bed.subnet, bed.group, bed.vpc_id);
    let text = |id: &dyn ToString| vec![id.to_string()];
    vec![
        (
            DescribeNetworkInterfaces { network_interface_ids: vec![eni], ..Default::default() }.into(),
            Some(eni),
            text(&eni),
        ),
        (DescribeInstances { instance_ids: vec![node], ..Default::default() }.into(), None, text(&node)),
        (DescribeInstanceStatus { instance_ids: vec![node], ..Default::default() }.into(), None, text(&node)),
        (DescribeSubnets { subnet_ids: vec![subnet], ..Default::default() }.into(), None, text(&subnet)),
        (DescribeSecurityGroups { group_ids: vec![group], ..Default::default() }.into(), None, text(&group)),
        (DescribeVpcs { vpc_ids: vec![vpc], ..Default::default() }.into(), None, text(&vpc)),
        (
            CreateNetworkInterface { groups: vec![group], ..bed.create() }.into(),
            None,
            vec![subnet.to_string(), group.to_string()],
        ),
        (bed.attach(&loose, 2).into(), Some(loose), vec![loose.to_string(), node.to_string()]),
        (Bed::detach(&attachment).into(), Some(eni), vec![attachment.to_string(), eni.to_string()]),
        (DeleteNetworkInterface { network_interface_id: loose }.into(), Some(loose), text(&loose)),
        (
            ModifyNetworkInterfaceAttribute {
                network_interface_id: eni,
                groups: vec![group],
                ..Default::default()
            }
            .into(),
            Some(eni),
            vec![eni.to_string(), group.to_string()],
        ),
        (
            AssignPrivateIpAddresses { network_interface_id: eni, ..Default::default() }.into(),
            Some(eni),
            text(&eni),
        ),
        (
            UnassignPrivateIpAddresses { network_interface_id: eni, ..Default::default() }.into(),
            Some(eni),
            text(&eni),
        ),
        (
            AssignIpv6Addresses { network_interface_id: eni, ..Default::default() }.into(),
            Some(eni),
            text(&eni),
        ),
        (
            UnassignIpv6Addresses { network_interface_id: eni, ..Default::default() }.into(),
            Some(eni),
            text(&eni),
        ),
        (
            CreateTags { resources: vec![eni.to_string(), vpc.to_string()], ..Default::default() }.into(),
            Some(eni),
            vec![eni.to_string(), vpc.to_string()],
        ),
        (
            DeleteTags { resources: vec![attachment.to_string(), node.to_string()], ..Default::default() }
                .into(),
            Some(eni),
            vec![attachment.to_string(), node.to_string()],
        ),
    ]
}

#[test]
fn a_call_is_about_what_it_names() {
    let mut bed = Bed::new();
    let stranger = bed.created();
    for (operation, eni, named) in calls(&mut bed) {
        for id in named {
            assert!(hits(&mut bed, resource(&id), &operation), "{id} in {operation:?}");
        }
        assert!(!hits(&mut bed, resource(stranger), &operation), "{operation:?}");
        assert!(!hits(&mut bed, Scope { eni: Some(stranger), ..Scope::default() }, &operation));
        assert!(!hits(
            &mut bed,
            Scope { zone: Some("us-west-2b".to_owned()), ..Scope::default() },
            &operation
        ));
        let Some(eni) = eni else { continue };
        assert!(hits(&mut bed, Scope { eni: Some(eni), ..Scope::default() }, &operation), "{operation:?}");
        let here =
            Scope { subnet: Some(bed.subnet), zone: Some("us-west-2a".to_owned()), ..Scope::default() };
        assert!(hits(&mut bed, here, &operation), "{operation:?}");
    }
}

#[test]
fn a_describe_call_is_about_what_its_filters_name() {
    let mut bed = Bed::new();
    let (eni, attachment) = bed.attached(1);
    let node = bed.node;
    let by = |name: &str, value: &dyn ToString| vec![Filter::new(name, value.to_string())];
    let filters = by("attachment.attachment-id", &attachment);
    let enis: Operation = DescribeNetworkInterfaces { filters, ..Default::default() }.into();
    assert!(hits(&mut bed, resource(attachment), &enis));
    assert!(hits(&mut bed, Scope { eni: Some(eni), ..Scope::default() }, &enis));
    let subnet = Scope { subnet: Some(bed.subnet), ..Scope::default() };
    for operation in [
        enis,
        DescribeSubnets { filters: by("subnet-id", &bed.subnet), ..Default::default() }.into(),
        DescribeInstances { filters: by("subnet-id", &bed.subnet), ..Default::default() }.into(),
        DescribeTags { filters: by("resource-id", &eni), ..Default::default() }.into(),
    ] {
        assert!(hits(&mut bed, subnet.clone(), &operation), "{operation:?}");
    }
    let (vpc, kind) = (bed.vpc_id, "m5.large");
    for (operation, named) in [
        (
            DescribeInstances { filters: by("instance-id", &node), ..Default::default() }.into(),
            node.to_string(),
        ),
        (
            DescribeInstanceStatus {
                filters: by("event.instance-event-id", &"instance-event-0a"),
                ..Default::default()
            }
            .into(),
            "instance-event-0a".to_owned(),
        ),
        (
            DescribeSecurityGroups { filters: by("vpc-id", &vpc), ..Default::default() }.into(),
            vpc.to_string(),
        ),
        (DescribeVpcs { filters: by("vpc-id", &vpc), ..Default::default() }.into(), vpc.to_string()),
        (
            DescribeInstanceTypes { filters: by("instance-type", &kind), ..Default::default() }.into(),
            kind.to_owned(),
        ),
    ] {
        assert!(hits(&mut bed, resource(named), &operation), "{operation:?}");
        assert!(!hits(&mut bed, resource(eni), &operation), "{operation:?}");
    }
}
