//! Pods whose packets somebody sends elsewhere, by rules or routes of his own. Those are not ours to take away; but the pod is
//! cut off, and nobody else tells.

use holdfast_model::host::{LinkAlias, PodWiring};

use super::ways;
use crate::netlink::{LinkRef, NetlinkError, Socket};

/// For so many pods it is found out what takes their packets: that reads all rules, of which a full node has thousands.
const EXPLAINED: usize = 10;

/// Each of these pods whose packets, or packets to it, go elsewhere, and what takes them there. On the host's side; of a pod
/// without its link it says nothing.
pub(super) fn look(host: &mut Socket, pods: &[PodWiring]) -> Result<Vec<(LinkAlias, String)>, NetlinkError> {
    let mut diverted = Vec::new();
    let mut first = None;
    for pod in pods {
        let link = host.link(&LinkRef::Name(pod.host_veth.clone()))?;
        let Some(link) = link.filter(|link| link.alias.as_deref() == Some(pod.alias.as_str())) else {
            continue;
        };
        let astray = ways::astray(host, &link, pod)?;
        if astray.is_empty() {
            continue;
        }
        let first = *first.get_or_insert(pod.address);
        let words = if diverted.len() < EXPLAINED {
            let words: Result<Vec<_>, _> = astray.iter().map(|astray| astray.words(&link, host)).collect();
            words?.join("; ")
        } else {
            format!("packets from or to {} go elsewhere, like those of {first}", pod.address)
        };
        diverted.push((pod.alias.clone(), words));
    }
    Ok(diverted)
}
