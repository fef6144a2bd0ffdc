//! Source NAT and marks: one nf_tables table of ours, `ip holdfast`, replaced whole in one transaction.
//!
//! ```text
//!   prerouting, mangle     from pods: ct mark 0x80 -> packet mark     (later packets of a marked connection)
//!                          from the primary ENI to a local address: ct mark |= 0x80   (NodePort)
//!   prerouting, filter -90 to a local address: stop
//!                          new, from pods: unless to the VPC, ct mark |= 0x80, packet mark |= 0x80
//!   postrouting, nat 101   unless to the VPC, out of vlan*, or to a local address: source = the node's address
//! ```
//!
//! Where others translate source addresses, only the first chain is there, for NodePorts; without these its second rule
//! is not.
//!
//! The mark leads to rule 1024 and so out of the primary ENI: the node's address, as which such packets leave, is
//! that ENI's. -90 is after kube-proxy's DNAT (-100): before it, traffic to a ClusterIP would look external, and after it
//! a Service's endpoint out of the VPC is known for what it is.
//! 101 is after kube-proxy's masquerading (100), whatever order the tables were made in.
//!
//! "From pods" is: in by a link of our group, or by one whose name has the incumbent's prefix. The second is for links
//! that the incumbent made; the names of ours are the plugin's configuration's affair.
//!
//! Nobody else's table is read or written.

mod forward;
mod nft;
mod record;
mod ruleset;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use holdfast_model::host::{NatSeen, NatTable};

use record::{Attempt, Listing, judge};
use ruleset::{Ruleset, normalise};

/// The name of our table, of the family `ip`.
pub const TABLE: &str = "holdfast";

/// Why the table cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatError {
    /// The program is not installed.
    #[error("the program `nft` is not installed (Debian's package: nftables)")]
    NoNft,
    /// It could not be run.
    #[error("run nft: {0}")]
    Run(String),
    /// It took too long and was ended.
    #[error("nft did not end within {0} seconds")]
    Timeout(u64),
    /// It refused.
    #[error("nft: {0}")]
    Refused(String),
    /// Its answer cannot be understood.
    #[error("nft's answer cannot be read: {0}")]
    Answer(String),
    /// There would be no destination that keeps the pod's address: all of the VPC would be masqueraded.
    #[error("no VPC CIDR is known")]
    NoCidr,
}

/// The table of one namespace, and what this process knows of it. All of it runs in the calling thread's namespace.
#[derive(Default)]
pub struct Nat {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    last: Option<Attempt>,
    /// Why the table cannot be listed, as it was told.
    unlisted: Option<NatError>,
}

impl Nat {
    /// Puts the table in the place of what is there, in one step: no packet sees it absent or half written.
    /// `primary_link` is the name of the primary ENI's link.
    pub fn replace(&self, table: &NatTable, primary_link: &str) -> Result<(), NatError> {
        let mut known = self.lock();
        let ours = as_this_build_lists(table, primary_link)?;
        let mut attempt = Attempt { ours, at: Instant::now(), listed: None, written: false };
        let result = write(table, primary_link);
        if result.is_ok() {
            attempt.written = true;
            attempt.listed = known.told(list()).ok().flatten();
            if attempt.listed.as_ref().is_some_and(|listed| *listed != attempt.ours) {
                tracing::info!(
                    "this nft lists our NAT table in words of its own; they are kept to compare with"
                );
            }
        }
        known.last = Some(attempt);
        result
    }

    /// Whether the table is there as it was written; or, if this process has not written it, as it would be.
    pub fn seen(&self, table: &NatTable, primary_link: &str) -> NatSeen {
        // Held while it is listed: a write in between would be judged by the listing before it.
        let mut known = self.lock();
        let ours = match as_this_build_lists(table, primary_link) {
            Ok(ours) => ours,
            Err(error) => {
                tracing::error!(%error, "our NAT table cannot be put into words");
                return NatSeen::Unknown;
            }
        };
        let listed = known.told(list());
        judge(known.last.as_ref(), &ours, &listed, Instant::now())
    }

    /// Whether there is no table of ours, whatever it holds.
    pub fn seen_absent(&self) -> NatSeen {
        match list() {
            Ok(None) => NatSeen::AsWritten,
            Ok(Some(_)) => NatSeen::Differs,
            // Where no table is wanted nobody needs to have the program either.
            Err(NatError::NoNft) => NatSeen::Unknown,
            other => {
                drop(self.lock().told(other));
                NatSeen::Unknown
            }
        }
    }

    /// Finds out which chains of others drop what is forwarded unless a rule accepts it, by their names; `None` when that
    /// cannot be told.
    pub fn forward_drops(&self) -> impl FnOnce() -> Option<Vec<String>> + Send + use<> {
        // Not where the last listing failed: what hangs there would hang here.
        let lists = self.lock().unlisted.is_none();
        move || lists.then(forward::drops).flatten()
    }

    /// Removes the table; fine when there is none.
    pub fn remove(&self) -> Result<(), NatError> {
        self.lock().last = None;
        // Adding it first makes the deletion succeed either way, in one transaction.
        let input = format!(
            r#"{{"nftables":[{{"add":{{"table":{{"family":"ip","name":"{TABLE}"}}}}}},{{"delete":{{"table":{{"family":"ip","name":"{TABLE}"}}}}}}]}}"#
        );
        nft::run(&["-j", "-f", "-"], input.as_bytes()).map(drop)
    }

    /// Whoever panicked while it held the lock has left nothing half done: what is known is put there whole.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Tells what is wrong with a listing, once for each cause, and that nothing is any more.
    fn told(&mut self, listed: Result<Option<Listing>, NatError>) -> Result<Option<Listing>, NatError> {
        match &listed {
            Err(error) if self.unlisted.as_ref() != Some(error) => {
                tracing::error!(
                    %error,
                    "our NAT table cannot be listed: it is written from time to time, and what others do to it in \
                     between is not seen; mend `nft`, or the node's nf_tables"
                );
                self.unlisted = Some(error.clone());
            }
            Ok(_) if self.unlisted.take().is_some() => {
                tracing::info!("our NAT table can be listed again");
            }
            _ => {}
        }
        listed
    }
}

fn write(table: &NatTable, primary_link: &str) -> Result<(), NatError> {
    if table.source_nat.as_ref().is_some_and(|nat| nat.vpc_cidrs.is_empty()) {
        return Err(NatError::NoCidr);
    }
    let batch = Ruleset::new(table, primary_link).into_transaction();
    let input = serde_json::to_vec(&batch).map_err(|error| NatError::Run(error.to_string()))?;
    nft::run(&["-j", "-f", "-"], &input).map(drop)
}

fn as_this_build_lists(table: &NatTable, primary_link: &str) -> Result<Listing, NatError> {
    let listing = Ruleset::new(table, primary_link).into_listing();
    let listing = serde_json::to_value(&listing).map_err(|error| NatError::Answer(error.to_string()))?;
    Ok(normalise(&listing))
}

/// The table as it is listed; `None` when there is none.
fn list() -> Result<Option<Listing>, NatError> {
    match nft::run(&["-j", "list", "table", "ip", TABLE], b"") {
        Ok(output) => serde_json::from_slice(&output)
            .map(|listed| Some(normalise(&listed)))
            .map_err(|error| NatError::Answer(error.to_string())),
        Err(NatError::Refused(words)) if words.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}
