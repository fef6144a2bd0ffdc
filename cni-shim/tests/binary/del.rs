use std::fs;
use std::thread;

use holdfast_wire::code;
use holdfast_wire::message::{Answer, Request};
use holdfast_wire::spool::Spool;
use serde_json::json;

use crate::fake_daemon::{FakeDaemon, Reply, added, broken_replies, failed};
use crate::runtime::Runtime;

#[test]
fn del_asks_the_daemon_and_prints_nothing() {
    let runtime = Runtime::new();
    let daemon = FakeDaemon::start(&runtime.socket(), Reply::Answer(Answer::Done));
    runtime.run("DEL").silent_success();
    let heard = daemon.only();
    assert!(heard.descriptors.is_some());
    let Request::Del(del) = heard.request.request else { panic!("{:?}", heard.request) };
    assert_eq!(del.sandbox.to_string(), "aws-cni/3f5c9d/eth0");
    assert_eq!(del.pod.unwrap().to_string(), "default/sample-pod");
    assert!(!runtime.path("var").exists(), "no tombstone for what was done");
}

#[test]
fn del_works_when_the_namespace_is_gone() {
    for (path, said) in [("", None), ("/nonexistent/ns", Some("/nonexistent/ns"))] {
        let runtime = Runtime::new().env("CNI_NETNS", path);
        let daemon = FakeDaemon::start(&runtime.socket(), Reply::Answer(Answer::Done));
        runtime.run("DEL").silent_success();
        let heard = daemon.only();
        assert!(heard.descriptors.is_none());
        let Request::Del(del) = heard.request.request else { panic!("{:?}", heard.request) };
        assert_eq!(del.netns_path.as_deref(), said);
    }
}

#[test]
fn ten_dels_without_a_daemon_succeed_and_leave_one_tombstone() {
    let runtime = Runtime::new();
    for _ in 0..10 {
        runtime.run("DEL").silent_success();
    }
    let listing = runtime.spooled();
    assert_eq!(listing.tombstones.len(), 1);
    let tombstone = &listing.tombstones[0];
    assert_eq!(tombstone.sandbox.to_string(), "aws-cni/3f5c9d/eth0");
    assert_eq!(tombstone.pod.as_ref().unwrap().to_string(), "default/sample-pod");
    assert_eq!(tombstone.netns_path.as_deref(), Some(runtime.env["CNI_NETNS"].as_str()));
    assert!(tombstone.reason.contains("no daemon"), "{}", tombstone.reason);
    assert!(tombstone.recorded_at_ms > 1_600_000_000_000, "{}", tombstone.recorded_at_ms);
    assert_eq!(fs::read_dir(runtime.path("var/spool")).unwrap().count(), 1, "nothing beside it");
}

#[test]
fn dels_at_once_do_not_disturb_each_other() {
    let runtime = Runtime::new();
    thread::scope(|scope| {
        for n in 0..12 {
            let runtime = &runtime;
            scope.spawn(move || {
                let mut conf = runtime.conf.clone();
                conf["name"] = json!(format!("net-{}", n % 3));
                runtime.run_with("DEL", conf.to_string().as_bytes()).silent_success();
            });
        }
    });
    let listing = runtime.spooled();
    assert_eq!(listing.tombstones.len(), 3, "{listing:?}");
    assert_eq!(fs::read_dir(runtime.path("var/spool")).unwrap().count(), 3);
}

#[test]
fn a_release_that_the_daemon_did_not_confirm_is_recorded() {
    let mut replies = broken_replies();
    replies.push(("refused", failed(101)));
    replies.push(("answer to another question", added()));
    replies.push(("silent", Reply::Silence));
    for (name, reply) in replies {
        let runtime = Runtime::new().conf("deadlineMs", 300);
        let daemon = FakeDaemon::start(&runtime.socket(), reply);
        runtime.run("DEL").silent_success();
        daemon.only();
        let listing = runtime.spooled();
        assert_eq!(listing.tombstones.len(), 1, "{name}");
        assert!(!listing.tombstones[0].reason.is_empty(), "{name}");
    }
}

#[test]
fn an_unusable_spool_is_survived_beside_the_socket() {
    let runtime = Runtime::new();
    fs::write(runtime.path("var"), "a file where the spool's parent should be").unwrap();
    runtime.run("DEL").silent_success();
    let beside = Spool::beside(&runtime.socket()).list().unwrap();
    assert_eq!(beside.tombstones.len(), 1);
}

#[test]
fn a_release_that_nothing_would_remember_is_an_error_with_every_cause() {
    let runtime = Runtime::new();
    fs::write(runtime.path("var"), "").unwrap();
    fs::write(runtime.path("run/spool"), "").unwrap();
    let error = runtime.run("DEL").error(code::TRY_AGAIN_LATER);
    let details = error["details"].as_str().unwrap();
    for part in ["no daemon", "var/spool", "run/spool"] {
        assert!(details.contains(part), "{part} not in {details}");
    }
}

#[test]
fn what_del_does_not_need_cannot_stop_it() {
    let runtime = Runtime::new()
        .conf("cniVersion", "9.0.0")
        .conf("mtu", json!({"odd": true}))
        .conf("vethPrefix", "toolong")
        .conf("podSGEnforcingMode", 7)
        .conf("deadlineMs", "soon")
        .conf("prevResult", "garbage")
        .env("CNI_ARGS", "nonsense");
    runtime.run("DEL").silent_success();
    assert_eq!(runtime.spooled().tombstones.len(), 1);
}

#[test]
fn del_of_no_sandbox_is_refused_and_leaves_nothing() {
    for (variable, value) in [("CNI_CONTAINERID", ""), ("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "a/b")] {
        let runtime = Runtime::new().env(variable, value);
        let error = runtime.run("DEL").error(code::INVALID_ENVIRONMENT);
        assert!(error["details"].as_str().unwrap().contains(variable), "{error}");
        assert!(!runtime.path("var").exists());
    }
    Runtime::new().run_with("DEL", b"{").error(code::DECODING_FAILURE);
}
