//! `vpcsim up`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use holdfast_sim::fabric::Namespace;
use holdfast_sim::scenario::Scenario;
use holdfast_sim::server::serve_admin;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::run_dir::RunDir;
use crate::site::Site;
use crate::{control, say};

/// Makes the box, says so, and stays until told to stop.
pub(crate) fn up(folder: &RunDir, name: &str, scenario: &Path, json: bool) -> anyhow::Result<()> {
    // Everything that can be wrong with the scenario is said before anything is made.
    let scenario = Scenario::load(scenario).with_context(|| format!("scenario {}", scenario.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Asked for before the first thing is made: a signal meanwhile is kept, and obeyed when the box stands.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let Some(claim) = folder.claim()? else {
        bail!("box {name:?} is up already (`vpcsim down --name {name}` stops it)");
    };
    let served = runtime.block_on(async {
        let stop = listen(&folder.stop_socket())?;
        let asks = listen(&folder.control_socket())?;
        let mut site = Site::up(folder, name, &scenario)?;
        // Listening starts before the description appears: a client that saw it may connect.
        let router = site.fabric().router().clone();
        let inside = router
            .run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?
            .context("listen for the admin interface")?;
        let at = inside.local_addr()?;
        let outside = listen(&folder.admin_socket())?;
        let mut services = JoinSet::new();
        services.spawn(serve_admin(site.shared().clone(), inside));
        services.spawn(relay(outside, router, at));
        site.publish()?;
        if json {
            say(&serde_json::to_string(site.description())?)?;
        } else {
            say(&format!("{}\nready", site.description()))?;
        }
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                asked = stop.accept() => { asked.context("wait for `vpcsim down`")?; break }
                asked = asks.accept() => {
                    let (client, _) = asked.context("wait for `vpcsim node` and `vpcsim vpc`")?;
                    if let Err(error) = control::serve(client, |request| site.change(request)).await {
                        tracing::warn!("a request for nodes or the VPC: {error:#}");
                    }
                }
                Some(ended) = services.join_next() => {
                    ended.context("the admin interface")?.context("the admin interface")?;
                    break;
                }
            }
        }
        // The fabric, dropped here, takes links and namespaces with it.
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let removed = folder.remove(claim);
    served.and(removed)
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let listener = StdUnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

/// Hands each connection of the unix socket on to the admin interface, which listens on the router's loopback: so it
/// can be reached from every network namespace, and only by who may open the socket.
async fn relay(outside: UnixListener, router: Namespace, inside: SocketAddr) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = outside.accept() => match accepted {
                Ok((client, _)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        if let Err(error) = hand_on(client, router, inside).await {
                            tracing::debug!("admin connection: {error:#}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn hand_on(mut client: UnixStream, router: Namespace, inside: SocketAddr) -> anyhow::Result<()> {
    // A connection belongs to the namespace in which its socket is made.
    let connect = move || router.run(|| std::net::TcpStream::connect(inside));
    let server = tokio::task::spawn_blocking(connect).await???;
    server.set_nonblocking(true)?;
    let mut server = TcpStream::from_std(server)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
