//! What the pools aim at, and why.

use std::collections::BTreeMap;

use holdfast_model::pool::PoolKey;
use holdfast_model::warm::{Quantile, WarmMode};
use holdfast_planner::Explained;

/// What is said of the pools at one instant.
#[derive(Clone, Debug)]
pub struct PoolTold {
    /// How the number of free addresses is found.
    pub mode: WarmMode,
    /// The part of ADDs that are to find a free one, where it is learned.
    pub quantile: Quantile,
    /// Why a pool does not grow although it should.
    pub refusal: Option<String>,
    /// Each of them.
    pub pools: BTreeMap<PoolKey, Explained>,
}
