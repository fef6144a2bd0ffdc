//! The threads that live in the host's namespace.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use holdfast_ports::host::HostFault;
use holdfast_ports::netns::Netns;
use tokio::sync::oneshot;

use super::refused;
use crate::netlink::Socket;
use crate::netns::{self, NetnsError};
use crate::sysctl::Sysctl;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The netlink ports of our own sockets: what is announced under one of them was our doing.
pub(crate) type OwnPorts = Arc<Mutex<HashSet<u32>>>;

/// One thread's means: a socket in the host's namespace, and the way back there.
pub(crate) struct Worker {
    pub(crate) socket: Socket,
    pub(crate) sysctl: Sysctl,
    home: Arc<OwnedFd>,
    ports: OwnPorts,
}

/// A socket in a pod's namespace. One that was handed over is nobody else's meanwhile.
pub(crate) struct Inside<'n> {
    pub(crate) socket: Socket,
    _turn: Option<MutexGuard<'n, OwnedFd>>,
}

impl Worker {
    fn new(home: &Arc<OwnedFd>, sysctl: &Sysctl, ports: &OwnPorts) -> Result<Self, HostFault> {
        netns::stay_in(home).map_err(|error| super::fault_in_netns("host", &error))?;
        let socket = Socket::open().map_err(refused)?;
        lock(ports).insert(socket.port());
        Ok(Self { socket, sysctl: sysctl.clone(), home: Arc::clone(home), ports: Arc::clone(ports) })
    }

    /// A socket in another namespace: the one that was handed over with it, else one that is opened there. The thread is
    /// back home afterwards, or takes no further job.
    pub(crate) fn socket_in<'n>(&self, netns: &'n Netns) -> Result<Inside<'n>, HostFault> {
        let name = || netns::identity(netns).map_or("?".to_owned(), |id| format!("net:[{}]", id.inode));
        if let Some(handed) = netns.socket() {
            let another = handed.try_clone().map_err(|error| HostFault::Netns {
                netns: name(),
                cause: format!("use the socket that came with it: {error}"),
            })?;
            let socket = Socket::handed(another)
                .map_err(|error| super::fault_in_netns(&name(), &NetnsError::from(error)))?;
            return Ok(Inside { socket, _turn: Some(handed) });
        }
        let inside = || -> Result<Socket, NetnsError> {
            netns::enter_for_good(netns)?;
            let socket = Socket::open();
            // Cannot fail but for want of kernel memory. This thread must do nothing in the wrong namespace: the
            // panic ends the job and has the worker made anew.
            netns::enter_for_good(&self.home).expect("the way back into the host's namespace is open");
            Ok(socket?)
        };
        let socket = inside().map_err(|error| super::fault_in_netns(&name(), &error))?;
        Ok(Inside { socket, _turn: None })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.ports).remove(&self.socket.port());
    }
}

/// Runs jobs on the workers.
pub(crate) struct Pool {
    /// Its closing ends the threads.
    jobs: mpsc::Sender<Job>,
    ports: OwnPorts,
}

impl Pool {
    pub(crate) fn start(home: &Arc<OwnedFd>, sysctl: &Sysctl, threads: usize) -> Result<Self, HostFault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let ports = OwnPorts::default();
        let (ready, started) = mpsc::channel();
        for number in 0..threads {
            let (home, sysctl) = (Arc::clone(home), sysctl.clone());
            let (queue, ports, ready) = (Arc::clone(&queue), Arc::clone(&ports), ready.clone());
            std::thread::Builder::new()
                .name(format!("datapath-{number}"))
                .spawn(move || work(&home, &sysctl, &ports, &queue, ready))
                .map_err(|error| HostFault::Refused {
                    step: "start a thread".to_owned(),
                    cause: error.to_string(),
                })?;
        }
        drop(ready);
        for result in started {
            result?;
        }
        Ok(Self { jobs, ports })
    }

    pub(crate) fn ports(&self) -> OwnPorts {
        Arc::clone(&self.ports)
    }

    /// Runs a job on one of the threads. When the future is dropped the job runs to its end all the same.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        step: &'static str,
        job: impl FnOnce(&mut Worker) -> Result<T, HostFault> + Send + 'static,
    ) -> Result<T, HostFault> {
        let (answer, result) = oneshot::channel();
        let failed = |cause: &str| HostFault::Refused { step: step.to_owned(), cause: cause.to_owned() };
        self.jobs
            .send(Box::new(move |worker| {
                // Nobody may be waiting any more.
                drop(answer.send(job(worker)));
            }))
            .map_err(|_closed| failed("the datapath's threads are gone"))?;
        result.await.map_err(|_dropped| failed("the datapath's thread gave up"))?
    }
}

fn work(
    home: &Arc<OwnedFd>,
    sysctl: &Sysctl,
    ports: &OwnPorts,
    queue: &Mutex<mpsc::Receiver<Job>>,
    ready: mpsc::Sender<Result<(), HostFault>>,
) {
    let mut worker = match Worker::new(home, sysctl, ports) {
        Ok(worker) => worker,
        Err(fault) => {
            drop(ready.send(Err(fault)));
            return;
        }
    };
    drop(ready.send(Ok(())));
    drop(ready);
    loop {
        let Ok(job) = lock(queue).recv() else { return };
        if catch_unwind(AssertUnwindSafe(|| job(&mut worker))).is_ok() {
            continue;
        }
        tracing::error!("a datapath job panicked; its thread starts anew");
        worker = match Worker::new(home, sysctl, ports) {
            Ok(worker) => worker,
            Err(fault) => {
                tracing::error!(%fault, "a datapath thread cannot go on");
                return;
            }
        };
    }
}

/// A job that panicked while it held the lock has left nothing half done behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
