//! From a request to an answer: the engine's words into CNI's.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use holdfast_datapath::netns;
use holdfast_engine::{AddError, AddRequest, EngineHandle, Status};
use holdfast_model::config::Config;
use holdfast_model::lease::Lease;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_wire::cni::error::code;
use holdfast_wire::ids;
use holdfast_wire::message::{Add, Added, Answer, Check, Failed, Gc, Request, RequestFrame};
use holdfast_wire::names;
use holdfast_wire::spool::Spool;

use super::{Backend, key_of};
use crate::run::chain;
use crate::spool;

/// An ADD is answered this long before its plugin gives up, so that the cause reaches the pod's events.
const ANSWER_AHEAD: Duration = Duration::from_secs(2);

pub(super) async fn answer(
    frame: RequestFrame,
    descriptor: Option<OwnedFd>,
    config: &Config,
    backend: Backend,
    spools: &[Spool],
) -> Answer {
    let engine = match backend {
        Backend::Engine(engine) => engine,
        Backend::Refusing(cause) => return refusing(&frame.request, cause),
    };
    if frame.request.needs_netns() && descriptor.is_none() {
        return failed(code::PROTOCOL, "no network namespace came with the request", String::new(), false);
    }
    match frame.request {
        Request::Add(add) => {
            let Some(descriptor) = descriptor else { return stopping() };
            spool::settle(spools, &add.sandbox, &engine).await;
            add_answer(add, descriptor, frame.patience_ms, config, &engine).await
        }
        Request::Del(del) => match engine.del(key_of(&del.sandbox)).await {
            Ok(()) => Answer::Done,
            Err(_stopped) => stopping(),
        },
        Request::Check(check) => check_answer(check, descriptor, &engine).await,
        Request::Status(_) => status_answer(&engine).await,
        Request::Gc(gc) => gc_answer(gc, &engine).await,
    }
}

async fn add_answer(
    add: Add,
    descriptor: OwnedFd,
    patience_ms: u64,
    config: &Config,
    engine: &EngineHandle,
) -> Answer {
    let inode = match netns::check(&descriptor).and_then(|()| netns::identity(&descriptor)) {
        Ok(identity) => identity.inode,
        Err(error) => {
            let details = chain(&error);
            return failed(code::INVALID_ENVIRONMENT, "CNI_NETNS is not a network namespace", details, false);
        }
    };
    let sandbox = key_of(&add.sandbox);
    let request = AddRequest {
        host_veth: names::host_veth(&add.veth_prefix, &add.pod),
        // Unique because container ids are: it serves while another sandbox bears the pod's conventional name.
        fallback_veth: names::host_veth(
            &add.veth_prefix,
            &ids::PodRef { namespace: String::new(), name: sandbox.to_string(), uid: None },
        ),
        pod: PodRef { namespace: add.pod.namespace, name: add.pod.name, uid: add.pod.uid },
        netns: Arc::new(descriptor),
        netns_ref: NetnsRef { path: add.netns_path, inode },
        mtu: if add.mtu == 0 { config.pod_mtu.value } else { add.mtu },
        patience: (patience_ms != 0).then(|| Duration::from_millis(patience_ms).saturating_sub(ANSWER_AHEAD)),
        sandbox,
    };
    match engine.add(request).await {
        Ok(lease) => Answer::Added(added(&lease)),
        Err(error) => {
            let details = chain(&error);
            let retry = error.worth_retrying();
            let (code, message) = match &error {
                AddError::NoAddress { .. } | AddError::HeldTooLong { .. } => {
                    (code::TRY_AGAIN_LATER, "no address can be given to the pod")
                }
                AddError::Wiring { .. } => (code::FAILED, "the pod's network could not be set up"),
                AddError::Ledger { .. } => (code::TRY_AGAIN_LATER, "the ledger cannot be written"),
                AddError::Deleted { .. } => (code::FAILED, "the pod was deleted meanwhile"),
                AddError::Stopping => (code::TRY_AGAIN_LATER, "the daemon is stopping"),
            };
            failed(code, message, details, retry)
        }
    }
}

fn added(lease: &Lease) -> Added {
    Added {
        address: lease.address,
        device_number: lease.slot.device.into(),
        route_table: lease.slot.route_table(),
        host_veth: lease.host_veth.clone(),
        host_mac: lease.host_mac.to_string(),
    }
}

async fn check_answer(check: Check, descriptor: Option<OwnedFd>, engine: &EngineHandle) -> Answer {
    let sandbox = key_of(&check.sandbox);
    if let Some(differs) = expected_differs(&check.expected, &sandbox, engine).await {
        return failed(code::CHECK_FAILED, "the pod is not as it was set up", differs, false);
    }
    match engine.check(sandbox, descriptor.map(Arc::new)).await {
        Ok(differences) if differences.is_empty() => Answer::Done,
        Ok(differences) => failed(
            code::CHECK_FAILED,
            "the pod's network is not as it should be",
            differences.join("; "),
            false,
        ),
        Err(_stopped) => stopping(),
    }
}

/// The runtime kept another address than the ledger has.
async fn expected_differs(
    expected: &[IpAddr],
    sandbox: &SandboxKey,
    engine: &EngineHandle,
) -> Option<String> {
    let leased = engine.dump().await.ok()?.ledger.leases.get(sandbox)?.address;
    (!expected.is_empty() && !expected.contains(&leased))
        .then(|| format!("the runtime expects {expected:?}, the ledger has {leased}"))
}

async fn status_answer(engine: &EngineHandle) -> Answer {
    match engine.status().await {
        Ok(Status::Ready | Status::Growing) => Answer::Done,
        Ok(Status::Refusing(cause)) => {
            failed(code::NOT_AVAILABLE, "a pod added now would get no address", cause.to_string(), true)
        }
        Err(_stopped) => stopping(),
    }
}

async fn gc_answer(gc: Gc, engine: &EngineHandle) -> Answer {
    let network = gc.network.to_string();
    let valid = gc
        .valid
        .iter()
        .map(|attachment| SandboxKey {
            container_id: attachment.container_id.to_string(),
            ifname: attachment.ifname.to_string(),
            network: network.clone(),
        })
        .collect();
    match engine.gc(network, valid).await {
        Ok(()) => Answer::Done,
        Err(_stopped) => stopping(),
    }
}

fn refusing(request: &Request, cause: String) -> Answer {
    match request {
        Request::Status(_) => failed(code::NOT_AVAILABLE, "the daemon is not ready", cause, true),
        _ => failed(code::TRY_AGAIN_LATER, "the daemon is not ready", cause, true),
    }
}

fn stopping() -> Answer {
    failed(code::TRY_AGAIN_LATER, "the daemon is stopping", String::new(), true)
}

fn failed(code: u32, msg: &str, details: String, retry: bool) -> Answer {
    Answer::Failed(Failed { code, msg: msg.to_owned(), details, retry })
}
