//! The API server fails in every way for one node's daemon, and for nobody else. No lease is harmed, no pod waits for it, and once
//! the fault is over everything catches up by itself. Judged by the pods' addresses, pings, the API server itself, and what
//! `holdfast dump` and `holdfast settings` print.

mod certificates;
mod future;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, Ask, Server};
use crate::daemon::{Daemon, Lease, install_chart, token};
use crate::door::Net;
use crate::pods::{self, PODS, Pings, Running, Sandbox};
use crate::rig::Stage;
use certificates::Certificates;
use proxy::{Act, Asked, Fault, Port, Proxy, Standing};

const NODE: &str = "node-a";
/// What an ADD may take, the way into the node included, whatever the API server does.
const ADD_WITHIN: Duration = Duration::from_secs(1);
/// From the end of a fault.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a fault lasts after all that happens meanwhile has happened.
const LASTS: Duration = Duration::from_secs(10);
/// More than a page of pods, so that their list has two.
const REFUSED_PODS: usize = 55;

const AWS_NODE: &str = "/api/v1/namespaces/kube-system/configmaps/aws-node";
const OWN_NODE: &str = "/api/v1/nodes/node-a";
const CONDITION: &str = "HoldfastAddressesAvailable";
const POD_IPS: &str = "vpc.amazonaws.com/pod-ips";

/// A cluster of one node, with a proxy before its daemon.
struct Rig<'a> {
    stage: &'a Stage,
    api: &'a Api,
    daemon: Daemon<'a>,
    proxy: Proxy,
    standing: Vec<Running>,
    cases: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    Everything,
    Pods,
    Nothing,
}

/// A fault, and how it comes and goes.
struct Case {
    name: &'static str,
    fault: Fault,
    begins: Standing,
    ends: Standing,
    /// What nothing new is heard of while it lasts.
    hides: Hides,
    within: Duration,
}

impl Case {
    /// One that breaks all connections when it comes and when it goes.
    fn new(name: &'static str, fault: Fault) -> Self {
        Self {
            name,
            fault,
            begins: Standing::Break,
            ends: Standing::Break,
            hides: Hides::Everything,
            within: CAUGHT_UP_WITHIN,
        }
    }
}

/// What happened during a fault, and must be told after it.
struct Meanwhile {
    cooldown: u32,
    pod: Running,
    refused: String,
    add: Duration,
}

fn is_pods(asked: &Asked) -> bool {
    asked.target.contains("/pods")
}

fn status(code: u16, reason: &str, message: &str) -> String {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
            "message": message, "code": code })
    .to_string()
}

fn answer(status: u16, body: String) -> Act {
    Act::Answer { status, retry_after: None, body }
}

fn busy(retry_after: &'static str) -> Act {
    let body = status(429, "TooManyRequests", "Too many requests, please try again later.");
    Act::Answer { status: 429, retry_after: Some(retry_after), body }
}

/// A watch that says so, once, and ends.
fn ends_with(code: u16, reason: &str, message: &str) -> Act {
    answer(200, format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status(code, reason, message)))
}

/// What has a daemon list anew.
fn expired() -> Act {
    ends_with(410, "Expired", "too old resource version")
}

fn cases() -> Vec<Case> {
    let of = |name, act| Case::new(name, Fault::of(act));
    vec![
        Case::new("refused", Fault { port: Port::Refusing, ..Fault::NONE }),
        Case {
            begins: Standing::Stay,
            ends: Standing::Stay,
            ..Case::new("mute for a while, connections stay", Fault { port: Port::Mute, ..Fault::NONE })
        },
        Case::new("mute, then all connections break", Fault { port: Port::Mute, ..Fault::NONE }),
        of("accepted, and not answered", |_| Act::Silence),
        of("the head of an answer and then nothing", |_| Act::HeadOnly),
        of("429, again in a second", |_| busy("1")),
        of("429, again tomorrow", |_| busy("86400")),
        of("429, again when the sun is cold", |_| busy("18446744073709551615")),
        of("500", |_| answer(500, status(500, "InternalError", "etcdserver: leader changed"))),
        of("503 by a balancer", |_| answer(503, "<html>no healthy upstream</html>".to_owned())),
        Case {
            hides: Hides::Pods,
            ..of("410 in the middle of a list", |asked| match asked {
                asked if !is_pods(asked) => Act::Pass,
                asked if asked.is_watch() => expired(),
                asked if asked.is_later_page() => {
                    answer(410, status(410, "Expired", "The provided continue parameter is too old"))
                }
                _ => Act::Pass,
            })
        },
        of(
            "watches end at once",
            |asked| if asked.is_watch() { answer(200, String::new()) } else { Act::Pass },
        ),
        of("watches end with an error", |asked| {
            if asked.is_watch() {
                ends_with(500, "InternalError", "etcdserver: no leader")
            } else {
                Act::Pass
            }
        }),
        of("an old cache", |asked| if asked.method == "GET" { Act::OldCache } else { Act::Pass }),
        of("lists cut in the middle", |asked| match asked {
            asked if asked.is_watch() => expired(),
            asked if asked.is_list() => Act::Half,
            _ => Act::Pass,
        }),
        Case::new("a certificate of the future", Fault { not_yet_valid: true, ..Fault::NONE }),
        Case {
            hides: Hides::Nothing,
            ..of("a clock that is off by years", |_| Act::Dated("Thu, 01 Jan 1970 00:00:01 GMT"))
        },
    ]
}

#[test]
fn faults_of_the_api_server_harm_no_lease_and_delay_no_pod() {
    let stage = Stage::new("test-faults");
    let api = up(&stage);
    let mut rig = Rig::start(&stage, &api);
    for case in cases() {
        rig.outlives(&case, |_| {}, |_| {});
    }
    rig.has_a_token_of_the_future();
    rig.lacks_a_right();
    rig.loses_its_connections_without_a_word();
}

#[test]
fn pods_come_and_go_while_the_api_server_is_away() {
    let stage = Stage::new("test-away");
    let api = up(&stage);
    let mut rig = Rig::start(&stage, &api);
    rig.is_left_alone_while_pods_churn();
}

fn away_for() -> Duration {
    Duration::from_secs(if std::env::var_os("HOLDFAST_LONG").is_some() { 3600 } else { 180 })
}

fn up(stage: &Stage) -> Api {
    stage.run(&["up", "--nodes", "1", "--plugin", "holdfast", "--type", "m5.4xlarge"]);
    install_chart(stage);
    Api::of(stage)
}

impl<'a> Rig<'a> {
    fn start(stage: &'a Stage, api: &'a Api) -> Self {
        let map = json!({ "metadata": { "name": "aws-node" }, "data": { "IP_COOLDOWN_PERIOD": "30" } });
        api.ask(Ask::make("/api/v1/namespaces/kube-system/configmaps", map));
        let refused = (0..REFUSED_PODS).map(|place| pods::refused_pod(&format!("refused-{place:02}"), NODE));
        api.ask_all(refused.map(|pod| Ask::make(PODS, pod)).collect());
        let certificates = Certificates::make();
        let net = Net::of_node(stage, NODE);
        let proxy = Proxy::start(net.clone(), Server::of(stage, net), &certificates);
        let port = proxy.port().to_string();
        let environment = [
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", &port),
            ("ANNOTATE_POD_IP", "true"),
        ];
        let mut daemon = Daemon::replace(stage, api, NODE, &certificates.authority(), &environment);
        daemon.start();
        let names: Vec<String> = (0..3).map(|place| format!("standing-{place}")).collect();
        let standing = pods::run(api, NODE, &names);
        let this = Self { stage, api, daemon, proxy, standing, cases: 0 };
        // Well to begin with, or nothing that follows means anything.
        for pod in &this.standing {
            this.is_annotated(pod, CAUGHT_UP_WITHIN);
        }
        wait("the settings are heard", CAUGHT_UP_WITHIN, || this.cooldown() == json!(30));
        wait("the condition stands", CAUGHT_UP_WITHIN, || this.condition()["status"] == "True");
        assert!(
            this.proxy.count(|asked| is_pods(asked) && asked.is_later_page()) > 0,
            "the list has two pages"
        );
        this
    }

    /// One case, with what else is to be done when it begins and when it ends.
    fn outlives(&mut self, case: &Case, begins: impl Fn(&Self), ends: impl Fn(&Self)) {
        let before = self.active_leases();
        let pings = Pings::start(self.stage, self.standing.iter().map(|pod| pod.address.clone()));
        let asked = self.proxy.count(|_| true);
        begins(self);
        self.proxy.set(case.fault, case.begins);
        let meanwhile = self.meanwhile();
        let begun = Instant::now();
        while begun.elapsed() < LASTS {
            std::thread::sleep(Duration::from_millis(500));
            self.has_not_heard(case, &meanwhile);
        }
        let asked = self.proxy.count(|_| true) - asked;
        ends(self);
        self.proxy.set(Fault::NONE, case.ends);
        let told = self.catches_up(&meanwhile, case.within);
        let pings = pings.end();
        self.harmed_none(&before, &meanwhile);
        println!(
            "{}: ADD {} ms, {asked} requests meanwhile, then {told}; {pings} pings, none lost",
            case.name,
            meanwhile.add.as_millis(),
        );
        pods::delete(self.api, &[meanwhile.pod.name]);
    }

    /// A pod comes, another one's sandbox cannot be wired, an administrator changes a setting, somebody spoils the condition.
    fn meanwhile(&mut self) -> Meanwhile {
        self.cases += 1;
        let number = self.cases;
        let cooldown = 30 + number;
        self.api.ask(Ask::merge(AWS_NODE, json!({ "data": { "IP_COOLDOWN_PERIOD": cooldown.to_string() } })));
        let spoilt =
            json!({ "type": CONDITION, "status": "False", "reason": "Spoilt", "message": "by somebody" });
        self.api.ask(Ask::strategic(
            &format!("{OWN_NODE}/status"),
            json!({ "status": { "conditions": [spoilt] } }),
        ));
        // By its name it is on the last page of a list.
        let pod = pods::run(self.api, NODE, &[format!("while-{number}")]).remove(0);
        let add = self.adds_at_once(number);
        let refused = format!("refused-{:02}", number as usize % REFUSED_PODS);
        let uid = self.api.ask(Ask::get(&format!("{PODS}/{refused}")))["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        let taken = Sandbox::make_taken(self.stage, NODE, &format!("taken-{number}"));
        for _ in 0..2 {
            let (_, output) = taken.call("ADD", &refused, &uid);
            assert!(!output.status.success(), "there was an eth0 already");
        }
        Meanwhile { cooldown, pod, refused, add }
    }

    /// ADDs of pods that the API server knows nothing of. The middle one: one alone may have met with a busy machine.
    fn adds_at_once(&self, number: u32) -> Duration {
        let add = |place| {
            let name = format!("alone-{number}-{place}");
            Sandbox::make(self.stage, NODE, &name).add(&name, &format!("uid-of-{name}")).0
        };
        let mut took = [0, 1, 2, 3, 4].map(add);
        took.sort();
        assert!(took[2] < ADD_WITHIN, "ADDs took {took:?}");
        took[2]
    }

    fn has_not_heard(&self, case: &Case, meanwhile: &Meanwhile) {
        let is_hidden = match case.hides {
            Hides::Everything => self.cooldown() != json!(meanwhile.cooldown),
            Hides::Pods => self.annotation(&meanwhile.pod).is_null(),
            Hides::Nothing => true,
        };
        assert!(is_hidden, "{}: this is no fault", case.name);
    }

    /// Gives how long each of it took.
    fn catches_up(&self, meanwhile: &Meanwhile, within: Duration) -> String {
        let begun = Instant::now();
        let mut told = Vec::new();
        let mut took = |what: &str| told.push(format!("{what} {:.1} s", begun.elapsed().as_secs_f64()));
        let left = || within.saturating_sub(begun.elapsed());
        wait("the new setting holds", left(), || self.cooldown() == json!(meanwhile.cooldown));
        took("settings");
        self.is_annotated(&meanwhile.pod, left());
        took("annotation");
        wait("the condition is right again", left(), || {
            let condition = self.condition();
            condition["status"] == "True" && condition["reason"] == "AddressesAvailable"
        });
        took("condition");
        wait("the event is there", left(), || self.event(&meanwhile.refused)["series"]["count"] == 2);
        took("event");
        let note = self.event(&meanwhile.refused)["note"].to_string();
        assert!(note.contains("eth0"), "the true cause: {note}");
        told.join(", ")
    }

    fn active_leases(&self) -> BTreeMap<String, Lease> {
        let mut leases = self.daemon.leases();
        leases.retain(|_, lease| lease.phase == "Active");
        leases
    }

    /// What was leased is leased, as the pods have it.
    fn harmed_none(&self, before: &BTreeMap<String, Lease>, meanwhile: &Meanwhile) {
        let after = self.daemon.leases();
        for (sandbox, lease) in before {
            assert_eq!(after.get(sandbox), Some(lease), "{sandbox}");
        }
        for pod in self.standing.iter().chain([&meanwhile.pod]) {
            let lease = after.values().find(|lease| lease.pod == format!("default/{}", pod.name)).unwrap();
            assert_eq!(
                (lease.address.as_str(), lease.phase.as_str()),
                (pod.address.as_str(), "Active"),
                "{pod:?}"
            );
            let stands = self.api.ask(Ask::get(&format!("{PODS}/{}", pod.name)));
            assert_eq!(stands["status"]["podIP"], pod.address.as_str());
            assert_eq!(stands["metadata"]["uid"], pod.uid.as_str());
        }
    }

    /// Of one resource only: the rest goes on.
    fn lacks_a_right(&mut self) {
        const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/aws-node";
        let before = self.active_leases();
        let role = self.api.ask(Ask::get(ROLE));
        let without: Vec<&Value> = role["rules"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["resources"] != json!(["pods"]))
            .collect();
        assert_eq!(without.len() + 1, role["rules"].as_array().unwrap().len());
        self.api.ask(Ask::merge(ROLE, json!({ "rules": without })));
        self.proxy.set(Fault::NONE, Standing::Break);
        let meanwhile = self.meanwhile();
        let told = CAUGHT_UP_WITHIN;
        wait("settings are heard of all the same", told, || self.cooldown() == json!(meanwhile.cooldown));
        wait("the condition is written all the same", told, || self.condition()["status"] == "True");
        assert_eq!(self.annotation(&meanwhile.pod), Value::Null, "nobody may write it");
        self.api.ask(Ask::merge(ROLE, json!({ "rules": role["rules"] })));
        let told = self.catches_up(&meanwhile, CAUGHT_UP_WITHIN);
        self.harmed_none(&before, &meanwhile);
        println!("no right to pods: ADD {} ms, then {told}", meanwhile.add.as_millis());
        pods::delete(self.api, &[meanwhile.pod.name]);
    }

    /// One that it has read is used for a minute: so late it meets with the one of the future.
    fn has_a_token_of_the_future(&mut self) {
        const READ_EVERY: Duration = Duration::from_secs(60);
        let case = Case::new("a token that is not valid yet", Fault::NONE);
        let begins = |rig: &Self| {
            rig.daemon.give_token(&future::token(rig.stage, rig.api, NODE));
            wait("the server does not take it", READ_EVERY * 2, || {
                rig.proxy.set(Fault::NONE, Standing::Break);
                rig.proxy.answers(401) > 0
            });
        };
        self.outlives(&case, begins, |rig| rig.daemon.give_token(&token(rig.api, NODE)));
    }

    /// No packet says that they are gone. It is noticed by the silence of watches, which is no word for two and a half minutes.
    fn loses_its_connections_without_a_word(&mut self) {
        let case = Case {
            begins: Standing::Stay,
            ends: Standing::Die,
            within: Duration::from_secs(150) + CAUGHT_UP_WITHIN,
            ..Case::new(
                "mute, then connections are dead without a word",
                Fault { port: Port::Mute, ..Fault::NONE },
            )
        };
        self.outlives(&case, |_| {}, |_| {});
    }

    /// For three minutes, or an hour where `HOLDFAST_LONG` is set, while sixty pods come and go and the daemon is started anew. What the cluster said last holds, all that
    /// came is told afterwards, and nothing that went is kept.
    fn is_left_alone_while_pods_churn(&mut self) {
        const ROUNDS: u32 = 6;
        let before = self.active_leases();
        let pings = Pings::start(self.stage, self.standing.iter().map(|pod| pod.address.clone()));
        self.proxy.set(Fault { port: Port::Refusing, ..Fault::NONE }, Standing::Break);
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut churned = Vec::new();
        for round in 0..ROUNDS {
            let names: Vec<String> = (0..10).map(|place| format!("churned-{round}-{place}")).collect();
            let came = pods::run(self.api, NODE, &names);
            slowest = slowest.max(self.adds_at_once(1000 + round));
            if round == ROUNDS / 2 {
                self.daemon.stop();
                self.daemon.start();
                assert_eq!(self.cooldown(), json!(30), "what the cluster said last");
            }
            if round + 1 < ROUNDS {
                while begun.elapsed() < away_for() * (round + 1) / ROUNDS {
                    std::thread::sleep(Duration::from_secs(1));
                    assert_eq!(self.cooldown(), json!(30), "it was heard of: this is no fault");
                }
                pods::delete(self.api, &names);
            } else {
                churned = came;
            }
        }
        while begun.elapsed() < away_for() {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(self.cooldown(), json!(30), "it was heard of: this is no fault");
        }
        // Not before: which pods got no network is not kept over a restart and is old news after ten minutes, since kubelet tries
        // them again.
        let meanwhile = self.meanwhile();
        let slowest = slowest.max(meanwhile.add);
        let away = begun.elapsed();
        // As kubelet does, which the server has answered all the time: the old one is over after an hour.
        self.daemon.give_token(&token(self.api, NODE));
        self.proxy.set(Fault::NONE, Standing::Break);
        let back = Instant::now();
        let told = self.catches_up(&meanwhile, CAUGHT_UP_WITHIN);
        for pod in &churned {
            self.is_annotated(pod, CAUGHT_UP_WITHIN.saturating_sub(back.elapsed()));
        }
        let all = back.elapsed();
        let pings = pings.end();
        self.harmed_none(&before, &meanwhile);
        let leased: BTreeSet<String> = self.active_leases().into_values().map(|lease| lease.pod).collect();
        let there = self.standing.iter().chain(&churned).chain([&meanwhile.pod]);
        let there: BTreeSet<String> = there.map(|pod| format!("default/{}", pod.name)).collect();
        let leased: BTreeSet<String> = leased.into_iter().filter(|pod| pod.starts_with("default/")).collect();
        assert_eq!(leased, there, "leases are those of pods that are there");
        println!(
            "away for {:.0} s, with {} pods coming and going: slowest ADD {} ms; then {told}, all annotations {:.1} s; {pings} \
             pings, none lost",
            away.as_secs_f64(),
            ROUNDS * 10,
            slowest.as_millis(),
            all.as_secs_f64(),
        );
    }

    fn is_annotated(&self, pod: &Running, within: Duration) {
        wait("the pod is annotated", within, || self.annotation(pod) == pod.address.as_str());
    }

    fn annotation(&self, pod: &Running) -> Value {
        self.api.ask(Ask::get(&format!("{PODS}/{}", pod.name)))["metadata"]["annotations"][POD_IPS].clone()
    }

    fn cooldown(&self) -> Value {
        self.daemon.setting("IP_COOLDOWN_PERIOD")
    }

    fn condition(&self) -> Value {
        let node = self.api.ask(Ask::get(OWN_NODE));
        let conditions = node["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == CONDITION).cloned().unwrap_or_default()
    }

    /// The last one about a pod.
    fn event(&self, pod: &str) -> Value {
        let list = self.api.ask(Ask::get("/apis/events.k8s.io/v1/namespaces/default/events"));
        let is_it =
            |event: &&Value| event["regarding"]["name"] == pod && event["reason"] == "PodNetworkNotReady";
        list["items"].as_array().unwrap().iter().rfind(is_it).cloned().unwrap_or_default()
    }
}

fn wait(what: &str, patience: Duration, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
