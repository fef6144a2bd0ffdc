//! What calls ask and answer, over the wire.

use holdfast_sim::server::ClockMode;
use holdfast_sim::vpc::Action;

use crate::loopback::Loopback;

#[test]
fn an_eni_lives_over_the_wire() {
    let sim = Loopback::start(ClockMode::Running);
    let created = sim
        .ec2(&format!(
            "Action=CreateNetworkInterface&SubnetId={}&SecurityGroupId.1={}&SecondaryPrivateIpAddressCount=2&ClientToken=t1\
             &Description=a%20%3Cb%3E&TagSpecification.1.ResourceType=network-interface\
             &TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v%26w",
            sim.subnet_a, sim.group
        ))
        .ok();
    assert!(created.body.contains(
        "<CreateNetworkInterfaceResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>"
    ));
    assert_eq!(created.headers["content-type"], "text/xml;charset=UTF-8");
    assert_eq!(created.headers["x-amzn-requestid"], created.text("requestId"));
    assert_eq!(created.text("description"), "a &lt;b&gt;");
    assert_eq!(created.text("clientToken"), "t1");
    assert_eq!(created.text("tagSet"), "<item><key>k</key><value>v&amp;w</value></item>");
    assert_eq!(created.text("privateIpAddressesSet").matches("<item>").count(), 3);
    let eni = created.text("networkInterfaceId").to_owned();

    let attach = format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex=1&NetworkCardIndex=0",
        sim.node_a
    );
    let attached = sim.ec2(&attach).ok();
    let attachment = attached.text("attachmentId").to_owned();
    assert_eq!(attached.text("networkCardIndex"), "0");
    assert_eq!(sim.ec2(&attach).error(), (400, "InvalidNetworkInterface.InUse"));

    let modify = format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}&Attachment.AttachmentId={attachment}\
         &Attachment.DeleteOnTermination=true"
    );
    assert_eq!(sim.ec2(&modify).ok().text("return"), "true");
    let shown = sim.ec2(&format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={eni}")).ok();
    assert_eq!(shown.text("attachmentId"), attachment);
    assert_eq!(shown.text("deleteOnTermination"), "true");
    assert_eq!(shown.text("deviceIndex"), "1");
    assert_eq!(shown.text("interfaceType"), "interface");

    let assigned = sim
        .ec2(&format!(
            "Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"
        ))
        .ok();
    let address = assigned.text("privateIpAddress").to_owned();
    assert_eq!(
        assigned.text("assignedPrivateIpAddressesSet"),
        format!("<item><privateIpAddress>{address}</privateIpAddress></item>")
    );
    let unassign =
        format!("Action=UnassignPrivateIpAddresses&NetworkInterfaceId={eni}&PrivateIpAddress.1={address}");
    assert_eq!(sim.ec2(&unassign).ok().text("return"), "true");
    assert_eq!(sim.ec2(&unassign).error(), (400, "InvalidParameterValue"));

    let delete = format!("Action=DeleteNetworkInterface&NetworkInterfaceId={eni}");
    let refused = sim.ec2(&delete);
    assert_eq!(refused.error(), (400, "InvalidParameterValue"));
    assert!(refused.text("Message").contains("is currently in use"), "{}", refused.body);
    sim.ec2(&format!("Action=DetachNetworkInterface&AttachmentId={attachment}")).ok();
    sim.ec2(&delete).ok();
    assert_eq!(sim.ec2(&delete).error(), (400, "InvalidNetworkInterfaceID.NotFound"));
}

#[test]
fn filters_and_pages_are_read() {
    let sim = Loopback::start(ClockMode::Running);
    let count = |parameters: &str| {
        let answer = sim.ec2(parameters).ok();
        answer.body.matches("<subnetId>").count()
    };
    let vpc = &sim.vpc;
    assert_eq!(count(&format!("Action=DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}")), 3);
    assert_eq!(
        count(&format!(
            "Action=DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}\
             &Filter.2.Name=tag%3AName&Filter.2.Value.1=b&Filter.2.Value.2=t%2A"
        )),
        2
    );
    assert_eq!(
        sim.ec2("Action=DescribeSubnets&Filter.1.Name=colour&Filter.1.Value.1=red").error().1,
        "InvalidParameterValue"
    );
    for _ in 0..7 {
        sim.ec2(&format!("Action=CreateNetworkInterface&SubnetId={}", sim.subnet_b)).ok();
    }
    let filter = format!("Filter.1.Name=subnet-id&Filter.1.Value.1={}", sim.subnet_b);
    let first = sim.ec2(&format!("Action=DescribeNetworkInterfaces&MaxResults=5&{filter}")).ok();
    assert_eq!(first.body.matches("<macAddress>").count(), 5);
    let token: String = form_urlencoded::byte_serialize(first.text("nextToken").as_bytes()).collect();
    let rest =
        sim.ec2(&format!("Action=DescribeNetworkInterfaces&MaxResults=5&{filter}&NextToken={token}")).ok();
    // Seven made here, and the primary ones of two nodes.
    assert_eq!(rest.body.matches("<macAddress>").count(), 4);
    assert!(!rest.body.contains("nextToken"));
}

#[test]
fn every_action_of_the_core_has_a_face() {
    let sim = Loopback::start(ClockMode::Running);
    for action in Action::ALL {
        let (_, code) = match sim.ec2(&format!("Action={action}&DryRun=false")) {
            answer if answer.status == 200 => (200, String::new()),
            answer => {
                let (status, code) = answer.error();
                (status, code.to_owned())
            }
        };
        assert_ne!(code, "InvalidAction", "{action}");
    }
}
