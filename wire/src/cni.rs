//! The container network interface specification, as far as this plugin speaks it: 0.3.0 to 1.1.0.
//!
//! * [`conf`]: the network configuration on stdin;
//! * [`mod@env`]: the `CNI_*` variables;
//! * [`result`]: what ADD prints; [`error`]: what any command prints when it fails;
//! * [`chain`]: that behind another plugin's result;
//! * [`version`]: which versions there are.

pub mod chain;
pub mod conf;
pub mod env;
pub mod error;
pub mod result;
pub mod version;
