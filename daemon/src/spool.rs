//! Tombstones: DELs that no daemon was there to hear.

use std::time::{Duration, SystemTime};

use holdfast_engine::EngineHandle;
use holdfast_wire::spool::Spool;
use holdfast_wire::tombstone::Tombstone;
use tokio::task::JoinSet;

use crate::server::key_of;

/// How often the spools are looked at while the daemon runs: a plugin may have lost its patience with us.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Temporary files of plugins that died are removed after this time.
const LITTER_AGE: Duration = Duration::from_secs(600);

/// Carries out all tombstones, side by side.
pub(crate) async fn drain(spools: &[Spool], engine: &EngineHandle) {
    for spool in spools {
        let listing = match spool.list() {
            Ok(listing) => listing,
            Err(error) => {
                tracing::error!(spool = %spool.dir().display(), %error, "the spool cannot be read");
                continue;
            }
        };
        for aside in &listing.set_aside {
            tracing::error!(file = %aside.path.display(), reason = aside.reason, "not a tombstone; set aside");
        }
        for (file, reason) in &listing.kept {
            tracing::warn!(file = %file.display(), reason, "a tombstone that cannot be carried out is kept");
        }
        let mut running = JoinSet::new();
        for tombstone in listing.tombstones {
            running.spawn(carry_out(spool.clone(), tombstone, engine.clone()));
        }
        running.join_all().await;
    }
}

/// Carries out one tombstone, and removes it once the release is durable.
async fn carry_out(spool: Spool, tombstone: Tombstone, engine: EngineHandle) {
    let key = key_of(&tombstone.sandbox);
    tracing::info!(sandbox = %key, reason = tombstone.reason, "carrying out a DEL that was left in the spool");
    if engine.del(key).await.is_err() {
        // The engine is stopping: the next start finds the tombstone where it is.
        return;
    }
    if let Err(error) = spool.remove(&tombstone.sandbox) {
        tracing::error!(sandbox = %tombstone.sandbox, %error, "a tombstone cannot be removed; it is carried out again");
    }
}

/// Looks at the spools for as long as it is let.
pub(crate) async fn watch(spools: [Spool; 2], engine: EngineHandle) {
    for spool in &spools {
        if let Err(error) = spool.sweep(SystemTime::now(), LITTER_AGE) {
            tracing::warn!(spool = %spool.dir().display(), %error, "old temporary files cannot be removed");
        }
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        drain(&spools, &engine).await;
    }
}

/// Before an ADD: a tombstone of the very same sandbox is older than it, and goes first.
pub(crate) async fn settle(
    spools: &[Spool],
    sandbox: &holdfast_wire::ids::SandboxKey,
    engine: &EngineHandle,
) {
    for spool in spools {
        if let Ok(Some(tombstone)) = spool.find(sandbox) {
            carry_out(spool.clone(), tombstone, engine.clone()).await;
        }
    }
}
