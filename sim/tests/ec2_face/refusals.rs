//! What is refused before the rules of EC2 are asked.

use holdfast_sim::server::ClockMode;

use crate::loopback::{Loopback, OPERATOR, send, signature};

#[test]
fn what_is_no_ec2_request_is_refused_in_ec2s_words() {
    let sim = Loopback::start(ClockMode::Running);
    for (parameters, status, code) in [
        ("Action=LaunchRocket", 400, "InvalidAction"),
        ("NetworkInterfaceId.1=eni-1", 400, "MissingAction"),
        ("Action=AttachNetworkInterface&NetworkInterfaceId=eni-1", 400, "MissingParameter"),
        ("Action=DescribeVpcs&Colour=red", 400, "UnknownParameter"),
        ("Action=DescribeVpcs&Filter.1.Name=vpc-id&Filter.1.Colour=red", 400, "UnknownParameter"),
        ("Action=DescribeVpcs&MaxResults=many", 400, "InvalidParameterValue"),
        ("Action=DescribeVpcs&Version=1999-01-01", 400, "MalformedQueryString"),
        ("Action=DescribeVpcs&DryRun=true", 412, "DryRunOperation"),
        (
            "Action=DescribeNetworkInterfaces&NetworkInterfaceId.1=eni-nonsense",
            400,
            "InvalidNetworkInterfaceId.Malformed",
        ),
    ] {
        assert_eq!(sim.ec2(parameters).error(), (status, code), "{parameters}");
    }
    let old = "Action=DescribeVpcs&Version=1999-01-01";
    let now = sim.date(0);
    let date = format!("X-Amz-Date: {now}");
    let authorization = format!("Authorization: {}", signature(OPERATOR, &now, "us-west-2", "ec2"));
    let answer = send(sim.ec2, "POST", "/", &[&authorization, &date], old).unwrap();
    assert_eq!(answer.error(), (400, "NoSuchVersion"));
    for (region, service) in [("eu-west-1", "ec2"), ("us-west-2", "s3")] {
        let authorization = format!("Authorization: {}", signature(OPERATOR, &now, region, service));
        let answer = send(sim.ec2, "POST", "/", &[&authorization, &date], "Action=DescribeVpcs").unwrap();
        assert_eq!(answer.error(), (401, "AuthFailure"), "{region} {service}");
    }
    let unsigned = send(sim.ec2, "POST", "/", &[], "Action=DescribeVpcs").unwrap();
    assert_eq!(unsigned.error(), (400, "MissingParameter"));
    assert!(unsigned.text("Message").contains("AWSAccessKeyId"));
    assert_eq!(send(sim.ec2, "PUT", "/", &[], "").unwrap().status, 405);
    let (_, refusals) = sim.admin("GET", "/log/refusals", "");
    assert_eq!(refusals.as_array().unwrap().len(), 11, "{refusals}");
}
