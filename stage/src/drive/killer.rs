//! Somebody who kills daemons.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Cluster;
use crate::error::{Error, Result};

/// Kills Holdfast's daemon on one node after the other, until told to stop.
#[derive(Debug)]
pub struct Killer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32>>,
}

impl Killer {
    /// One kill each time so much has passed, whether or not the one of before has come back.
    pub fn start(cluster: &Cluster, every: Duration) -> Result<Self> {
        let nodes: Vec<String> = cluster.nodes()?.into_iter().map(|(name, _)| name).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, cluster) = (Arc::clone(&stop), cluster.clone());
        let thread = std::thread::spawn(move || {
            let mut kills = 0;
            for node in nodes.iter().cycle() {
                let next = Instant::now() + every;
                let ask = "pid=$(pidof holdfast) && kill -KILL $pid && echo killed || true";
                let said = cluster.exec(node, &["sh", "-c", ask])?;
                kills += u32::from(said.trim() == "killed");
                while Instant::now() < next {
                    if stopped.load(Ordering::Relaxed) {
                        return Ok(kills);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Ok(kills)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; gives how many daemons it has killed.
    pub fn stop(self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| Error::Refused("who kills daemons has panicked".to_owned()))?
    }
}
