//! Who signed, and when.

use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::{ClockMode, access_key_id};

use crate::loopback::{Loopback, OPERATOR, send};

#[test]
fn a_presigned_get_is_answered() {
    let sim = Loopback::start(ClockMode::Running);
    let path = |date: &str| {
        format!(
            "/?Action=DescribeVpcs&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={OPERATOR}%2F20260101%2Fus-west-2%2Fec2%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        )
    };
    let answer = send(sim.ec2, "GET", &path(&sim.date(0)), &[], "").unwrap().ok();
    assert_eq!(answer.text("vpcId"), sim.vpc.as_str());
    assert_eq!(sim.shared.with(|vpc| vpc.log().records().next().unwrap().caller.name.clone()), OPERATOR);
    let old = send(sim.ec2, "GET", &path("20200101T000000Z"), &[], "").unwrap();
    assert_eq!(old.error(), (400, "RequestExpired"));
}

#[test]
fn credentials_are_checked_expire_and_are_refused_and_so_is_a_clock_that_is_off() {
    let sim = Loopback::start(ClockMode::Manual);
    let call = "Action=DescribeVpcs";
    let key = access_key_id(&sim.node_a);
    let role = |at: u64| format!("X-Amz-Security-Token: session-of-{}-{at}", sim.node_a);
    sim.ec2_signed(&key, &[&role(0)], 0, call).ok();
    assert_eq!(sim.ec2_signed(&key, &[], 0, call).error(), (401, "AuthFailure"), "without its session");
    let other = format!("X-Amz-Security-Token: session-of-{}-0", sim.node_b);
    assert_eq!(sim.ec2_signed(&key, &[&other], 0, call).error(), (401, "AuthFailure"), "with another's");
    assert_eq!(sim.ec2_as("AKIANOBODY", call).error(), (401, "AuthFailure"));
    sim.ec2_signed(OPERATOR, &[], 290, call).ok();
    for off in [310, -310, -6 * 365 * 86_400] {
        assert_eq!(sim.ec2_signed(OPERATOR, &[], off, call).error(), (400, "RequestExpired"), "{off} s");
    }
    sim.shared.advance(Duration::from_hours(6)).unwrap();
    assert_eq!(sim.ec2_signed(&key, &[&role(0)], 0, call).error(), (400, "RequestExpired"), "six hours on");
    sim.ec2_signed(&key, &[&role(6 * 3600)], 0, call).ok();
    let ahead = Fault::new(FaultKind::ClockAhead { by: Duration::from_mins(10) }).of_instance(&sim.node_a);
    sim.shared.with(|vpc| vpc.set_fault(ahead)).unwrap();
    assert_eq!(sim.ec2_signed(&key, &[&role(6 * 3600)], 0, call).error(), (400, "RequestExpired"));
    sim.ec2(call).ok();
}
