//! Who signed a request and when, and for which region and service, as SigV4 writes it. Signatures are not checked: the
//! box accepts every secret of a key that it knows.

use std::time::SystemTime;

use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, DATE};

use super::fields::Fields;
use super::refusal::Refusal;
use crate::server::timestamp;

/// All that a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) scope: Scope,
    pub(crate) session_token: Option<String>,
    pub(crate) date: SystemTime,
}

impl Signed {
    /// By header, or by query parameters of a presigned request, which are taken out of `fields`.
    pub(crate) fn read(request: &Request<Bytes>, fields: &mut Fields) -> Result<Self, Refusal> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(authorization) = request.headers().get(AUTHORIZATION) {
            let scope = Scope::from_header(authorization.to_str().unwrap_or_default())?;
            let session_token = header("x-amz-security-token").map(str::to_owned);
            // Fact: the SigV4 documentation. Where there are both, X-Amz-Date counts.
            let date = match (header("x-amz-date"), header(DATE.as_str())) {
                (Some(date), _) => timestamp::parse_basic(date).ok_or_else(|| Refusal::not_basic(date))?,
                (None, Some(date)) => timestamp::parse_basic(date)
                    .or_else(|| timestamp::parse_http(date))
                    .ok_or_else(|| Refusal::not_basic(date))?,
                (None, None) => return Err(Refusal::no_date()),
            };
            return Ok(Self { scope, session_token, date });
        }
        let credential =
            fields.text("X-Amz-Credential").ok_or_else(|| Refusal::missing_parameter("AWSAccessKeyId"))?;
        let date = fields.required_text("X-Amz-Date")?;
        for name in ["X-Amz-Algorithm", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
            fields.required_text(name)?;
        }
        let session_token = fields.text("X-Amz-Security-Token");
        let scope = Scope::from_credential(&credential)?;
        let date = timestamp::parse_basic(&date).ok_or_else(|| Refusal::not_basic(&date))?;
        Ok(Self { scope, session_token, date })
    }

    /// Refuses a request meant for another service or region, which in life would not have come here, and a key that
    /// was derived for another day than the request is of.
    pub(crate) fn check(&self, region: &str, service: &str) -> Result<(), Refusal> {
        self.scope.check(region, service)?;
        let date = timestamp::basic(self.date);
        match date.split_once('T') {
            Some((day, _)) if day != self.scope.date => Err(Refusal::other_day(&self.scope.date, day, &date)),
            _ => Ok(()),
        }
    }
}

/// What a credential scope says: `<access key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key_id: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Scope {
    /// Reads the scope from an `Authorization` header (`AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`).
    pub(crate) fn from_header(header: &str) -> Result<Self, Refusal> {
        let rest = header
            .trim()
            .strip_prefix("AWS4-HMAC-SHA256")
            .or_else(|| header.trim().strip_prefix("AWS4-ECDSA-P256-SHA256"))
            .ok_or_else(|| Refusal::auth_failure("Only signature version 4 is accepted."))?;
        let credential = rest
            .split(',')
            .find_map(|part| part.trim().strip_prefix("Credential="))
            .ok_or_else(|| Refusal::auth_failure("Authorization header requires 'Credential' parameter."))?;
        Self::from_credential(credential)
    }

    /// Reads the scope from an `X-Amz-Credential` query parameter, as a presigned request carries it.
    pub(crate) fn from_credential(credential: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = credential.trim().split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = parts[..] else {
            return Err(Refusal::auth_failure(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        if access_key_id.is_empty() {
            return Err(Refusal::auth_failure(
                "AWS was not able to validate the provided access credentials",
            ));
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    fn check(&self, region: &str, service: &str) -> Result<(), Refusal> {
        if self.service != service {
            let message = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(Refusal::auth_failure(&message));
        }
        if self.region != region {
            let message = format!("Credential should be scoped to a valid region, not '{}'.", self.region);
            return Err(Refusal::auth_failure(&message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_header_is_read() {
        let header = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/eu-west-1/ec2/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=00ff";
        let scope = Scope::from_header(header).unwrap();
        assert_eq!((scope.access_key_id.as_str(), scope.region.as_str()), ("AKIA1", "eu-west-1"));
        scope.check("eu-west-1", "ec2").unwrap();
        assert_eq!(scope.check("us-east-1", "ec2").unwrap_err().code, "AuthFailure");
    }

    #[test]
    fn nonsense_is_refused() {
        for header in
            ["", "Basic abc", "AWS4-HMAC-SHA256 SignedHeaders=host", "AWS4-HMAC-SHA256 Credential=a/b/c"]
        {
            assert_eq!(Scope::from_header(header).unwrap_err().code, "AuthFailure", "{header}");
        }
        let iam = Scope::from_credential("AKIA1/20260101/us-east-1/iam/aws4_request").unwrap();
        assert_eq!(iam.check("us-east-1", "ec2").unwrap_err().status, 401);
    }
}
