//! What the plugin and the daemon say to each other, and what the plugin says to the container runtime.
//!
//! This crate owns the formats that cross a process boundary on a node:
//!
//! * [`cni`]: the CNI specification's configuration, environment, results and errors (0.3.0 to 1.1.0);
//! * [`message`] in [`frame`]s: the protocol on the daemon's unix socket, with [`fd`] for the descriptors
//!   that travel with a request, and [`peer`] for who is asking;
//! * [`tombstone`] in a [`spool`]: a DEL that no daemon was there to hear;
//! * [`trace`]: the trace that a call belongs to;
//! * [`names`]: the interface names that both sides must derive alike.
//!
//! Plugin and daemon are replaced at different moments of every upgrade, so each format says its version, takes
//! unknown fields, and refuses what it cannot read with words instead of guessing.
//!
//! It never touches the network configuration, never reads the environment or a clock of its own accord (the
//! deadline of [`client`] excepted) and never depends on an async runtime. Start reading at [`message`].

pub mod client;
pub mod cni;
pub mod code;
pub mod fd;
pub mod frame;
pub mod ids;
pub mod message;
pub mod names;
pub mod peer;
pub mod spool;
pub mod tombstone;
pub mod trace;

/// The socket on which the daemon listens, unless the network configuration's `socket` says otherwise.
///
/// Under `/run`, so that a reboot leaves no dead socket behind.
pub const DEFAULT_SOCKET: &str = "/run/holdfast/cni.sock";

/// The directory of tombstones, unless the network configuration's `spool` says otherwise.
///
/// On the host's disk beside the ledger: a tombstone outlives the daemon that missed it.
pub const DEFAULT_SPOOL: &str = "/var/lib/holdfast/spool";
