//! A small box on loopback, served by a thread of the test, and a client that sends what it is told and no more.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test's support: its errors are panics")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use holdfast_sim::server::client::exchange;
use holdfast_sim::server::{self, Callers, ClockMode, SharedVpc};
use holdfast_sim::vpc::{
    BoxConfig, FullSubnet, InstanceId, InstanceSpec, SecurityGroupId, SimVpc, SubnetId, SubnetSpec, Tags,
    VpcId,
};
use hyper::Request;
use hyper::header::HeaderValue;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A static key, as EC2 makes them.
pub(crate) const OPERATOR: &str = "AKIAOPERATOR00000000";

/// A served box: one VPC, three subnets, two `m5.large` and one `p4d.24xlarge`.
pub(crate) struct Loopback {
    pub(crate) shared: SharedVpc,
    /// EC2, callers told apart by access key.
    pub(crate) ec2: SocketAddr,
    /// IMDS of `node_a`.
    pub(crate) imds: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) vpc: VpcId,
    /// 10.0.0.0/24 and an IPv6 /64, zone a.
    pub(crate) subnet_a: SubnetId,
    /// 10.0.1.0/24, zone b.
    pub(crate) subnet_b: SubnetId,
    /// 10.0.2.0/28, zone a.
    pub(crate) subnet_tiny: SubnetId,
    pub(crate) group: SecurityGroupId,
    pub(crate) node_a: InstanceId,
    pub(crate) node_b: InstanceId,
    pub(crate) node_cards: InstanceId,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Serves a fresh box; its thread ends with the value.
    pub(crate) fn start(clock: ClockMode) -> Self {
        let mut sim = SimVpc::new(BoxConfig { full_subnet: FullSubnet::Documented, ..BoxConfig::default() });
        let blocks = ["10.0.0.0/16".parse().unwrap(), "100.64.0.0/16".parse().unwrap()];
        let vpc = sim.add_vpc(&blocks, Some("2600:1f13:a::/56".parse().unwrap()), tags("box")).unwrap();
        let mut subnet = |zone: &str, ipv4: &str, ipv6: Option<&str>, name: &str| {
            sim.add_subnet(SubnetSpec {
                vpc,
                availability_zone: zone.to_owned(),
                ipv4: Some(ipv4.parse().unwrap()),
                ipv6: ipv6.map(|block| block.parse().unwrap()),
                tags: tags(name),
            })
            .unwrap()
        };
        let subnet_a = subnet("us-west-2a", "10.0.0.0/24", Some("2600:1f13:a::/64"), "a");
        let subnet_b = subnet("us-west-2b", "10.0.1.0/24", None, "b");
        let subnet_tiny = subnet("us-west-2a", "10.0.2.0/28", None, "tiny");
        let group = sim.add_security_group(&vpc, "nodes", tags("nodes")).unwrap();
        let mut node = |instance_type: &str, subnet: &SubnetId, name: &str| {
            sim.run_instance(InstanceSpec {
                instance_type: instance_type.to_owned(),
                subnet: *subnet,
                security_groups: vec![group],
                private_ip: None,
                ipv6_address_count: 0,
                tags: tags(name),
            })
            .unwrap()
        };
        let node_a = node("m5.large", &subnet_a, "node-a");
        let node_b = node("m5.large", &subnet_b, "node-b");
        let node_cards = node("p4d.24xlarge", &subnet_b, "node-cards");

        let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [ec2, imds, admin] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let [ec2_listener, imds_listener, admin_listener] = listeners;
        let (stop, stopped) = oneshot::channel();
        let (give, take) = std::sync::mpsc::channel();
        let imds_of = node_a;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let shared = SharedVpc::new(sim, clock, SystemTime::now());
                give.send(shared.clone()).unwrap();
                tokio::select! {
                    served = server::serve_ec2(shared.clone(), ec2_listener, Callers::ByAccessKey) => served.unwrap(),
                    served = server::serve_imds(shared.clone(), imds_listener, imds_of) => served.unwrap(),
                    served = server::serve_admin(shared, admin_listener) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let shared = take.recv().unwrap();
        Self {
            shared,
            ec2,
            imds,
            admin,
            vpc,
            subnet_a,
            subnet_b,
            subnet_tiny,
            group,
            node_a,
            node_b,
            node_cards,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sends one EC2 request, signed as an SDK signs, with a key that is no instance's.
    pub(crate) fn ec2(&self, parameters: &str) -> Answer {
        self.ec2_as(OPERATOR, parameters)
    }

    /// As [`Loopback::ec2`] with this access key id.
    pub(crate) fn ec2_as(&self, key: &str, parameters: &str) -> Answer {
        self.ec2_signed(key, &[], 0, parameters)
    }

    /// The same signed with a clock that is off by so many seconds, and with more headers.
    pub(crate) fn ec2_signed(&self, key: &str, more: &[&str], off: i64, parameters: &str) -> Answer {
        let date = self.date(off);
        let authorization = format!("Authorization: {}", signature(key, &date, "us-west-2", "ec2"));
        let date = format!("X-Amz-Date: {date}");
        let mut headers = vec![
            authorization.as_str(),
            date.as_str(),
            "Content-Type: application/x-www-form-urlencoded; charset=utf-8",
        ];
        headers.extend(more);
        let body = format!("Version=2016-11-15&{parameters}");
        send(self.ec2, "POST", "/", &headers, &body).expect("an answer")
    }

    /// The box's time as it is signed, off by so many seconds.
    pub(crate) fn date(&self, off: i64) -> String {
        let now = self.shared.epoch() + Duration::from_micros(self.shared.with(|vpc| vpc.now().0));
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed() + off;
        let date =
            Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y%m%dT%H%M%SZ"]).output();
        String::from_utf8(date.unwrap().stdout).unwrap().trim().to_owned()
    }

    /// Sends one admin request.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let answer =
            send(self.admin, method, path, &["Content-Type: application/json"], body).expect("an answer");
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the box's thread panicked");
        }
    }
}

/// An `Authorization` header of this instant, with a signature that fits nothing.
pub(crate) fn signature(key: &str, date: &str, region: &str, service: &str) -> String {
    let day = &date[..8];
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/{day}/{region}/{service}/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=00"
    )
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// Text of the first element of this name; panics with the body when there is none.
    pub(crate) fn text(&self, element: &str) -> &str {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let found = self.body.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        found.unwrap_or_else(|| panic!("no <{element}> in {}", self.body)).0
    }

    /// Status and error code.
    pub(crate) fn error(&self) -> (u16, &str) {
        assert!(self.body.contains("<Response><Errors><Error><Code>"), "no error envelope: {}", self.body);
        (self.status, self.text("Code"))
    }

    /// The answer, which must be a good one.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.body);
        self
    }
}

/// Sends one request on a connection of its own. `None`: the connection closed without a byte.
pub(crate) fn send(to: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Option<Answer> {
    let mut request = Request::builder().method(method).uri(path);
    for header in headers {
        let (name, value) = header.split_once(": ").expect("a header");
        request = request.header(name, value);
    }
    let request = request.body(body.to_owned()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let answer = async { exchange(TcpStream::connect(to).await.unwrap(), request).await };
        tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an end within 10 s")
    });
    let (head, body) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(error) if error.is_incomplete_message() => return None,
        Err(error) => panic!("{method} {path}: {error:?}"),
    };
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = String::from_utf8(body.into()).unwrap();
    Some(Answer { status: head.status.as_u16(), headers, body })
}

fn tags(name: &str) -> Tags {
    [("Name".to_owned(), name.to_owned())].into()
}
