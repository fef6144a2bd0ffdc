//! The SDK's errors in our words. What EC2's own codes mean is one table for all, [`classify`]; here is what became of
//! calls that EC2 did not answer, or not in its own words: `code` is one of the words below then.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::Headers;
use holdfast_model::chain;
use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{CloudError, CloudFault, classify};

use crate::surroundings::TransportError;

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
                    let fault = classify(code, words, status, retry_after(answer.raw().headers()));
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
            fail(fault, code, on_one_line(&message))
        }
        SdkError::TimeoutError(_) => fail(CloudFault::Unknown, DEADLINE_EXCEEDED, message),
        SdkError::ResponseError(_) => fail(CloudFault::Unknown, BAD_ANSWER, message),
        _ => fail(CloudFault::Unknown, NO_ANSWER, message),
    }
}

/// A failure before an answer: who failed, the credentials, the connection or the exchange.
fn of_connector(error: &ConnectorError) -> (CloudFault, &'static str) {
    // No provider gave any, or one failed: nothing was sent, and nothing says that we lack a right. A metadata service
    // that is away, a role that is not there and a profile that is not set all look like `CredentialsNotLoaded`; which
    // it was is in the words.
    if find::<CredentialsError>(error).is_some() {
        return (CloudFault::Credentials(CredentialsFault::Missing), NO_CREDENTIALS);
    }
    // Of this error only: one that says that a connection could not be made. A connection that stood and broke, even
    // before the first byte, is not told from one that broke after the last.
    let never_connected = find::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
        || find::<TransportError>(error) == Some(&TransportError::NotConnected);
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

/// The list of those who have no credentials to give comes in lines, under a head of its own.
fn on_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ").replace(":; ", ": ")
}

/// An error and what is behind it, outermost first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The first error of this type in the chain.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    causes(error).find_map(|error| error.downcast_ref::<T>())
}
