//! Wrong, hostile and damaged input: a clear error, nothing lost, no crash loop, and recovery when the cause is gone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_chaos_tests::cni::{self, Called, Failure, Runner};
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, scenario, wait_for};
use holdfast_chaos_tests::sabotage;
use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings};
use holdfast_datapath::netns;
use holdfast_store::Store;
use holdfast_wire::fd::{self, Descriptors};
use holdfast_wire::frame::{FrameDecoder, MAX_ANSWER, MAX_REQUEST};
use holdfast_wire::ids::{PodRef, VethPrefix};
use holdfast_wire::message::{Add, Answer, AnswerFrame, Request, RequestFrame};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, sendmsg};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

/// The plugin's and the daemon's codes (see `holdfast_wire::code`).
mod code {
    pub(super) const INCOMPATIBLE_VERSION: u64 = 1;
    pub(super) const INVALID_ENVIRONMENT: u64 = 4;
    pub(super) const DECODING_FAILURE: u64 = 6;
    pub(super) const INVALID_CONFIG: u64 = 7;
    pub(super) const TRY_AGAIN: u64 = 11;
    pub(super) const NOT_AVAILABLE: u64 = 50;
    pub(super) const CHECK_FAILED: u64 = 102;
    pub(super) const PROTOCOL: u32 = 100;
}

fn new_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "6").set("HOLDFAST_ADD_HOLD", "5");
    (rig, node)
}

fn one_node() -> (Rig, NodeUnderTest) {
    let (rig, mut node) = new_node();
    node.start_ready().unwrap();
    (rig, node)
}

fn refused(called: Called) -> Failure {
    called.result.unwrap_err()
}

/// After whatever was done to it, the daemon serves a pod that works.
fn still_serves(rig: &Rig, node: &mut NodeUnderTest) {
    assert!(node.is_running().unwrap(), "the daemon ended:\n{}", node.log());
    let pod = rig.run_pod(&node.runner(), "good").unwrap();
    let other = rig.run_pod(&node.runner(), "other").unwrap();
    assert_eq!(pod.ask(other.address).unwrap(), pod.address);
    for pod in [&pod, &other] {
        node.runner().del(&pod.pod).unwrap().ok().unwrap();
    }
}

#[test]
fn wrong_configurations_and_variables_are_refused_with_words() {
    let (rig, mut node) = one_node();
    let pod = rig.pod("pod").unwrap();
    let netns = pod.path().to_str().unwrap().to_owned();
    let variables = Runner::variables(&pod);
    let mut good: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    good.push(("CNI_NETNS", &netns));
    let runner = node.runner();
    let conf = |change: fn(&mut Value)| {
        let mut conf = runner.conf().clone();
        change(&mut conf);
        conf.to_string().into_bytes()
    };
    let add = |stdin: &[u8]| refused(runner.raw("ADD", &good, stdin).unwrap());
    for (stdin, wanted) in [
        (b"{\"name\": ".to_vec(), code::DECODING_FAILURE),
        (Vec::new(), code::DECODING_FAILURE),
        (b"[]".to_vec(), code::INVALID_CONFIG),
        (conf(|conf| conf["name"] = json!("../etc")), code::INVALID_CONFIG),
        (conf(|conf| conf["socket"] = json!("relative")), code::INVALID_CONFIG),
        (conf(|conf| conf["cniVersion"] = json!("9.9.9")), code::INCOMPATIBLE_VERSION),
    ] {
        let failure = add(&stdin);
        assert_eq!(failure.code, wanted, "{}: {failure:?}", String::from_utf8_lossy(&stdin));
        assert!(!failure.msg.is_empty());
    }
    // A namespace that is missing, is none, or is the node's own.
    let stdin = conf(|_| {});
    let plain = rig.dir().join("plain");
    File::create(&plain).unwrap();
    let own = node.pid().map(|pid| format!("/proc/{pid}/ns/net")).unwrap();
    let mounts = format!("/proc/{}/ns/mnt", std::process::id());
    for path in ["/nonexistent/netns", plain.to_str().unwrap(), "", own.as_str(), mounts.as_str()] {
        let variables: Vec<_> = good
            .iter()
            .map(|(name, value)| (*name, if *name == "CNI_NETNS" { path } else { value }))
            .collect();
        let failure = refused(runner.raw("ADD", &variables, &stdin).unwrap());
        assert_eq!(failure.code, code::INVALID_ENVIRONMENT, "{path:?}: {failure:?}");
        if path == own {
            assert!(failure.details.contains("the host's own"), "{failure:?}");
        }
    }
    // Nobody knows this container: DEL has nothing to do, CHECK says so.
    let unknown = rig.pod("unknown").unwrap();
    runner.del(&unknown).unwrap().ok().unwrap();
    runner.del_again(&unknown).unwrap().ok().unwrap();
    assert_eq!(refused(runner.check(&unknown).unwrap()).code, code::CHECK_FAILED);
    // A pod that is not as it was set up fails its CHECK.
    runner.add(&pod).unwrap().ok().unwrap();
    runner.check(&pod).unwrap().ok().unwrap();
    let mut foreign = runner.conf().clone();
    foreign["prevResult"] = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "192.0.2.1/32" }] });
    let failure = refused(runner.raw("CHECK", &good, foreign.to_string().as_bytes()).unwrap());
    assert_eq!(failure.code, 102, "{failure:?}");
    assert!(failure.details.contains("192.0.2.1"), "{failure:?}");
    runner.del(&pod).unwrap().ok().unwrap();
    still_serves(&rig, &mut node);
    assert!(node.wait_state("empty", |ledger| ledger.leases.is_empty()).is_ok(), "nothing is left over");
}

/// The daemon's answer to raw bytes; `None` when it closed without one.
fn talk(socket: &Path, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let parts = [std::io::IoSlice::new(bytes)];
    let sent = sendmsg::<()>(stream.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    // A daemon that has heard enough may close before it has read all.
    drop(stream.write_all(&bytes[sent..]));
    stream.shutdown(std::net::Shutdown::Write).ok();
    read_answer(&mut stream)
}

fn read_answer(stream: &mut UnixStream) -> Option<Answer> {
    let mut decoder = FrameDecoder::new(MAX_ANSWER);
    let mut buffer = [0; 4096];
    loop {
        if let Some(body) = decoder.next_frame().unwrap() {
            return Some(AnswerFrame::decode(&body).unwrap().answer);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(got) => decoder.push(&buffer[..got]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("the daemon neither answered nor closed: {error}"),
        }
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn add_request(pod: &Pod) -> RequestFrame {
    let add = Add {
        sandbox: cni::sandbox(&pod.container_id).unwrap(),
        pod: PodRef { namespace: "default".to_owned(), name: pod.name.clone(), uid: None },
        netns_path: pod.path().display().to_string(),
        mtu: 9001,
        veth_prefix: VethPrefix::new("eni").unwrap(),
        enforcing_mode: holdfast_wire::message::EnforcingMode::Strict,
    };
    RequestFrame::new(Request::Add(add), "test", 10_000)
}

fn descriptors_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn a_hostile_client_harms_only_itself() {
    let (rig, mut node) = one_node();
    let socket = node.socket();
    still_serves(&rig, &mut node);
    std::thread::sleep(Duration::from_millis(200));
    let held = descriptors_of(node.pid().unwrap());
    let refusal = |answer: Option<Answer>| match answer {
        Some(Answer::Failed(failed)) => failed,
        other => panic!("{other:?}"),
    };

    // Oversized, truncated, no JSON, an unknown question, another protocol.
    let oversized = refusal(talk(&socket, &u32::MAX.to_be_bytes(), &[]));
    assert!(oversized.details.contains("limit"), "{oversized}");
    let endless = refusal(talk(&socket, &frame(&vec![b'x'; MAX_REQUEST + 1]), &[]));
    assert_eq!(endless.code, code::PROTOCOL);
    let truncated = refusal(talk(&socket, &[0, 0, 0, 9, b'{'], &[]));
    assert!(truncated.details.contains("ended after"), "{truncated}");
    for body in [&b"garbage"[..], b"{}", b"{\"protocol\":1,\"request\":{\"kind\":\"reboot\"}}"] {
        assert_eq!(refusal(talk(&socket, &frame(body), &[])).code, code::PROTOCOL);
    }
    let foreign = refusal(talk(&socket, &frame(b"{\"protocol\":99,\"request\":{\"kind\":\"warp\"}}"), &[]));
    assert_eq!(foreign.code, code::PROTOCOL);
    assert!(foreign.details.contains("99"), "{foreign}");

    // Descriptors: none, three, one that is no namespace, with one that is no socket or none of that namespace.
    let pod = rig.pod("hostile").unwrap();
    let add = add_request(&pod).encode().unwrap();
    assert_eq!(refusal(talk(&socket, &add, &[])).code, code::PROTOCOL);
    let netns = pod.netns().as_fd();
    let elsewhere = {
        let other = rig.pod("other-namespace").unwrap();
        let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let open = || nix::sys::socket::socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute);
        netns::run_in(other.netns(), open).unwrap().unwrap()
    };
    let stream = UnixStream::connect(&socket).unwrap();
    for (second, cause) in [
        (netns, "it is no socket"),
        (stream.as_fd(), "of another family"),
        (elsewhere.as_fd(), "another network namespace"),
    ] {
        let refused = refusal(talk(&socket, &add, &[netns, second]));
        assert_eq!(refused.code, code::PROTOCOL);
        assert!(refused.details.contains(cause), "{refused}");
    }
    let three = refusal(talk(&socket, &add, &[netns, netns, netns]));
    assert!(three.details.contains("more descriptors"), "{three}");
    let many = vec![netns; 200];
    assert_eq!(refusal(talk(&socket, &add, &many)).code, code::PROTOCOL);
    let file = File::open("/etc/hostname").or_else(|_| File::open("/proc/version")).unwrap();
    assert_eq!(u64::from(refusal(talk(&socket, &add, &[file.as_fd()])).code), code::INVALID_ENVIRONMENT);
    // One now and one later.
    let stream = UnixStream::connect(&socket).unwrap();
    let along = Some(Descriptors::of(netns));
    assert_eq!(fd::send(&stream, &add[..10], along).unwrap(), 10);
    std::thread::sleep(Duration::from_millis(50));
    drop(fd::send(&stream, &add[10..], along));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(refusal(read_answer(&mut { stream })).code, code::PROTOCOL);

    // A slow one is told, and closed, after a few seconds; meanwhile others are served.
    let mut slow = UnixStream::connect(&socket).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    slow.write_all(&[0]).unwrap();
    let begun = Instant::now();
    still_serves(&rig, &mut node);
    let told = refusal(read_answer(&mut slow));
    assert!(told.msg.contains("in time"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    // More than are served at once, all silent: a good one is served all the same.
    let silent: Vec<_> = (0..1500).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let begun = Instant::now();
    still_serves(&rig, &mut node);
    println!("with {} silent connections a pod was served after {:?}", silent.len(), begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(silent);

    // All of it is let go.
    let begun = Instant::now();
    while descriptors_of(node.pid().unwrap()) > held {
        assert!(begun.elapsed() < Duration::from_secs(10), "descriptors: {held} before, more after");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().unwrap())).unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
    let ledger = node.wait_state("empty", |ledger| ledger.leases.is_empty()).unwrap();
    assert!(ledger.leases.is_empty());
}

#[test]
fn a_stranger_may_not_command() {
    let (rig, mut node) = one_node();
    // A plugin that everybody may run, and a socket that everybody may reach.
    let plugin = rig.dir().join("aws-cni");
    fs::copy(&rig.programs().plugin, &plugin).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let mut conf = node.runner().conf().clone();
    conf["cniVersion"] = "1.1.0".into();
    let status_by = |program: &str, prepare: &[&str]| {
        let mut command = Command::new(program);
        command.args(prepare).arg("--").arg(&plugin).env_clear().env("CNI_COMMAND", "STATUS");
        let mut child =
            command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let status = |prepare: &[&str]| status_by("setpriv", prepare);
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    assert!(status(&["--inh-caps=-all"]).0, "the superuser is served");
    let (served, said) = status(&nobody);
    assert!(!served && said.contains("Permission denied"), "the socket is not for others: {said}");
    let mode = fs::metadata(node.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    fs::set_permissions(node.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let (served, said) = status(&nobody);
    assert!(!served, "{said}");
    assert!(!said.contains("Permission denied"), "it did reach the socket: {said}");
    // A container's root: of the superuser it has the number only. And one whose rights end with a namespace of its making.
    let (served, said) = status(&["--bounding-set=-all", "--inh-caps=-all"]);
    assert!(!served, "without any right: {said}");
    let (served, said) = status_by("unshare", &["--user", "--map-root-user"]);
    assert!(!served, "with all rights elsewhere: {said}");
    for why in ["another user", "lacks CAP_NET_ADMIN", "in another user namespace"] {
        let told = || {
            let log = node.log();
            let mut lines = log.lines();
            lines.any(|line| {
                line.contains("a stranger on the plugin's socket was turned away") && line.contains(why)
            })
        };
        wait_for(why, Duration::from_secs(10), told).unwrap();
    }
    still_serves(&rig, &mut node);
}

/// A connection whose closing takes so long as its maker says, since it lingers over what nobody takes.
fn lingering(seconds: i32) -> (TcpStream, TcpListener) {
    let taker = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(taker.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 8192]).is_ok() {}
    let linger = nix::libc::linger { l_onoff: 1, l_linger: seconds };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    (stream, taker)
}

/// What came with a request, or beside one, is closed where nobody else waits for it: also when its sender goes away, when it
/// was sent to the operator's socket, and when it lies on a connection that is turned away.
#[test]
fn what_takes_long_to_close_holds_nobody_up() {
    let (rig, mut node) = one_node();
    let sockets = [node.socket(), node.socket().with_file_name("admin.sock")];
    // A network that has 127.0.0.1.
    let apart = netns::create().unwrap();
    let lo = Change::SetLink(LinkRef::Name("lo".to_owned()), LinkSettings::up());
    netns::socket_in(&apart).unwrap().apply(&lo).unwrap();
    let mut takers = Vec::new();
    for (at, socket) in sockets.iter().cycle().take(8).enumerate() {
        let (stream, taker) = netns::run_in(&apart, || lingering(8)).unwrap();
        takers.push(taker);
        let client = UnixStream::connect(socket).unwrap();
        let raw = [stream.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        // Every other one says something that is refused at once.
        let said: &[u8] = if at % 4 < 2 { b"\0\0\x01\0x" } else { b"\xff\xff\xff\xff" };
        let parts = [std::io::IoSlice::new(said)];
        sendmsg::<()>(client.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
        // The daemon has the last copy.
        drop(stream);
        drop(client);
    }
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    let health = node.verb(&["health"]).unwrap();
    assert!(health.status.success() && asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    still_serves(&rig, &mut node);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

/// The ledger cannot be opened: the daemon stays and says why; DELs are kept; it goes on when the cause is gone.
fn refuses_and_recovers(
    rig: &Rig,
    node: &mut NodeUnderTest,
    leased: Option<&Pod>,
    cause: &str,
    mend: impl FnOnce(),
) {
    node.start_serving().unwrap();
    let runner = node.runner();
    let pod = rig.pod("refused").unwrap();
    let failure = refused(runner.add(&pod).unwrap());
    assert_eq!(failure.code, code::TRY_AGAIN, "{failure:?}");
    assert!(failure.details.contains(cause), "{cause:?} is not in {failure:?}");
    let status = refused(runner.status().unwrap());
    assert_eq!(status.code, code::NOT_AVAILABLE, "{status:?}");
    let health = node.health().unwrap();
    assert!(health["alive"] == true && health["cause"].as_str().unwrap().contains(cause), "{health}");
    let dump = node.dump().unwrap();
    assert!(dump["refusing"].as_str().unwrap().contains(cause), "{dump}");
    if let Some(leased) = leased {
        runner.del(leased).unwrap().ok().unwrap();
    }
    // Stays, and does not fill the log.
    std::thread::sleep(Duration::from_millis(4500));
    assert!(node.is_running().unwrap(), "the daemon ended:\n{}", node.log());
    assert_eq!(node.log().matches("the ledger cannot be opened").count(), 1, "{}", node.log());
    mend();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    if let Some(leased) = leased {
        let gone = |ledger: &holdfast_model::ledger::Ledger| {
            !ledger.leases.values().any(|lease| lease.sandbox.container_id == leased.container_id)
        };
        node.wait_state("released", gone).unwrap();
    }
    still_serves(rig, node);
}

#[test]
fn a_ledger_of_a_newer_version_is_not_touched() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let [stays, goes] = ["stays", "goes"].map(|name| rig.run_pod(&runner, name).unwrap());
    assert!(node.terminate().unwrap().success());
    let write_schema = |schema: u8| {
        let database = Database::open(node.ledger()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(TableDefinition::<&str, &[u8]>::new("meta"))
            .unwrap()
            .insert("schema", [schema].as_slice())
            .unwrap();
        txn.commit().unwrap();
    };
    let own_schema = Store::inspect(&node.ledger(), 0).unwrap().schema;
    write_schema(200);
    let (ledger, spare) = (node.ledger(), rig.dir().join("spare.redb"));
    let before = fs::read(&ledger).unwrap();
    let check = ledger.clone();
    fs::copy(&ledger, &spare).unwrap();
    refuses_and_recovers(&rig, &mut node, Some(&goes.pod), "run the newer version again", || {
        assert!(fs::read(&check).unwrap() == before, "the file was touched");
        // An operator brings the version's own file back.
        let database = Database::open(&spare).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(TableDefinition::<&str, &[u8]>::new("meta"))
            .unwrap()
            .insert("schema", [own_schema].as_slice())
            .unwrap();
        txn.commit().unwrap();
        drop(database);
        fs::copy(&spare, &ledger).unwrap();
    });
    let held = node.state().unwrap();
    assert!(
        held.leases.values().any(|lease| lease.faces[0].address == IpAddr::V4(stays.address)),
        "{held:#?}"
    );
}

#[test]
fn a_directory_in_the_ledgers_place_is_said_and_waited_out() {
    let (rig, mut node) = new_node();
    let ledger = node.ledger();
    fs::create_dir_all(ledger.join("not-ours")).unwrap();
    refuses_and_recovers(&rig, &mut node, None, "not a plain file", || fs::remove_dir_all(&ledger).unwrap());
}

#[test]
fn a_ledger_in_use_by_another_daemon_is_left_to_it_with_its_socket() {
    let (rig, mut node) = one_node();
    let pod = rig.run_pod(&node.runner(), "pod").unwrap();
    let mut second = rig.node("node-a").unwrap();
    second.set("WARM_IP_TARGET", "2").set("MINIMUM_IP_TARGET", "6");
    second.start().unwrap();
    let told = || second.log().contains("in use by another process");
    wait_for("told that the ledger is in use", Duration::from_secs(10), told).unwrap();
    assert!(second.is_running().unwrap());
    // The first still serves, on its own socket.
    still_serves(&rig, &mut node);
    // It stops: the second takes over, with all that is leased, and its sockets stay.
    let handed_over = Instant::now();
    assert!(node.terminate().unwrap().success());
    second.wait_serving().unwrap();
    println!("handed over within {} ms", handed_over.elapsed().as_millis());
    assert_eq!(second.runner().add(&pod.pod).unwrap().ok().unwrap(), pod.result);
    still_serves(&rig, &mut second);
}

/// Bytes that are no ledger, or one that was cut off: kept, and the ledger rebuilt without giving an address twice.
#[test]
fn a_damaged_ledger_is_set_aside_and_rebuilt() {
    let (rig, mut node) = one_node();
    let runner = node.runner();
    let pods = ["a", "b"].map(|name| rig.run_pod(&runner, name).unwrap());
    assert!(node.terminate().unwrap().success());
    let whole = fs::read(node.ledger()).unwrap();
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(4096).step_by(97) {
        *byte ^= 0x55;
    }
    for (what, bytes) in [
        ("foreign", b"#!/bin/sh\necho I am no ledger\n".to_vec()),
        ("empty", Vec::new()),
        ("cut", whole[..whole.len() / 3].to_vec()),
        ("flipped", flipped),
    ] {
        fs::write(node.ledger(), &bytes).unwrap();
        node.start_serving().unwrap();
        let kept = fs::read_dir(node.ledger().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("damaged"))
            .filter(|path| fs::read(path).unwrap() == bytes)
            .count();
        assert_eq!(kept, 1, "{what}: the file is kept as it was");
        // What runs goes on, and its address is nobody else's.
        assert_eq!(pods[0].ask(pods[1].address).unwrap(), pods[0].address, "{what}");
        let new = rig.run_pod(&runner, "new").unwrap();
        assert!(
            pods.iter().all(|pod| pod.address != new.address),
            "{what}: an address in use was given again"
        );
        runner.del(&new.pod).unwrap().ok().unwrap();
        assert!(node.terminate().unwrap().success(), "{what}");
    }
}

/// A small disk for the ledger, seen by this test only.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    const SIZE: &'static str = "size=5m";

    fn mount(at: &'a Path) -> Self {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(Self::SIZE)).unwrap();
        Self(at)
    }

    fn set_read_only(&self, flag: MsFlags) {
        mount(None::<&str>, self.0, None::<&str>, MsFlags::MS_REMOUNT | flag, Some(Self::SIZE)).unwrap();
    }

    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        for block in [65_536, 4096, 1] {
            while ballast.write(&vec![1; block]).is_ok_and(|written| written > 0) {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn a_full_disk_at_the_start_is_waited_out() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    disk.fill();
    refuses_and_recovers(&rig, &mut node, None, "No space left", || disk.free());
}

#[test]
fn a_read_only_disk_at_the_start_is_waited_out() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    disk.set_read_only(MsFlags::MS_RDONLY);
    refuses_and_recovers(&rig, &mut node, None, "Read-only", || disk.set_read_only(MsFlags::empty()));
}

#[test]
fn a_disk_that_fills_while_the_daemon_runs_stops_adds_and_no_del() {
    let (rig, mut node) = new_node();
    let folder = node.ledger().parent().unwrap().to_owned();
    let disk = SmallDisk::mount(&folder);
    node.start_ready().unwrap();
    let runner = node.runner();
    let pods = ["a", "b", "c"].map(|name| rig.run_pod(&runner, name).unwrap());
    disk.fill();
    // What the file has room for still goes; then ADD is refused with the cause.
    let mut failure = None;
    for n in 0..60 {
        let pod = rig.pod(&format!("more-{n}")).unwrap();
        match runner.add(&pod).unwrap().result {
            Ok(_) => runner.del(&pod).unwrap().ok().map(drop).unwrap(),
            Err(refusal) => {
                failure = Some(refusal);
                break;
            }
        }
    }
    let failure = failure.expect("a full disk never showed");
    println!("{failure:?}");
    assert!(failure.details.contains("full"), "{failure:?}");
    // DEL succeeds, and the pod's traces in the kernel go.
    runner.del(&pods[0].pod).unwrap().ok().unwrap();
    assert_eq!(pods[1].ask(pods[2].address).unwrap(), pods[1].address, "running pods are unaffected");
    assert!(node.is_running().unwrap());
    disk.free();
    node.wait_until("ready", |health| health["serving"] == "ready").unwrap();
    still_serves(&rig, &mut node);
    let gone = &pods[0].pod.container_id;
    node.wait_state("released", |ledger| {
        !ledger.leases.values().any(|lease| lease.sandbox.container_id == *gone)
    })
    .unwrap();
    assert_eq!(runner.add(&pods[1].pod).unwrap().ok().unwrap(), pods[1].result);
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let (_rig, mut node) = new_node();
    node.set("IP_COOLDOWN_PERIOD", "soon").set("AWS_VPC_ENI_MTU", "1").set("ENABLE_IPv6", "true");
    node.set("WARM_IP_TARGET", "some");
    let output = node.verb(&["run"]).unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for name in ["IP_COOLDOWN_PERIOD", "AWS_VPC_ENI_MTU", "ENABLE_IPv6", "WARM_IP_TARGET"] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[
            (
                "wrong_configurations_and_variables_are_refused_with_words",
                sabotage::CHECK_SAYS_YES,
                &["on an `Ok` value"],
            ),
            (
                "a_damaged_ledger_is_set_aside_and_rebuilt",
                sabotage::GIVES_ONE_TWICE,
                &["an address in use was given again"],
            ),
        ],
    );
}
