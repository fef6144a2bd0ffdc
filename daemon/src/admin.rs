//! The operator's socket beside the plugin's: one word in, one JSON object out.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use holdfast_engine::{EngineHandle, Status};
use holdfast_model::config::Config;
use holdfast_wire::fd;
use holdfast_wire::peer::Peer;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::aside::{self, Held};
use crate::backend::Backend;
use crate::pool_words::Pools;
use crate::server::{self, Desk, Door, Listening, Lock};
use crate::state::{self, Form};

/// Asks for the state, as people read it.
pub(crate) const DUMP: &str = "dump";

/// Asks for the state, as the ledger keeps it.
pub(crate) const DUMP_RAW: &str = "dump raw";

/// Asks for the settings that hold.
pub(crate) const SETTINGS: &str = "settings";

/// Asks what the pools aim at, and why.
pub(crate) const POOL: &str = "pool";

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an operator has to say the word: whoever only keeps a connection open is not to hold up who asks.
const WORD_PATIENCE: Duration = Duration::from_secs(1);

/// How long a ledger's disk is waited for: whoever asked is still there then.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The longest word that is taken.
const LONGEST: usize = 64;

/// Operators served at once. Most of a crowd only keep a connection open, and are sent away after [`WORD_PATIENCE`].
const CONNECTIONS: usize = 64;

/// States put into words at once: of a full node each takes megabytes.
const DUMPS: usize = 4;

/// Where the operator's socket is.
pub(crate) fn path(config: &Config) -> PathBuf {
    config.socket.value.with_file_name("admin.sock")
}

/// Serves the operator; `plugins` is where plugins come in.
pub(crate) fn listen(desk: &Arc<Desk>, lock: Arc<Lock>, plugins: Arc<Door>) -> anyhow::Result<Listening> {
    let (path, desk) = (path(&desk.settings().config), Arc::clone(desk));
    server::serve(&path, lock, CONNECTIONS, move |stream| {
        let (desk, plugins) = (Arc::clone(&desk), Arc::clone(&plugins));
        async move {
            match tokio::time::timeout(PATIENCE, answer(stream, &desk, &plugins)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::info!(error = %format!("{error:#}"), "an operator's question went unanswered");
                }
                Err(_elapsed) => tracing::warn!("an operator's question took too long"),
            }
        }
    })
}

async fn answer(mut stream: Held<UnixStream>, desk: &Desk, plugins: &Door) -> anyhow::Result<()> {
    let backend = desk.backend().borrow().clone();
    let peer = Peer::of(&*stream)?;
    if !peer.may_command(nix::unistd::geteuid().as_raw()) {
        bail!("uid {} may not ask", peer.uid);
    }
    let word = tokio::time::timeout(WORD_PATIENCE, word_of(&stream)).await;
    let word = word.with_context(|| format!("nothing was asked within {WORD_PATIENCE:?}"))??;
    let answer = match (word.trim(), backend) {
        ("health", Backend::Engine(engine)) => {
            let alive = alive(&engine).await?;
            match plugins.trouble() {
                Some(cause) => json!({ "alive": true, "serving": "refusing", "cause": cause }),
                None => alive,
            }
            .to_string()
        }
        // Alive, and rightly so: a restart would not open the ledger.
        ("health", Backend::Refusing(cause)) => {
            json!({ "alive": true, "serving": "refusing", "cause": cause }).to_string()
        }
        (DUMP, backend) => dump(desk, backend, Form::Told).await?,
        (DUMP_RAW, backend) => dump(desk, backend, Form::Raw).await?,
        (POOL, Backend::Engine(engine)) => serde_json::to_string(&Pools::of(&engine.pool().await?))?,
        (POOL, Backend::Refusing(cause)) => json!({ "refusing": cause }).to_string(),
        (SETTINGS, _) => serde_json::to_string(&desk.settings().by_name)?,
        (other, _) => {
            json!({ "unknown": other, "known": ["health", DUMP, DUMP_RAW, POOL, SETTINGS] }).to_string()
        }
    };
    stream.write_all(answer.as_bytes()).await?;
    // The asker reads to the end, which does not wait until the connection is closed.
    stream.shutdown().await?;
    Ok(())
}

/// What is asked, to the end of what the operator has to say. An ordinary read would close descriptors that came with it,
/// here and now.
async fn word_of(stream: &UnixStream) -> anyhow::Result<String> {
    let (mut word, mut buffer) = (Vec::new(), [0; LONGEST]);
    while word.len() < LONGEST {
        let received = stream.async_io(Interest::READABLE, || fd::receive(stream, &mut buffer)).await?;
        let (bytes, _came) = (received.bytes, Held::new((received.descriptors, received.surplus)));
        if bytes == 0 {
            break;
        }
        word.extend_from_slice(&buffer[..bytes]);
    }
    word.truncate(LONGEST);
    Ok(String::from_utf8(word)?)
}

/// Not on the loop that serves everybody: a full node's state takes its time to be written down, and the disk of a ledger
/// that is not open may hang.
async fn dump(desk: &Desk, backend: Backend, form: Form) -> anyhow::Result<String> {
    static FILE: OneAtATime = OneAtATime(Semaphore::const_new(1));
    static ROOM: Semaphore = Semaphore::const_new(DUMPS);
    // It is never closed.
    let _room = ROOM.acquire().await;
    let settings = desk.settings();
    let cause = match backend {
        Backend::Engine(engine) => {
            let state = engine.dump().await?;
            return aside::look(move || state::live(&settings.by_name, &state, form))
                .await
                .context(ENDED_BADLY)?;
        }
        Backend::Refusing(cause) => cause,
    };
    let of_file = {
        let (cause, settings) = (cause.clone(), Arc::clone(&settings));
        move || state::without_engine(&settings.config, &settings.by_name, &cause, form)
    };
    match tokio::time::timeout(DISK_PATIENCE, FILE.look(of_file)).await {
        Ok(said) => said.context(ENDED_BADLY)?,
        Err(_elapsed) => state::unread(&settings.by_name, &cause, "its disk does not answer"),
    }
}

const ENDED_BADLY: &str = "putting the state into words ended badly";

/// Looks that may hang: one after the other, rather than as many at once as are asked for.
struct OneAtATime(Semaphore);

impl OneAtATime {
    /// Waits for the one before. `None`: it panicked.
    async fn look<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // It is never closed.
        let looking = self.0.acquire().await.ok()?;
        // Whoever asked may be gone long before it ends.
        let work = move || {
            let _until_the_end = looking;
            work()
        };
        aside::look(work).await
    }
}

/// The engine's loop answers; everything else is for people.
async fn alive(engine: &EngineHandle) -> anyhow::Result<Value> {
    Ok(match engine.status().await? {
        Status::Ready => json!({ "alive": true, "serving": "ready" }),
        Status::Impaired(cause) => json!({ "alive": true, "serving": "impaired", "cause": cause }),
        Status::Growing => json!({ "alive": true, "serving": "growing" }),
        Status::Short(cause) => json!({ "alive": true, "serving": "short", "cause": cause.to_string() }),
        Status::Refusing(cause) => {
            json!({ "alive": true, "serving": "refusing", "cause": cause.to_string() })
        }
    })
}

/// Asks a running daemon. Inside: that nobody is there, in words.
pub(crate) fn ask(config: &Config, word: &str) -> anyhow::Result<Result<Value, String>> {
    ask_at(&path(config), word, PATIENCE)
}

fn ask_at(path: &Path, word: &str, patience: Duration) -> anyhow::Result<Result<Value, String>> {
    let at = path.display();
    let answer = match exchange(path, word, patience) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(Err(format!(
                "no daemon at {at} ({error}): it is not running, or HOLDFAST_SOCKET is not what it was started with"
            )));
        }
        asked => asked,
    };
    let answer = answer.map_err(|error| {
        match error.kind() {
            // What a socket says whose time is over.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!(
                "the daemon at {at} runs and does not answer within {patience:?}: it is stuck; keep its log, then restart \
                 it, which running pods do not notice"
            ),
            _ => anyhow!("asking the daemon at {at}: {error}"),
        }
    })?;
    if answer.is_empty() {
        bail!("the daemon at {} gave no answer: it was stopped, or its log says why", path.display());
    }
    let answer = serde_json::from_str(&answer)
        .with_context(|| format!("reading what the daemon at {} said", path.display()))?;
    Ok(Ok(answer))
}

fn exchange(path: &Path, word: &str, patience: Duration) -> io::Result<String> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// `holdfast health`.
pub(crate) fn health(config: &Config) -> anyhow::Result<()> {
    let answer = ask(config, "health")?.map_err(|nobody| anyhow!(nobody))?;
    crate::print(&answer.to_string())?;
    if answer["alive"] != true {
        bail!("the daemon does not say that it is alive");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    use super::*;

    /// On one thread: nobody else waits for it.
    #[tokio::test]
    async fn a_ledger_whose_disk_hangs_is_read_once_and_holds_nobody() {
        static FILE: OneAtATime = OneAtATime(Semaphore::const_new(1));
        static ROOM: Semaphore = Semaphore::const_new(DUMPS);
        // It is never closed.
        let _room = ROOM.acquire().await;
        let (end, ended) = mpsc::channel::<()>();
        let first = tokio::spawn(FILE.look(move || ended.recv_timeout(Duration::from_secs(20)).is_err()));
        tokio::task::yield_now().await;
        let soon = Duration::from_millis(50);
        let second = || tokio::time::timeout(soon, FILE.look(|| 7));
        assert!(second().await.is_err(), "one is read already");
        // Whoever asked is gone; the read is not.
        first.abort();
        drop(first.await);
        assert!(second().await.is_err(), "it is being read still");
        drop(end);
        let third = tokio::time::timeout(Duration::from_secs(10), FILE.look(|| 7));
        assert_eq!(third.await, Ok(Some(7)), "what is over hinders nobody");
    }

    #[test]
    fn a_daemon_that_is_away_or_stuck_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let asked = || ask_at(&path, "health", Duration::from_millis(50));
        let nobody = asked().unwrap().unwrap_err();
        assert!(nobody.contains("it is not running"), "{nobody}");
        let said = || asked().unwrap_err().to_string();
        // Takes connections, as the kernel does for a process that is stopped, and says nothing.
        let _stuck = UnixListener::bind(&path).unwrap();
        assert!(said().contains("does not answer within 50ms: it is stuck"), "{}", said());
    }
}
