//! Open descriptors: each held ADD takes three, and a process that runs out can neither write its ledger nor start `nft`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many as the daemon could ever use.
const ENOUGH: u64 = 65_536;

/// Kept for the ledger, netlink, EC2 and child processes.
const RESERVED: u64 = 128;

/// A connection, the namespace and the socket that came with it, and one to spare for what a hostile client sends along.
const PER_CONNECTION: u64 = 4;

/// No more connections than this, whatever the limit is: more pods than any instance type carries.
const MOST_CONNECTIONS: u64 = 1024;

/// Raises this process's soft limit as far as it may, and gives the number of plugins that it can serve at once.
pub(crate) fn connections() -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let wanted = hard.min(ENOUGH).max(soft);
            match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
                Ok(()) => wanted,
                Err(_refused) => soft,
            }
        }
        Err(_untold) => 1024,
    };
    usize::try_from(connections_within(limit)).unwrap_or(1)
}

fn connections_within(limit: u64) -> u64 {
    (limit.saturating_sub(RESERVED) / PER_CONNECTION).clamp(1, MOST_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_use_up_the_descriptors() {
        for limit in [256, 1024, 4096, 1 << 20] {
            assert!(connections_within(limit) * PER_CONNECTION + RESERVED <= limit, "{limit}");
        }
        assert_eq!(connections_within(1 << 20), MOST_CONNECTIONS);
        assert_eq!(connections_within(10), 1, "one is served even so");
    }
}
