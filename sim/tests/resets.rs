//! Connections that are reset, over real loopback HTTP: before the request is carried out, and after it before the answer
//! or in the middle of it.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod loopback;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::ClockMode;
use holdfast_sim::vpc::{Action, Outcome};
use loopback::{Loopback, OPERATOR, signature};

/// What arrives of an answer, and how the connection ends: in order, or by an error.
fn ask(to: SocketAddr, head: &str, body: &str) -> (String, Result<(), ErrorKind>) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(stream, "{head}\r\nHost: box\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let (mut arrived, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(some) => arrived.extend_from_slice(&buffer[..some]),
            Err(error) => break Err(error.kind()),
        }
    };
    (String::from_utf8(arrived).unwrap(), end)
}

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

#[test]
fn ec2_resets_a_connection_before_the_call_after_it_and_in_the_middle_of_the_answer() {
    let sim = Loopback::start(ClockMode::Running);
    let date = sim.date(0);
    let head = format!(
        "POST / HTTP/1.1\r\nAuthorization: {}\r\nX-Amz-Date: {date}",
        signature(OPERATOR, &date, "us-west-2", "ec2")
    );
    let body = format!("Version=2016-11-15&Action=CreateNetworkInterface&SubnetId={}", sim.subnet_a);
    let create = || ask(sim.ec2, &head, &body);
    let enis = || sim.shared.with(|vpc| vpc.authoritative().network_interfaces().len());
    let (whole, end) = create();
    assert_eq!(end, Ok(()));
    for (kind, bytes, made, outcome) in [
        (FaultKind::RequestLost, 0..1, 0, Outcome::RequestLost),
        (FaultKind::RequestReset, 0..1, 0, Outcome::RequestLost),
        (FaultKind::AnswerReset { keep: 0 }, 0..1, 1, Outcome::AnswerLost),
        (FaultKind::AnswerReset { keep: 60 }, 60..61, 1, Outcome::AnswerLost),
        (FaultKind::AnswerReset { keep: u32::MAX }, 61..whole.len(), 1, Outcome::AnswerLost),
    ] {
        let before = enis();
        let fault = Fault::new(kind.clone()).on(Action::CreateNetworkInterface).times(1);
        let fault = sim.shared.with(|vpc| vpc.set_fault(fault)).unwrap();
        let (arrived, end) = create();
        // A call that is lost otherwise ends in order.
        assert_eq!(end, if kind == FaultKind::RequestLost { Ok(()) } else { RESET }, "{kind:?}");
        assert!(bytes.contains(&arrived.len()), "{kind:?}: {arrived:?}");
        assert!(
            "HTTP/1.1 200 OK\r\n".starts_with(arrived.get(..17).unwrap_or_default()),
            "{kind:?}: {arrived:?}"
        );
        assert_eq!(enis(), before + made, "{kind:?}");
        sim.shared.with(|vpc| {
            assert_eq!(vpc.log().records().next_back().unwrap().outcome, outcome, "{kind:?}");
            assert_eq!(vpc.fault_hits()[&fault], 1, "{kind:?}");
        });
    }
    assert_eq!(create().1, Ok(()), "and no more");
}

#[test]
fn metadata_resets_a_connection_before_it_does_anything_and_in_the_middle_of_an_answer() {
    let sim = Loopback::start(ClockMode::Running);
    let ask_token =
        || ask(sim.imds, "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60", "");
    let issued = || {
        let reads = sim.shared.imds_reads();
        reads
            .get(&sim.node_a)
            .and_then(|paths| paths.get("PUT /latest/api/token"))
            .copied()
            .unwrap_or_default()
    };
    let (answer, _) = ask_token();
    let token = answer.rsplit_once("\r\n\r\n").unwrap().1;
    let read = |leaf: &str| {
        let head = format!("GET /latest/meta-data/{leaf} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}");
        ask(sim.imds, &head, "")
    };
    let path = || Some("api/token".to_owned());
    for (kind, bytes, done) in [
        (FaultKind::ImdsRequestReset { path: path() }, 0, 0),
        (FaultKind::ImdsAnswerReset { keep: 0, path: path() }, 0, 1),
        (FaultKind::ImdsAnswerReset { keep: 30, path: path() }, 30, 1),
    ] {
        let before = issued();
        let fault = Fault::new(kind.clone()).of_instance(&sim.node_a);
        let fault = sim.shared.with(|vpc| vpc.set_fault(fault)).unwrap();
        let (arrived, end) = ask_token();
        assert_eq!((arrived.len(), end), (bytes, RESET), "{kind:?}: {arrived:?}");
        assert_eq!(issued(), before + done, "{kind:?}");
        let (elsewhere, end) = read("mac");
        assert!(elsewhere.starts_with("HTTP/1.1 200") && end.is_ok(), "{kind:?}: {elsewhere:?}");
        assert_eq!(sim.shared.with(|vpc| vpc.fault_hits()[&fault]), 1, "{kind:?}");
        sim.shared.with(|vpc| vpc.clear_fault(fault));
    }
    sim.shared.with(|vpc| vpc.set_fault(Fault::new(FaultKind::ImdsRequestReset { path: None }))).unwrap();
    assert_eq!((read("mac").1, ask_token().1), (RESET, RESET), "everywhere");
}
