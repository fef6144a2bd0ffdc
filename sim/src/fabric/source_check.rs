//! The source check: a packet passes only if its source address is delivered where it came from.
//!
//! The rule asks the routing table, so it is written once and never changes: whatever puts or removes an address's
//! route changes the check with it. Why not the kernel's own strict `rp_filter`, which asks the same: that judges ARP
//! too, and a node that once asked for its gateway on behalf of an address it does not own would be left without
//! any gateway for seconds.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{FabricError, Namespace};

const RULES: &str = r#"
table ip vpcsim {
    set unchecked {
        type ifname
    }
    chain sources {
        type filter hook prerouting priority raw; policy accept;
        iifname "lo" accept
        iifname @unchecked accept
        fib saddr . iif oif missing counter drop
    }
}
"#;

/// Puts the check in force on every link of a namespace but its loopback.
pub(super) fn install(router: &Namespace) -> Result<(), FabricError> {
    nft(router, RULES)
}

/// Takes a link out of the check, or back into it.
pub(super) fn set(router: &Namespace, link: &str, checked: bool) -> Result<(), FabricError> {
    let verb = if checked { "delete" } else { "add" };
    nft(router, &format!("{verb} element ip vpcsim unchecked {{ \"{link}\" }}\n"))
}

fn nft(namespace: &Namespace, script: &str) -> Result<(), FabricError> {
    let failed = |why: String| FabricError::Nft { place: namespace.name().to_owned(), why };
    let output = namespace.run(|| {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // Written and closed before the wait; a script is far smaller than a pipe.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output()?;
        written.map(|()| output)
    })?;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("there is no `nft` (Debian's package nftables)".to_owned()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
