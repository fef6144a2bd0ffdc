use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use holdfast_wire::code;
use holdfast_wire::message::{Answer, Request};
use serde_json::{Value, json};

use crate::fake_daemon::{FakeDaemon, Reply, added, failed};
use crate::runtime::{Runtime, ended, run};

fn yes() -> Reply {
    Reply::Answer(Answer::Done)
}

#[test]
fn check_asks_with_the_namespace_and_the_addresses_of_the_add() {
    let previous = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.5.17/32"}]});
    let runtime = Runtime::new().conf("prevResult", previous);
    let daemon = FakeDaemon::start(&runtime.socket(), yes());
    runtime.run("CHECK").silent_success();
    let heard = daemon.only();
    assert!(heard.descriptors.is_some());
    let Request::Check(check) = heard.request.request else { panic!("{:?}", heard.request) };
    assert_eq!(check.expected, ["10.0.5.17".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn check_passes_the_daemons_no_on_and_fails_without_one() {
    let runtime = Runtime::new();
    let daemon = FakeDaemon::start(&runtime.socket(), failed(code::CHECK_FAILED));
    runtime.run("CHECK").error(code::CHECK_FAILED);
    daemon.only();
    Runtime::new().conf("deadlineMs", 200).run("CHECK").error(code::TRY_AGAIN_LATER);
}

#[test]
fn status_needs_no_container() {
    let mut runtime = Runtime::new();
    runtime.env.clear();
    let daemon = FakeDaemon::start(&runtime.socket(), yes());
    runtime.run("STATUS").silent_success();
    assert!(daemon.only().descriptors.is_none());
}

#[test]
fn status_says_no_with_the_codes_of_the_specification() {
    let error = Runtime::new().run("STATUS").error(code::NOT_AVAILABLE);
    assert!(error["details"].as_str().unwrap().contains("no daemon"), "{error}");
    for (said, want) in [(50, 50), (51, 51), (101, 50)] {
        let runtime = Runtime::new();
        let daemon = FakeDaemon::start(&runtime.socket(), failed(said));
        let error = runtime.run("STATUS").error(want);
        assert!(error["details"].as_str().unwrap().contains("subnet-1"), "{error}");
        daemon.only();
    }
}

#[test]
fn gc_passes_the_runtimes_list_on() {
    let list = json!([{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "eth1"}]);
    let runtime = Runtime::new().conf("cni.dev/valid-attachments", list);
    let daemon = FakeDaemon::start(&runtime.socket(), yes());
    runtime.run("GC").silent_success();
    let Request::Gc(gc) = daemon.only().request.request else { panic!() };
    let seen: Vec<_> = gc.valid.iter().map(|a| format!("{}/{}", a.container_id, a.ifname)).collect();
    assert_eq!(seen, ["a/eth0", "b/eth1"]);
}

#[test]
fn gc_without_attachments_is_passed_on() {
    let mut nothing = Runtime::new();
    nothing.conf["cni.dev/valid-attachments"] = Value::Null;
    for runtime in [Runtime::new(), nothing] {
        let daemon = FakeDaemon::start(&runtime.socket(), yes());
        runtime.run("GC").silent_success();
        let Request::Gc(gc) = daemon.only().request.request else { panic!() };
        assert_eq!(gc.valid, []);
    }
}

#[test]
fn commands_that_the_configurations_version_does_not_have_are_refused() {
    for (command, version) in [("CHECK", "0.3.1"), ("STATUS", "0.4.0"), ("GC", "0.4.0")] {
        let runtime = Runtime::new().conf("cniVersion", version);
        let daemon = FakeDaemon::start(&runtime.socket(), yes());
        let error = runtime.run(command).error(code::INCOMPATIBLE_VERSION);
        assert!(error["details"].as_str().unwrap().contains(command), "{error}");
        assert!(daemon.stop().is_empty());
    }
}

#[test]
fn gc_with_a_list_that_cannot_be_read_releases_nothing() {
    for conf in [json!({}), json!([{"containerID": "a"}])] {
        let runtime = Runtime::new().conf("cni.dev/valid-attachments", conf);
        let daemon = FakeDaemon::start(&runtime.socket(), yes());
        runtime.run("GC").error(code::INVALID_CONFIG);
        assert!(daemon.stop().is_empty());
    }
}

#[test]
fn version_needs_nothing() {
    let mut runtime = Runtime::new();
    runtime.env.clear();
    for (stdin, speaks) in
        [(r#"{"cniVersion":"0.4.0"}"#, "0.4.0"), (r#"{"cniVersion":"3.0.0"}"#, "1.1.0"), ("?", "1.1.0")]
    {
        let reply = runtime.run_with("VERSION", stdin.as_bytes()).result();
        assert_eq!(reply["cniVersion"], speaks);
        assert_eq!(reply["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    }
}

#[test]
fn an_unknown_command_is_an_error() {
    let error = Runtime::new().run("UPDATE").error(code::INVALID_ENVIRONMENT);
    assert!(error["msg"].as_str().unwrap().contains("CNI_COMMAND \"UPDATE\""), "{error}");
}

#[test]
fn run_by_hand_it_says_what_it_is() {
    let mut bare = Command::new(env!("CARGO_BIN_EXE_aws-cni"));
    bare.env_clear();
    let ran = run(bare, b"");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("CNI plugin") && ran.stderr.contains("CNI_COMMAND"), "{}", ran.stderr);

    let mut version = Command::new(env!("CARGO_BIN_EXE_aws-cni"));
    version.env_clear().arg("--version");
    let ran = run(version, b"");
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", ran.stdout);
}

fn log_lines(runtime: &Runtime) -> Vec<Value> {
    let text = fs::read_to_string(runtime.path("plugin.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_call_leaves_one_line_in_the_log_that_the_configuration_names() {
    let runtime = Runtime::new();
    let log = runtime.path("plugin.log");
    let runtime = runtime.conf("pluginLogFile", log.to_str().unwrap()).conf("pluginLogLevel", "Debug");
    let runtime = runtime.conf("deadlineMs", 200);
    runtime.run("ADD").error(code::TRY_AGAIN_LATER);
    runtime.run("DEL").silent_success();
    let lines = log_lines(&runtime);
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["level"], &lines[0]["command"]), (&json!("error"), &json!("ADD")));
    assert!(lines[0]["details"].as_str().unwrap().contains("no daemon"));
    assert_eq!((&lines[1]["level"], &lines[1]["container"]), (&json!("info"), &json!("3f5c9d")));
    assert!(lines[1]["note"].as_str().unwrap().contains("var/spool"));

    let runtime = runtime.conf("pluginLogLevel", "Error");
    runtime.run("DEL").silent_success();
    assert_eq!(log_lines(&runtime).len(), 2, "successes are below this level");
}

#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_fail() {
    for path in ["/nonexistent/dir/plugin.log", "/proc/self", "/dev/full"] {
        let runtime = Runtime::new().conf("pluginLogFile", path);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        runtime.run("ADD").result();
        daemon.only();
    }
    // Whatever the configuration says, stdout belongs to the result.
    for path in ["stdout", "/dev/stdout"] {
        let runtime = Runtime::new().conf("pluginLogFile", path);
        let daemon = FakeDaemon::start(&runtime.socket(), added());
        let ran = runtime.run("ADD");
        assert_eq!((ran.code, ran.stdout.lines().count(), ran.stderr.lines().count()), (Some(0), 1, 1));
        daemon.only();
    }
}

#[test]
fn a_result_that_goes_to_a_file_is_not_spoilt_by_a_log_that_leads_there() {
    let runtime = Runtime::new().conf("pluginLogFile", "/proc/self/fd/1");
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    let file = runtime.path("result");
    let mut plugin = runtime.command("ADD");
    plugin.stdin(Stdio::piped()).stdout(File::create(&file).unwrap());
    let mut child = plugin.spawn().unwrap();
    child.stdin.take().unwrap().write_all(runtime.conf.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    daemon.only();
}

/// A pipe that is full, and the means to keep it so.
fn full_pipe(runtime: &Runtime) -> (PathBuf, File) {
    let pipe = runtime.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // For reading too, so that opening it waits for nobody.
    let mut end =
        File::options().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&pipe).unwrap();
    while end.write(&[b'x'; 4096]).is_ok() {}
    (pipe, end)
}

#[test]
fn a_log_that_is_a_pipe_holds_no_pod() {
    let runtime = Runtime::new();
    let (pipe, _end) = full_pipe(&runtime);
    let runtime = runtime.conf("pluginLogFile", pipe.to_str().unwrap());
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    runtime.run("ADD").result();
    daemon.only();
}

#[test]
fn a_standard_error_that_nobody_reads_holds_no_pod() {
    let runtime = Runtime::new().conf("pluginLogFile", "stderr");
    let (pipe, _end) = full_pipe(&runtime);
    let daemon = FakeDaemon::start(&runtime.socket(), added());
    // Opened anew, and so without O_NONBLOCK: a write would wait.
    let stderr = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut plugin = runtime.command("ADD");
    let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    child.stdin.take().unwrap().write_all(runtime.conf.to_string().as_bytes()).unwrap();
    assert!(ended(&mut child).success());
    daemon.only();
}
