//! A client outside the nodes that asks a server again and again, and counts what it is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::Cluster;
use crate::error::{Error, Result};

/// How long it may take until each server has answered once: kube-proxy opens a new node port when it gets to it.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// What came of the questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// By who answered.
    pub answered: BTreeMap<String, u64>,
    /// Why there was no answer, with the seconds since the first question.
    pub failed: Vec<(u64, String)>,
}

impl Asked {
    /// How many answers there were.
    pub fn answers(&self) -> u64 {
        self.answered.values().sum()
    }
}

/// The client, in the network of the control plane's instance. It asks until it is told to stop.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Asked>>,
}

impl Client {
    /// Asks these servers in turn, with a pause between two questions. Begins, and returns, when each has answered once.
    pub fn start(cluster: &Cluster, servers: Vec<SocketAddr>, pause: Duration) -> Result<Self> {
        let path = cluster.control_network()?;
        let network = File::open(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (tell, open) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // This thread alone goes there, and ends there.
            setns(&network, CloneFlags::CLONE_NEWNET)?;
            wait_open(&servers)?;
            // Nobody listens only if whoever starts it is gone.
            tell.send(()).unwrap_or_default();
            let (begun, mut asked) = (Instant::now(), Asked::default());
            for server in servers.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                match ask(*server) {
                    Ok(name) => *asked.answered.entry(name).or_default() += 1,
                    Err(error) => {
                        asked.failed.push((begun.elapsed().as_secs(), format!("{server}: {error}")));
                    }
                }
                std::thread::sleep(pause);
            }
            Ok(asked)
        });
        let this = Self { stop, thread };
        // One that ended before has said why.
        if open.recv().is_err() {
            this.stop()?;
            return Err(Error::Refused("the client ended before it had begun".to_owned()));
        }
        Ok(this)
    }

    /// Ends it; gives what came of it.
    pub fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let asked =
            self.thread.join().map_err(|_panic| Error::Refused("the client has panicked".to_owned()))?;
        asked.map_err(Error::io("asking servers"))
    }
}

/// Until each of them has answered once.
fn wait_open(servers: &[SocketAddr]) -> io::Result<()> {
    let begun = Instant::now();
    for server in servers {
        while let Err(error) = ask(*server) {
            if begun.elapsed() > OPEN_WITHIN {
                return Err(io::Error::other(format!("{server} never answered: {error}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Asks a server for its name.
fn ask(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWERED_WITHIN)?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    stream.set_write_timeout(Some(ANSWERED_WITHIN))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer)?;
    named(&answer).ok_or_else(|| io::Error::other(format!("an answer that names nobody: {answer:?}")))
}

fn named(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let fine = head.split_whitespace().nth(1) == Some("200");
    (fine && !body.trim().is_empty()).then(|| body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_is_an_answer() {
        assert_eq!(named("HTTP/1.0 200 OK\r\nA: b\r\n\r\nweb-1\n").as_deref(), Some("web-1"));
        for wrong in ["", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 503 No\r\n\r\nweb-1", "HTTP/1.0 200 OK\r\n"] {
            assert_eq!(named(wrong), None, "{wrong:?}");
        }
    }
}
