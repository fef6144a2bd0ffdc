//! Callers that are killed at a random instant of their call, for every action: a box as a process, callers as
//! processes.
//!
//! A call is carried out when the box has received the whole of it, once, and not at all otherwise; what another caller
//! is shown afterwards and what the box counts say the same.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_datapath::netns;
use holdfast_sim::server::client::AdminClient;
use holdfast_sim::vpc::Action;
use hyper::Method;
use serde_json::{Value, json};

use crate::up::{BOUND, Up, alone, well};

/// Calls take a while, so that a caller can die meanwhile; all else is at once.
const SCENARIO: &str = r#"
    timing = { read_latency = 60, write_latency = 60 }
    vpc = { cidrs = ["10.0.0.0/16"], ipv6 = "2600:1f13:a::/56" }
    [[subnet]]
    name = "a"
    zone = "us-west-2a"
    cidr = "10.0.0.0/20"
    ipv6 = "2600:1f13:a::/64"
    [[node]]
    name = "node-a"
    type = "m5.large"
    subnet = "a"
"#;
const LATENCY: u64 = 60;

/// Writes a request or a part of it, then waits for the answer if that was all, then for its own end. Shell builtins
/// only: a child would live on and hold the connection.
const CALLER: &str = r#"
exec 3<>"/dev/tcp/$1/80"
printf %s "$2" >&3
echo written
if [ "$3" = whole ]; then
    IFS= read -t 20 -r status <&3
    while IFS= read -t 20 -r rest <&3; do :; done
    echo "answered $status"
fi
read -r
"#;

const SEED: u64 = 1;
/// In four of them each action's caller dies each death.
const ROUNDS: usize = 8;

/// When the caller is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// So long after its start, wherever that finds it.
    Anywhere(Duration),
    /// When it has written so many bytes of its request, and not all.
    Writing(usize),
    /// So long after it has written the whole.
    Waiting(Duration),
    /// When it has its answer.
    Answered,
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn death(&mut self, kind: usize, request: &str) -> Death {
        let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap());
        match kind % 4 {
            0 => Death::Anywhere(Duration::from_micros(self.below(3000 * LATENCY))),
            // Within the head, or within what follows.
            1 if self.below(2) == 0 => Death::Writing(self.below(head.len() as u64) as usize),
            1 => Death::Writing(head.len() + self.below(body.len() as u64) as usize),
            2 => Death::Waiting(Duration::from_micros(self.below(1000 * LATENCY))),
            _ => Death::Answered,
        }
    }
}

/// The box, and how it is asked.
struct Scene {
    up: Up,
    admin: AdminClient,
    subnet: String,
}

/// A call that is about to be made.
struct Trial {
    told: String,
    action: Action,
    death: Death,
    /// Its access key, which is its name in the box's counts.
    key: String,
    request: String,
    /// With what another caller asks for what it is about.
    ask: String,
}

const TEXT: &str = "by the dead";

impl Scene {
    fn ask(&self, method: Method, path: &str, body: &str) -> Value {
        let (status, answer) = self.admin.send(method, path, body.to_owned()).unwrap();
        assert!(status.is_success(), "{path} {body}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn foreign(&self, action: &str, parameters: &Value) -> Value {
        let asked = json!({ "operation": { action: parameters } }).to_string();
        let answer = self.ask(Method::POST, "/foreign", &asked);
        assert!(answer["ok"].is_object(), "{asked}: {answer}");
        answer["ok"][action].clone()
    }

    /// A request as it is written, signed by this key.
    fn request(key: &str, parameters: &str) -> String {
        let date = well(Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().unwrap());
        let (date, day) = (date.trim(), &date[..8]);
        let body = format!("Version=2016-11-15&{parameters}");
        format!(
            "POST / HTTP/1.1\r\nHost: ec2\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: \
             AWS4-HMAC-SHA256 Credential={key}/{day}/us-west-2/ec2/aws4_request, SignedHeaders=host, \
             Signature=00\r\nX-Amz-Date: {date}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// An ENI with a secondary address, an IPv6 address and a tag, which a call of this action finds something to do
    /// about.
    fn prepare(&self, number: usize, action: Action, round: usize) -> Trial {
        let created = self.foreign(
            "CreateNetworkInterface",
            &json!({ "subnetId": self.subnet,
                "tagSpecification": [{ "resourceType": "network-interface", "tag": [{ "key": "old", "value": "" }] }] }),
        );
        let eni = created["networkInterface"]["networkInterfaceId"].as_str().unwrap().to_owned();
        let added = self.foreign(
            "AssignPrivateIpAddresses",
            &json!({ "networkInterfaceId": eni, "secondaryPrivateIpAddressCount": 1 }),
        );
        let ipv4 = added["assignedPrivateIpAddressesSet"][0]["privateIpAddress"].as_str().unwrap();
        let added =
            self.foreign("AssignIpv6Addresses", &json!({ "networkInterfaceId": eni, "ipv6AddressCount": 1 }));
        let ipv6 = added["assignedIpv6Addresses"][0].as_str().unwrap();
        let instance = self.up.described["nodes"][0]["instance"].as_str().unwrap();
        let of = format!("NetworkInterfaceId={eni}");
        let text = format!("{TEXT} {number}");
        let parameters = match action {
            Action::DescribeNetworkInterfaces
            | Action::DescribeInstances
            | Action::DescribeInstanceStatus
            | Action::DescribeSubnets
            | Action::DescribeInstanceTypes
            | Action::DescribeSecurityGroups
            | Action::DescribeVpcs
            | Action::DescribeTags => String::new(),
            Action::CreateNetworkInterface => format!("SubnetId={}&Description={text}", self.subnet),
            Action::AttachNetworkInterface => format!("{of}&InstanceId={instance}&DeviceIndex=2"),
            Action::DetachNetworkInterface => {
                let attached = self.foreign(
                    "AttachNetworkInterface",
                    &json!({ "networkInterfaceId": eni, "instanceId": instance, "deviceIndex": 1 }),
                );
                format!("AttachmentId={}", attached["attachmentId"].as_str().unwrap())
            }
            Action::DeleteNetworkInterface => of.clone(),
            Action::ModifyNetworkInterfaceAttribute => format!("{of}&Description.Value={text}"),
            Action::AssignPrivateIpAddresses => format!("{of}&SecondaryPrivateIpAddressCount=1"),
            Action::UnassignPrivateIpAddresses => format!("{of}&PrivateIpAddress.1={ipv4}"),
            Action::AssignIpv6Addresses => format!("{of}&Ipv6AddressCount=1"),
            Action::UnassignIpv6Addresses => format!("{of}&Ipv6Addresses.1={ipv6}"),
            Action::CreateTags => format!("ResourceId.1={eni}&Tag.1.Key=new&Tag.1.Value="),
            Action::DeleteTags => format!("ResourceId.1={eni}&Tag.1.Key=old"),
        };
        let (name, value) = match action {
            Action::CreateNetworkInterface => ("description", text.as_str()),
            _ => ("network-interface-id", eni.as_str()),
        };
        let key = format!("AKIATRIAL{number:011}");
        let request = Self::request(&key, &format!("Action={action}&{parameters}").replace(' ', "+"));
        let death = Chance(SEED.wrapping_mul(1_000_003) + number as u64).death(round + number, &request);
        Trial {
            told: format!("{action}, seed {SEED}, caller {number}: {death:?}"),
            action,
            death,
            key,
            request,
            ask: format!(
                "Action=DescribeNetworkInterfaces&Filter.1.Name={name}&Filter.1.Value.1={}",
                value.replace(' ', "+")
            ),
        }
    }

    fn ec2(&self) -> &str {
        let node = &self.up.described["nodes"][0];
        node["environment"]["AWS_ENDPOINT_URL_EC2"].as_str().unwrap().strip_prefix("http://").unwrap()
    }

    /// A caller in the node that writes so many bytes of the request.
    fn caller(&self, request: &str, written: usize) -> Child {
        Command::new("nsenter")
            .arg(format!("--net={}", self.up.netns(0)))
            .args(["bash", "-c", CALLER, "caller", self.ec2(), &request[..written]])
            .arg(if written == request.len() { "whole" } else { "part" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What another caller in the node is shown: this process, which lives on.
    fn shown_to_another(&self, ask: &str) -> String {
        let request = Self::request("AKIAANOTHER000000000", ask);
        let node = netns::open(Path::new(&self.up.netns(0))).unwrap();
        let answer = netns::run_in(&node, || {
            let mut ec2 = TcpStream::connect((self.ec2(), 80))?;
            ec2.set_read_timeout(Some(BOUND))?;
            ec2.write_all(request.as_bytes())?;
            std::io::read_to_string(ec2)
        });
        let answer = answer.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// How many calls of it the box has received whole.
    fn count(&self, trial: &Trial) -> usize {
        let counts = self.ask(Method::GET, "/log/counts", "");
        let all = counts["ec2_by_caller"][&trial.key].as_object().cloned().unwrap_or_default();
        let of_it = all.get(trial.action.name()).and_then(Value::as_u64).unwrap_or_default();
        assert!(all.len() as u64 == of_it && of_it <= 1, "{}: {all:?}", trial.told);
        of_it as usize
    }

    /// Starts the caller, and kills it when its time has come.
    fn live_and_die(&self, trial: &Trial) {
        let written = match trial.death {
            Death::Writing(some) => some,
            _ => trial.request.len(),
        };
        let mut caller = self.caller(&trial.request, written);
        let mut says = BufReader::new(caller.stdout.take().unwrap()).lines();
        let mut hear = |word: &str| {
            let line = says.next().map(Result::unwrap).unwrap_or_default();
            assert!(line.starts_with(word), "{}: said {line:?}", trial.told);
        };
        match trial.death {
            Death::Anywhere(after) => std::thread::sleep(after),
            Death::Writing(_) => hear("written"),
            Death::Waiting(after) => {
                hear("written");
                std::thread::sleep(after);
            }
            Death::Answered => {
                hear("written");
                hear("answered HTTP/1.1 200");
            }
        }
        caller.kill().unwrap();
        assert_eq!(caller.wait().unwrap().signal(), Some(9), "{}", trial.told);
        let begun = Instant::now();
        while matches!(trial.death, Death::Waiting(_) | Death::Answered) && self.count(trial) == 0 {
            assert!(begun.elapsed() < BOUND, "{}: it never arrived", trial.told);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What another caller is shown agrees with what the box has received.
    fn verify(&self, trial: &Trial) {
        let begun = Instant::now();
        let (received, shown) = loop {
            let before = self.count(trial);
            let shown = self.shown_to_another(&trial.ask);
            if self.count(trial) == before {
                break (before, shown);
            }
            assert!(begun.elapsed() < BOUND, "{}: counts do not settle", trial.told);
        };
        match trial.death {
            Death::Anywhere(_) => {}
            Death::Writing(_) => assert_eq!(received, 0, "{}: half a request", trial.told),
            Death::Waiting(_) | Death::Answered => assert_eq!(received, 1, "{}", trial.told),
        }
        if let Some(times) = times(trial.action, &shown) {
            assert_eq!(times, received, "{}: {shown}", trial.told);
        }
    }

    /// Removes every ENI but the node's first.
    fn tidy(&self) {
        let state = self.ask(Method::GET, "/state", "");
        for eni in state["network_interfaces"].as_array().unwrap() {
            let attachment = &eni["attachment"];
            if attachment["device_index"] == 0 {
                continue;
            }
            if let Some(id) = attachment["attachment_id"].as_str() {
                self.foreign("DetachNetworkInterface", &json!({ "attachmentId": id }));
            }
            self.foreign(
                "DeleteNetworkInterface",
                &json!({ "networkInterfaceId": eni["network_interface_id"] }),
            );
        }
    }
}

/// How often a change was carried out, by what is shown of its ENI. `None`: the action changes nothing.
fn times(action: Action, shown: &str) -> Option<usize> {
    let count = |text: &str| shown.matches(text).count();
    let gone = |text: &str| usize::from(count(text) == 0);
    Some(match action {
        Action::DescribeNetworkInterfaces
        | Action::DescribeInstances
        | Action::DescribeInstanceStatus
        | Action::DescribeSubnets
        | Action::DescribeInstanceTypes
        | Action::DescribeSecurityGroups
        | Action::DescribeVpcs
        | Action::DescribeTags => return None,
        Action::CreateNetworkInterface => count("<macAddress>"),
        Action::AttachNetworkInterface => count("<attachment>"),
        Action::DetachNetworkInterface => gone("<attachment>"),
        Action::DeleteNetworkInterface => gone("<macAddress>"),
        Action::ModifyNetworkInterfaceAttribute => count(TEXT),
        Action::AssignPrivateIpAddresses => count("<primary>false</primary>") - 1,
        Action::UnassignPrivateIpAddresses => gone("<primary>false</primary>"),
        Action::AssignIpv6Addresses => count("<ipv6Address>") - 1,
        Action::UnassignIpv6Addresses => gone("<ipv6Address>"),
        Action::CreateTags => count("<key>new</key>"),
        Action::DeleteTags => gone("<key>old</key>"),
    })
}

#[test]
fn every_action_is_carried_out_once_or_not_at_all_whenever_its_caller_is_killed() {
    let run_dir = alone();
    let file = run_dir.path().join("slow-calls.toml");
    std::fs::write(&file, SCENARIO).unwrap();
    let up = Up::of(&file, run_dir.path(), "callers");
    let admin = AdminClient::at(&up.folder.join("admin.sock"));
    let mut scene = Scene { up, admin, subnet: String::new() };
    let state = scene.ask(Method::GET, "/state", "");
    scene.subnet = state["subnets"][0]["subnet_id"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let trials: Vec<Trial> = Action::ALL
            .iter()
            .enumerate()
            .map(|(place, action)| scene.prepare(round * Action::ALL.len() + place, *action, round))
            .collect();
        std::thread::scope(|side_by_side| {
            for trial in &trials {
                side_by_side.spawn(|| scene.live_and_die(trial));
            }
        });
        for trial in &trials {
            scene.verify(trial);
        }
        scene.tidy();
        all.extend(trials);
    }
    // Nothing of what was cut short came later either.
    for trial in all.iter().filter(|trial| matches!(trial.death, Death::Writing(_))) {
        assert_eq!(scene.count(trial), 0, "{}: half a request, later", trial.told);
    }
    assert_eq!(scene.ask(Method::GET, "/check", ""), json!([]));
}
