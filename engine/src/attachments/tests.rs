use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use holdfast_model::lease::LeasePhase;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxNames};
use holdfast_model::time::{BootTime, WallTime};
use holdfast_ports::HostFault;
use tokio::sync::oneshot;

use super::*;
use crate::request::AddRequest;

fn key(container: &str) -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: container.into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    })
}

fn releasing(sandbox: &SandboxKey) -> Lease {
    Lease {
        sandbox: sandbox.clone(),
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: NetnsRef { path: "/run/netns/1".into(), inode: 1 },
        faces: Vec::new(),
        phase: LeasePhase::Releasing,
        created: WallTime(0),
    }
}

fn refused() -> HostFault {
    HostFault::Refused { step: "a step".into(), cause: "no".into() }
}

#[test]
fn each_number_is_greater_than_the_one_before() {
    let mut all = Attachments::default();
    let numbers: Vec<u64> = (0..3).map(|_| all.next_number()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

/// A release that a start finds: its wiring goes, its links go, and nothing is remembered of it.
#[test]
fn what_is_under_way_is_told_and_what_is_at_rest_is_forgotten() {
    let mut all = Attachments::default();
    let (one, other) = (key("one"), key("other"));
    let lease = releasing(&one);
    assert!(!all.any_in_the_kernel() && !all.is_busy(&one));
    all.step(&one, Input::TakeUp, Some(&lease));
    assert_eq!(all.get(&one).map(Attachment::work), Some(Work::Unwiring));
    assert!(all.any_in_the_kernel() && all.is_busy(&one) && !all.is_busy(&other));
    assert!(all.any(|work| work == Work::Unwiring) && !all.any(|work| work == Work::Wiring));
    assert_eq!((all.doing(|work| work == Work::Unwiring), all.failed()), (vec![one.clone()], Vec::new()));
    assert_eq!(all.get(&one).map(Attachment::stage), Some("an older attachment of it is being removed"));

    // Refused: it is taken up again later, and told to be.
    all.step(&one, Input::Unwired(Err(refused())), Some(&lease));
    assert!(!all.any_in_the_kernel());
    assert_eq!((all.failed(), all.keys()), (vec![one.clone()], vec![one.clone()]));
    all.step(&one, Input::TakeUp, Some(&lease));
    all.step(&one, Input::Unwired(Ok(())), Some(&lease));
    assert!(!all.any_in_the_kernel(), "its links go with the next batch");
    all.step(&one, Input::LinksTaken, Some(&lease));
    assert!(all.any_in_the_kernel());
    all.step(&one, Input::LinksRemoved(Ok(())), Some(&lease));
    assert_eq!((all.failed(), all.keys()), (Vec::new(), Vec::new()));
}

#[test]
fn who_came_first_is_served_first_whatever_its_name() {
    let mut all = Attachments::default();
    for (order, name) in ["c", "a", "d", "b"].into_iter().enumerate() {
        let request = AddRequest {
            sandbox: key(name),
            pod: PodRef { namespace: "default".into(), name: name.into(), uid: None },
            netns: OwnedFd::from(File::open("/dev/null").unwrap()).into(),
            netns_ref: NetnsRef { path: format!("/run/netns/{name}"), inode: 1 },
            host_veth: name.into(),
            fallback_veth: name.into(),
            further: None,
            mtu: 9001,
            trace: None,
            patience: None,
        };
        let (reply, _answer) = oneshot::channel();
        let (request, hold) = (Box::new(request), Duration::from_secs(10));
        let order = order as u64;
        all.step(&key(name), Input::Add { request, reply, at: BootTime(0), hold, order }, None);
    }
    let line: Vec<String> = all.in_line().iter().map(|key| key.container_id.clone()).collect();
    assert_eq!(line, ["c", "a", "d", "b"]);
}
