//! Pods whose packets somebody sends elsewhere, by rules or routes of his own. Those are not ours to take away; but the pod is
//! cut off, and nobody else tells.

use holdfast_model::host::{LinkAlias, PodWiring};

use super::ways::{self, Uplinks};
use crate::netlink::{LinkRef, NetlinkError, Socket};

/// For so many pods it is found out what takes their packets: that reads all rules, of which a full node has thousands.
const EXPLAINED: usize = 10;

/// Each of these pods whose packets, or packets to it, go elsewhere, and what takes them there. On the host's side; of a pod
/// without its link it says nothing, nor of one that the kernel refuses to tell about: pods go while they are asked for.
pub(super) fn look(host: &mut Socket, pods: &[PodWiring]) -> Result<Vec<(LinkAlias, String)>, NetlinkError> {
    let mut diverted: Vec<(&PodWiring, String)> = Vec::new();
    let mut uplinks = Uplinks::default();
    for pod in pods {
        let like = diverted.first().filter(|_| diverted.len() >= EXPLAINED).map(|(first, _)| *first);
        match of_pod(host, pod, like, &mut uplinks) {
            Ok(words) => diverted.extend(words.map(|words| (pod, words))),
            Err(error @ NetlinkError::Refused { .. }) => {
                tracing::debug!(%error, pod = pod.alias.as_str(), "its ways cannot be asked for");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(diverted.into_iter().map(|(pod, words)| (pod.alias.clone(), words)).collect())
}

/// Where there are many, it is told to be `like` another.
fn of_pod(
    host: &mut Socket,
    pod: &PodWiring,
    like: Option<&PodWiring>,
    uplinks: &mut Uplinks,
) -> Result<Option<String>, NetlinkError> {
    let link = host.link(&LinkRef::Name(pod.host_veth.clone()))?;
    let Some(link) = link.filter(|link| link.alias.as_deref() == Some(pod.alias.as_str())) else {
        return Ok(None);
    };
    let astray = ways::astray(host, &link, pod, Some(uplinks))?;
    if astray.is_empty() {
        return Ok(None);
    }
    if let Some(like) = like {
        let words =
            format!("packets from or to {} go elsewhere, like those of {}", pod.address, like.address);
        return Ok(Some(words));
    }
    let words: Result<Vec<_>, _> = astray.iter().map(|astray| astray.words(&link, host)).collect();
    Ok(Some(words?.join("; ")))
}
