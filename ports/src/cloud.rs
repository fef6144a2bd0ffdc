//! EC2.

mod table;

use std::future::Future;
use std::time::Duration;

use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::refusal::CredentialsFault;
use serde::{Deserialize, Serialize};

pub use table::{classify, known_code};

/// Carries calls out.
pub trait Cloud: Send + Sync + 'static {
    /// Makes one call, with a deadline of its own. It does not retry: whether and when is the planner's
    /// decision.
    fn perform(&self, call: &CloudCall) -> impl Future<Output = Result<CloudAnswer, CloudError>> + Send;

    /// What an instance type can carry on its default network card, with a deadline of its own. Asked only for types
    /// that [`InstanceLimits::of`] does not know; a cloud whose instances are all known need not be able to tell.
    fn limits_of(
        &self,
        instance_type: &str,
    ) -> impl Future<Output = Result<InstanceLimits, CloudError>> + Send {
        let message = format!("nothing is known of {instance_type}");
        async move { Err(CloudError { fault: CloudFault::Rejected, code: "NotOffered".to_owned(), message }) }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CloudError {
    /// What the caller may do about it.
    pub fault: CloudFault,
    /// EC2's code, or our word where no answer came.
    pub code: String,
    /// EC2's words.
    pub message: String,
}

/// What a caller may do about a failed call. Each of EC2's codes is put into one class, once, by [`classify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudFault {
    /// Not carried out: too many calls. Try again later, and slower.
    Throttled {
        /// How long EC2 asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// Not carried out: the subnet has no free address.
    SubnetFull,
    /// Not carried out: the subnet has no wholly free block for a prefix, though it may have single addresses.
    NoFreeBlock,
    /// Not carried out: the ENI carries as many addresses as it can. The ledger is wrong about it: read.
    AddressLimit,
    /// Not carried out: the instance has as many ENIs as it can. The ledger is wrong about it: read.
    AttachmentLimit,
    /// Not carried out: the slot is taken, by an ENI that the ledger does not have, or by one that was detached by force,
    /// which haunts its slot until the instance stops: take another, and read.
    SlotTaken,
    /// Not carried out: the account has as many ENIs in the region as it may. Waiting for others to delete some, or
    /// for a higher quota, is all that helps.
    EniQuota,
    /// Not carried out: the object does not exist.
    NotFound,
    /// Not carried out: the object is in a state that forbids it (attached, in use, not attached). Read.
    Conflict,
    /// Not carried out: the token was used for another creation.
    TokenMismatch,
    /// Not carried out: the role lacks the right.
    Denied,
    /// Not carried out: EC2 cannot tell who calls, so the role's rights do not matter. Where no credentials could be had
    /// the request never left.
    Credentials(CredentialsFault),
    /// Not carried out, and the same call will fail again: the request itself is refused.
    Rejected,
    /// Not carried out: the request provably never left (no connection could be made). Try again later; there is nothing to read.
    NotSent,
    /// Outcome unknown: no answer, a broken connection, a server error. It may have been carried out.
    Unknown,
}

impl CloudFault {
    /// Whether the call may have been carried out although it failed.
    pub fn outcome_unknown(self) -> bool {
        self == Self::Unknown
    }
}
