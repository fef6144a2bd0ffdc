//! From a request to an answer: the engine's words into CNI's.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use holdfast_datapath::{handed, netns};
use holdfast_engine::{AddError, AddRequest, Deleted, EngineHandle, Status, Stopped, VethNames};
use holdfast_metrics::{AddOutcome, DelOutcome};
use holdfast_model::chain;
use holdfast_model::config::{Config, Origin};
use holdfast_model::lease::{Face, Lease};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_ports::Netns;
use holdfast_wire::code;
use holdfast_wire::fd::Descriptors;
use holdfast_wire::ids::{self, IfName, VethPrefix};
use holdfast_wire::message::{self, Add, Added, Answer, Check, Failed, Gc, Request, RequestFrame};
use holdfast_wire::names;
use tracing::{Instrument as _, Span};

use super::Desk;
use super::connection::start_of;
use crate::aside::{self, Held};
use crate::backend::Backend;
use crate::clock;
use crate::keys::key_of;

/// An ADD is answered at least this long before its plugin gives up, so that the cause reaches the pod's events; a
/// plugin with little patience gets a quarter of it.
const ANSWER_AHEAD: Duration = Duration::from_secs(2);

/// Within this time whatever is asked is answered, unless something is stuck.
const AMPLE: Duration = Duration::from_secs(5);

/// How long a plugin waits that does not say so.
const PATIENCE_UNTOLD: Duration = Duration::from_secs(120);

/// What an answer counts as.
#[derive(Clone, Copy)]
enum Counts {
    Add(AddOutcome),
    Del(DelOutcome),
    /// Nothing is told of these.
    Other,
}

impl Counts {
    /// One that says the same of whatever was asked.
    fn alike(request: &Request, add: AddOutcome, del: DelOutcome) -> Self {
        match request {
            Request::Add(_) => Self::Add(add),
            Request::Del(_) => Self::Del(del),
            Request::Check(_) | Request::Status(_) | Request::Gc(_) => Self::Other,
        }
    }

    fn not_ready(request: &Request) -> Self {
        Self::alike(request, AddOutcome::NotReady, DelOutcome::NotReady)
    }
}

/// Answers one request. Ends, with words, before long after the asker has gone.
pub(super) async fn answer(
    frame: RequestFrame,
    descriptors: Option<Held<Descriptors<OwnedFd>>>,
    desk: &Desk,
) -> Answer {
    let began = Instant::now();
    let (answer, counts) = answered(frame, descriptors, desk).await;
    match counts {
        Counts::Add(outcome) => desk.record.answers.added(outcome, began.elapsed()),
        Counts::Del(outcome) => desk.record.answers.deleted(outcome, began.elapsed()),
        Counts::Other => {}
    }
    answer
}

async fn answered(
    frame: RequestFrame,
    descriptors: Option<Held<Descriptors<OwnedFd>>>,
    desk: &Desk,
) -> (Answer, Counts) {
    let patience = match frame.patience_ms {
        0 => PATIENCE_UNTOLD,
        ms => Duration::from_millis(ms),
    };
    let backend = desk.backend.borrow().clone();
    let engine = match backend {
        Backend::Engine(engine) => engine,
        Backend::Refusing(cause) => {
            let counts = Counts::not_ready(&frame.request);
            return (refusing(&frame.request, cause), counts);
        }
    };
    if frame.request.needs_netns() && descriptors.is_none() {
        let lacks = "no network namespace came with the request";
        // A DEL needs none.
        let counts = Counts::alike(&frame.request, AddOutcome::BadRequest, DelOutcome::Done);
        return (failed(code::PROTOCOL, lacks, String::new(), false), counts);
    }
    let too_late = Counts::alike(&frame.request, AddOutcome::TimedOut, DelOutcome::TimedOut);
    let command = frame.request.command();
    let trace = frame.trace.as_ref().map(|trace| trace.as_str().into());
    // In every line about this request. Without a trace there is nothing to say, and nothing is paid.
    let span = frame.trace.map_or_else(Span::none, |trace| tracing::info_span!("request", %trace));
    let answering = async {
        match frame.request {
            Request::Add(add) => match descriptors {
                Some(came) => {
                    let (answer, outcome) = add_answer(add, came, patience, trace, desk, &engine).await;
                    (answer, Counts::Add(outcome))
                }
                None => (stopping(), Counts::Add(AddOutcome::NotReady)),
            },
            Request::Del(del) => {
                let (answer, outcome) = del_answer(engine.del(key_of(&del.sandbox)).await);
                (answer, Counts::Del(outcome))
            }
            Request::Check(check) => match descriptors {
                Some(came) => (check_answer(check, came, desk, &engine).await, Counts::Other),
                None => (stopping(), Counts::Other),
            },
            Request::Status(_) => (status_answer(&engine).await, Counts::Other),
            Request::Gc(gc) => (gc_answer(gc, &engine).await, Counts::Other),
        }
    };
    let in_time = tokio::time::timeout(patience, answering.instrument(span.clone())).await;
    in_time.unwrap_or_else(|_elapsed| {
        let _in_trace = span.enter();
        if patience < AMPLE {
            tracing::warn!(command, ?patience, "a request was not answered within its plugin's deadline");
        } else {
            tracing::error!(
                command,
                ?patience,
                "a request was not answered in time: disk or kernel are stuck"
            );
        }
        let late = failed(code::TRY_AGAIN_LATER, "the daemon could not answer in time", String::new(), true);
        (late, too_late)
    })
}

fn del_answer(deleted: Result<Deleted, Stopped>) -> (Answer, DelOutcome) {
    match deleted {
        Ok(Deleted::Durable) => (Answer::Done, DelOutcome::Done),
        // Then the plugin leaves a tombstone: should this daemon end before the disk takes the release, the next
        // one finds it there.
        Ok(Deleted::Owed) => {
            let details = "the pod's network is gone, and its release is not written down".to_owned();
            let answer = failed(code::TRY_AGAIN_LATER, "the ledger cannot be written", details, true);
            (answer, DelOutcome::Owed)
        }
        Err(Stopped) => (stopping(), DelOutcome::NotReady),
    }
}

async fn add_answer(
    add: Add,
    came: Held<Descriptors<OwnedFd>>,
    patience: Duration,
    trace: Option<Box<str>>,
    desk: &Desk,
    engine: &EngineHandle,
) -> (Answer, AddOutcome) {
    let began = Instant::now();
    let (netns, inode) = match accepted(came, desk).await {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let (path, cause) = (start_of(&add.netns_path), start_of(&refusal.details));
            tracing::warn!(sandbox = %add.sandbox, path, cause, "ADD refused");
            return (Answer::Failed(refusal), AddOutcome::BadRequest);
        }
    };
    let sandbox = key_of(&add.sandbox);
    if Face::number_of(&sandbox.ifname).is_some() {
        let details = format!(
            "{} is what a further interface of a pod on several network cards is called",
            sandbox.ifname
        );
        let refusal = failed(code::INVALID_ENVIRONMENT, "CNI_IFNAME cannot be used", details, false);
        return (refusal, AddOutcome::BadRequest);
    }
    let host_veth = names::host_veth(&add.veth_prefix, &add.pod);
    // Unique because container ids are: it serves while another sandbox bears the pod's conventional name.
    let stand_in = ids::PodRef { namespace: String::new(), name: sandbox.to_string(), uid: None };
    let request = AddRequest {
        host_veth,
        fallback_veth: names::host_veth(&add.veth_prefix, &stand_in),
        further: add.on_every_card.then(|| further_veths(&add.veth_prefix, &add.pod, &stand_in)),
        pod: PodRef { namespace: add.pod.namespace, name: add.pod.name, uid: add.pod.uid },
        netns,
        netns_ref: NetnsRef { path: add.netns_path, inode },
        mtu: mtu_of(&desk.settings().config, add.mtu),
        trace,
        patience: Some(patience.saturating_sub(ANSWER_AHEAD.min(patience / 4))),
        sandbox,
    };
    let (sandbox, pod) = (request.sandbox.clone(), request.pod.clone());
    let turn = match desk.spools.settle(&add.sandbox, engine).await {
        Ok(turn) => turn,
        Err(error) => {
            let details = chain(&error);
            tracing::error!(%sandbox, %pod, error = details, "ADD refused");
            let unsettled = "an earlier release cannot be carried out";
            return (failed(code::TRY_AGAIN_LATER, unsettled, details, true), AddOutcome::Unsettled);
        }
    };
    let mut adding = pin!(engine.add(request));
    // The first poll hands the request to the engine, which takes requests in order: from then on a release of this
    // sandbox is a later one.
    let at_once = poll_fn(|context| Poll::Ready(adding.as_mut().poll(context))).await;
    drop(turn);
    let outcome = match at_once {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => adding.await,
    };
    match outcome {
        Ok(lease) => {
            let Some(added) = added(&lease) else {
                let details = format!("the lease of {sandbox} names no address");
                let answer = failed(code::FAILED, "the pod's network could not be set up", details, false);
                return (answer, AddOutcome::Wiring);
            };
            desk.troubles.over(&pod);
            let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            // Beside, so that the plugin has its answer before the log has its lines.
            let told = async move {
                for face in &lease.faces {
                    tracing::info!(%sandbox, %pod, address = %face.address, eni = %face.eni, took_us, "ADD");
                }
            };
            tokio::spawn(told.in_current_span());
            (Answer::Added(added), AddOutcome::Added)
        }
        Err(error) => {
            let (code, message) = in_cni(&error);
            let details = chain(&error);
            desk.troubles.refused(&pod, &details, clock::wall());
            (failed(code, message, details, error.worth_retrying()), AddOutcome::of(&error))
        }
    }
}

/// The namespace that came, with the socket if one came along, and the namespace's inode number; or the refusal of what is
/// not what it should be. Whatever it is, to ask what may take as long as its maker likes.
async fn accepted(came: Held<Descriptors<OwnedFd>>, desk: &Desk) -> Result<(Netns, u64), Failed> {
    let (came, host) = (came.into_inner(), desk.host);
    let looked = aside::look(move || {
        let Descriptors { netns, netlink } = came;
        let inode = identify(&netns, host)?;
        let Some(socket) = netlink else { return Ok((Netns::from(netns), inode)) };
        match handed::take(socket, &netns) {
            Ok(socket) => Ok((Netns::with_socket(netns, socket), inode)),
            Err(error) => {
                let msg = "the netlink socket that came with the request cannot be used".to_owned();
                Err(Failed { code: code::PROTOCOL, msg, details: chain(&error), retry: false })
            }
        }
    });
    looked.await.unwrap_or_else(|| {
        let msg = "what came with the request could not be looked at".to_owned();
        let details = "the look at it ended in a panic, which the daemon's log has".to_owned();
        Err(Failed { code: code::FAILED, msg, details, retry: true })
    })
}

/// The namespace's inode number; or why it cannot be a pod's.
fn identify(netns: &OwnedFd, host: Option<netns::Identity>) -> Result<u64, Failed> {
    let refused = |details| {
        let msg = "CNI_NETNS cannot be used".to_owned();
        Failed { code: code::INVALID_ENVIRONMENT, msg, details, retry: false }
    };
    let identity = netns::check(netns).and_then(|()| netns::identity(netns));
    let identity = identity.map_err(|error| refused(chain(&error)))?;
    if host == Some(identity) {
        return Err(refused("it is the host's own network namespace".to_owned()));
    }
    Ok(identity.inode)
}

/// More network cards than any instance type has besides the first: the largest has 32 in all.
const MOST_FURTHER: usize = 63;

/// What the host ends of a pod's interfaces besides the first are called.
fn further_veths(prefix: &VethPrefix, pod: &ids::PodRef, stand_in: &ids::PodRef) -> Vec<VethNames> {
    let names = |number| VethNames {
        conventional: names::host_veth_of(prefix, pod, number),
        fallback: names::host_veth_of(prefix, stand_in, number),
    };
    (1..=MOST_FURTHER).map(names).collect()
}

fn in_cni(error: &AddError) -> (u32, &'static str) {
    match error {
        AddError::NoAddress { .. } | AddError::NoAddressOnCard { .. } | AddError::HeldTooLong { .. } => {
            (code::TRY_AGAIN_LATER, "no address can be given to the pod")
        }
        AddError::Wiring { .. } => (code::FAILED, "the pod's network could not be set up"),
        AddError::Ledger { .. } => (code::TRY_AGAIN_LATER, "the ledger cannot be written"),
        AddError::OneCardOnly { .. } => {
            (code::TRY_AGAIN_LATER, "the pod cannot be given several interfaces here")
        }
        AddError::TwoNamespaces { .. } => (code::TRY_AGAIN_LATER, "the pod is being set up already"),
        AddError::Unkeepable { .. } => (code::FAILED, "the request cannot be kept"),
        AddError::Deleted { .. } => (code::FAILED, "the pod was deleted meanwhile"),
        AddError::Stopping => (code::TRY_AGAIN_LATER, Failed::STOPPING),
    }
}

/// `None`: it has no interface.
fn added(lease: &Lease) -> Option<Added> {
    let mut faces = lease.faces.iter().map(|face| message::Face {
        // A name that the plugin would not take was never asked for by one.
        ifname: IfName::new(&face.ifname).ok(),
        address: face.address,
        device_number: face.place.slot().map_or(0, |slot| slot.device.into()),
        route_table: face.place.route_table(),
        host_veth: face.host_veth.clone(),
        host_mac: face.host_mac.to_string(),
    });
    Some(Added { own: faces.next()?, more: faces.collect() })
}

/// The node's own setting, where there is one; else what the network configuration says, within the ENI's.
fn mtu_of(config: &Config, asked: u32) -> u32 {
    match config.pod_mtu.origin {
        Origin::Environment | Origin::ConfigMap | Origin::NodeGroup => config.pod_mtu.value,
        Origin::Default => asked.min(config.eni_mtu.value),
    }
}

async fn check_answer(
    check: Check,
    came: Held<Descriptors<OwnedFd>>,
    desk: &Desk,
    engine: &EngineHandle,
) -> Answer {
    let netns = match accepted(came, desk).await {
        Ok((netns, _inode)) => netns,
        Err(refusal) => return Answer::Failed(refusal),
    };
    match engine.check(key_of(&check.sandbox), Some(netns), check.expected).await {
        Ok(differences) if differences.is_empty() => Answer::Done,
        // A sandbox that is not known, too, and not the specification's "unknown container", which tells a runtime that no
        // DEL is needed: a ledger that lost something does not know what of it is left in the kernel.
        Ok(differences) => failed(
            code::CHECK_FAILED,
            "the pod's network is not as it should be",
            differences.join("; "),
            false,
        ),
        Err(_stopped) => stopping(),
    }
}

/// Whether this plugin can do its work. A lack of addresses is no failure of it: the runtime calls a node whose plugin
/// fails STATUS not ready, and the pods that run on a node that is merely full, or that EC2 gives nothing to at the
/// moment, would be moved away for it.
async fn status_answer(engine: &EngineHandle) -> Answer {
    match engine.status().await {
        Ok(Status::Ready | Status::Impaired(_) | Status::Growing | Status::Short(_)) => Answer::Done,
        Ok(Status::Refusing(cause)) => {
            failed(code::NOT_AVAILABLE, "no pod can be added now", cause.to_string(), true)
        }
        Err(_stopped) => stopping(),
    }
}

async fn gc_answer(gc: Gc, engine: &EngineHandle) -> Answer {
    let network = gc.network.to_string();
    let key = |attachment: &ids::Attachment| {
        SandboxKey::from(SandboxNames {
            container_id: attachment.container_id.to_string(),
            ifname: attachment.ifname.to_string(),
            network: network.clone(),
        })
    };
    let valid = gc.valid.iter().map(key).collect();
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
    Answer::Failed(Failed::stopping())
}

fn failed(code: u32, msg: &str, details: String, retry: bool) -> Answer {
    Answer::Failed(Failed { code, msg: msg.to_owned(), details, retry })
}

#[cfg(test)]
mod tests {
    use holdfast_model::settings::ClusterSettings;

    use super::*;
    use crate::settings::{self, Layers};

    #[test]
    fn the_nodes_mtu_goes_before_the_network_configurations() {
        let told = |pairs: &[(&str, &str)], asked| {
            let value_of = |name: &str| pairs.iter().find(|(known, _)| *known == name);
            let environment = |name: &str| value_of(name).map(|(_, value)| (*value).to_owned());
            let read = settings::read(&Layers::new(environment, &ClusterSettings::default()));
            assert!(read.refused.is_empty(), "{read:?}");
            mtu_of(&read.config, asked)
        };
        assert_eq!(told(&[("POD_MTU", "1400")], 9001), 1400, "smaller than the configuration's");
        assert_eq!(told(&[("POD_MTU", "8000")], 1500), 8000, "larger than the configuration's");
        assert_eq!(told(&[("POD_MTU", "9001")], 1500), 9001, "the default's figure, said aloud");
        assert_eq!(told(&[("POD_MTU", "8000"), ("AWS_VPC_ENI_MTU", "1500")], 9001), 1500, "within the ENI's");
        assert_eq!(told(&[], 1300), 1300, "unset, the configuration's");
        assert_eq!(told(&[("POD_MTU", "")], 1300), 1300, "empty is unset");
        assert_eq!(told(&[("AWS_VPC_ENI_MTU", "1500")], 9001), 1500, "no more than an ENI's link carries");
    }
}
