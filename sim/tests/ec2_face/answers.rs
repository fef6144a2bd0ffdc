//! Answers that are lost, late, cut short or replaced, and callers that are gone before theirs.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::ClockMode;
use holdfast_sim::vpc::hook::{CallPoint, Stage, Verdict};
use holdfast_sim::vpc::{Action, Timing};
use serde_json::json;

use crate::loopback::{Loopback, OPERATOR, send, signature};

#[test]
fn a_lost_answer_closes_the_connection_and_the_effect_stays() {
    let sim = Loopback::start(ClockMode::Running);
    let create = format!("Action=CreateNetworkInterface&SubnetId={}&ClientToken=once", sim.subnet_a);
    let body = format!("Version=2016-11-15&{create}");
    let date = sim.date(0);
    let authorization = format!("Authorization: {}", signature(OPERATOR, &date, "us-west-2", "ec2"));
    let date = format!("X-Amz-Date: {date}");
    let enis = || sim.ec2("Action=DescribeNetworkInterfaces").ok().body.matches("<macAddress>").count();
    let before = enis();

    let lost = |kind: &str| json!({"kind": {"type": kind}, "scope": {"actions": ["CreateNetworkInterface"]}, "count": 1});
    let (status, _) = sim.admin("POST", "/faults", &lost("request-lost").to_string());
    assert_eq!(status, 200);
    assert!(send(sim.ec2, "POST", "/", &[&authorization, &date], &body).is_none());
    assert_eq!(enis(), before);

    sim.admin("POST", "/faults", &lost("answer-lost").to_string());
    assert!(send(sim.ec2, "POST", "/", &[&authorization, &date], &body).is_none());
    assert_eq!(enis(), before + 1);
    // The same token finds the ENI of the lost answer.
    sim.ec2(&create).ok();
    assert_eq!(enis(), before + 1);
}

#[test]
fn latency_and_late_answers_are_slept() {
    let sim = Loopback::start(ClockMode::Running);
    let took = |parameters: &str| {
        let start = Instant::now();
        sim.ec2(parameters).ok();
        start.elapsed()
    };
    let (status, timing) = sim.admin("PUT", "/timing", "{\"read_latency\": 300}");
    assert_eq!((status, &timing["read_latency"]), (200, &json!(300)));
    assert!(took("Action=DescribeVpcs") >= Duration::from_millis(300));
    sim.admin("PUT", "/timing", "{}");
    sim.admin(
        "POST",
        "/faults",
        &json!({"kind": {"type": "answer-late", "by_ms": 300}, "count": 1}).to_string(),
    );
    assert!(took("Action=DescribeVpcs") >= Duration::from_millis(300));
    assert!(took("Action=DescribeVpcs") < Duration::from_millis(300));
}

#[test]
fn an_answer_is_cut_short_or_replaced_on_its_way() {
    let sim = Loopback::start(ClockMode::Running);
    let set = |kind| sim.shared.with(|vpc| vpc.set_fault(Fault::new(kind).times(1))).unwrap();
    set(FaultKind::AnswerTruncated { keep: 40 });
    let answer = sim.ec2("Action=DescribeVpcs");
    assert_eq!((answer.status, answer.body.len()), (200, 40));
    set(FaultKind::AnswerTruncated { keep: u32::MAX });
    assert!(!sim.ec2("Action=DescribeVpcs").body.trim_end().ends_with('>'), "never whole");
    set(FaultKind::AnswerReplaced { status: 429, body: "busy".to_owned() });
    let answer = sim.ec2("Action=DescribeVpcs");
    assert_eq!((answer.status, answer.body.as_str()), (429, "busy"));
    sim.ec2("Action=DescribeVpcs").ok();
}

/// A request for an ENI as it is written.
fn request_for_an_eni(sim: &Loopback) -> String {
    let body = format!("Version=2016-11-15&Action=CreateNetworkInterface&SubnetId={}", sim.subnet_a);
    let date = sim.date(0);
    format!(
        "POST / HTTP/1.1\r\nHost: box\r\nAuthorization: {}\r\nX-Amz-Date: {date}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        signature(OPERATOR, &date, "us-west-2", "ec2"),
        body.len()
    )
}

#[test]
fn a_call_is_carried_out_although_its_caller_hung_up() {
    let sim = Loopback::start(ClockMode::Running);
    let slow = Timing { write_latency: Duration::from_millis(700), ..Timing::default() };
    sim.shared.with(|vpc| vpc.set_timing(slow)).unwrap();
    let before = sim.shared.with(|vpc| vpc.authoritative().network_interfaces().len());
    let request = request_for_an_eni(&sim);
    let mut caller = TcpStream::connect(sim.ec2).unwrap();
    caller.write_all(request.as_bytes()).unwrap();
    until(|| sim.shared.with(|vpc| vpc.under_way() == 1));
    // The caller is killed, and its connection with it.
    drop(caller);
    until(|| sim.shared.with(|vpc| vpc.under_way() == 0));
    assert_eq!(sim.shared.with(|vpc| vpc.log().count(Action::CreateNetworkInterface)), 1);
    assert_eq!(sim.shared.with(|vpc| vpc.authoritative().network_interfaces().len()), before + 1);
}

#[test]
fn a_call_is_carried_out_although_its_caller_was_gone_before_it_was_read() {
    let sim = Loopback::start(ClockMode::Running);
    let request = request_for_an_eni(&sim);
    // The first call holds up the thread that would read the others.
    let (say, held_up) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    sim.shared.with(|vpc| {
        vpc.set_hook(Some(Box::new(move |point: CallPoint<'_>| {
            if (point.number, point.stage) == (1, Stage::BeforeEffect) {
                say.send(()).unwrap();
                told.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            Verdict::Continue
        })));
    });
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap());
    let began = |part: &str| {
        let mut caller = TcpStream::connect(sim.ec2).unwrap();
        caller.write_all(part.as_bytes()).unwrap();
        caller
    };
    let callers: Vec<TcpStream> = (0..20).map(|_| began(head)).collect();
    let first = began(&request);
    held_up.recv_timeout(Duration::from_secs(10)).unwrap();
    for mut caller in callers {
        caller.write_all(body.as_bytes()).unwrap();
    }
    go_on.send(()).unwrap();
    until(|| sim.shared.with(|vpc| vpc.log().count(Action::CreateNetworkInterface) == 21));
    drop(first);
}

/// Waits for something that comes within seconds.
fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came");
}
