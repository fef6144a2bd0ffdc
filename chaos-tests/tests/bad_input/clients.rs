//! Hostile clients of the daemon's sockets: each harms only itself, and strangers are turned away.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_chaos_tests::cni;
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::rig::wait_for;
use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings};
use holdfast_datapath::netns;
use holdfast_wire::fd::{self, Descriptors};
use holdfast_wire::frame::{FrameDecoder, MAX_ANSWER, MAX_REQUEST};
use holdfast_wire::ids::{PodRef, VethPrefix};
use holdfast_wire::message::{Add, Answer, AnswerFrame, Request, RequestFrame};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, sendmsg};

use crate::{code, one_node, still_serves};

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
        on_every_card: false,
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
