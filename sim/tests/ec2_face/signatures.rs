//! Who signed, and when.

use std::process::Command;
use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::{ClockMode, access_key_id};

use crate::loopback::{Loopback, OPERATOR, send, signature};

#[test]
fn a_presigned_get_is_answered() {
    let sim = Loopback::start(ClockMode::Running);
    let path = |date: &str| {
        format!(
            "/?Action=DescribeVpcs&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={OPERATOR}%2F{}%2Fus-west-2%2Fec2%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
            &date[..8]
        )
    };
    let answer = send(sim.ec2, "GET", &path(&sim.date(0)), &[], "").unwrap().ok();
    assert_eq!(answer.text("vpcId"), sim.vpc.as_str());
    assert_eq!(sim.shared.with(|vpc| vpc.log().records().next().unwrap().caller.name.clone()), OPERATOR);
    let old = send(sim.ec2, "GET", &path("20200101T000000Z"), &[], "").unwrap();
    assert_eq!(old.error(), (400, "RequestExpired"));
    let no_date = send(sim.ec2, "GET", &path("yesterday"), &[], "").unwrap();
    assert_eq!(no_date.error(), (400, "IncompleteSignature"));
    let date = sim.date(0);
    let other_day = path(&date).replace(&format!("%2F{}%2F", &date[..8]), "%2F20260101%2F");
    let other_day = send(sim.ec2, "GET", &other_day, &[], "").unwrap();
    assert_eq!(other_day.error(), (403, "SignatureDoesNotMatch"));
}

/// The same instant as the `Date` header has it.
fn date_header(basic: &str) -> String {
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &basic[..4],
        &basic[4..6],
        &basic[6..8],
        &basic[9..11],
        &basic[11..13],
        &basic[13..15]
    );
    let written = Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &iso, "+%a, %d %b %Y %H:%M:%S GMT"])
        .output();
    String::from_utf8(written.unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn a_request_is_dated_by_either_header_and_x_amz_date_counts_where_both_are() {
    let sim = Loopback::start(ClockMode::Manual);
    let (now, old) = (sim.date(0), sim.date(-3600));
    let authorization = format!("Authorization: {}", signature(OPERATOR, &now, "us-west-2", "ec2"));
    let asked = |dates: &[&str]| {
        let headers = [&[authorization.as_str()], dates].concat();
        send(sim.ec2, "POST", "/", &headers, "Action=DescribeVpcs&Version=2016-11-15").unwrap()
    };
    let (amz, plain) = (|date: &str| format!("X-Amz-Date: {date}"), |date: &str| format!("Date: {date}"));
    asked(&[&plain(&now)]).ok();
    asked(&[&plain(&date_header(&now))]).ok();
    asked(&[&plain(&date_header(&now).replace("GMT", "-0000"))]).ok();
    asked(&[&amz(&now), &plain("Thu, 01 Jan 1970 00:00:00 GMT")]).ok();
    // Midnight may lie in between.
    let signed = signature(OPERATOR, &old, "us-west-2", "ec2");
    let authorization = format!("Authorization: {signed}");
    for date in [plain(&old), plain(&date_header(&old))] {
        let answer = send(sim.ec2, "POST", "/", &[&authorization, &date], "Action=DescribeVpcs").unwrap();
        assert_eq!(answer.error(), (400, "RequestExpired"), "{date}");
    }
    assert_eq!(asked(&[]).error(), (400, "IncompleteSignature"));
    assert!(
        asked(&[]).text("Message").contains("either a &apos;X-Amz-Date&apos; or a &apos;Date&apos; header")
    );
    for date in [plain("now"), amz(&date_header(&now))] {
        let answer = asked(&[&date, &plain(&now)]);
        assert_eq!(answer.error(), (400, "IncompleteSignature"), "{date}");
        assert!(answer.text("Message").contains("ISO-8601 &apos;basic format&apos;"), "{}", answer.body);
    }
}

#[test]
fn a_key_of_another_day_than_the_request_signs_nothing() {
    let sim = Loopback::start(ClockMode::Manual);
    let now = sim.date(0);
    let authorization = format!("Authorization: {}", signature(OPERATOR, "20260101", "us-west-2", "ec2"));
    for date in [format!("X-Amz-Date: {now}"), format!("Date: {}", date_header(&now))] {
        let answer = send(sim.ec2, "POST", "/", &[&authorization, &date], "Action=DescribeVpcs").unwrap();
        assert_eq!(answer.error(), (403, "SignatureDoesNotMatch"));
        let said = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '20260101' != '{}', from '{now}'.",
            &now[..8]
        );
        assert_eq!(answer.text("Message").replace("&apos;", "'"), said);
    }
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
