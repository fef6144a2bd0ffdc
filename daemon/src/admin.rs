//! The operator's socket beside the plugin's: one word in, one answer out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use holdfast_model::config::Config;
use holdfast_wire::peer::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::server::{self, Backend, Listening};

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest word that is taken.
const LONGEST: u64 = 64;

fn path(config: &Config) -> PathBuf {
    config.socket.value.with_file_name("admin.sock")
}

/// Serves the operator.
pub(crate) fn listen(config: &Config, backend: watch::Receiver<Backend>) -> anyhow::Result<Listening> {
    server::serve(&path(config), move |stream| {
        let backend = backend.clone();
        async move {
            match tokio::time::timeout(PATIENCE, answer(stream, backend)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "an operator's question went unanswered"),
                Err(_elapsed) => tracing::info!("an operator's question took too long"),
            }
        }
    })
}

async fn answer(mut stream: UnixStream, backend: watch::Receiver<Backend>) -> anyhow::Result<()> {
    let peer = Peer::of(&stream)?;
    if !peer.may_command(nix::unistd::geteuid().as_raw()) {
        bail!("uid {} may not ask", peer.uid);
    }
    let (reader, mut writer) = stream.split();
    let mut word = String::new();
    reader.take(LONGEST).read_to_string(&mut word).await?;
    let backend = backend.borrow().clone();
    let answer = match (word.trim(), backend) {
        ("health", Backend::Engine(engine)) => match engine.status().await {
            Ok(status) => format!("alive: {status:?}\n"),
            Err(stopped) => format!("{stopped}\n"),
        },
        // Alive, and rightly so: a restart would not open the ledger.
        ("health", Backend::Refusing(cause)) => format!("alive: refusing: {cause}\n"),
        ("dump", Backend::Engine(engine)) => serde_json::to_string_pretty(&engine.dump().await?)?,
        ("dump", Backend::Refusing(cause)) => serde_json::json!({ "refusing": cause }).to_string(),
        (other, _) => format!("unknown word {other:?}: want health or dump\n"),
    };
    writer.write_all(answer.as_bytes()).await?;
    Ok(())
}

/// Asks a running daemon.
pub(crate) fn ask(config: &Config, word: &str) -> anyhow::Result<String> {
    let path = path(config);
    let context = || format!("asking the daemon at {}", path.display());
    let mut stream = BlockingStream::connect(&path).with_context(context)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(word.as_bytes()).with_context(context)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(context)?;
    if answer.is_empty() {
        bail!("the daemon at {} gave no answer", path.display());
    }
    Ok(answer)
}

/// `holdfast health`.
pub(crate) fn health(config: &Config) -> anyhow::Result<()> {
    print!("{}", ask(config, "health")?);
    Ok(())
}
