//! Removing links: what costs is the kernel's wait for all who may still use one. One wait serves many links.

use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_model::host::{LinkAlias, PodWiring};
use holdfast_ports::host::HostFault;

use super::pool::Worker;
use super::{LINK_GROUP, refused};
use crate::conntrack;
use crate::netlink::{Change, Link, LinkRef, LinkSettings, Socket};

/// Links in removal are put into a group of this number and the following ones, each removal into its own.
const REMOVAL_GROUPS: u32 = LINK_GROUP << 16;
/// Look-ups in one system call; their answers must fit the socket's receive queue.
const LOOKUPS: usize = 32;

/// Removes the host ends of these pods; returns when they are gone, or will not go. A link of that name that is
/// another's stays. One result for each pod.
pub(crate) fn remove(
    worker: &mut Worker,
    removals: &AtomicU32,
    pods: &[PodWiring],
) -> Vec<Result<(), HostFault>> {
    let mut results: Vec<Result<(), HostFault>> = Vec::with_capacity(pods.len());
    let mut doomed: Vec<(usize, u32)> = Vec::new();
    for some in pods.chunks(LOOKUPS) {
        let names: Vec<_> = some.iter().map(|pod| LinkRef::Name(pod.host_veth.clone())).collect();
        match worker.socket.apply_and_look(&[], &names) {
            Ok(seen) => {
                for (link, pod) in seen.links.into_iter().zip(some) {
                    doomed.extend(
                        link.filter(|link| is_of(link, &pod.alias)).map(|link| (results.len(), link.index)),
                    );
                    results.push(Ok(()));
                }
            }
            Err(error) => {
                let fault = refused(error);
                results.extend(some.iter().map(|_| Err(fault.clone())));
            }
        }
    }
    let indexes: Vec<u32> = doomed.iter().map(|(_, index)| *index).collect();
    if remove_indexes(&mut worker.socket, removals, &indexes).is_err() {
        // One of them would not go: each for itself.
        for (pod, index) in doomed {
            let removed = worker.socket.apply(&Change::DeleteLink(LinkRef::Index(index)));
            if let Err(error) = removed
                && !error.is_absent()
            {
                results[pod] = Err(refused(error));
            }
        }
    }
    forget_connections(pods, &results);
    results
}

/// Of the pods whose link is gone: now they send nothing more. A kernel that cannot be told this (it may lack the
/// interface) keeps nobody's release up: the address rests, and most connections end meanwhile.
fn forget_connections(pods: &[PodWiring], results: &[Result<(), HostFault>]) {
    let gone = pods.iter().zip(results).filter(|(_, result)| result.is_ok());
    let addresses = gone.map(|(pod, _)| pod.address).collect();
    match conntrack::forget(&addresses) {
        Ok(0) => {}
        Ok(connections) => tracing::debug!(connections, ?addresses, "connections are forgotten"),
        Err(error) => tracing::warn!(%error, ?addresses, "connections of addresses that rest may live on"),
    }
}

/// Whether the pod's host link is there and joined to a namespace other than this one.
pub(crate) fn is_joined(socket: &mut Socket, pod: &PodWiring) -> Result<bool, HostFault> {
    let link = socket.link(&LinkRef::Name(pod.host_veth.clone())).map_err(refused)?;
    Ok(link.is_some_and(|link| link.alias.as_deref() == Some(pod.alias.as_str()) && link.peer_elsewhere))
}

/// A link that has no alias yet is the sandbox's if it is in our group: we were killed between making and naming it.
fn is_of(link: &Link, alias: &LinkAlias) -> bool {
    match &link.alias {
        Some(text) => text == alias.as_str(),
        None => link.group == LINK_GROUP,
    }
}

/// Removes links by index, all by one request; returns when they are gone. That some are gone already is as good.
pub(crate) fn remove_indexes(
    socket: &mut Socket,
    removals: &AtomicU32,
    doomed: &[u32],
) -> Result<(), HostFault> {
    if doomed.is_empty() {
        return Ok(());
    }
    let group = REMOVAL_GROUPS | (removals.fetch_add(1, Ordering::Relaxed) & 0xffff);
    let into = LinkSettings { group: Some(group), ..LinkSettings::default() };
    let mut changes: Vec<_> =
        doomed.iter().map(|index| Change::SetLink(LinkRef::Index(*index), into.clone())).collect();
    changes.push(Change::DeleteGroup(group));
    let failures = socket.apply_each(&changes).map_err(refused)?;
    match failures.into_iter().flatten().find(|error| !error.is_absent()) {
        Some(error) => Err(refused(error)),
        None => Ok(()),
    }
}

/// Whether we are removing this link.
pub(crate) fn is_in_removal(link: &Link) -> bool {
    link.group & 0xffff_0000 == REMOVAL_GROUPS
}

/// Whether a veth is of our making: by its group from its first moment, by its alias from its second.
pub(crate) fn is_ours(link: &Link) -> bool {
    let alias = link.alias.as_deref().and_then(LinkAlias::parse);
    link.kind.as_deref() == Some("veth")
        && (link.group == LINK_GROUP || is_in_removal(link) || alias.is_some())
}
