//! EC2's errors, each put into a class once: the one table of codes and words.
//!
//! Two questions decide a row. *May the call have been carried out?* If that cannot be excluded the class is `Unknown`,
//! whatever the wording. *What would make the next attempt succeed?* Waiting, reading, asking for less, or nothing.

use std::time::Duration;

use holdfast_model::refusal::CredentialsFault;

use super::CloudFault;

/// One row of the table: this code, with these words in its message (lower case; empty: any), means this.
struct Row {
    code: &'static str,
    says: &'static str,
    fault: CloudFault,
}

impl Row {
    /// Whether it decides this code with these words, in lower case.
    fn fits(&self, code: &str, words: &str) -> bool {
        self.code == code && words.contains(self.says)
    }
}

const fn any(code: &'static str, fault: CloudFault) -> Row {
    Row { code, says: "", fault }
}

const fn saying(code: &'static str, says: &'static str, fault: CloudFault) -> Row {
    Row { code, says, fault }
}

const THROTTLED: CloudFault = CloudFault::Throttled { retry_after: None };

/// The first row that fits decides. Grouped by class, each group with its reason; a row differs from its group's
/// reason only where it says so.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Refused at the door by a rate limit, before anything is looked at. EC2 itself says `RequestLimitExceeded`; the
    // others are what AWS's front ends and STS say for the same, and what the SDK's own classifier lists.
    any("RequestLimitExceeded", THROTTLED),
    any("Throttling", THROTTLED),
    any("ThrottlingException", THROTTLED),
    any("ThrottledException", THROTTLED),
    any("RequestThrottled", THROTTLED),
    any("RequestThrottledException", THROTTLED),
    any("TooManyRequestsException", THROTTLED),
    any("EC2ThrottledException", THROTTLED),
    any("BandwidthLimitExceeded", THROTTLED),
    any("SlowDown", THROTTLED),
    any("PriorRequestNotComplete", THROTTLED),
    // Two writers of one object's tags: nothing to read, only to wait.
    any("ConcurrentTagAccess", THROTTLED),

    // The subnet cannot give: only time, another subnet or a smaller request helps.
    any("InsufficientFreeAddressesInSubnet", CloudFault::SubnetFull),
    // "There aren't sufficient free Ipv4 addresses or prefixes": not documented, and what EC2 says in life to a
    // creation, an assignment or an attachment in a full subnet (its support, quoted in cilium#31016; cni#3105).
    saying("InvalidParameterValue", "aren't sufficient free ipv4 addresses or prefixes", CloudFault::SubnetFull),
    // Free addresses are there, but no aligned free block of sixteen.
    any("InsufficientCidrBlocks", CloudFault::NoFreeBlock),

    // The ENI is full; our count of it is wrong.
    any("PrivateIpAddressLimitExceeded", CloudFault::AddressLimit),

    // The instance is full; our picture of the attachments is wrong.
    any("AttachmentLimitExceeded", CloudFault::AttachmentLimit),
    // "Instance '…' already has an interface attached at device index '…'": a slot, not a value, is the trouble.
    saying("InvalidParameterValue", "at device index", CloudFault::SlotTaken),

    // The account's ENIs in the region are used up; neither this node nor this call can do anything about it.
    any("NetworkInterfaceLimitExceeded", CloudFault::EniQuota),
    // "You have exceeded the maximum number of interfaces allowed for your account": so far said of instances only.
    saying("ResourceLimitExceeded", "number of interfaces", CloudFault::EniQuota),

    // Named and not there: gone, never made, or made so recently that this reader lags behind the writer.
    any("InvalidNetworkInterfaceID.NotFound", CloudFault::NotFound),
    any("InvalidNetworkInterfaceId.NotFound", CloudFault::NotFound),
    any("InvalidAttachmentID.NotFound", CloudFault::NotFound),
    any("InvalidSubnetID.NotFound", CloudFault::NotFound),
    any("InvalidGroup.NotFound", CloudFault::NotFound),
    any("InvalidSecurityGroupID.NotFound", CloudFault::NotFound),
    // CreateTags on an id that names nothing.
    any("InvalidID", CloudFault::NotFound),

    // There, but in a state that forbids it: the state may be one that we want, so read before judging.
    any("InvalidNetworkInterface.InUse", CloudFault::Conflict),
    any("IncorrectState", CloudFault::Conflict),
    // Said of a live instance too, during an outage of EC2 itself: never a reason to give the node up.
    any("IncorrectInstanceState", CloudFault::Conflict),
    // The caller runs on it, so it is there: an ENI that is given up for this is made anew for nothing.
    any("InvalidInstanceID.NotFound", CloudFault::Conflict),
    any("InvalidInstanceState", CloudFault::Conflict),
    any("DependencyViolation", CloudFault::Conflict),
    any("InvalidIPAddress.InUse", CloudFault::Conflict),
    // "Network interface '…' is currently in use": what deleting an attached ENI answers.
    saying("InvalidParameterValue", "currently in use", CloudFault::Conflict),
    // "Some of the specified addresses are not assigned to interface …": taken away already, wholly or in part.
    saying("InvalidParameterValue", "not assigned to", CloudFault::Conflict),
    // "Interface … is not attached": detached already.
    saying("InvalidParameterValue", "not attached", CloudFault::Conflict),
    // "Instance '…' is not 'running' or 'stopped'": see IncorrectInstanceState.
    saying("InvalidParameterValue", "is not 'running'", CloudFault::Conflict),

    // The token was spent on a creation with other parameters.
    any("IdempotentParameterMismatch", CloudFault::TokenMismatch),

    // What we may do is in question; only a new right helps.
    any("UnauthorizedOperation", CloudFault::Denied),
    any("AccessDenied", CloudFault::Denied),
    any("AccessDeniedException", CloudFault::Denied),
    any("Blocked", CloudFault::Denied),
    any("OptInRequired", CloudFault::Denied),
    any("PendingVerification", CloudFault::Denied),

    // Who we are is in question: the rights do not matter. Newer credentials help, or a clock that is right. EC2 says
    // `RequestExpired` for both, and names its own time where the signature's is what it minds.
    saying("RequestExpired", "timestamp date", CloudFault::Credentials(CredentialsFault::ClockOff)),
    any("RequestExpired", CloudFault::Credentials(CredentialsFault::Expired)),
    any("ExpiredToken", CloudFault::Credentials(CredentialsFault::Expired)),
    any("ExpiredTokenException", CloudFault::Credentials(CredentialsFault::Expired)),
    saying("SignatureDoesNotMatch", "signature expired", CloudFault::Credentials(CredentialsFault::ClockOff)),
    saying("SignatureDoesNotMatch", "not yet current", CloudFault::Credentials(CredentialsFault::ClockOff)),
    saying("InvalidSignatureException", "signature expired", CloudFault::Credentials(CredentialsFault::ClockOff)),
    saying("InvalidSignatureException", "not yet current", CloudFault::Credentials(CredentialsFault::ClockOff)),
    any("AuthFailure", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("InvalidClientTokenId", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("UnrecognizedClientException", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("MissingAuthenticationToken", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("IncompleteSignature", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("SignatureDoesNotMatch", CloudFault::Credentials(CredentialsFault::NotValid)),
    any("InvalidSignatureException", CloudFault::Credentials(CredentialsFault::NotValid)),

    // The server's own trouble: it may have come before or after the deed.
    any("InternalError", CloudFault::Unknown),
    any("InternalFailure", CloudFault::Unknown),
    any("InternalServerError", CloudFault::Unknown),
    any("ServiceUnavailable", CloudFault::Unknown),
    any("Unavailable", CloudFault::Unknown),
    any("RequestTimeout", CloudFault::Unknown),
    any("RequestTimeoutException", CloudFault::Unknown),
];

/// A code of the table, in its own spelling; `None` for one that it does not name.
pub fn known_code(code: &str) -> Option<&'static str> {
    TABLE.iter().map(|row| row.code).find(|known| *known == code)
}

/// What EC2's answer means to a caller, by its code, its words and its HTTP status. Codes that the table does not name go
/// by their family, then by the status. `retry_after` is the wait that the answer asks for, if any.
pub fn classify(code: &str, message: &str, status: u16, retry_after: Option<Duration>) -> CloudFault {
    let words = message.to_lowercase();
    let known = TABLE.iter().find(|row| row.fits(code, &words)).map(|row| row.fault);
    let fault = known.unwrap_or(match status {
        429 => THROTTLED,
        500.. => CloudFault::Unknown,
        _ if code.ends_with(".NotFound") => CloudFault::NotFound,
        _ => CloudFault::Rejected,
    });
    match fault {
        CloudFault::Throttled { retry_after: None } => CloudFault::Throttled { retry_after },
        other => other,
    }
}

#[cfg(test)]
mod tests;
