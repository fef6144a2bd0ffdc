//! `vpcsim vpc`: what can be asked of a running box's VPC.

use clap::Subcommand;
use holdfast_sim::scenario::SubnetTable;
use holdfast_sim::vpc::Tags;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::control::Request;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a subnet and prints its id. The network follows before this returns; `vpcsim node add` knows it by its name.
    AddSubnet {
        /// What `vpcsim node add` calls it; not known to EC2.
        name: String,
        /// Its zone, such as us-west-2a.
        #[arg(long)]
        zone: String,
        /// Its block, inside one of the VPC's; without one it has one of IPv6.
        #[arg(long, required_unless_present = "ipv6")]
        cidr: Option<Ipv4Net>,
        /// Its IPv6 block, a /64 inside the VPC's.
        #[arg(long)]
        ipv6: Option<Ipv6Net>,
    },
    /// Adds an IPv4 block to the VPC, for subnets to come. The network follows before this returns.
    AddCidr {
        /// The block, a /16 to /28 that none of the VPC's overlaps.
        cidr: Ipv4Net,
    },
}

impl From<Verb> for Request {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::AddSubnet { name, zone, cidr, ipv6 } => {
                Self::AddSubnet(SubnetTable { name, zone, cidr, ipv6, tags: Tags::new() })
            }
            Verb::AddCidr { cidr } => Self::AddCidr(cidr),
        }
    }
}
