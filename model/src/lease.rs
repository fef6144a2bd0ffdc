//! Leases: which sandbox holds which addresses.
//!
//! ```text
//!   ADD ──commit──> Pending ──wired, read back──> Active ──DEL──> Releasing ──kernel state gone──> (dropped)
//!                      └───────wiring failed, undone─────────────────^
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::eni::EniPlace;
use crate::ids::{EniId, MacAddr};
use crate::sandbox::{NetnsRef, PodRef, SandboxKey};
use crate::time::WallTime;

/// How far a lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LeasePhase {
    /// Durable, not known to be wired. After a crash it is adopted if the wiring verifies, else undone.
    Pending,
    /// Wired and read back.
    Active,
    /// To be given up: its kernel state is being removed.
    Releasing,
}

/// One interface of a sandbox, with its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// The interface inside the sandbox. That of the first face is the sandbox's own (`CNI_IFNAME`).
    pub ifname: String,
    /// The address.
    pub address: IpAddr,
    /// The ENI that carries it.
    pub eni: EniId,
    /// That ENI's place, which decides the routing table.
    pub place: EniPlace,
    /// The host end's interface name.
    pub host_veth: String,
    /// The host end's MAC, chosen before it is made so that nothing on the host rewrites it afterwards.
    pub host_mac: MacAddr,
    /// MTU of both ends.
    pub mtu: u32,
}

/// What the names of a sandbox's interfaces besides its own begin with: upstream's.
const FURTHER: &str = "mNicIf";

impl Face {
    /// What the interface of this number is called in a sandbox whose own, the first, has this name.
    pub fn name(own: &str, number: usize) -> String {
        if number == 0 { own.to_owned() } else { format!("{FURTHER}{number}") }
    }

    /// Which of a sandbox's interfaces bears this name, if it is not its own.
    pub fn number_of(name: &str) -> Option<usize> {
        let digits = name.strip_prefix(FURTHER)?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        // Digits as we write them: no sign, no zero in front.
        (Self::name("", number) == name).then_some(number)
    }
}

/// The addresses that a sandbox holds: all of them were taken in one commit, and all are given back in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds them.
    pub sandbox: SandboxKey,
    /// The pod, for people and names.
    pub pod: PodRef,
    /// The sandbox's network namespace.
    pub netns: NetnsRef,
    /// Its interfaces, at least one.
    pub faces: Vec<Face>,
    /// How far it has come.
    pub phase: LeasePhase,
    /// When it was made, for people.
    pub created: WallTime,
}

impl Lease {
    /// The face that is the sandbox's own interface.
    pub fn own_face(&self) -> Option<&Face> {
        self.faces.first()
    }

    /// Whether one of its addresses is on this ENI.
    pub fn is_on(&self, eni: &EniId) -> bool {
        self.faces.iter().any(|face| &face.eni == eni)
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.faces.iter().map(|face| face.address)
    }
}
