//! EC2's errors: code, HTTP status, message.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($variant:ident = $text:literal, $status:literal;)*) => {
        /// EC2's error codes that the box can answer.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        #[allow(missing_docs, reason = "the names are EC2's")]
        pub enum ErrorCode {
            $($variant,)*
            /// A code that only a fault invents; HTTP 400.
            Other(String),
        }

        impl ErrorCode {
            /// EC2's spelling.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)* Self::Other(text) => text }
            }

            /// The HTTP status that EC2 sends with it.
            pub fn http_status(&self) -> u16 {
                match self { $(Self::$variant => $status,)* Self::Other(_) => 400 }
            }
        }

        impl From<String> for ErrorCode {
            fn from(text: String) -> Self {
                match text.as_str() { $($text => Self::$variant,)* _ => Self::Other(text) }
            }
        }
    };
}

codes! {
    AttachmentLimitExceeded = "AttachmentLimitExceeded", 400;
    DryRunOperation = "DryRunOperation", 412;
    FilterLimitExceeded = "FilterLimitExceeded", 400;
    IdempotentParameterMismatch = "IdempotentParameterMismatch", 400;
    IncorrectInstanceState = "IncorrectInstanceState", 400;
    IncorrectState = "IncorrectState", 400;
    InsufficientCidrBlocks = "InsufficientCidrBlocks", 400;
    InsufficientFreeAddressesInSubnet = "InsufficientFreeAddressesInSubnet", 400;
    InternalError = "InternalError", 500;
    AttachmentIdMalformed = "InvalidAttachmentID.Malformed", 400;
    AttachmentIdNotFound = "InvalidAttachmentID.NotFound", 400;
    GroupIdMalformed = "InvalidGroupId.Malformed", 400;
    GroupNotFound = "InvalidGroup.NotFound", 400;
    InvalidId = "InvalidID", 400;
    InstanceIdMalformed = "InvalidInstanceID.Malformed", 400;
    InstanceIdNotFound = "InvalidInstanceID.NotFound", 400;
    InvalidInstanceType = "InvalidInstanceType", 400;
    IpAddressInUse = "InvalidIPAddress.InUse", 400;
    NetworkInterfaceInUse = "InvalidNetworkInterface.InUse", 400;
    NetworkInterfaceIdMalformed = "InvalidNetworkInterfaceId.Malformed", 400;
    NetworkInterfaceIdNotFound = "InvalidNetworkInterfaceID.NotFound", 400;
    InvalidParameterCombination = "InvalidParameterCombination", 400;
    InvalidParameterValue = "InvalidParameterValue", 400;
    SubnetIdMalformed = "InvalidSubnetID.Malformed", 400;
    SubnetIdNotFound = "InvalidSubnetID.NotFound", 400;
    VpcIdMalformed = "InvalidVpcID.Malformed", 400;
    VpcIdNotFound = "InvalidVpcID.NotFound", 400;
    MissingParameter = "MissingParameter", 400;
    NetworkInterfaceLimitExceeded = "NetworkInterfaceLimitExceeded", 400;
    OperationNotPermitted = "OperationNotPermitted", 400;
    PrivateIpAddressLimitExceeded = "PrivateIpAddressLimitExceeded", 400;
    RequestLimitExceeded = "RequestLimitExceeded", 503;
    SecurityGroupsPerInterfaceLimitExceeded = "SecurityGroupsPerInterfaceLimitExceeded", 400;
    TagLimitExceeded = "TagLimitExceeded", 400;
    UnauthorizedOperation = "UnauthorizedOperation", 403;
    Unavailable = "Unavailable", 503;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ErrorCode> for String {
    fn from(code: ErrorCode) -> Self {
        code.as_str().to_owned()
    }
}

/// An error answer of EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// Code.
    pub code: ErrorCode,
    /// Text, as EC2 words it; identifiers in single quotes.
    pub message: String,
}

impl ApiError {
    /// An error with this code and text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why a call has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CallError {
    /// EC2 answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No answer: the connection closes. The caller cannot know whether the call took effect.
    #[error("the connection was closed without an answer")]
    Dropped,
}

impl CallError {
    /// EC2's code, if there was an answer.
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Api(error) => Some(&error.code),
            Self::Dropped => None,
        }
    }
}
