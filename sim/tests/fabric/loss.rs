//! Packets that are lost between a node and the VPC.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use holdfast_sim::fabric::{Loss, Namespace};

use crate::metadata::{ANY, nobody, who};
use crate::site::{ONE, SCENARIO, Site, THREE, TWO, configure_second, exchange, one_way, reaches};

fn all() -> Loss {
    Loss { permille: 1000, device: None, with: None }
}

#[test]
fn a_node_loses_what_it_is_to_lose_and_nothing_else() {
    let site = Site::up();
    let (one, two, three) = (&site.namespace("one"), &site.namespace("two"), &site.namespace("three"));
    site.fabric.lose("one", &[Loss { with: Some("10.0.16.0/20".parse().unwrap()), ..all() }]).unwrap();
    assert_eq!(site.fabric.lost("one").unwrap(), 0);
    assert!(!one_way((one, ONE), (two, TWO)));
    assert_eq!(site.fabric.lost("one").unwrap(), 1, "seen to hit");
    assert!(!one_way((two, TWO), (one, ONE)), "in the other direction too");
    assert_eq!(site.fabric.lost("one").unwrap(), 2);
    assert!(exchange((one, ONE), (three, THREE)));
    assert!(exchange((two, TWO), (three, THREE)), "another node loses nothing");

    // Metadata only.
    site.fabric.lose("one", &[Loss { with: Some("169.254.169.254/32".parse().unwrap()), ..all() }]).unwrap();
    nobody(one, ANY);
    assert!(who(two, ANY).is_ok());
    assert!(exchange((one, ONE), (two, TWO)), "only the last order counts");

    // Everything, then nothing.
    site.fabric.lose("one", &[all()]).unwrap();
    assert!(!one_way((one, ONE), (three, THREE)));
    site.fabric.lose("one", &[]).unwrap();
    assert!(exchange((one, ONE), (three, THREE)));
    assert!(who(one, ANY).is_ok());
    assert!(site.fabric.lose("four", &[]).is_err());
    assert!(site.fabric.lose("one", &[Loss { permille: 0, ..all() }]).is_err());
}

#[test]
fn one_interface_can_be_dead_while_the_other_lives_and_stays_so_over_a_boot() {
    let site = Site::up();
    let two = &site.namespace("two");
    let second = Ipv4Addr::new(10, 0, 0, 50);
    // Told before the interface is there.
    site.fabric.lose("one", &[Loss { device: Some(1), ..all() }]).unwrap();
    site.attach("one", second);
    site.pass(Duration::from_millis(300));
    for _ in 0..2 {
        let one = &site.namespace("one");
        configure_second(one, second);
        assert!(!one_way((two, TWO), (one, second)));
        assert!(exchange((two, TWO), (one, ONE)));
        site.reboot("one");
    }
    site.fabric.lose("one", &[]).unwrap();
    let one = &site.namespace("one");
    configure_second(one, second);
    assert!(reaches((two, TWO), (one, second)));
}

#[test]
fn some_of_many_packets_are_lost_and_some_are_not() {
    let lossy = SCENARIO.replacen(
        "subnet = \"a\"",
        "subnet = \"a\"\nloss = [{ permille = 500, with = \"10.0.16.10/32\" }]",
        1,
    );
    let site = Site::of(&lossy);
    let arrived = (0..64).filter(|_| sent(&site.namespace("one"), &site.namespace("two"))).count();
    let lost = site.fabric.lost("one").unwrap();
    assert_eq!(arrived + usize::try_from(lost).unwrap(), 64, "what was not lost arrived");
    // Fewer than 8 of 64 at a chance of one half: once in a billion runs.
    assert!((8..=56).contains(&arrived), "{arrived} of 64 arrived");
}

/// Whether one datagram arrives. One that is lost is lost before it is looked for, so nothing is waited for in vain.
fn sent(one: &Namespace, two: &Namespace) -> bool {
    let receiver = two.run(|| UdpSocket::bind((TWO, 0))).unwrap().unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let sender = one.run(|| UdpSocket::bind((ONE, 0))).unwrap().unwrap();
    sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
    receiver.recv_from(&mut [0; 8]).is_ok()
}
