//! `vpcsim node`: asks a running box to change its nodes. One request and one answer per connection, each JSON.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use holdfast_sim::fabric::Loss;
use holdfast_sim::scenario::NodeTable;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::run_dir::RunDir;
use crate::say;

/// How long a client may take to say what it wants.
const TALK: Duration = Duration::from_secs(5);

/// How long a box may take to do it.
const WORK: Duration = Duration::from_secs(60);

/// More than any request is long, in bytes.
const LONGEST: u64 = 1 << 16;

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Starts an instance and makes it a node, which has its first interface when this returns.
    Add {
        /// Its name.
        name: String,
        /// Instance type.
        #[arg(long = "type", default_value = "m5.large")]
        instance_type: String,
        /// The scenario's name of its subnet.
        #[arg(long)]
        subnet: String,
        /// Its first address; chosen by the box where absent.
        #[arg(long)]
        address: Option<Ipv4Addr>,
        /// How many IPv6 addresses it begins with.
        #[arg(long, default_value_t = 0)]
        ipv6_addresses: u32,
        /// Through how many hops its metadata gets: 1 reaches the node only, 2 its pods.
        #[arg(long, default_value_t = 2)]
        hop_limit: u8,
        /// What it calls its interfaces, as in a scenario, such as '{"names": "eth"}'.
        #[arg(long, default_value = "{}")]
        interfaces: String,
        /// What its image sets in its kernel, as in a scenario, such as '{"rp_filter": 1}'.
        #[arg(long, default_value = "{}")]
        sysctls: String,
    },
    /// Ends a node's instance and takes the node away. What runs in it is not ended, and has no network any more.
    Remove {
        /// The node, or an instance id.
        node: String,
    },
    /// Has a node lose packets from now on: this and nothing else. `[]` ends it.
    Lose {
        /// The node, or an instance id.
        node: String,
        /// As in a scenario, such as '[{"permille": 200, "with": "169.254.169.254/32"}]'.
        losses: String,
    },
    /// Prints how many packets a node has lost so.
    Lost {
        /// The node, or an instance id.
        node: String,
    },
    /// Boots a node's instance anew: all that was in its network namespace is left behind, and a new one, under the same
    /// path, gets its interfaces again. What runs in the old one is not ended, and has no network any more.
    Reboot {
        /// The node, or an instance id.
        node: String,
    },
    /// Stops a node's instance: as a reboot that comes no further than the new, bare namespace. Its ENIs stay its own.
    Stop {
        /// The node, or an instance id.
        node: String,
    },
    /// Starts it again: its interfaces appear as the box's timing says.
    Start {
        /// The node, or an instance id.
        node: String,
    },
}

/// The same on its way to the box.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Add(Box<NodeTable>),
    Remove(String),
    Reboot(String),
    Stop(String),
    Start(String),
    Lose(String, Vec<Loss>),
    Lost(String),
}

/// The box's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done(Option<u64>),
    Refused(String),
}

impl TryFrom<Verb> for Request {
    type Error = anyhow::Error;

    fn try_from(verb: Verb) -> anyhow::Result<Self> {
        Ok(match verb {
            Verb::Add {
                name,
                instance_type,
                subnet,
                address,
                ipv6_addresses,
                hop_limit,
                interfaces,
                sysctls,
            } => {
                let interfaces = serde_json::from_str(&interfaces)
                    .with_context(|| format!("understand --interfaces {interfaces}"))?;
                let sysctls = serde_json::from_str(&sysctls)
                    .with_context(|| format!("understand --sysctls {sysctls}"))?;
                let (loss, tags) = (Vec::new(), BTreeMap::new());
                Self::Add(Box::new(NodeTable {
                    name,
                    instance_type,
                    subnet,
                    address,
                    ipv6_addresses,
                    hop_limit,
                    interfaces,
                    sysctls,
                    loss,
                    tags,
                }))
            }
            Verb::Remove { node } => Self::Remove(node),
            Verb::Reboot { node } => Self::Reboot(node),
            Verb::Stop { node } => Self::Stop(node),
            Verb::Start { node } => Self::Start(node),
            Verb::Lose { node, losses } => {
                let losses = serde_json::from_str(&losses).with_context(|| format!("understand {losses}"))?;
                Self::Lose(node, losses)
            }
            Verb::Lost { node } => Self::Lost(node),
        })
    }
}

/// Sends the request and waits until it is carried out.
pub(crate) fn send(folder: &RunDir, verb: Verb) -> anyhow::Result<()> {
    let request = serde_json::to_vec(&Request::try_from(verb)?)?;
    let socket = folder.control_socket();
    let mut stream = StdUnixStream::connect(&socket)
        .with_context(|| format!("connect to {}: is the box up?", socket.display()))?;
    stream.set_read_timeout(Some(WORK))?;
    stream.write_all(&request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("wait for the box")?;
    match serde_json::from_slice(&answer).context("understand the box")? {
        Answer::Done(None) => Ok(()),
        Answer::Done(Some(number)) => Ok(say(&number.to_string())?),
        Answer::Refused(why) => bail!("{why}"),
    }
}

/// Takes one request from a client, has it carried out, and answers.
pub(crate) async fn serve(
    mut client: UnixStream,
    carry_out: impl FnOnce(Request) -> anyhow::Result<Option<u64>>,
) -> anyhow::Result<()> {
    let mut request = Vec::new();
    tokio::time::timeout(TALK, (&mut client).take(LONGEST).read_to_end(&mut request)).await??;
    let done = serde_json::from_slice(&request).context("understand the request").and_then(carry_out);
    let answer = match done {
        Ok(number) => Answer::Done(number),
        Err(error) => Answer::Refused(format!("{error:#}")),
    };
    tokio::time::timeout(TALK, client.write_all(&serde_json::to_vec(&answer)?)).await??;
    Ok(())
}
