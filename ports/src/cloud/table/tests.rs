use std::collections::BTreeSet;

use super::*;
use CloudFault::{
    AddressLimit, AttachmentLimit, Conflict, Denied, EniQuota, NoFreeBlock, NotFound, Rejected, SlotTaken,
    SubnetFull, TokenMismatch, Unknown,
};

const EXPIRED: CloudFault = CloudFault::Credentials(CredentialsFault::Expired);
const CLOCK_OFF: CloudFault = CloudFault::Credentials(CredentialsFault::ClockOff);
const NOT_VALID: CloudFault = CloudFault::Credentials(CredentialsFault::NotValid);

/// What EC2 says, and what it means: at least one answer for each row of the table.
#[rustfmt::skip]
const SAID: &[(u16, &str, &str, CloudFault)] = &[
    (503, "RequestLimitExceeded", "Request limit exceeded.", THROTTLED),
    (503, "RequestLimitExceeded", "'eni-1' is currently in use", THROTTLED),
    (400, "Throttling", "Rate exceeded", THROTTLED),
    (400, "ThrottlingException", "Rate exceeded", THROTTLED),
    (400, "ThrottledException", "Rate exceeded", THROTTLED),
    (400, "RequestThrottled", "Rate exceeded", THROTTLED),
    (400, "RequestThrottledException", "Rate exceeded", THROTTLED),
    (429, "TooManyRequestsException", "Rate exceeded", THROTTLED),
    (503, "EC2ThrottledException", "Rate exceeded", THROTTLED),
    (509, "BandwidthLimitExceeded", "Limit exceeded", THROTTLED),
    (503, "SlowDown", "Please reduce your request rate.", THROTTLED),
    (400, "PriorRequestNotComplete", "The request was rejected", THROTTLED),
    (400, "ConcurrentTagAccess", "Multiple requests", THROTTLED),

    (400, "InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses", SubnetFull),
    (400, "InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes", SubnetFull),
    (400, "InsufficientCidrBlocks", "There are not enough free cidr blocks", NoFreeBlock),

    (400, "PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.", AddressLimit),

    (400, "AttachmentLimitExceeded", "Interface count 3 exceeds the limit for m5.large", AttachmentLimit),
    (400, "InvalidParameterValue", "Instance 'i-1' already has an interface attached at device index '1'.", SlotTaken),

    (400, "NetworkInterfaceLimitExceeded", "You have reached the limit on the number of network interfaces.", EniQuota),
    (400, "ResourceLimitExceeded", "You have exceeded the maximum number of interfaces allowed for your account", EniQuota),
    (400, "ResourceLimitExceeded", "You have exceeded the number of something else", Rejected),

    (400, "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-1' does not exist", NotFound),
    (400, "InvalidNetworkInterfaceId.NotFound", "The networkInterface ID 'eni-1' does not exist", NotFound),
    (400, "InvalidAttachmentID.NotFound", "The attachment 'a-1' does not exist", NotFound),
    (400, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist", NotFound),
    (400, "InvalidGroup.NotFound", "The security group 'sg-1' does not exist", NotFound),
    (400, "InvalidSecurityGroupID.NotFound", "The security group 'sg-1' does not exist", NotFound),
    (400, "InvalidID", "The ID 'eni-1' is not valid", NotFound),
    (400, "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist", NotFound),

    (400, "InvalidNetworkInterface.InUse", "Interface: eni-1 in use.", Conflict),
    (400, "IncorrectState", "The attachment is detaching", Conflict),
    (400, "IncorrectInstanceState", "Instance 'i-1' is not 'running' or 'stopped'", Conflict),
    (400, "InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist", Conflict),
    (400, "InvalidInstanceState", "Instance 'i-1' is not in a valid state", Conflict),
    (400, "DependencyViolation", "resource eni-1 has a dependent object", Conflict),
    (400, "InvalidIPAddress.InUse", "Address 10.0.0.9 is in use.", Conflict),
    (400, "InvalidParameterValue", "Network interface 'eni-1' is currently in use.", Conflict),
    (400, "InvalidParameterValue", "Some of the specified addresses are not assigned to interface eni-1", Conflict),
    (400, "InvalidParameterValue", "Interface eni-1 is not attached", Conflict),
    (400, "InvalidParameterValue", "Instance 'i-1' is not 'running' or 'stopped'", Conflict),

    (400, "IdempotentParameterMismatch", "Client token used before with other parameters", TokenMismatch),

    (403, "UnauthorizedOperation", "You are not authorized to perform this operation.", Denied),
    (401, "AuthFailure", "AWS was not able to validate the provided access credentials", NOT_VALID),
    (403, "AccessDenied", "Access denied", Denied),
    (403, "AccessDeniedException", "Access denied", Denied),
    (403, "Blocked", "Your account is currently blocked.", Denied),
    (401, "OptInRequired", "You are not subscribed to this service.", Denied),
    (400, "PendingVerification", "Your account is currently being verified.", Denied),
    (403, "InvalidClientTokenId", "The security token included in the request is invalid", NOT_VALID),
    (403, "UnrecognizedClientException", "The security token included in the request is invalid", NOT_VALID),
    (403, "MissingAuthenticationToken", "Request must contain a signature", NOT_VALID),
    (400, "IncompleteSignature", "The request signature does not conform", NOT_VALID),
    (403, "SignatureDoesNotMatch", "The request signature we calculated does not match", NOT_VALID),
    (403, "InvalidSignatureException", "Signature expired", CLOCK_OFF),
    (400, "ExpiredToken", "The security token included in the request is expired", EXPIRED),
    (400, "ExpiredTokenException", "The security token included in the request is expired", EXPIRED),
    (400, "RequestExpired", "Request has expired.", EXPIRED),
    (400, "RequestExpired", "Request has expired. Timestamp date is 2026-01-01T00:00:00Z. Current date is 2026-01-01T01:00:00Z.", CLOCK_OFF),
    (403, "InvalidSignatureException", "The request signature we calculated does not match", NOT_VALID),
    (403, "InvalidSignatureException", "Signature not yet current: 20260101T010000Z is still later than 20260101T000500Z", CLOCK_OFF),
    (403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T005500Z", CLOCK_OFF),
    (403, "SignatureDoesNotMatch", "Signature not yet current: 20260101T010000Z is still later than 20260101T000500Z", CLOCK_OFF),

    (500, "InternalError", "An internal error has occurred", Unknown),
    (500, "InternalFailure", "Something failed", Unknown),
    (500, "InternalServerError", "Something failed", Unknown),
    (503, "ServiceUnavailable", "Service unavailable", Unknown),
    (503, "Unavailable", "The service is unavailable", Unknown),
    (400, "RequestTimeout", "Too slow", Unknown),
    (400, "RequestTimeoutException", "Too slow", Unknown),

    // Those that no row names.
    (400, "InvalidParameterValue", "Value (0) for parameter count is invalid", Rejected),
    (400, "InvalidParameterCombination", "not together", Rejected),
    (400, "InvalidNetworkInterfaceID.Malformed", "Invalid id: \"x\"", Rejected),
    (400, "UnsupportedOperation", "not here", Rejected),
    (400, "OperationNotPermitted", "The network interface at device index 0 cannot be detached.", Rejected),
    (400, "SomethingNew", "", Rejected),
    (429, "SomethingNew", "", THROTTLED),
    (500, "SomethingNew", "?", Unknown),
    (503, "SomethingNew", "", Unknown),
];

#[test]
fn what_ec2_says_has_its_class() {
    let wrong: Vec<_> = SAID
        .iter()
        .filter_map(|said @ (status, code, words, want)| {
            let found = classify(code, words, *status, None);
            (found != *want).then_some((said, found))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_row_decides_something_that_ec2_says() {
    let deciding =
        |code: &str, words: &str| TABLE.iter().position(|row| row.fits(code, &words.to_lowercase()));
    let used: BTreeSet<usize> = SAID.iter().filter_map(|(_, code, words, _)| deciding(code, words)).collect();
    for (at, row) in TABLE.iter().enumerate() {
        assert!(used.contains(&at), "no answer above is decided by {} saying {:?}", row.code, row.says);
        assert_eq!(row.says, row.says.to_lowercase(), "compared with lower-case text");
    }
}

#[test]
fn where_words_decide_the_code_alone_does_not() {
    for row in TABLE.iter().filter(|row| !row.says.is_empty()) {
        assert_ne!(classify(row.code, "", 400, None), row.fault, "{} saying {:?}", row.code, row.says);
    }
}

#[test]
fn the_wait_that_is_asked_for_goes_with_a_throttle_and_with_nothing_else() {
    let wait = Some(Duration::from_secs(7));
    let throttled = CloudFault::Throttled { retry_after: wait };
    assert_eq!(classify("RequestLimitExceeded", "", 503, wait), throttled);
    assert_eq!(classify("SomethingNew", "", 429, wait), throttled);
    assert_eq!(classify("Unavailable", "", 503, wait), Unknown);
}
