//! The packet filter of the router: whose packets pass, and which neighbours the VPC shows.
//!
//! **Sources.** A packet passes only if its source address is delivered where it came from. The rule asks the routing
//! table, so it is written once and never changes: whatever puts or removes an address's route changes the check with it.
//! Why not the kernel's own strict `rp_filter`, which asks the same: that judges ARP too, and a node that once asked for
//! its gateway on behalf of an address it does not own would be left without any gateway for seconds.
//!
//! **Neighbours.** Asked for an address of its subnet, the VPC answers with the link-layer address of the ENI that has it,
//! and carries a frame only to the ENI that it is addressed to. A node that remembers where an address was sends to an
//! ENI that has it no more, and nobody gets that (amazon-vpc-cni-k8s issue 3628: time-outs until the entry is removed). So
//! answers of the router are given the ENI's address ([`super::answers`]), and what comes in must be addressed to the gateway, or to the ENI
//! that the route leads to. Frames that are not addressed to the router's own link are made to be looked at first.

use std::io::Write as _;
use std::process::{Command, Stdio};

use holdfast_datapath::netlink::MacAddr;
use serde_json::Value;

use super::loss::{self, Loss};
use super::{FabricError, Namespace};

/// Link-layer address of the gateway of every subnet.
pub(super) const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x1e, 0x03]);

const RULES: &str = r#"
table inet vpcsim {
    set unchecked {
        type ifname
    }
    set behind {
        type ifname . ether_addr
    }
    chain sources {
        type filter hook prerouting priority raw; policy accept;
        iifname "lo" accept
        iifname @unchecked accept
        ip6 saddr { ::, fe80::/10 } accept
        fib saddr . iif oif missing counter drop
    }
    chain neighbours {
        type filter hook forward priority filter; policy accept;
        iifname "inet" accept
        ether daddr GATEWAY accept
        oifname . ether daddr != @behind counter drop
    }
}
table arp vpcsim {
    map answers {
        type ipv4_addr : ether_addr
        flags interval
    }
    chain answers {
        type filter hook output priority filter; policy accept;
        arp operation reply arp saddr ether set arp saddr ip map @answers
    }
}
"#;

/// The filter of a router.
#[derive(Debug)]
pub(super) struct Filter {
    router: Namespace,
}

impl Filter {
    /// Puts it in force on every link of a namespace but its loopback.
    pub(super) fn install(router: &Namespace) -> Result<Self, FabricError> {
        nft(router, &RULES.replace("GATEWAY", &GATEWAY_MAC.to_string()))?;
        Ok(Self { router: router.clone() })
    }

    /// A link to an ENI is there, not up yet.
    pub(super) fn add_link(&self, link: &str, eni: MacAddr, losses: &[Loss]) -> Result<(), FabricError> {
        let known = format!("add element inet vpcsim behind {{ \"{link}\" . {eni} }}\n");
        nft(&self.router, &(known + &frames(link, losses)))
    }

    /// From now on a link loses this.
    pub(super) fn lose(&self, link: &str, losses: &[Loss]) -> Result<(), FabricError> {
        nft(&self.router, &format!("delete table netdev {link}\n{}", frames(link, losses)))
    }

    /// How many packets a link has lost by order.
    pub(super) fn lost(&self, link: &str) -> Result<u64, FabricError> {
        let listed = run_nft(&self.router, &["-j", "list", "table", "netdev", link], "")?;
        let listed: Value = serde_json::from_slice(&listed).map_err(|error| FabricError::Nft {
            place: self.router.name().to_owned(),
            why: format!("what it lists is no JSON: {error}"),
        })?;
        let rules = listed["nftables"].as_array().into_iter().flatten();
        let expressions = rules.filter_map(|object| object["rule"]["expr"].as_array()).flatten();
        Ok(expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).sum())
    }

    /// It will be gone.
    pub(super) fn remove_link(&self, link: &str, eni: MacAddr, checked: bool) -> Result<(), FabricError> {
        let mut script = format!(
            "delete element inet vpcsim behind {{ \"{link}\" . {eni} }}\ndelete table netdev {link}\n"
        );
        if !checked {
            // By name, and the same ENI may come back under it.
            script.push_str(&exception("delete", link));
        }
        nft(&self.router, &script)
    }

    /// Takes a link out of the check of sources, or back into it.
    pub(super) fn check_source(&self, link: &str, checked: bool) -> Result<(), FabricError> {
        nft(&self.router, &exception(if checked { "delete" } else { "add" }, link))
    }
}

/// What happens to the frames of a link. Solicitations go to a group of their target: sent to all nodes, they reach who
/// answers for others too.
fn frames(link: &str, losses: &[Loss]) -> String {
    format!(
        "table netdev {link} {{
            chain frames {{
                type filter hook ingress device \"{link}\" priority filter; policy accept;
                {}
                meta pkttype other meta pkttype set host
                ip6 daddr ff02::1:ff00:0/104 ip6 daddr set ff02::1
            }}
            chain out {{
                type filter hook egress device \"{link}\" priority filter; policy accept;
                {}
            }}
        }}\n",
        loss::rules(losses.iter(), "daddr"),
        loss::rules(losses.iter(), "saddr")
    )
}

fn exception(verb: &str, link: &str) -> String {
    format!("{verb} element inet vpcsim unchecked {{ \"{link}\" }}\n")
}

/// Has a script carried out, all of it or nothing.
pub(super) fn nft(namespace: &Namespace, script: &str) -> Result<(), FabricError> {
    run_nft(namespace, &["-f", "-"], script).map(drop)
}

/// What `nft` prints.
fn run_nft(namespace: &Namespace, arguments: &[&str], script: &str) -> Result<Vec<u8>, FabricError> {
    let failed = |why: String| FabricError::Nft { place: namespace.name().to_owned(), why };
    let output = namespace.run(|| {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Written and closed before the wait; a script is far smaller than a pipe.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output()?;
        // What reads no script may be gone before it is written.
        if script.is_empty() { Ok(output) } else { written.map(|()| output) }
    })?;
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("there is no `nft` (Debian's package nftables)".to_owned()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
