//! Who signed a request, and for which region and service, as SigV4 writes it. Signatures are not checked: the box
//! accepts every secret of a key that it knows.

use super::refusal::Refusal;

/// What a credential scope says: `<access key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key_id: String,
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
        let [access_key_id, _date, region, service, "aws4_request"] = parts[..] else {
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
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Refuses a request meant for another service or region, which in life would not have come here.
    pub(crate) fn check(&self, region: &str) -> Result<(), Refusal> {
        if self.service != "ec2" {
            return Err(Refusal::auth_failure("Credential should be scoped to correct service: 'ec2'."));
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
        scope.check("eu-west-1").unwrap();
        assert_eq!(scope.check("us-east-1").unwrap_err().code, "AuthFailure");
    }

    #[test]
    fn nonsense_is_refused() {
        for header in
            ["", "Basic abc", "AWS4-HMAC-SHA256 SignedHeaders=host", "AWS4-HMAC-SHA256 Credential=a/b/c"]
        {
            assert_eq!(Scope::from_header(header).unwrap_err().code, "AuthFailure", "{header}");
        }
        let iam = Scope::from_credential("AKIA1/20260101/us-east-1/iam/aws4_request").unwrap();
        assert_eq!(iam.check("us-east-1").unwrap_err().status, 401);
    }
}
