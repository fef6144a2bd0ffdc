use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use holdfast_wire::code;
use holdfast_wire::message::{Answer, EnforcingMode, Failed, Request, RequestError};
use serde_json::{Value, json};

use crate::fake_daemon::{
    FakeDaemon, Heard, REFUSAL_TAKES, Reply, added, broken_replies, failed, of_add, serve,
};
use crate::runtime::Runtime;

#[test]
fn add_prints_the_daemons_answer_in_the_incumbents_layout() {
    let runtime = Runtime::new();
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    let result = runtime.run("ADD").result();
    assert_eq!(
        result,
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "enicc21c2d7785"},
                {"name": "eth0", "mac": "2", "sandbox": runtime.env["CNI_NETNS"]},
                {"name": "dummycc21c2d7785", "mac": "0", "sandbox": "1"},
            ],
            "ips": [{"interface": 1, "address": "10.0.5.17/32"}],
            "dns": {},
        })
    );
    daemon.only();
}

#[test]
fn add_tells_the_daemon_all_it_knows_and_passes_the_namespace() {
    let runtime =
        Runtime::new().conf("mtu", 1500).conf("podSGEnforcingMode", "standard").conf("vethPrefix", "abc");
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    runtime.run("ADD").result();
    let heard = daemon.only();
    assert_eq!(heard.request.patience_ms, 110_000);
    let Request::Add(add) = heard.request.request else { panic!("{:?}", heard.request) };
    assert_eq!(add.sandbox.to_string(), "aws-cni/3f5c9d/eth0");
    assert_eq!((add.pod.to_string().as_str(), add.pod.uid.as_deref()), ("default/sample-pod", Some("u-1")));
    assert_eq!(
        (add.mtu, add.veth_prefix.as_str(), add.enforcing_mode),
        (1500, "abc", EnforcingMode::Standard)
    );
    assert_eq!(add.netns_path, runtime.env["CNI_NETNS"]);

    let arrived =
        File::from(heard.descriptors.expect("the namespace's descriptor").netns).metadata().unwrap();
    let own = fs::metadata("/proc/self/ns/net").unwrap();
    assert_eq!((arrived.dev(), arrived.ino()), (own.dev(), own.ino()));
    assert_eq!(heard.extra, 0);
}

/// By the capability, to which the runtime gives the pod's annotations.
#[test]
fn a_pod_that_asks_for_every_network_card_is_asked_for_so() {
    for (word, asked) in [("multi-nic-attachment", true), ("single", false)] {
        let annotations = json!({"io.kubernetes.cri.pod-annotations": {"k8s.amazonaws.com/nicConfig": word}});
        let runtime = Runtime::new().conf("runtimeConfig", annotations);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        runtime.run("ADD").result();
        let Request::Add(add) = daemon.only().request.request else { panic!("no ADD") };
        assert_eq!(add.on_every_card, asked, "{word}");
    }
}

#[test]
fn the_callers_trace_is_passed_on_and_one_that_is_none_is_not() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, passed) in [(Some(trace), Some(trace)), (Some("4bf92f"), None), (None, None)] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut runtime = Runtime::new().conf("pluginLogFile", log.path().display().to_string());
        if let Some(given) = given {
            runtime = runtime.env("TRACEPARENT", given);
        }
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        runtime.run("ADD").result();
        let heard = daemon.only().request.trace;
        assert_eq!(heard.as_ref().map(holdfast_wire::trace::TraceParent::as_str), passed, "{given:?}");
        let line: Value = serde_json::from_str(&fs::read_to_string(log.path()).unwrap()).unwrap();
        assert_eq!(line["trace"].as_str(), passed, "{given:?}");
    }
}

#[test]
fn results_speak_the_configurations_version() {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let runtime = Runtime::new().conf("cniVersion", version);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        let result = runtime.run("ADD").result();
        assert_eq!(result["cniVersion"], version);
        let family = if version.starts_with('0') { json!("4") } else { Value::Null };
        assert_eq!(result["ips"][0]["version"], family, "{version}");
        daemon.only();
    }
}

#[test]
fn what_an_earlier_plugin_gave_is_passed_on() {
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "other0", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "192.0.2.9/24", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
    });
    let runtime = Runtime::new().conf("prevResult", previous.clone());
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    let result = runtime.run("ADD").result();
    daemon.only();
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(result["ips"][0], previous["ips"][0]);
    assert_eq!(result["ips"][1], json!({"interface": 2, "address": "10.0.5.17/32"}));
    assert_eq!(result["routes"], previous["routes"]);

    let runtime = Runtime::new().conf("prevResult", "nonsense");
    let error = runtime.run("ADD").error(code::INVALID_CONFIG);
    assert!(error["details"].as_str().unwrap().contains("prevResult"), "{error}");
}

#[test]
fn the_daemons_refusal_reaches_the_runtime_unchanged() {
    let runtime = Runtime::new();
    let daemon = FakeDaemon::start(&runtime.socket(), failed(101));
    let error = runtime.run("ADD").error(101);
    assert_eq!(error["cniVersion"], "1.0.0");
    assert_eq!(error["msg"], "no address for the pod");
    assert_eq!(error["details"], "subnet-1 has no free address");
    daemon.only();
}

#[test]
fn without_a_daemon_add_says_try_again_later_and_why() {
    let runtime = Runtime::new().conf("deadlineMs", 200);
    let error = runtime.run("ADD").error(code::TRY_AGAIN_LATER);
    let details = error["details"].as_str().unwrap();
    assert!(details.contains("cni.sock") && details.contains("No such file"), "{details}");
    // A socket that a killed daemon left behind.
    FakeDaemon::start(&runtime.socket(), added()).stop();
    let error = runtime.run("ADD").error(code::TRY_AGAIN_LATER);
    assert!(error["details"].as_str().unwrap().contains("refused"), "{error}");
    assert!(!runtime.path("var").exists(), "ADD leaves no tombstone");
}

#[test]
fn broken_replies_are_errors_with_a_cause() {
    for (name, reply) in broken_replies() {
        let runtime = Runtime::new();
        let daemon = FakeDaemon::start(&runtime.socket(), reply);
        let ends_early = name.starts_with("truncated") || name.starts_with("closed");
        let want = if ends_early { code::TRY_AGAIN_LATER } else { code::PROTOCOL };
        let error = runtime.run("ADD").error(want);
        assert!(!error["details"].as_str().unwrap().is_empty(), "{name}: {error}");
        // A daemon that goes away has a successor, who is asked again, but not for ever.
        assert_eq!(daemon.stop().len(), if ends_early { 5 } else { 1 }, "{name}");
    }
}

#[test]
fn a_daemon_of_another_protocol_is_reported_with_both_versions() {
    let runtime = Runtime::new();
    let refusal = RequestError::Protocol { asked: 7 }.answer();
    let daemon = FakeDaemon::start(&runtime.socket(), Reply::Answer(refusal));
    let error = runtime.run("ADD").error(code::PROTOCOL);
    assert!(error["details"].as_str().unwrap().contains("protocol 7, this daemon 1 to 2"), "{error}");
    daemon.only();
}

#[test]
fn a_daemon_of_an_older_protocol_is_asked_again_in_its_own() {
    for command in ["ADD", "DEL", "CHECK"] {
        let runtime = Runtime::new();
        let answer = if command == "ADD" { of_add() } else { Answer::Done };
        let daemon = FakeDaemon::start(&runtime.socket(), Reply::Protocol1(answer));
        let ran = runtime.run(command);
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        let heard = daemon.stop();
        let protocols: Vec<u16> = heard.iter().map(|heard| heard.request.protocol).collect();
        assert_eq!(protocols, [2, 1], "{command}");
        assert!(
            heard[1].descriptors.as_ref().is_some_and(|came| came.netlink.is_none()) && heard[1].extra == 0,
            "{command}: the namespace and nothing else"
        );
        let [first, second] = [0, 1].map(|at: usize| Duration::from_millis(heard[at].request.patience_ms));
        assert!(second + REFUSAL_TAKES <= first, "{command}: it is told what is left: {first:?}, {second:?}");
    }
}

#[test]
fn an_answer_to_another_question_is_not_a_success() {
    let runtime = Runtime::new();
    let daemon = FakeDaemon::start(&runtime.socket(), Reply::Answer(Answer::Done));
    runtime.run("ADD").error(code::PROTOCOL);
    daemon.only();
}

#[test]
fn a_silent_daemon_is_given_up_at_the_deadline_that_it_was_told() {
    let runtime = Runtime::new().conf("deadlineMs", 200);
    let daemon = FakeDaemon::start(&runtime.socket(), Reply::Silence);
    let ran = runtime.run("ADD");
    let error = ran.error(code::TRY_AGAIN_LATER);
    assert!(error["details"].as_str().unwrap().contains("200 ms"), "{error}");
    assert!(ran.took >= Duration::from_millis(200) && ran.took < Duration::from_secs(10), "{:?}", ran.took);
    assert_eq!(daemon.only().request.patience_ms, 200);
}

/// Who comes within ten seconds.
fn accepted(listener: &UnixListener) -> Option<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    for _ in 0..1000 {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            return Some(stream);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Takes one request at `socket` and goes away as a killed daemon does: its socket's file stays.
fn die_with_a_request(socket: &Path) -> Heard {
    let listener = UnixListener::bind(socket).unwrap();
    let (stream, _) = listener.accept().unwrap();
    serve(stream, &Reply::Bytes(Vec::new()))
}

/// Who kills daemons all the time is not the question's fault.
#[test]
fn daemons_that_lived_on_with_the_question_do_not_count() {
    let runtime = Runtime::new();
    thread::scope(|scope| {
        let running = scope.spawn(|| runtime.run("ADD"));
        for _ in 0..6 {
            let listener = UnixListener::bind(runtime.socket()).unwrap();
            let Some(stream) = accepted(&listener) else { break };
            thread::sleep(Duration::from_millis(1_100));
            serve(stream, &Reply::Bytes(Vec::new()));
            fs::remove_file(runtime.socket()).unwrap();
        }
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        running.join().unwrap().result();
        daemon.only();
    });
}

#[test]
fn the_successor_of_a_daemon_that_died_with_the_question_is_asked() {
    for command in ["ADD", "CHECK"] {
        let runtime = Runtime::new();
        let reply = if command == "ADD" { added() } else { Reply::Answer(Answer::Done) };
        thread::scope(|scope| {
            let running = scope.spawn(|| runtime.run(command));
            let first = die_with_a_request(&runtime.socket());
            // As a new daemon does.
            fs::remove_file(runtime.socket()).unwrap();
            let daemon = FakeDaemon::start(&runtime.socket(), reply);
            let ran = running.join().unwrap();
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let second = daemon.only();
            assert_eq!(second.request.request, first.request.request, "the same question");
            assert!(second.request.patience_ms < first.request.patience_ms, "within what is left");
            assert!(second.descriptors.is_some(), "with the namespace");
        });
    }
}

#[test]
fn a_daemon_that_is_stopping_is_not_the_last_word() {
    let runtime = Runtime::new();
    thread::scope(|scope| {
        let running = scope.spawn(|| runtime.run("ADD"));
        let listener = UnixListener::bind(runtime.socket()).unwrap();
        serve(listener.accept().unwrap().0, &Reply::Answer(Answer::Failed(Failed::stopping())));
        fs::remove_file(runtime.socket()).unwrap();
        drop(listener);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        running.join().unwrap().result();
        daemon.only();
    });
}

#[test]
fn only_what_may_be_repeated_waits_for_a_daemon() {
    for command in ["STATUS", "GC", "DEL"] {
        let runtime = Runtime::new().conf("cni.dev/valid-attachments", json!([]));
        let ran = runtime.run(command);
        assert!(ran.took < Duration::from_secs(5), "{command}: {ran:?}");
    }
}

#[test]
fn a_namespace_that_is_none_never_reaches_the_daemon() {
    let runtime = Runtime::new();
    let file = runtime.path("left-over");
    fs::write(&file, "").unwrap();
    for (path, cause) in [("/nonexistent/ns", "No such file"), (file.to_str().unwrap(), "not a namespace")] {
        let runtime = Runtime::new().env("CNI_NETNS", path);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        for command in ["ADD", "CHECK"] {
            let error = runtime.run(command).error(code::INVALID_ENVIRONMENT);
            assert!(error["msg"].as_str().unwrap().contains("CNI_NETNS"), "{error}");
            assert!(error["details"].as_str().unwrap().contains(cause), "{error}");
        }
        assert!(daemon.stop().is_empty());
    }
}

#[test]
fn every_bad_variable_is_named() {
    for (variable, value) in [
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "much-too-long-name"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_NETNS", ""),
        ("CNI_ARGS", ""),
        ("CNI_ARGS", "K8S_POD_NAME=x"),
        ("CNI_ARGS", "nonsense"),
    ] {
        let error = Runtime::new().env(variable, value).run("ADD").error(code::INVALID_ENVIRONMENT);
        assert!(error["details"].as_str().unwrap().contains(variable), "{variable}={value}: {error}");
    }
}

#[test]
fn a_bad_configuration_is_refused_with_the_key() {
    for (key, value, code, part) in [
        ("cniVersion", json!("9.0.0"), code::INCOMPATIBLE_VERSION, "9.0.0"),
        ("cniVersion", Value::Null, code::INCOMPATIBLE_VERSION, "0.1.0"),
        ("name", Value::Null, code::INVALID_CONFIG, "name"),
        ("vethPrefix", json!("toolong"), code::INVALID_CONFIG, "vethPrefix"),
        ("podSGEnforcingMode", json!("lax"), code::UNSUPPORTED_FIELD, "lax"),
        ("socket", json!("not/absolute"), code::INVALID_CONFIG, "socket"),
    ] {
        let error = Runtime::new().conf(key, value).run("ADD").error(code);
        assert!(error["details"].as_str().unwrap().contains(part), "{key}: {error}");
    }
    for (text, code) in [
        (&b""[..], code::DECODING_FAILURE),
        (b"{\"name\":", code::DECODING_FAILURE),
        (b"\xff\xff", code::DECODING_FAILURE),
        (b"[1]", code::INVALID_CONFIG),
    ] {
        let error = Runtime::new().run_with("ADD", text).error(code);
        assert_eq!(error["cniVersion"], "1.1.0");
    }
    let large = vec![b' '; 5 * 1024 * 1024];
    Runtime::new().run_with("ADD", &large).error(code::INVALID_CONFIG);
}
