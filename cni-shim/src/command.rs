//! What each command needs, asks and prints.

use std::io;

use holdfast_wire::cni::chain;
use holdfast_wire::cni::conf::NetConf;
use holdfast_wire::cni::env::Command;
use holdfast_wire::cni::result::CniResult;
use holdfast_wire::cni::version::{CniVersion, VersionReply};
use holdfast_wire::code;
use holdfast_wire::ids::SandboxKey;
use holdfast_wire::message::{Add, Answer, Check, Gc, Request, Status};

use crate::call::{Call, Outcome, Success};
use crate::failure::Failure;
use crate::netns::Netns;
use crate::{ask, del};

/// The largest configuration that is read. GC's is the largest that runtimes make: every attachment of the node,
/// twice.
const MAX_STDIN: u64 = 4 * 1024 * 1024;

/// Carries out a call; `stdin` gives up to so many bytes of the configuration.
pub(crate) fn run(call: &Call<'_>, stdin: impl FnOnce(u64) -> io::Result<Vec<u8>>) -> Outcome {
    let command = match &call.command {
        Ok(command) => *command,
        Err(text) => return Outcome { conf: None, result: Err(Failure::Command(text.clone())) },
    };
    let conf = match read_conf(stdin) {
        Ok(conf) => conf,
        // VERSION answers whatever it is asked: a runtime that speaks an unknown dialect starts with it.
        Err(_) if command == Command::Version => return Outcome { conf: None, result: Ok(version(None)) },
        Err(failure) => return Outcome { conf: None, result: Err(failure) },
    };
    let result = match command {
        Command::Version => Ok(version(conf.version_text())),
        Command::Add => add(call, &conf),
        Command::Del => del::run(call, &conf),
        Command::Check => check(call, &conf),
        Command::Status => status(call, &conf),
        Command::Gc => gc(call, &conf),
    };
    Outcome { conf: Some(conf), result }
}

fn read_conf(stdin: impl FnOnce(u64) -> io::Result<Vec<u8>>) -> Result<NetConf, Failure> {
    let text = stdin(MAX_STDIN + 1).map_err(Failure::Stdin)?;
    if text.len() as u64 > MAX_STDIN {
        return Err(Failure::StdinTooLarge(MAX_STDIN));
    }
    Ok(NetConf::parse(&text)?)
}

fn version(asked: Option<&str>) -> Success {
    Success::printing(&VersionReply::to(asked))
}

fn add(call: &Call<'_>, conf: &NetConf) -> Result<Success, Failure> {
    let version = conf.version()?;
    let network = conf.network()?;
    let link = conf.pod_link()?;
    let previous = conf.previous_result()?;
    let (container_id, ifname, netns_path, pod) = call.env.for_add()?;
    let netns = entered(&netns_path)?;
    let request = Request::Add(Add {
        sandbox: SandboxKey { network, container_id, ifname: ifname.clone() },
        pod: pod.clone(),
        netns_path: netns_path.clone(),
        mtu: link.mtu,
        veth_prefix: link.veth_prefix,
        enforcing_mode: link.enforcing_mode,
        on_every_card: conf.on_every_card(),
    });
    let patience = conf.deadline()?.unwrap_or_else(|| ask::patience(&request));
    match ask::daemon(&conf.socket()?, request, Some(&netns), patience, call.env.trace())? {
        Answer::Added(added) => {
            let result = CniResult::of_add(version, &added, &ifname, &netns_path, &pod);
            Ok(Success::printing(&chain::behind(previous, &result)?))
        }
        Answer::Failed(failed) => Err(Failure::Refused(failed)),
        Answer::Done => Err(Failure::Unexpected("ADD")),
    }
}

/// The sandbox's namespace, which this process has entered if it may.
fn entered(path: &str) -> Result<Netns, Failure> {
    let opened = Netns::open(path).map_err(|source| Failure::Netns { path: path.to_owned(), source })?;
    Ok(opened.enter())
}

fn check(call: &Call<'_>, conf: &NetConf) -> Result<Success, Failure> {
    conf.version_since(CniVersion::V0_4_0, "CHECK")?;
    let network = conf.network()?;
    let (container_id, ifname, netns_path) = call.env.for_check()?;
    let netns = entered(&netns_path)?;
    let sandbox = SandboxKey { network, container_id, ifname };
    let request = Request::Check(Check { sandbox, netns_path, expected: conf.previous_addresses() });
    ask_for_yes(call, conf, request, Some(&netns))
}

fn status(call: &Call<'_>, conf: &NetConf) -> Result<Success, Failure> {
    conf.version_since(CniVersion::V1_1_0, "STATUS")?;
    let request = Request::Status(Status { network: conf.network()? });
    match ask_for_yes(call, conf, request, None) {
        Err(Failure::Daemon(error)) => Err(Failure::NotAvailable(error)),
        // STATUS has codes of its own for "no".
        Err(Failure::Refused(mut failed)) => {
            if !matches!(failed.code, code::NOT_AVAILABLE | code::NOT_AVAILABLE_LIMITED) {
                failed.details = format!("{} (code {})", failed.details, failed.code);
                failed.code = code::NOT_AVAILABLE;
            }
            Err(Failure::Refused(failed))
        }
        other => other,
    }
}

fn gc(call: &Call<'_>, conf: &NetConf) -> Result<Success, Failure> {
    conf.version_since(CniVersion::V1_1_0, "GC")?;
    let request = Request::Gc(Gc { network: conf.network()?, valid: conf.valid_attachments()? });
    ask_for_yes(call, conf, request, None)
}

fn ask_for_yes(
    call: &Call<'_>,
    conf: &NetConf,
    request: Request,
    netns: Option<&Netns>,
) -> Result<Success, Failure> {
    let patience = conf.deadline()?.unwrap_or_else(|| ask::patience(&request));
    let command = request.command();
    match ask::daemon(&conf.socket()?, request, netns, patience, call.env.trace())? {
        Answer::Done => Ok(Success::silent()),
        Answer::Failed(failed) => Err(Failure::Refused(failed)),
        Answer::Added(_) => Err(Failure::Unexpected(command)),
    }
}
