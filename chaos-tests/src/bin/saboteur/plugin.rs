//! The plugin: what goes in and what comes out is spoiled, and the sandbox that it has wired.

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use holdfast_datapath::netlink::{
    Address, AddressFamily, Change, LinkRef, LinkSettings, MacAddr, Neighbour, NeighbourState, Route,
    RouteFilter, RouteScope, RouteType, Socket,
};
use holdfast_datapath::netns;
use holdfast_wire::peer::Peer;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{Place, aside};

/// What the real plugin is asked and says.
struct Call {
    command: String,
    input: Vec<u8>,
    conf: Value,
}

/// How it ended.
struct Said {
    output: Vec<u8>,
    failed: bool,
}

impl Said {
    fn refusal(msg: &str, details: &str) -> Self {
        let error = json!({ "cniVersion": "1.0.0", "code": 11, "msg": msg, "details": details });
        Self { output: error.to_string().into_bytes(), failed: true }
    }

    fn nothing() -> Self {
        Self { output: Vec::new(), failed: false }
    }
}

pub(crate) fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let call = Call {
        command: std::env::var("CNI_COMMAND").unwrap_or_default(),
        conf: serde_json::from_slice(&input).unwrap_or_default(),
        input,
    };
    let said = spoil(place, &place.how()?, &call)?;
    std::io::stdout().write_all(&said.output)?;
    Ok(if said.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn spoil(place: &Place, how: &str, call: &Call) -> anyhow::Result<Said> {
    match (how, call.command.as_str()) {
        ("check-says-yes", "CHECK") | ("del-does-nothing", "DEL") => {
            place.hit(&call.command)?;
            return Ok(Said::nothing());
        }
        ("del-needs-a-daemon", "DEL") if daemon(call).is_none() => {
            place.hit("DEL")?;
            return Ok(Said::refusal("no daemon", "a saboteur wants one"));
        }
        ("refuses-after-kills", "ADD") if refuses(place, call)? => {
            place.hit("ADD")?;
            return Ok(Said::refusal("not now", "a saboteur refuses"));
        }
        ("does-not-wait", "ADD") => {
            let Some(said) = ask_one_daemon(place, call)? else {
                place.hit("ADD")?;
                return Ok(Said::refusal("no daemon", "a saboteur does not wait"));
            };
            return Ok(said);
        }
        _ => {}
    }
    let mut said = ask(place, call)?;
    if how == "refuses-without-cause" && said.failed {
        place.hit(&call.command)?;
        return Ok(Said::refusal("failed", ""));
    }
    if how == "slow-dels" && call.command == "DEL" {
        std::thread::sleep(Duration::from_secs(1));
        place.hit("DEL")?;
    }
    if call.command == "ADD" && !said.failed {
        let mut result: Value = serde_json::from_slice(&said.output)?;
        if spoil_add(place, how, &mut result)? {
            place.hit("ADD")?;
            said.output = result.to_string().into_bytes();
        }
    }
    Ok(said)
}

/// Spoils what was added; whether it did.
fn spoil_add(place: &Place, how: &str, result: &mut Value) -> anyhow::Result<bool> {
    let told = result["ips"][0]["address"].as_str().context("no address")?.to_owned();
    let address: Ipv4Addr = told.trim_end_matches("/32").parse()?;
    match how {
        "tells-a-network" => result["ips"][0]["address"] = format!("{address}/8").into(),
        "tells-a-gateway" => result["ips"][0]["gateway"] = "169.254.1.1".into(),
        "tells-a-mac" => result["interfaces"][1]["mac"] = "de:ad:be:ef:00:00".into(),
        "gives-one-twice" => {
            if place.is_first("given") {
                fs::write(place.file("first"), address.to_string())?;
                return Ok(false);
            }
            let first = first_given(place)?;
            give_instead(address, first)?;
            result["ips"][0]["address"] = format!("{first}/32").into();
        }
        "gives-an-unknown-one" => {
            if !place.is_first("given") {
                return Ok(false);
            }
            // The last of a /20: EC2 is never asked for it.
            let other = Ipv4Addr::from_bits((address.to_bits() | 0xfff) - 1);
            give_instead(address, other)?;
            result["ips"][0]["address"] = format!("{other}/32").into();
        }
        "answers-early" => unwire_for_a_moment()?,
        "slow-adds" => std::thread::sleep(Duration::from_secs(1)),
        "small-mtu" => set_link(LinkSettings { mtu: Some(1400), ..LinkSettings::default() })?,
        "wrong-neighbour" => {
            let (mut socket, link, _) = inside()?;
            let wrong = MacAddr([2, 0xde, 0xad, 0xbe, 0xef, 1]);
            let gateway = Ipv4Addr::new(169, 254, 1, 1);
            socket.apply(&Change::PutNeighbour(Neighbour::permanent(link, gateway.into(), wrong)))?;
        }
        "blackhole-inside" => {
            let (mut socket, _, _) = inside()?;
            let route = Route {
                link: None,
                kind: RouteType::BlackHole,
                scope: RouteScope::Universe,
                ..Route::on_link(254, "10.97.0.0/16".parse()?, 0)
            };
            socket.apply(&Change::AddRoute(route))?;
        }
        "small-route-inside" => {
            run_inside("ip route replace default via 169.254.1.1 dev eth0 mtu 1400")?;
        }
        "two-gateways-inside" => {
            let hop = "nexthop via 169.254.1.1 dev eth0 weight";
            run_inside(&format!("ip route replace default {hop} 1 {hop} 2"))?;
        }
        "neighbour-v6-inside" => {
            run_inside("ip neigh add 2001:db8:99::1 lladdr 02:de:ad:be:ef:01 dev eth0 nud permanent")?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Runs a program in the sandbox.
fn run_inside(line: &str) -> anyhow::Result<()> {
    let path = std::env::var("CNI_NETNS").context("ADD names a namespace")?;
    let netns: OwnedFd = netns::open(Path::new(&path))?;
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdout(Stdio::null());
    let status = netns::run_in(&netns, || command.status())??;
    anyhow::ensure!(status.success(), "{line} ended with {status}");
    Ok(())
}

/// The daemon's process, if one listens.
fn daemon(call: &Call) -> Option<i32> {
    let stream = UnixStream::connect(call.conf["socket"].as_str()?).ok()?;
    Peer::of(&stream).ok().map(|peer| peer.pid)
}

/// Four of five, as soon as a node's daemon is another than the first.
fn refuses(place: &Place, call: &Call) -> anyhow::Result<bool> {
    let Some(pid) = daemon(call) else { return Ok(false) };
    let socket = call.conf["socket"].as_str().unwrap_or_default().replace('/', "-");
    let first = place.file(&format!("daemon{socket}"));
    if !first.exists() {
        fs::write(&first, pid.to_string())?;
    }
    if fs::read_to_string(&first)? == pid.to_string() {
        return Ok(false);
    }
    let served = (0..1000).find(|number| place.is_first(&format!("add-{number}")));
    Ok(served.is_none_or(|number| number % 5 != 4))
}

/// What the daemon of now makes of it; nothing, if it does not live to answer.
fn ask_one_daemon(place: &Place, call: &Call) -> anyhow::Result<Option<Said>> {
    let Some(pid) = daemon(call) else { return Ok(None) };
    let process = Path::new("/proc").join(pid.to_string());
    let mut child = start(place, call)?;
    while child.try_wait()?.is_none() {
        if !process.exists() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    end(child).map(Some)
}

fn ask(place: &Place, call: &Call) -> anyhow::Result<Said> {
    end(start(place, call)?)
}

fn start(place: &Place, call: &Call) -> anyhow::Result<Child> {
    let mut real = Command::new(place.real());
    if place.how()? == "hands-no-socket" {
        place.hit(&call.command)?;
        real = Command::new("/usr/bin/setpriv");
        real.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"]).arg(place.real());
    }
    let mut child = real.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // A plugin that fails early may leave its stdin unread.
    drop(child.stdin.take().context("stdin is a pipe")?.write_all(&call.input));
    Ok(child)
}

fn end(child: Child) -> anyhow::Result<Said> {
    let output = child.wait_with_output()?;
    Ok(Said { output: output.stdout, failed: !output.status.success() })
}

/// The sandbox, the number of its link, and its file.
fn inside() -> anyhow::Result<(Socket, u32, String)> {
    let path = std::env::var("CNI_NETNS").context("ADD names a namespace")?;
    let (socket, link) = inside_of(&path)?;
    Ok((socket, link, path))
}

fn inside_of(path: &str) -> anyhow::Result<(Socket, u32)> {
    let netns: OwnedFd = netns::open(Path::new(path))?;
    let mut socket = netns::socket_in(&netns)?;
    let link = socket.link(&LinkRef::Name("eth0".to_owned()))?.context("a sandbox has a link")?.index;
    Ok((socket, link))
}

fn set_link(settings: LinkSettings) -> anyhow::Result<()> {
    let (mut socket, link, _) = inside()?;
    Ok(socket.apply(&Change::SetLink(LinkRef::Index(link), settings))?)
}

/// The address that the first one was given, which it may be about to write down: several run at once.
fn first_given(place: &Place) -> anyhow::Result<Ipv4Addr> {
    for _ in 0..2000 {
        if let Some(first) = fs::read_to_string(place.file("first")).ok().and_then(|text| text.parse().ok()) {
            return Ok(first);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("the first one was never written down")
}

fn give_instead(address: Ipv4Addr, other: Ipv4Addr) -> anyhow::Result<()> {
    let (mut socket, link, _) = inside()?;
    let of = |address: Ipv4Addr| Address::new(link, IpNet::from(std::net::IpAddr::V4(address)));
    socket.apply_all(&[Change::PutAddress(of(other)), Change::DeleteAddress(of(address))])?;
    Ok(())
}

/// Takes the link down, and has it put up again when the answer has been out for a while.
fn unwire_for_a_moment() -> anyhow::Result<()> {
    let (mut socket, link, netns) = inside()?;
    let neighbours = socket.neighbours(AddressFamily::Inet)?;
    let gateway = neighbours.iter().find(|at| at.state == NeighbourState::Permanent && at.link == link);
    let mac = gateway.and_then(|at| at.mac).context("a sandbox knows its gateway")?;
    socket.apply(&Change::SetLink(LinkRef::Index(link), LinkSettings::down()))?;
    let own = std::env::args().next().context("a program has a name")?;
    let mender = Command::new(own)
        .args([aside::WORD, "0", "mend", &netns, &mac.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    // It outlives us.
    drop(mender);
    Ok(())
}

/// What [`unwire_for_a_moment`] took away comes back.
pub(crate) fn mend(netns: &str, gateway: &[String]) -> anyhow::Result<()> {
    std::thread::sleep(Duration::from_millis(800));
    let [mac] = gateway else { bail!("no MAC") };
    let (mut socket, link) = inside_of(netns)?;
    let address = Ipv4Addr::new(169, 254, 1, 1);
    let mut changes = vec![Change::SetLink(LinkRef::Index(link), LinkSettings::up())];
    let there = socket.routes(AddressFamily::Inet, RouteFilter::default())?;
    if !there.iter().any(|route| route.kind == RouteType::Unicast) {
        let to = IpNet::from(std::net::IpAddr::V4(address));
        changes.push(Change::AddRoute(Route::on_link(254, to, link)));
        changes.push(Change::AddRoute(Route::default_via(254, address.into(), link)));
    }
    let mac: MacAddr = mac.parse().map_err(|_not| anyhow::anyhow!("{mac} is no MAC"))?;
    changes.push(Change::PutNeighbour(Neighbour::permanent(link, address.into(), mac)));
    Ok(socket.apply_all(&changes)?)
}
