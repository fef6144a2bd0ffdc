//! What ARP is answered with: for each address the link-layer address of the ENI that has it.
//!
//! Telling the packet filter costs a process each time. A new address need not wait for that, nor does one that goes: a
//! thread tells it in the background, in order. Only where an address moves it is waited for, before the route moves: a
//! node that asked in between would remember the old place for as long as it talks to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::thread::JoinHandle;

use holdfast_datapath::netlink::MacAddr;
use ipnet::Ipv4Net;

use super::filter::nft;
use super::{FabricError, Namespace};

/// The answers, and who tells the filter of them. The thread ends with the value, its work done.
#[derive(Debug)]
pub(super) struct Answers {
    told: BTreeMap<Ipv4Net, MacAddr>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Job {
    Tell(String),
    /// Gives what failed since the last time.
    Done(mpsc::Sender<Vec<FabricError>>),
}

impl Answers {
    /// None yet, in the filter of this router.
    pub(super) fn new(router: &Namespace) -> Result<Self, FabricError> {
        let router = router.clone();
        let (jobs, inbox) = mpsc::channel();
        let work = move || {
            let mut errors = Vec::new();
            for job in inbox {
                match job {
                    Job::Tell(script) => errors.extend(nft(&router, &script).err()),
                    // Whoever asked and left misses its answer.
                    Job::Done(tell) => drop(tell.send(std::mem::take(&mut errors))),
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("answers".to_owned())
            .spawn(work)
            .map_err(|error| FabricError::Thread(error.to_string()))?;
        Ok(Self { told: BTreeMap::new(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// From now on ARP for these addresses is answered so; `None`: no more. To be called before their routes change.
    /// Gives what failed, if it was waited for.
    pub(super) fn change(
        &mut self,
        wanted: impl IntoIterator<Item = (Ipv4Net, Option<MacAddr>)>,
    ) -> Vec<FabricError> {
        let (mut script, mut moves) = (String::new(), false);
        for (net, wanted) in wanted {
            let before = match wanted {
                Some(mac) => self.told.insert(net, mac),
                None => self.told.remove(&net),
            };
            if before == wanted {
                continue;
            }
            moves |= before.is_some() && wanted.is_some();
            for (verb, mac) in [("delete", before), ("add", wanted)] {
                if let Some(mac) = mac {
                    writeln!(script, "{verb} element arp vpcsim answers {{ {net} : {mac} }}")
                        .expect("a string takes all");
                }
            }
        }
        if !script.is_empty() {
            self.send(Job::Tell(script));
        }
        if moves { self.settle() } else { Vec::new() }
    }

    /// Waits until the filter was told of everything. Gives what failed since the last time.
    pub(super) fn settle(&self) -> Vec<FabricError> {
        let (tell, told) = mpsc::channel();
        self.send(Job::Done(tell));
        told.recv().unwrap_or_else(|error| vec![FabricError::Thread(error.to_string())])
    }

    fn send(&self, job: Job) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            // Whoever waits for it hears of that.
            tracing::error!("the thread that tells the packet filter has ended");
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells the packet filter panicked");
        }
    }
}
