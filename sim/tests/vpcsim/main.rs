//! The program: up, use, down; killed at any time it leaves nothing; it runs in a user namespace. Needs root, or that
//! the kernel allows user namespaces.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod dead_callers;
mod growth;
mod up;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use up::{BOUND, Up, VPCSIM, alone, scenario, traces, vpcsim, well};

#[test]
fn a_box_is_used_through_its_printed_paths_and_environment() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let mut up = Up::start(run_dir.path(), "used");
    let other = up.described["nodes"][1]["address"].as_str().unwrap().to_owned();
    let written = std::fs::read_to_string(up.folder.join("box.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), up.described);

    // A plain nsenter on the printed path, and a packet to the other node and back.
    let udp = "import socket,sys
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.settimeout(5)
a.connect((sys.argv[1], 7777)); a.send(b'x'); print(a.recv(64).decode().split()[0])";
    let internet = up.described["internet"]["address"].as_str().unwrap().to_owned();
    let seen = Command::new("nsenter")
        .arg(format!("--net={}", up.netns(0)))
        .args(["python3", "-c", udp, &internet])
        .output()
        .unwrap();
    assert_eq!(well(seen).trim(), up.described["nodes"][0]["address"].as_str().unwrap());
    let refused = "import socket,sys
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.settimeout(5)
a.connect((sys.argv[1], 9)); a.send(b'x')
try: a.recv(64)
except ConnectionRefusedError: print('refused by the other node itself')";
    let answer = vpcsim(run_dir.path(), "used", &["exec", "node-a", "python3", "-c", refused, &other]);
    assert_eq!(well(answer).trim(), "refused by the other node itself");

    // The environment points a client there; the call is seen as the node's, whose role it takes from metadata.
    let call = "import json,os,time,urllib.request
def http(url, data=None, method=None, **headers):
    request = urllib.request.Request(url, data, {k.replace('_', '-'): v for k, v in headers.items()}, method=method)
    return urllib.request.urlopen(request, timeout=5)
key, session = os.environ.get('AWS_ACCESS_KEY_ID'), {}
if key is None:
    metadata = 'http://169.254.169.254/latest/'
    token = http(metadata + 'api/token', method='PUT', x_aws_ec2_metadata_token_ttl_seconds='60').read()
    roles = metadata + 'meta-data/iam/security-credentials/'
    role = http(roles, x_aws_ec2_metadata_token=token).read().decode()
    found = json.load(http(roles + role, x_aws_ec2_metadata_token=token))
    key, session = found['AccessKeyId'], {'x_amz_security_token': found['Token']}
date = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())
answer = http(os.environ['AWS_ENDPOINT_URL_EC2'], b'Action=DescribeSubnets&Version=2016-11-15',
  Authorization='AWS4-HMAC-SHA256 Credential=%s/%s/%s/ec2/aws4_request, SignedHeaders=host, Signature=0'
  % (key, date[:8], os.environ['AWS_REGION']), x_amz_date=date, **session)
print(key[:4], answer.status)";
    let instance = up.described["nodes"][1]["instance"].as_str().unwrap();
    for (options, expected, calls) in [(&[][..], "ASIA 200", 1), (&["--static-keys"], "AKIA 200", 2)] {
        // What the caller's own environment holds leads nowhere else.
        let mut exec = Command::new(VPCSIM);
        exec.args(["exec", "--name", "used", "--run-dir"]).arg(run_dir.path()).args(options);
        exec.args(["node-b", "python3", "-c", call]).env("AWS_ACCESS_KEY_ID", "AKIAFOREIGN");
        assert_eq!(well(exec.output().unwrap()).trim(), expected);
        let counts: Value =
            serde_json::from_str(&well(vpcsim(run_dir.path(), "used", &["admin", "counts"]))).unwrap();
        assert_eq!(counts["ec2_by_caller"][instance]["DescribeSubnets"], calls, "{counts}");
    }

    // The admin client.
    let admin = |arguments: &[&str]| {
        let all: Vec<&str> = ["admin"].iter().chain(arguments).copied().collect();
        vpcsim(run_dir.path(), "used", &all)
    };
    well(admin(&["fault", r#"{"kind": {"type": "throttle"}}"#, "--node", "node-b"]));
    let faults: Value = serde_json::from_str(&well(admin(&["faults"]))).unwrap();
    assert_eq!(faults[0]["fault"]["scope"]["instance"], instance);
    let throttled = vpcsim(run_dir.path(), "used", &["exec", "node-b", "python3", "-c", call]);
    assert!(String::from_utf8_lossy(&throttled.stderr).contains("503"), "{throttled:?}");
    well(admin(&["clear"]));
    well(admin(&["reset"]));
    assert_eq!(well(admin(&["calls"])).trim(), "[]");
    let refused =
        admin(&["foreign", r#"{"DeleteNetworkInterface": {"networkInterfaceId": "eni-12345678"}}"#]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stdout).contains("NotFound"), "{refused:?}");

    // An attached ENI appears by itself, when its time has come.
    let state: Value = serde_json::from_str(&well(admin(&["state"]))).unwrap();
    let subnet = &state["subnets"][0]["subnet_id"];
    let create = json!({ "CreateNetworkInterface": { "subnet_id": subnet } });
    let created = well(admin(&["foreign", &create.to_string()]));
    let (at, _) = created.match_indices("\"eni-").next().unwrap();
    let eni = &created[at + 1..].split('"').next().unwrap();
    let attach = json!({ "AttachNetworkInterface": {
        "networkInterfaceId": eni, "instanceId": instance, "deviceIndex": 1 } });
    let attached = Instant::now();
    well(admin(&["foreign", &attach.to_string()]));
    let appeared =
        || well(vpcsim(run_dir.path(), "used", &["exec", "node-b", "cat", "/proc/net/dev"])).contains("ens6");
    while !appeared() {
        assert!(attached.elapsed() < BOUND, "ens6 never came");
    }
    assert!(attached.elapsed() >= Duration::from_millis(100), "the scenario's link_appears");

    well(admin(&["terminate", "node-b"]));
    assert!(!admin(&["view", "node-b"]).status.success());
    assert!(!admin(&["view", "node-c"]).status.success());

    let printed = well(vpcsim(run_dir.path(), "used", &["env", "node-a"]));
    assert!(printed.contains("export AWS_REGION='us-west-2'"), "{printed}");
    assert!(
        printed.contains("unset AWS_ACCESS_KEY_ID") && !printed.contains("export AWS_ACCESS"),
        "{printed}"
    );
    let printed = well(vpcsim(run_dir.path(), "used", &["env", "--static-keys", "node-a"]));
    assert!(printed.contains("export AWS_ACCESS_KEY_ID='AKIA"), "{printed}");
    well(vpcsim(run_dir.path(), "used", &["down"]));
    assert!(up.end().success());
    assert_eq!(traces(run_dir.path()), before);
}

#[test]
fn nodes_join_boot_anew_and_leave_while_it_runs() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let mut up = Up::start(run_dir.path(), "moving");
    let node = |arguments: &[&str]| {
        let all: Vec<&str> = ["node"].iter().chain(arguments).copied().collect();
        vpcsim(run_dir.path(), "moving", &all)
    };
    let links = |name: &str| well(vpcsim(run_dir.path(), "moving", &["exec", name, "cat", "/proc/net/dev"]));
    well(node(&[
        "add",
        "late",
        "--subnet",
        "b",
        "--address",
        "10.0.16.77",
        "--interfaces",
        r#"{"names": "eth"}"#,
    ]));
    assert!(links("late").contains("eth0"));
    let written = std::fs::read_to_string(up.folder.join("box.json")).unwrap();
    let described: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(described["nodes"][2]["address"], "10.0.16.77");
    let ask = "import socket
a = socket.create_connection(('198.51.100.10', 7777), 5)
print(a.recv(64).decode().split()[0])";
    let seen = || vpcsim(run_dir.path(), "moving", &["exec", "late", "python3", "-c", ask]);
    assert_eq!(well(seen()).trim(), "10.0.16.77");

    well(vpcsim(run_dir.path(), "moving", &["exec", "late", "nft", "add table ip left"]));
    well(node(&["reboot", "late"]));
    assert_eq!(well(vpcsim(run_dir.path(), "moving", &["exec", "late", "nft", "list ruleset"])), "");
    assert_eq!(well(seen()).trim(), "10.0.16.77");

    well(node(&["stop", "late"]));
    assert!(!links("late").contains("eth0"));
    well(node(&["start", "late"]));
    let begun = Instant::now();
    while !links("late").contains("eth0") {
        assert!(begun.elapsed() < BOUND, "eth0 never came");
    }
    assert_eq!(well(seen()).trim(), "10.0.16.77");

    // All that it sends to the internet is lost, and counted, until that ends.
    well(node(&["lose", "late", r#"[{"permille": 1000, "with": "198.51.100.0/24"}]"#]));
    assert!(!seen().status.success());
    assert_ne!(well(node(&["lost", "late"])).trim(), "0");
    well(node(&["lose", "late", "[]"]));
    assert_eq!(well(seen()).trim(), "10.0.16.77");

    for (arguments, why) in [
        (&["lose", "late", r#"[{"permille": 0}]"#][..], "not between"),
        (&["add", "late", "--subnet", "a"], "already"),
        (&["add", "other", "--subnet", "c"], "no subnet"),
        (&["add", "other", "--subnet", "a", "--type", "m5.enormous"], "does not exist"),
        (&["add", "other", "--subnet", "a", "--interfaces", "eth"], "understand --interfaces"),
        (&["add", "other", "--subnet", "a", "--sysctls", "1"], "understand --sysctls"),
        (&["add", "other", "--subnet", "a", "--sysctls", r#"{"rp_filter": 3}"#], "rp_filter = 3: say 0"),
        (&["reboot", "other"], "no node"),
        (&["remove", "other"], "no node"),
    ] {
        let refused = node(arguments);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?} should say {why:?}");
    }

    well(node(&["remove", "late"]));
    assert!(!seen().status.success());
    assert!(!up.folder.join("netns/late").exists());
    let state = well(vpcsim(run_dir.path(), "moving", &["admin", "state"]));
    assert!(!state.contains("10.0.16.77"), "its instance is over");
    well(node(&["add", "late", "--subnet", "b", "--address", "10.0.16.77"]));
    assert_eq!(well(seen()).trim(), "10.0.16.77", "another node of that name and address");
    well(vpcsim(run_dir.path(), "moving", &["down"]));
    assert!(up.end().success());
    assert_eq!(traces(run_dir.path()), before);
}

#[test]
fn a_signal_ends_it_cleanly() {
    // In the default folder, which it makes and removes as well.
    let _alone = alone();
    let run_dir = tempfile::tempdir().unwrap();
    let before = traces(run_dir.path());
    let mut up = Up::start(Path::new("/run/vpcsim"), "one");
    let mut other = Up::start(Path::new("/run/vpcsim"), "two");
    for up in [&mut up, &mut other] {
        up.signal(Signal::SIGTERM);
        assert!(up.end().success());
    }
    assert_eq!(traces(run_dir.path()), before);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut up = Up::start(run_dir.path(), "signalled");
        up.signal(signal);
        assert!(up.end().success(), "{signal}");
        assert_eq!(traces(run_dir.path()), before, "{signal}");
    }
}

#[test]
fn after_a_kill_down_leaves_nothing_and_up_works_again() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let mut up = Up::start(run_dir.path(), "killed");
    // An inhabitant keeps its node's namespace, as a pod would; the links must go all the same.
    let inhabitant = Command::new("nsenter")
        .arg(format!("--net={}", up.netns(0)))
        .args(["sh", "-c", "sleep 20 & echo $!; wait"])
        .stdout(Stdio::piped())
        .spawn();
    let mut inhabitant = inhabitant.unwrap();
    let mut sleeper = String::new();
    BufReader::new(inhabitant.stdout.take().unwrap()).read_line(&mut sleeper).unwrap();
    let devices = format!("/proc/{}/net/dev", sleeper.trim());
    let links = || std::fs::read_to_string(&devices).unwrap().lines().count() - 2;
    assert_eq!(links(), 2, "lo and ens5");

    up.signal(Signal::SIGKILL);
    assert_eq!(up.end().signal(), Some(9));
    let begun = Instant::now();
    while links() != 1 {
        assert!(begun.elapsed() < BOUND, "the router's links outlive it");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(sleeper.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    inhabitant.wait().unwrap();

    well(vpcsim(run_dir.path(), "killed", &["down"]));
    assert_eq!(traces(run_dir.path()), before);
    well(vpcsim(run_dir.path(), "killed", &["down"]));

    // Without `down` in between, too.
    let mut up = Up::start(run_dir.path(), "killed");
    up.signal(Signal::SIGKILL);
    up.end();
    let mut up = Up::start(run_dir.path(), "killed");
    well(vpcsim(run_dir.path(), "killed", &["down"]));
    assert!(up.end().success());
    assert_eq!(traces(run_dir.path()), before);
}

#[test]
fn killed_at_any_moment_of_its_start_down_leaves_nothing() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    for millis in [0, 2, 5, 10, 20, 30, 40, 60] {
        let mut child = Command::new(VPCSIM)
            .args(["up", "--name", "early", "--run-dir"])
            .arg(run_dir.path())
            .arg("--scenario")
            .arg(scenario())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        well(vpcsim(run_dir.path(), "early", &["down"]));
        assert_eq!(traces(run_dir.path()), before, "killed after {millis} ms");
    }
}

#[test]
fn a_box_that_does_not_listen_is_killed() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let mut up = Up::start(run_dir.path(), "stuck");
    up.signal(Signal::SIGSTOP);
    let down = vpcsim(run_dir.path(), "stuck", &["down", "--patience", "1"]);
    assert!(String::from_utf8_lossy(&down.stderr).contains("killing it"), "{down:?}");
    well(down);
    assert_eq!(up.end().signal(), Some(9));
    assert_eq!(traces(run_dir.path()), before);
}

#[test]
fn mistakes_are_said_in_words_and_leave_nothing() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let up = |arguments: &[&str]| {
        let output =
            Command::new(VPCSIM).arg("up").args(arguments).arg("--run-dir").arg(run_dir.path()).output();
        let output = output.unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let bad = run_dir.path().join("bad.toml");
    assert!(up(&["--scenario", bad.to_str().unwrap()]).contains("bad.toml"));
    std::fs::write(&bad, "regoin = \"x\"").unwrap();
    assert!(up(&["--scenario", bad.to_str().unwrap()]).contains("unknown field `regoin`"));
    assert!(up(&["--scenario", scenario().to_str().unwrap(), "--name", "a/b"]).contains("is no name"));
    std::fs::remove_file(&bad).unwrap();
    assert_eq!(traces(run_dir.path()), before);

    let mut first = Up::start(run_dir.path(), "taken");
    assert!(up(&["--scenario", scenario().to_str().unwrap(), "--name", "taken"]).contains("is up already"));
    // A foreign file is not removed, and said.
    std::fs::write(first.folder.join("netns/mine"), "").unwrap();
    first.signal(Signal::SIGTERM);
    assert!(!first.end().success());
    let refused = vpcsim(run_dir.path(), "taken", &["down"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("netns"), "{refused:?}");
    std::fs::remove_file(first.folder.join("netns/mine")).unwrap();
    well(vpcsim(run_dir.path(), "taken", &["down"]));
    assert_eq!(traces(run_dir.path()), before);
}

#[test]
fn it_runs_in_a_user_namespace_and_dies_with_it() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    // Everything in one shell that is its PID namespace's init: when it ends, all that is inside ends.
    let script = r#"
        "$1" up --json --scenario "$2" --run-dir "$3" --name inside >/dev/null &
        for _ in $(seq 500); do [ -e "$3/inside/box.json" ] && break; sleep 0.02; done
        "$1" exec --name inside --run-dir "$3" node-a python3 -c '
import socket
a = socket.create_connection(("198.51.100.10", 7777), 5)
print(a.recv(64).decode().split()[0] == a.getsockname()[0])'
        nsenter --net="$3/inside/netns/node-b" cat /proc/net/dev | grep -c ens5
        [ "$4" = down ] && "$1" down --name inside --run-dir "$3"
        exit 0
    "#;
    for ending in ["down", "abandoned"] {
        let output = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(VPCSIM)
            .arg(scenario())
            .arg(run_dir.path())
            .arg(ending)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "True\n1\n", "{output:?}");
        if ending == "abandoned" {
            well(vpcsim(run_dir.path(), "inside", &["down"]));
        }
        assert_eq!(traces(run_dir.path()), before, "{ending}");
    }
}
