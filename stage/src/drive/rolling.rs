//! Rolling updates while daemons are killed and clients ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::app::doubled;
use super::{App, Asked, Client, Killer};
use crate::error::Result;

/// Between two questions of the client.
const ASKS_EVERY: Duration = Duration::from_millis(20);

/// What was seen meanwhile.
#[derive(Debug, Clone)]
pub struct Rolled {
    /// How long it took.
    pub took: Duration,
    /// How many daemons were killed.
    pub kills: u32,
    /// What came of the client's questions.
    pub asked: Asked,
    /// Addresses that two pods had at once.
    pub doubled: BTreeMap<String, Vec<String>>,
    /// What went wrong with pods.
    pub troubles: Vec<String>,
    /// How many pods there were, one after the other.
    pub pods: usize,
}

impl App {
    /// Replaces all pods so often, one time after the other, while a daemon is killed each time so much has passed, and a
    /// client asks by each node's port.
    pub fn roll(&self, rounds: u32, kill_every: Duration, progress: &mut dyn FnMut(&str)) -> Result<Rolled> {
        let port = self.node_port()?;
        let at = |(_, address): (String, String)| Some(SocketAddr::new(address.parse().ok()?, port));
        let servers = self.cluster.nodes()?.into_iter().filter_map(at).collect();
        let begun = Instant::now();
        let client = Client::start(&self.cluster, servers, ASKS_EVERY)?;
        let killer = Killer::start(&self.cluster, kill_every)?;
        let (mut twice, mut seen) = (BTreeMap::new(), BTreeMap::new());
        for round in 1..=rounds {
            self.restart()?;
            self.cluster.wait("an update done", || {
                let pods = self.pods()?;
                twice.extend(doubled(&pods));
                seen.extend(pods.into_iter().map(|pod| (pod.name.clone(), pod)));
                self.is_settled()
            })?;
            progress(&format!(
                "update {round} of {rounds} done after {:.0} s",
                begun.elapsed().as_secs_f64()
            ));
        }
        let kills = killer.stop()?;
        let asked = client.stop()?;
        let troubles = self.troubles(&seen)?;
        Ok(Rolled { took: begun.elapsed(), kills, asked, doubled: twice, troubles, pods: seen.len() })
    }

    /// Whether all its pods are those of its newest form, and ready; or why not.
    fn is_settled(&self) -> Result<std::result::Result<(), String>> {
        let deployment = self.get()?;
        let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
        let heard = status["observedGeneration"] == deployment["metadata"]["generation"];
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        let settled = heard && counts.iter().all(|count| &status[*count] == wanted);
        Ok(if settled { Ok(()) } else { Err(status.to_string()) })
    }
}
