//! The demo holds its promises for root and for an ordinary user, in each mode, and leaves nothing: not after its end, and not
//! when it is killed in its middle.
//!
//! "Outside" is a small machine of each test's own, so that nothing else that happens meanwhile is mistaken for the
//! demo's: a network namespace, and a mount namespace in which only `/run` and `/tmp` can be written to at all.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_chaos_tests::rig::Programs;
use holdfast_datapath::netlink::{AddressFamily, RouteFilter, Socket};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dev");

/// A run takes ten seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The kernel ends the processes of a PID namespace and takes its network down in moments.
const TIDY: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum User {
    Root,
    /// Nobody's and no group's.
    Ordinary,
}

/// Where the small machine can be written to: empty file systems, one of which must not hide the checkout.
fn writable() -> impl Iterator<Item = &'static str> {
    ["/run", "/tmp"].into_iter().filter(|place| !Path::new(SCRIPT).starts_with(place))
}

/// Moves the thread into the small machine.
fn outside() {
    // Words rather than a failing demo when they were not built.
    Programs::from_env().unwrap();
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(none, "/", none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, none).unwrap();
    for place in writable() {
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).unwrap();
    }
}

/// The demo, started as `./dev demo` starts it once everything is built. This process becomes the box's parent.
fn start(user: User, mode: &str) -> Child {
    let mut command = match user {
        User::Root => Command::new(SCRIPT),
        User::Ordinary => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", SCRIPT]);
            command
        }
    };
    command.args(["boxed", env!("CARGO_BIN_EXE_demo"), "--mode", mode]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// What there is outside.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    links: Vec<String>,
    rules: Vec<String>,
    routes: Vec<String>,
    nftables: String,
    mounts: String,
    files: BTreeSet<PathBuf>,
}

impl Seen {
    fn look() -> Self {
        let mut socket = Socket::open().unwrap();
        let nft = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
        assert!(nft.status.success(), "{nft:?}");
        let mut files = BTreeSet::new();
        for place in writable() {
            collect(Path::new(place), &mut files);
        }
        Self {
            links: socket.links().unwrap().iter().map(|link| format!("{link:?}")).collect(),
            rules: socket.rules(AddressFamily::Inet).unwrap().iter().map(ToString::to_string).collect(),
            routes: socket
                .routes(AddressFamily::Inet, RouteFilter::default())
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect(),
            nftables: String::from_utf8(nft.stdout).unwrap(),
            mounts: fs::read_to_string("/proc/thread-self/mountinfo").unwrap(),
            files,
        }
    }
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        files.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), files);
        }
    }
}

/// A process, and when it was started, since ids are used again.
type Process = (i32, String);

/// All processes that come from this one, itself included, with their names.
fn family(root: u32) -> BTreeMap<Process, String> {
    let mut parents: BTreeMap<i32, (i32, String, String)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else { continue };
        // Gone meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = after.split(' ').collect();
        let name = before.split_once('(').unwrap().1.to_owned();
        parents.insert(pid, (fields[1].parse().unwrap(), fields[19].to_owned(), name));
    }
    let root = i32::try_from(root).unwrap();
    let mut members = BTreeMap::new();
    let mut found = vec![root];
    while let Some(pid) = found.pop() {
        if let Some((_, started, name)) = parents.get(&pid) {
            members.insert((pid, started.clone()), name.clone());
        }
        found.extend(parents.iter().filter(|(_, (parent, ..))| *parent == pid).map(|(child, _)| *child));
    }
    members
}

/// Those that still run. One that has ended and was not waited for does not.
fn alive(members: &BTreeMap<Process, String>) -> Vec<String> {
    members
        .iter()
        .filter(|((pid, started), _)| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
                fields[19] == started && fields[0] != "Z"
            })
        })
        .map(|((pid, _), name)| format!("{name} ({pid})"))
        .collect()
}

fn runs_well_in_each_mode(user: User) {
    outside();
    let before = Seen::look();
    for mode in ["secondary", "prefix", "custom", "ipv6", "multi-homed"] {
        let began = Instant::now();
        let demo = start(user, mode);
        let output = demo.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "in mode {mode} as {user:?} it ended with {}:\n{text}",
            output.status
        );
        assert!(text.contains("All promises held"), "{text}");
        assert!(!text.contains('\x1b'), "colours without a terminal: {text}");
        assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());
        assert_eq!(Seen::look(), before, "in mode {mode} as {user:?} it left something");
    }
}

/// Kills one process of the demo while it is killing daemons itself.
fn leaves_nothing_when_killed(user: User, victim: impl Fn(&Child, &BTreeMap<Process, String>) -> i32) {
    outside();
    let before = Seen::look();
    let mut demo = start(user, "secondary");
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut text = String::new();
    let began = Instant::now();
    while !text.contains("\n6/10") {
        let read = lines.read_line(&mut text).unwrap();
        assert!(read > 0 && began.elapsed() < PATIENCE, "it did not get as far as to its middle:\n{text}");
    }
    // Until the first blow is told.
    lines.read_line(&mut text).unwrap();
    let members = family(demo.id());
    for name in ["demo", "vpcsim", "holdfast"] {
        assert!(members.values().any(|member| member == name), "no {name} among {members:?}");
    }
    kill(Pid::from_raw(victim(&demo, &members)), Signal::SIGKILL).unwrap();
    let killed = Instant::now();
    // Ends when nobody holds the other end any more.
    lines.read_to_string(&mut text).unwrap();
    assert!(!demo.wait().unwrap().success());
    loop {
        let left = alive(&members);
        if left.is_empty() {
            break;
        }
        assert!(killed.elapsed() < TIDY, "still running after SIGKILL: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!text.contains("All promises held"), "it was not killed in its middle");
    assert_eq!(Seen::look(), before, "killed as {user:?}, it left something");
}

fn parent_of_the_box(demo: &Child, _: &BTreeMap<Process, String>) -> i32 {
    i32::try_from(demo.id()).unwrap()
}

fn first_in_the_box(_: &Child, members: &BTreeMap<Process, String>) -> i32 {
    members.iter().find(|(_, name)| *name == "demo").unwrap().0.0
}

#[test]
fn root_sees_each_mode() {
    runs_well_in_each_mode(User::Root);
}

#[test]
fn an_ordinary_user_sees_each_mode() {
    runs_well_in_each_mode(User::Ordinary);
}

#[test]
fn killed_by_its_parent_it_leaves_nothing() {
    leaves_nothing_when_killed(User::Root, parent_of_the_box);
}

#[test]
fn killed_itself_it_leaves_nothing() {
    leaves_nothing_when_killed(User::Root, first_in_the_box);
}

#[test]
fn killed_by_its_parent_it_leaves_nothing_to_an_ordinary_user() {
    leaves_nothing_when_killed(User::Ordinary, parent_of_the_box);
}

/// With a plugin that gives nobody an address, the demo says in which step it failed, and why.
#[test]
fn a_broken_promise_is_told_and_ends_it_badly() {
    outside();
    let before = Seen::look();
    let mut command = Command::new(SCRIPT);
    command.arg("boxed").arg(env!("CARGO_BIN_EXE_demo")).env("HOLDFAST_BIN_PLUGIN", "/bin/false");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("BROKEN") && text.contains("in step 3"), "{text}");
    assert!(!text.contains("All promises held"), "{text}");
    assert_eq!(Seen::look(), before);
}
