//! How a running box is asked to change itself. One request and one answer per connection, each JSON.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use holdfast_sim::fabric::Loss;
use holdfast_sim::scenario::{NodeTable, SubnetTable};
use ipnet::Ipv4Net;
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

/// What is asked, of its nodes and of its VPC.
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
    AddSubnet(SubnetTable),
    AddCidr(Ipv4Net),
}

/// The box's answer: what is to be printed, if anything is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done(Option<String>),
    Refused(String),
}

/// Sends the request and waits until it is carried out.
pub(crate) fn send(folder: &RunDir, request: &Request) -> anyhow::Result<()> {
    let request = serde_json::to_vec(request)?;
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
        Answer::Done(Some(text)) => Ok(say(&text)?),
        Answer::Refused(why) => bail!("{why}"),
    }
}

/// Takes one request from a client, has it carried out, and answers.
pub(crate) async fn serve(
    mut client: UnixStream,
    carry_out: impl FnOnce(Request) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<()> {
    let mut request = Vec::new();
    tokio::time::timeout(TALK, (&mut client).take(LONGEST).read_to_end(&mut request)).await??;
    let done = serde_json::from_slice(&request).context("understand the request").and_then(carry_out);
    let answer = match done {
        Ok(text) => Answer::Done(text),
        Err(error) => Answer::Refused(format!("{error:#}")),
    };
    tokio::time::timeout(TALK, client.write_all(&serde_json::to_vec(&answer)?)).await??;
    Ok(())
}
