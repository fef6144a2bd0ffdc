//! Sockets in the network namespaces of a stage that is up, for a test that is in none of them.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::rig::Stage;

/// A connection within one machine stands at once, or never.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace, by a path that this program sees.
#[derive(Debug, Clone)]
pub(crate) struct Net(PathBuf);

impl Net {
    /// That of a node.
    pub(crate) fn of_node(stage: &Stage, name: &str) -> Self {
        let (keeper, live) = records(stage);
        let nodes = live["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["name"] == name).unwrap();
        Self(PathBuf::from(format!("/proc/{keeper}/root/proc/{}/ns/net", node["holder"])))
    }

    /// That of the control plane.
    pub(crate) fn of_control_plane(stage: &Stage) -> Self {
        let (keeper, live) = records(stage);
        let inside =
            |path: &Path| Path::new(&format!("/proc/{keeper}/root")).join(path.strip_prefix("/").unwrap());
        let path = inside(Path::new(live["control"].as_str().unwrap()));
        // A link that is one in the stage's own file systems.
        Self(fs::read_link(&path).map_or(path, |target| inside(&target)))
    }

    /// A connection from there. Its socket stays of that namespace, whoever uses it.
    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&to, CONNECTED_WITHIN))
    }

    /// A listener on that namespace's own loopback address.
    pub(crate) fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
    }

    /// On a thread of its own, which ends there: a thread that has been elsewhere is not used again.
    fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let namespace = File::open(&self.0)?;
        let there = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join().unwrap())
    }
}

/// The keeper's first process, as this program numbers it, and what the keeper says.
fn records(stage: &Stage) -> (u64, Value) {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(stage.folder().join(name)).unwrap()).unwrap()
    };
    (read("state.json")["keeper"]["first"]["pid"].as_u64().unwrap(), read("live.json"))
}
