//! Source NAT and marks: one nf_tables table of ours, `ip holdfast`, replaced whole in one transaction.
//!
//! ```text
//!   prerouting, mangle     from pods: ct mark 0x80 -> packet mark     (later packets of a marked connection)
//!                          from the primary ENI to a local address: ct mark |= 0x80   (NodePort)
//!   prerouting, nat -90    to a local address: stop
//!                          from pods: unless to the VPC, ct mark |= 0x80, packet mark |= 0x80  (first packet)
//!   postrouting, nat 101   unless to the VPC, out of vlan*, or to a local address: source = the node's address
//! ```
//!
//! Where others translate source addresses, only the first chain is there, for NodePorts; without these its second rule
//! is not.
//!
//! The mark leads to rule 1024 and so out of the primary ENI: the node's address, as which such packets leave, is
//! that ENI's. -90 is after kube-proxy's DNAT (-100): before it, traffic to a ClusterIP would look external.
//! 101 is after kube-proxy's masquerading (100), whatever order the tables were made in.
//!
//! "From pods" is: in by a link of our group, or by one whose name has the incumbent's prefix. The second is for links
//! that the incumbent made; the names of ours are the plugin's configuration's affair.
//!
//! Nobody else's table is read or written.

mod nft;
mod ruleset;

use holdfast_model::host::NatTable;
use serde_json::Value;

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

/// Puts the table in the place of what is there, in one step: no packet sees it absent or half written. Runs in the
/// calling thread's namespace. `primary_link` is the name of the primary ENI's link.
pub fn replace(table: &NatTable, primary_link: &str) -> Result<(), NatError> {
    if table.source_nat.as_ref().is_some_and(|nat| nat.vpc_cidrs.is_empty()) {
        return Err(NatError::NoCidr);
    }
    let batch = Ruleset::new(table, primary_link).into_transaction();
    let input = serde_json::to_vec(&batch).map_err(|error| NatError::Run(error.to_string()))?;
    nft::run(&["-j", "-f", "-"], &input).map(drop)
}

/// Whether the table is there and as [`replace`] would write it.
pub fn is_as_written(table: &NatTable, primary_link: &str) -> Result<bool, NatError> {
    let Some(seen) = list()? else { return Ok(false) };
    let wanted = Ruleset::new(table, primary_link).into_listing();
    let wanted = serde_json::to_value(&wanted).map_err(|error| NatError::Answer(error.to_string()))?;
    Ok(normalise(&wanted) == normalise(&seen))
}

/// Whether there is a table of ours, whatever it holds.
pub fn is_there() -> Result<bool, NatError> {
    list().map(|listed| listed.is_some())
}

/// Removes the table; fine when there is none.
pub fn remove() -> Result<(), NatError> {
    // Adding it first makes the deletion succeed either way, in one transaction.
    let input = format!(
        r#"{{"nftables":[{{"add":{{"table":{{"family":"ip","name":"{TABLE}"}}}}}},{{"delete":{{"table":{{"family":"ip","name":"{TABLE}"}}}}}}]}}"#
    );
    nft::run(&["-j", "-f", "-"], input.as_bytes()).map(drop)
}

/// The table as listed; `None` when there is none.
fn list() -> Result<Option<Value>, NatError> {
    match nft::run(&["-j", "list", "table", "ip", TABLE], b"") {
        Ok(output) => {
            serde_json::from_slice(&output).map(Some).map_err(|error| NatError::Answer(error.to_string()))
        }
        Err(NatError::Refused(words)) if words.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}
