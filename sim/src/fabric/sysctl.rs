//! Kernel settings of a namespace. A new one inherits its IPv4 settings from the machine's own, so all that matters
//! here is written, also where it is the kernel's default.

use std::path::{Path, PathBuf};

use super::{FabricError, Namespace};

/// Writes settings, each a path under `/proc/sys/net` and a value.
pub(super) fn write(namespace: &Namespace, settings: &[(&str, &str)]) -> Result<(), FabricError> {
    // /proc/sys/net shows the namespace of the thread that opens it.
    namespace.run(|| {
        for (name, value) in settings {
            let path = Path::new("/proc/sys/net").join(name);
            std::fs::write(&path, value).map_err(|source| FabricError::Sysctl { path, source })?;
        }
        Ok(())
    })?
}

/// Turns IPv6 off where the kernel has it: in a VPC without IPv6 the router and the internet speak IPv4 only, and
/// neighbour discovery would be noise in a capture.
pub(super) fn without_ipv6(namespace: &Namespace) -> Result<(), FabricError> {
    namespace.run(|| {
        for scope in ["all", "default"] {
            let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"));
            if path.exists() {
                std::fs::write(&path, "1").map_err(|source| FabricError::Sysctl { path, source })?;
            }
        }
        Ok(())
    })?
}
