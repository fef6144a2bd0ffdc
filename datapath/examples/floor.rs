//! The floor: the bare netlink calls that give a pod its network, and nothing else. No read-back, no alias, no
//! check of what is there, no waiting for anything but the kernel. What wiring a pod costs beside it is what we add.
//!
//! `floor [PODS] [AT_ONCE]` (defaults 50, 16), as root; works in namespaces of its own. Prints one line of JSON:
//! microseconds per pod, one at a time and AT_ONCE at a time, for ADD (veth pair, both sides up, addresses, routes,
//! neighbour, rules) and DEL (rules and route; link removal told apart, alone and many by one request). With
//! `--host` the same through [`Host`], for comparison in one run; with `--apart` with each change in a system call of its
//! own, as the library's own handle sends them, one at a time.
#![allow(clippy::unwrap_used, reason = "a measurement ends at the first failure")]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use holdfast_datapath::netlink::{
    Address, Change, LinkRef, LinkSettings, Neighbour, NetlinkError, Route, Rule, Socket, Veth, VethEnd,
};
use holdfast_datapath::{Host, HostOptions, netns};
use holdfast_model::host::{LinkAlias, MAIN_TABLE, POD_GATEWAY, PodWiring, priority};
use holdfast_model::ids::MacAddr;
use holdfast_ports::host::HostNet;
use serde_json::json;

type Netns = Arc<OwnedFd>;

const TABLE: u32 = 2;
const REMOVAL: u32 = 99;

fn main() -> anyhow::Result<()> {
    let mut numbers =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(|word| word.parse::<usize>());
    let pods = numbers.next().transpose()?.unwrap_or(50);
    let at_once = numbers.next().transpose()?.unwrap_or(16);
    let mut report = json!({
        "pods": pods,
        "at_once": at_once,
        "one_at_a_time": floor(pods, 1, Socket::apply_all)?,
        "many_at_once": floor(pods, at_once, Socket::apply_all)?,
    });
    if std::env::args().any(|word| word == "--apart") {
        report["apart"] = floor(pods, 1, apart)?;
    }
    if std::env::args().any(|word| word == "--host") {
        report["host_one_at_a_time"] = host(pods, 1)?;
        report["host_many_at_once"] = host(pods, at_once)?;
    }
    println!("{report}");
    Ok(())
}

fn wiring(number: usize) -> PodWiring {
    let [.., high, low] = u32::try_from(number).unwrap().to_be_bytes();
    PodWiring {
        alias: LinkAlias::parse(&format!("holdfast:floor{number}:eth0")).unwrap(),
        host_veth: format!("eni{number:011x}"),
        host_mac: MacAddr([2, 0, 0, 1, high, low]),
        ifname: "eth0".into(),
        number: 0,
        address: std::net::IpAddr::from([10, 0, high, low]),
        mtu: 9001,
        table: TABLE,
        ways: Vec::new(),
    }
}

/// How a socket carries several changes out.
type Apply = fn(&mut Socket, &[Change]) -> Result<(), NetlinkError>;

fn apart(socket: &mut Socket, changes: &[Change]) -> Result<(), NetlinkError> {
    changes.iter().try_for_each(|change| socket.apply(change))
}

/// The bare calls.
fn floor(pods: usize, at_once: usize, apply: Apply) -> anyhow::Result<serde_json::Value> {
    let home = netns::create()?;
    let sandboxes: Vec<Netns> = (0..pods).map(|_| netns::create()).collect::<Result<_, _>>()?;
    let add = measure(
        pods,
        at_once,
        || netns::socket_in(&home).unwrap(),
        |socket, number| {
            add(socket, apply, &home, &sandboxes[number], &wiring(number));
        },
    );
    let delete = measure(
        pods,
        at_once,
        || netns::socket_in(&home).unwrap(),
        |socket, number| {
            delete(socket, apply, &wiring(number));
        },
    );
    let mut socket = netns::socket_in(&home)?;
    let half = pods / 2;
    let single = measure(
        half,
        at_once,
        || netns::socket_in(&home).unwrap(),
        |socket, number| {
            socket.apply(&Change::DeleteLink(LinkRef::Name(wiring(number).host_veth))).unwrap();
        },
    );
    let start = Instant::now();
    let mut changes: Vec<_> = (half..pods)
        .map(|number| {
            let settings = LinkSettings { group: Some(REMOVAL), ..LinkSettings::default() };
            Change::SetLink(LinkRef::Name(wiring(number).host_veth), settings)
        })
        .collect();
    changes.push(Change::DeleteGroup(REMOVAL));
    socket.apply_all(&changes)?;
    let group = start.elapsed().as_micros();
    let group = json!({ "links": pods - half, "all_us": group });
    Ok(json!({ "add_us": add, "del_us": delete, "link_us": single, "links_by_group": group }))
}

fn add(socket: &mut Socket, apply: Apply, home: &Netns, sandbox: &Netns, wiring: &PodWiring) {
    let own = ipnet::IpNet::from(wiring.address);
    let veth = Veth {
        near: VethEnd { name: wiring.host_veth.clone(), mac: Some(wiring.host_mac), netns: None },
        far: VethEnd { name: wiring.ifname.clone(), mac: None, netns: Some(sandbox.clone()) },
        mtu: Some(wiring.mtu),
        group: 0,
    };
    let name = LinkRef::Name(wiring.host_veth.clone());
    let looked = socket.apply_and_look(&[Change::CreateVeth(veth)], &[name]).unwrap();
    let link = looked.links[0].clone().unwrap();
    apply(
        socket,
        &[
            Change::SetLink(LinkRef::Index(link.index), LinkSettings::up()),
            Change::AddRoute(Route::on_link(MAIN_TABLE, own, link.index)),
            Change::AddRule(Rule { to: Some(own), ..Rule::new(priority::TO_POD, MAIN_TABLE) }),
            Change::AddRule(Rule { from: Some(own), ..Rule::new(priority::FROM_POD, wiring.table) }),
        ],
    )
    .unwrap();
    netns::enter_for_good(sandbox).unwrap();
    let inside = Socket::open();
    netns::enter_for_good(home).unwrap();
    let far = link.peer_index.unwrap();
    let gateway = POD_GATEWAY.into();
    apply(
        &mut inside.unwrap(),
        &[
            Change::SetLink(LinkRef::Index(far), LinkSettings::up()),
            Change::AddAddress(Address::new(far, own)),
            Change::AddRoute(Route::on_link(
                MAIN_TABLE,
                ipnet::IpNet::from(std::net::IpAddr::V4(POD_GATEWAY)),
                far,
            )),
            Change::AddRoute(Route::default_via(MAIN_TABLE, gateway, far)),
            Change::PutNeighbour(Neighbour::permanent(far, gateway, wiring.host_mac)),
        ],
    )
    .unwrap();
}

fn delete(socket: &mut Socket, apply: Apply, wiring: &PodWiring) {
    let own = ipnet::IpNet::from(wiring.address);
    apply(
        socket,
        &[
            Change::DeleteRoute(Route { link: None, ..Route::on_link(MAIN_TABLE, own, 0) }),
            Change::DeleteRule(Rule { to: Some(own), ..Rule::new(priority::TO_POD, MAIN_TABLE) }),
            Change::DeleteRule(Rule { from: Some(own), ..Rule::new(priority::FROM_POD, wiring.table) }),
        ],
    )
    .unwrap();
}

/// Does the work for each number, on `at_once` threads, and gives the median, the 99th percentile and the whole
/// time over the number, in microseconds.
fn measure<T>(
    count: usize,
    at_once: usize,
    open: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, usize) + Sync,
) -> serde_json::Value {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let mut times: Vec<u128> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    let mut means = open();
                    let mut times = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return times;
                        }
                        let start = Instant::now();
                        work(&mut means, number);
                        times.push(start.elapsed().as_micros());
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    summary(&mut times, start)
}

fn summary(times: &mut [u128], start: Instant) -> serde_json::Value {
    let whole = start.elapsed().as_micros();
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    json!({ "median": at(50), "p99": at(99), "per_pod": whole / times.len().max(1) as u128 })
}

#[derive(Clone, Copy)]
enum Work {
    Wire,
    Unwire,
    Remove,
}

/// The same through [`Host`].
fn host(pods: usize, at_once: usize) -> anyhow::Result<serde_json::Value> {
    let home = netns::create()?;
    let sandboxes: Vec<Netns> = (0..pods).map(|_| netns::create()).collect::<Result<_, _>>()?;
    let host = Arc::new(Host::new(HostOptions { netns: Some(home), ..HostOptions::default() })?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let run = |work: Work, count: usize| {
        runtime.block_on(async {
            let permits = Arc::new(tokio::sync::Semaphore::new(at_once));
            let start = Instant::now();
            let tasks: Vec<_> = (0..count)
                .map(|number| {
                    let (permits, host, netns) = (permits.clone(), host.clone(), sandboxes[number].clone());
                    tokio::spawn(async move {
                        let _permit = permits.acquire().await.unwrap();
                        let start = Instant::now();
                        let wiring = wiring(number);
                        match work {
                            Work::Wire => host.wire_pod(wiring, netns.into()).await.map(|_wired| ()).unwrap(),
                            Work::Unwire => host.unwire_pod(wiring).await.unwrap(),
                            Work::Remove => host.remove_links(vec![wiring]).await.pop().unwrap().unwrap(),
                        }
                        start.elapsed().as_micros()
                    })
                })
                .collect();
            let mut times = Vec::new();
            for task in tasks {
                times.push(task.await.unwrap());
            }
            summary(&mut times, start)
        })
    };
    let half = pods / 2;
    let add = run(Work::Wire, pods);
    let delete = run(Work::Unwire, pods);
    let single = run(Work::Remove, half);
    let start = Instant::now();
    let removed = runtime.block_on(host.remove_links((half..pods).map(wiring).collect()));
    removed.into_iter().collect::<Result<(), _>>()?;
    let group = json!({ "links": pods - half, "all_us": start.elapsed().as_micros() });
    Ok(json!({ "add_us": add, "del_us": delete, "link_us": single, "links_by_group": group }))
}
