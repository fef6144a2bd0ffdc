//! The plugin's socket: one connection, one request, one answer (see `holdfast_wire::message`).

mod answer;
mod connection;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use holdfast_engine::EngineHandle;
use holdfast_model::config::Config;
use holdfast_model::sandbox::SandboxKey;
use holdfast_wire::spool::Spool;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// How many requests are held at once. More wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// Who answers.
#[derive(Clone)]
pub(crate) enum Backend {
    /// Nobody yet, and why.
    Refusing(String),
    /// The engine.
    Engine(EngineHandle),
}

/// A socket being served; dropping it closes the socket and removes its file.
pub(crate) struct Listening {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        // A file that is gone already is what is wanted; any other failure leaves a dead socket, which the next
        // start replaces.
        let _gone: std::io::Result<()> = std::fs::remove_file(&self.path);
    }
}

/// Serves the plugin.
pub(crate) fn listen(
    config: Arc<Config>,
    backend: watch::Receiver<Backend>,
    spools: [Spool; 2],
) -> anyhow::Result<Listening> {
    let path = config.socket.value.clone();
    let spools = Arc::new(spools);
    serve(&path, move |stream| {
        connection::serve(stream, Arc::clone(&config), backend.clone(), Arc::clone(&spools))
    })
}

/// Binds a socket, in place of a dead one, and serves each connection on a task of its own.
pub(crate) fn serve<F, C>(path: &Path, connection: C) -> anyhow::Result<Listening>
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn(UnixStream) -> F + Send + 'static,
{
    let context = || format!("listening on {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).with_context(context)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(context),
    }
    let listener = UnixListener::bind(path).with_context(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(context)?;
    let task = tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = connection(stream);
                    tokio::spawn(async move {
                        served.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: serving those we have frees some.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(Listening { path: path.to_owned(), task })
}

/// The model's key for the wire's.
pub(crate) fn key_of(key: &holdfast_wire::ids::SandboxKey) -> SandboxKey {
    SandboxKey {
        container_id: key.container_id.to_string(),
        ifname: key.ifname.to_string(),
        network: key.network.to_string(),
    }
}
