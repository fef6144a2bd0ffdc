//! What EC2's errors mean to a caller: each code is classified here, once, and nowhere above.
//!
//! The classes are [`CloudFault`]'s. Two questions decide a row. *May the call have been carried out?* If that cannot
//! be excluded the class is `Unknown`, whatever the wording. *What would make the next attempt succeed?* Waiting,
//! reading, asking for less, or nothing.
//!
//! Where no answer of EC2 came, `code` is one of the words below.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::Headers;
use holdfast_ports::cloud::{CloudError, CloudFault};

/// The deadline passed before the answer came.
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// No connection was made (refused, unreachable, unknown name, TLS): nothing was sent.
pub const NOT_SENT: &str = "NotSent";
/// The connection broke after it stood: the request may have arrived.
pub const NO_ANSWER: &str = "NoAnswer";
/// An answer came that EC2 does not give: undecodable, or without what it must hold.
pub const BAD_ANSWER: &str = "BadAnswer";
/// No credentials could be had, so nothing was sent.
pub const NO_CREDENTIALS: &str = "NoCredentials";
/// The request could not be written down, so nothing was sent.
pub const BAD_REQUEST: &str = "BadRequest";

/// One row of the table: this code, with these words in its message (lower case; empty: any), means this.
struct Row {
    code: &'static str,
    says: &'static str,
    fault: CloudFault,
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
    // Free addresses are there, but no aligned free block of sixteen.
    any("InsufficientCidrBlocks", CloudFault::SubnetFull),

    // The ENI is full; our count of it is wrong.
    any("PrivateIpAddressLimitExceeded", CloudFault::AddressLimit),

    // The instance, or the slot, is taken; our picture of the attachments is wrong.
    any("AttachmentLimitExceeded", CloudFault::AttachmentLimit),
    // "Instance '…' already has an interface attached at device index '…'": a slot, not a value, is the trouble.
    saying("InvalidParameterValue", "at device index", CloudFault::AttachmentLimit),

    // The account's ENIs in the region are used up; neither this node nor this call can do anything about it.
    any("NetworkInterfaceLimitExceeded", CloudFault::EniQuota),
    // "You have exceeded the maximum number of interfaces allowed for your account": so far said of instances only.
    saying("ResourceLimitExceeded", "number of interfaces", CloudFault::EniQuota),

    // Named and not there: gone, never made, or made so recently that this reader lags behind the writer.
    any("InvalidNetworkInterfaceID.NotFound", CloudFault::NotFound),
    any("InvalidNetworkInterfaceId.NotFound", CloudFault::NotFound),
    any("InvalidAttachmentID.NotFound", CloudFault::NotFound),
    any("InvalidInstanceID.NotFound", CloudFault::NotFound),
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

    // Who we are, or what we may do, is in question; waiting for a new role or new credentials may help, the same
    // signature will not.
    any("UnauthorizedOperation", CloudFault::Denied),
    any("AuthFailure", CloudFault::Denied),
    any("AccessDenied", CloudFault::Denied),
    any("AccessDeniedException", CloudFault::Denied),
    any("Blocked", CloudFault::Denied),
    any("OptInRequired", CloudFault::Denied),
    any("PendingVerification", CloudFault::Denied),
    any("InvalidClientTokenId", CloudFault::Denied),
    any("UnrecognizedClientException", CloudFault::Denied),
    any("MissingAuthenticationToken", CloudFault::Denied),
    any("IncompleteSignature", CloudFault::Denied),
    any("SignatureDoesNotMatch", CloudFault::Denied),
    any("InvalidSignatureException", CloudFault::Denied),
    any("ExpiredToken", CloudFault::Denied),
    any("ExpiredTokenException", CloudFault::Denied),
    // Signed too long ago, or by a clock that is off.
    any("RequestExpired", CloudFault::Denied),

    // The server's own trouble: it may have come before or after the deed.
    any("InternalError", CloudFault::Unknown),
    any("InternalFailure", CloudFault::Unknown),
    any("InternalServerError", CloudFault::Unknown),
    any("ServiceUnavailable", CloudFault::Unknown),
    any("Unavailable", CloudFault::Unknown),
    any("RequestTimeout", CloudFault::Unknown),
    any("RequestTimeoutException", CloudFault::Unknown),
];

/// Classifies EC2's answer. Codes that the table does not name go by their family, then by the HTTP status.
pub(crate) fn of_answer(code: &str, message: &str, status: u16, retry_after: Option<Duration>) -> CloudFault {
    let says = message.to_lowercase();
    let known = TABLE.iter().find(|row| row.code == code && says.contains(row.says)).map(|row| row.fault);
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

/// Turns the SDK's error of any operation into ours.
pub(crate) fn of_sdk<E>(error: SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let message = chain(&error);
    let fail = |fault, code: &str, message| CloudError { fault, code: code.to_owned(), message };
    match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            match answer.err().code() {
                Some(code) => {
                    let words = answer.err().message().unwrap_or_default();
                    let fault = of_answer(code, words, status, retry_after(answer.raw().headers()));
                    fail(fault, code, words.to_owned())
                }
                // Not EC2's words: a proxy or a load balancer spoke, and cannot say whether EC2 heard us.
                None if status == 429 => fail(
                    CloudFault::Throttled { retry_after: retry_after(answer.raw().headers()) },
                    BAD_ANSWER,
                    format!("HTTP {status}: {message}"),
                ),
                None => fail(CloudFault::Unknown, BAD_ANSWER, format!("HTTP {status}: {message}")),
            }
        }
        SdkError::ConstructionFailure(_) => fail(CloudFault::Rejected, BAD_REQUEST, message),
        SdkError::DispatchFailure(failure) => {
            let (fault, code) =
                failure.as_connector_error().map_or((CloudFault::Unknown, NO_ANSWER), of_connector);
            fail(fault, code, message)
        }
        SdkError::TimeoutError(_) => fail(CloudFault::Unknown, DEADLINE_EXCEEDED, message),
        SdkError::ResponseError(_) => fail(CloudFault::Unknown, BAD_ANSWER, message),
        _ => fail(CloudFault::Unknown, NO_ANSWER, message),
    }
}

/// A failure before an answer: who failed, the credentials, the connection or the exchange.
fn of_connector(error: &ConnectorError) -> (CloudFault, &'static str) {
    match find::<CredentialsError>(error) {
        Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
            return (CloudFault::Denied, NO_CREDENTIALS);
        }
        // STS or IMDS failed just now: nothing says that we lack a right.
        Some(_) => return (CloudFault::NotSent, NO_CREDENTIALS),
        None => {}
    }
    // Of this error only: one that says that a connection could not be made. A connection that stood and broke, even
    // before the first byte, is not told from one that broke after the last.
    let never_connected = find::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    if never_connected { (CloudFault::NotSent, NOT_SENT) } else { (CloudFault::Unknown, NO_ANSWER) }
}

/// The answer lacks what such an answer must hold: it cannot be said what was done.
pub(crate) fn bad_answer(message: impl Into<String>) -> CloudError {
    CloudError { fault: CloudFault::Unknown, code: BAD_ANSWER.to_owned(), message: message.into() }
}

/// The deadline of a whole call passed.
pub(crate) fn deadline(after: Duration) -> CloudError {
    CloudError {
        fault: CloudFault::Unknown,
        code: DEADLINE_EXCEEDED.to_owned(),
        message: format!("no answer within {after:?}"),
    }
}

/// The wait that the server asks for: AWS's own header in milliseconds, or HTTP's in whole seconds. (HTTP's other
/// form, a date, is not used by AWS and would need the clock.)
fn retry_after(headers: &Headers) -> Option<Duration> {
    let number = |name| headers.get(name).and_then(|text| text.trim().parse::<u64>().ok());
    number("x-amz-retry-after")
        .map(Duration::from_millis)
        .or_else(|| number("retry-after").map(Duration::from_secs))
}

/// An error and what is behind it, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The first error of this type in the chain.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    causes(error).find_map(|error| error.downcast_ref::<T>())
}

/// The chain of causes on one line, a cause that only repeats the one above left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_hidden_by_an_earlier_one() {
        for (at, row) in TABLE.iter().enumerate() {
            let first =
                TABLE.iter().position(|other| other.code == row.code && row.says.contains(other.says));
            assert_eq!(first, Some(at), "{} saying {:?} never decides", row.code, row.says);
            assert_eq!(row.says, row.says.to_lowercase(), "compared with lower-case text");
        }
    }

    /// What EC2 says, where its words decide: each row's own text under its own code. The list names every such row.
    #[test]
    fn the_words_of_ec2_find_their_row() {
        let said = [
            (
                "InvalidParameterValue",
                "Instance 'i-0123456789abcdef0' already has an interface attached at device index '1'.",
                "at device index",
            ),
            (
                "ResourceLimitExceeded",
                "You have exceeded the maximum number of interfaces allowed for your account.",
                "number of interfaces",
            ),
            (
                "InvalidParameterValue",
                "Network interface 'eni-0123456789abcdef0' is currently in use.",
                "currently in use",
            ),
            (
                "InvalidParameterValue",
                "Some of the specified addresses are not assigned to interface eni-0123456789abcdef0",
                "not assigned to",
            ),
            ("InvalidParameterValue", "Interface eni-0123456789abcdef0 is not attached", "not attached"),
            (
                "InvalidParameterValue",
                "Instance 'i-0123456789abcdef0' is not 'running' or 'stopped'",
                "is not 'running'",
            ),
        ];
        assert_eq!(TABLE.iter().filter(|row| !row.says.is_empty()).count(), said.len());
        for (code, words, says) in said {
            let row = TABLE.iter().find(|row| row.code == code && row.says == says);
            let row = row.unwrap_or_else(|| panic!("no row for {code} saying {says:?}"));
            assert_eq!(of_answer(code, words, 400, None), row.fault, "{words}");
            assert_ne!(of_answer(code, "", 400, None), row.fault, "the words decide");
        }
    }

    #[test]
    fn codes_outside_the_table_go_by_family_then_status() {
        assert_eq!(of_answer("InvalidVpcID.NotFound", "", 400, None), CloudFault::NotFound);
        assert_eq!(
            of_answer("InvalidParameterValue", "Value (x) is invalid", 400, None),
            CloudFault::Rejected
        );
        assert_eq!(of_answer("SomethingNew", "", 400, None), CloudFault::Rejected);
        assert_eq!(of_answer("SomethingNew", "", 503, None), CloudFault::Unknown);
        assert_eq!(of_answer("SomethingNew", "", 429, None), CloudFault::Throttled { retry_after: None });
    }
}
