//! What is left of a pod's connections when its address is given up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use holdfast_model::host::{MAIN_TABLE, PodWiring};
use holdfast_ports::host::HostNet;
use support::vpc::{INTERNET, Vpc, vpc};
use support::{namespace, runtime, udp};

/// A datagram there, so that there is a connection; gives where the server sees it come from.
fn begin(pod: &UdpSocket, server: &UdpSocket) -> std::net::SocketAddr {
    pod.send_to(b"there", server.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 16];
    server.recv_from(&mut buffer).unwrap().1
}

fn remove(vpc: &Vpc, wiring: &PodWiring) {
    let rt = runtime();
    rt.block_on(vpc.host.unwire_pod(wiring.clone())).unwrap();
    let removed = rt.block_on(vpc.host.remove_links(vec![wiring.clone()]));
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
}

/// The server goes on sending to a pod that is gone; the next pod with its address and its port hears nothing of it, also
/// where the connection was made towards the pod. Those of other pods go on.
#[test]
fn what_is_sent_on_a_connection_of_a_pod_that_is_gone_does_not_reach_the_next() {
    for (own, table) in [("10.0.0.101", MAIN_TABLE), ("10.0.1.102", 2)] {
        let vpc = vpc();
        vpc.serve();
        let at = format!("{own}:7000");
        let (wiring, first) = vpc.pod(1, own, table);
        let (_, other) = vpc.pod(3, "10.0.0.103", MAIN_TABLE);
        let server = udp(&vpc.router, &format!("{INTERNET}:7000"));
        let (in_first, in_other) = (udp(&first, &at), udp(&other, "10.0.0.103:7000"));
        let (seen, seen_other) = (begin(&in_first, &server), begin(&in_other, &server));
        assert_eq!(seen.ip().to_string(), "10.0.0.10", "translated");
        server.send_to(b"back", seen).unwrap();
        let mut buffer = [0; 16];
        in_first.recv(&mut buffer).unwrap();

        drop((in_first, first));
        remove(&vpc, &wiring);
        let second = namespace();
        runtime().block_on(vpc.host.wire_pod(support::wiring(2, own, table), second.clone().into())).unwrap();
        let in_second = udp(&second, &at);
        server.send_to(b"late", seen).unwrap();
        server.send_to(b"live", seen_other).unwrap();
        // Came later, by the same way.
        assert_eq!(in_other.recv(&mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"live");
        in_second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let heard =
            in_second.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        assert_eq!(heard.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "{own}");
    }
}
