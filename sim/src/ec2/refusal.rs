//! An answer of the face itself: the request was refused before EC2's rules were asked.
//!
//! Codes and statuses are those of EC2's "common errors"; the core has its own errors with their own codes.

use std::time::SystemTime;

use crate::server::credentials::Stranger;
use crate::server::timestamp;

/// Why a request was refused, in EC2's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// EC2's error code.
    pub(crate) code: &'static str,
    /// The sentence beside it.
    pub(crate) message: String,
    /// HTTP status.
    pub(crate) status: u16,
}

impl Refusal {
    fn new(code: &'static str, status: u16, message: String) -> Self {
        Self { code, message, status }
    }

    pub(crate) fn invalid_action(action: &str) -> Self {
        Self::new("InvalidAction", 400, format!("The action {action} is not valid for this web service."))
    }

    pub(crate) fn missing_action() -> Self {
        Self::new(
            "MissingAction",
            400,
            "The request is missing an action or a required parameter.".to_owned(),
        )
    }

    pub(crate) fn missing_parameter(name: &str) -> Self {
        Self::new("MissingParameter", 400, format!("The request must contain the parameter {name}"))
    }

    pub(crate) fn unknown_parameter(name: &str) -> Self {
        Self::new("UnknownParameter", 400, format!("The parameter {name} is not recognized"))
    }

    /// `value`: where one value is to blame.
    pub(crate) fn invalid_value(value: Option<&str>, name: &str, words: &str) -> Self {
        let message = match value {
            Some(value) => format!("Value ({value}) for parameter {name} is invalid: {words}"),
            None => format!("The parameter {name} is invalid: {words}"),
        };
        Self::new("InvalidParameterValue", 400, message)
    }

    pub(crate) fn malformed_query(message: &str) -> Self {
        Self::new("MalformedQueryString", 400, message.to_owned())
    }

    pub(crate) fn no_such_version(version: &str) -> Self {
        let message = format!("The requested version ({version}) of service AmazonEC2 does not exist");
        Self::new("NoSuchVersion", 400, message)
    }

    pub(crate) fn auth_failure(message: &str) -> Self {
        Self::new("AuthFailure", 401, message.to_owned())
    }

    pub(crate) fn stranger(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => {
                Self::auth_failure("AWS was not able to validate the provided access credentials")
            }
            Stranger::Expired => Self::new("RequestExpired", 400, "Request has expired.".to_owned()),
        }
    }

    /// Code and words of this and the next two: AWS's, the same for all services that are signed so.
    pub(crate) fn no_date() -> Self {
        let message = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
        Self::new("IncompleteSignature", 400, message.to_owned())
    }

    pub(crate) fn not_basic(date: &str) -> Self {
        let message = format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        );
        Self::new("IncompleteSignature", 400, message)
    }

    /// The key was derived for `scope`, and the request is of `day`, which `date` lies in.
    pub(crate) fn other_day(scope: &str, day: &str, date: &str) -> Self {
        let message = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{scope}' != '{day}', from '{date}'."
        );
        Self::new("SignatureDoesNotMatch", 403, message)
    }

    pub(crate) fn request_expired(signed: SystemTime, now: SystemTime) -> Self {
        let (signed, now) = (timestamp::seconds(signed), timestamp::seconds(now));
        let message = format!(
            "Request has expired. Timestamp date is {signed}. Current date is {now}. Limit is 5 minutes."
        );
        Self::new("RequestExpired", 400, message)
    }
}
