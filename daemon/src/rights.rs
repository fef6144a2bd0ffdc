//! What a process may: its capabilities, as `/proc` tells them.

/// Those that matter here, each with its place among the bits of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// To change networks (`CAP_NET_ADMIN`).
    pub(crate) net_admin: bool,
    /// To enter network namespaces, among many other things (`CAP_SYS_ADMIN`).
    pub(crate) sys_admin: bool,
}

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

impl Rights {
    /// The effective ones, out of `/proc/PID/status`.
    pub(crate) fn read(status: &str) -> Option<Self> {
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        let set = u64::from_str_radix(set.trim(), 16).ok()?;
        let has = |place: u32| set & (1 << place) != 0;
        Some(Self { net_admin: has(NET_ADMIN), sys_admin: has(SYS_ADMIN) })
    }
}

/// Says what this process cannot do for want of a right: once, at its start, and not only when it is too late.
pub(crate) fn tell_what_lacks() {
    // Without /proc much else will be told.
    let own = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(Rights::read);
    let Some(own) = own else { return };
    if !own.net_admin {
        tracing::error!("this process lacks CAP_NET_ADMIN: no pod can be added and no network be mended");
    }
    if !own.sys_admin {
        tracing::warn!(
            "this process lacks CAP_SYS_ADMIN, so pods' namespaces cannot be entered. Pods are added by the socket that the \
             plugin hands over, and need none of it. What is lost: after a restart, a pod that was being added when the \
             daemon ended is kept without its inside being looked at, and one whose link is taken away is not wired anew"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_as_the_kernel_writes_them() {
        let read = |set: &str| Rights::read(&format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{set}\n"));
        assert_eq!(read("0000000000001000"), Some(Rights { net_admin: true, sys_admin: false }));
        assert_eq!(read("000001ffffffffff"), Some(Rights { net_admin: true, sys_admin: true }));
        assert_eq!(read("0000000000200000"), Some(Rights { net_admin: false, sys_admin: true }));
        assert_eq!(Rights::read("Name:\tx\n"), None);
    }
}
