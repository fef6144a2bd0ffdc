//! `holdfast pool`.

use anyhow::{Context, anyhow, bail};
use holdfast_model::config::Config;

use crate::admin;
use crate::pool_words::Pools;

/// From the running daemon: what was learned is nowhere else.
pub(crate) fn pool(config: &Config, json: bool) -> anyhow::Result<()> {
    let said = admin::ask(config, admin::POOL)?.map_err(|nobody| anyhow!(nobody))?;
    if said.get("unknown").is_some() {
        bail!("the daemon that runs is an older one and does not know that question");
    }
    if let Some(cause) = said.get("refusing") {
        bail!("the daemon serves nobody: {}", cause.as_str().unwrap_or_default());
    }
    if json {
        return crate::print_json(&said);
    }
    let pools: Pools = serde_json::from_value(said).context("reading what the daemon said")?;
    crate::print(&pools.text())
}
