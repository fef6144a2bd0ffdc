//! DEL, which succeeds with the daemon down too.
//!
//! ```text
//!  daemon carries it out ------------------------------------------> success
//!  no daemon, no answer, a refusal, an answer that makes no sense
//!      |-> tombstone in the spool, on disk -------------------------> success
//!      |     full or read-only
//!      |-> tombstone beside the socket, in memory ------------------> success
//!      |     cannot be written either
//!      `-> error 11: nothing else would remember the release, and the runtime asks again
//! ```
//!
//! Memory is good enough as a second choice: what it loses in a reboot, the reboot has released.
//!
//! What DEL does not need it does not check: not the version of the specification (there is no result to print),
//! not the link's settings, not `prevResult`, not the pod's name. A pod whose configuration changed under it must
//! still go away.

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_wire::cni::conf::NetConf;
use holdfast_wire::ids::SandboxKey;
use holdfast_wire::message::{Answer, Del, Request};
use holdfast_wire::spool::Spool;
use holdfast_wire::tombstone::Tombstone;

use crate::ask;
use crate::call::{Call, Success};
use crate::failure::{Failure, chain};
use crate::netns::Netns;

/// Carries out a DEL.
pub(crate) fn run(call: &Call<'_>, conf: &NetConf) -> Result<Success, Failure> {
    let (container_id, ifname) = call.env.for_del()?;
    let socket = conf.socket()?;
    let spools = [Spool::new(conf.spool()?), Spool::beside(&socket)];
    let request = Del {
        sandbox: SandboxKey { network: conf.network()?, container_id, ifname },
        pod: call.env.pod().ok(),
        netns_path: call.env.netns().map(str::to_owned),
    };
    // Gone already, more often than not: the runtime repeats DEL after it has removed the namespace.
    let netns = request.netns_path.as_deref().and_then(|path| Netns::open(path).ok());
    let asked = Request::Del(request.clone());
    let patience = conf.deadline().ok().flatten().unwrap_or_else(|| ask::patience(&asked));
    let reason = match ask::daemon(&socket, asked, netns.as_ref(), patience, call.env.trace()) {
        Ok(Answer::Done) => return Ok(Success::silent()),
        Ok(Answer::Failed(failed)) => format!("the daemon refused: {failed}"),
        Ok(Answer::Added(_)) => Failure::Unexpected("DEL").to_string(),
        Err(error) => chain(&error),
    };
    let tombstone = Tombstone {
        sandbox: request.sandbox,
        pod: request.pod,
        netns_path: request.netns_path,
        recorded_at_ms: milliseconds(call.now),
        reason,
    };
    record(tombstone, &spools, call.pid)
}

fn record(tombstone: Tombstone, spools: &[Spool], pid: u32) -> Result<Success, Failure> {
    let mut failed = Vec::new();
    for spool in spools {
        match spool.put(&tombstone, pid) {
            Ok(()) => {
                let note = format!("recorded in {} for later: {}", spool.dir().display(), tombstone.reason);
                return Ok(Success { note: Some(note), ..Success::silent() });
            }
            Err(error) => failed.push((spool.dir().to_owned(), error)),
        }
    }
    Err(Failure::Lost { reason: tombstone.reason, spools: failed })
}

/// Since 1970; a clock before that is as good as none.
fn milliseconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
