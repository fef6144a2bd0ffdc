//! Error codes: 1 to 99 are the specification's, from 100 on the plugin's own.

/// The network configuration's `cniVersion` is not one of the plugin's.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// A field of the network configuration has a value that is not supported.
pub const UNSUPPORTED_FIELD: u32 = 2;
/// A `CNI_*` variable is missing or not valid.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// Input or output failed, such as reading stdin.
pub const IO_FAILURE: u32 = 5;
/// The network configuration is not JSON.
pub const DECODING_FAILURE: u32 = 6;
/// The network configuration is JSON but not valid.
pub const INVALID_CONFIG: u32 = 7;
/// A transient condition: try again later.
pub const TRY_AGAIN_LATER: u32 = 11;
/// STATUS: an ADD would not work now.
pub const NOT_AVAILABLE: u32 = 50;
/// STATUS: an ADD would not work now, and running containers may have limited connectivity.
pub const NOT_AVAILABLE_LIMITED: u32 = 51;
/// Ours: plugin and daemon do not understand each other.
pub const PROTOCOL: u32 = 100;
/// Ours: the daemon could not do what was asked; the message says why.
pub const FAILED: u32 = 101;
/// Ours: CHECK found the sandbox not as it should be.
pub const CHECK_FAILED: u32 = 102;
