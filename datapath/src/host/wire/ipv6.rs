//! What the kernel does a moment after it was asked: an IPv6 address takes effect when a worker of its has come to it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use holdfast_model::host::PodWiring;
use holdfast_ports::host::HostFault;
use ipnet::IpNet;

use crate::host::refused;
use crate::netlink::{AddressFamily, Link, NetlinkError, RouteFilter, Socket};

/// The table of a namespace's own addresses.
const LOCAL_TABLE: u32 = 255;

/// Ordinarily it takes no time that could be measured; that worker waits for the kernel's one lock, as hundreds of pods may.
const AT_MOST: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Waits until the pod takes packets to its address.
pub(super) fn settle(pod: &mut Socket, wiring: &PodWiring, link: &Link) -> Result<(), HostFault> {
    let until = Instant::now() + AT_MOST;
    let mut pause = FIRST_PAUSE;
    while !is_taken_in(pod, wiring.address).map_err(refused)? {
        if Instant::now() >= until {
            return Err(HostFault::ReadBack(format!(
                "the sandbox behind {} takes no packets to {} {AT_MOST:?} after it was given it",
                link.name, wiring.address
            )));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

fn is_taken_in(pod: &mut Socket, address: IpAddr) -> Result<bool, NetlinkError> {
    let own = RouteFilter { table: Some(LOCAL_TABLE), ..RouteFilter::default() };
    let routes = pod.routes(AddressFamily::Inet6, own)?;
    Ok(routes.iter().any(|route| route.to == IpNet::from(address)))
}
