//! Blocks, and what their addresses are used for.

use std::net::IpAddr;

use holdfast_migrations::v2;
use holdfast_model::block::{Block, BlockState};
use holdfast_model::ids::{BootId, EniId};
use holdfast_model::time::BootTime;
use holdfast_model::uses::{Cooldown, Suspicion, Use};

use super::{
    BadRecord, Record, freeze_intent_id, freeze_net, freeze_sandbox, thaw_intent_id, thaw_net, thaw_sandbox,
};

impl Record for Block {
    type Frozen = v2::Block;

    fn freeze(&self) -> v2::Block {
        v2::Block {
            net: freeze_net(self.net),
            eni: self.eni.to_string(),
            state: match self.state {
                BlockState::Held => v2::BlockState::Held,
                BlockState::Withdrawn => v2::BlockState::Withdrawn,
                BlockState::Leaving(intent) => v2::BlockState::Leaving { intent: freeze_intent_id(intent) },
                BlockState::Gone(since) => v2::BlockState::Gone { since: since.0 },
            },
            shown: self.shown.0,
        }
    }

    fn thaw(frozen: v2::Block) -> Result<Self, BadRecord> {
        Ok(Self {
            net: thaw_net(frozen.net)?,
            eni: EniId::new(frozen.eni),
            state: match frozen.state {
                v2::BlockState::Held => BlockState::Held,
                v2::BlockState::Withdrawn => BlockState::Withdrawn,
                v2::BlockState::Leaving { intent } => BlockState::Leaving(thaw_intent_id(intent)),
                v2::BlockState::Gone { since } => BlockState::Gone(BootTime(since)),
            },
            shown: BootTime(frozen.shown),
        })
    }
}

/// An address and its use.
pub(crate) struct UseRecord(pub(crate) IpAddr, pub(crate) Use);

impl Record for UseRecord {
    type Frozen = v2::Use;

    fn freeze(&self) -> v2::Use {
        let state = match &self.1 {
            Use::Leased(sandbox) => v2::UseState::Leased(freeze_sandbox(sandbox)),
            Use::Cooling(rest) => v2::UseState::Cooling {
                boot: rest.boot.to_string(),
                since: rest.since.0,
                period_ms: rest.period_ms,
            },
            Use::Suspect(reason) => v2::UseState::Suspect(match reason {
                Suspicion::MaybeInUse => v2::Suspicion::MaybeInUse,
                Suspicion::LedgerRebuilt => v2::Suspicion::LedgerRebuilt,
            }),
        };
        v2::Use { ip: self.0, state }
    }

    fn thaw(frozen: v2::Use) -> Result<Self, BadRecord> {
        let what = match frozen.state {
            v2::UseState::Leased(sandbox) => Use::Leased(thaw_sandbox(sandbox)),
            v2::UseState::Cooling { boot, since, period_ms } => {
                Use::Cooling(Cooldown { boot: BootId::new(boot), since: BootTime(since), period_ms })
            }
            v2::UseState::Suspect(reason) => Use::Suspect(match reason {
                v2::Suspicion::MaybeInUse => Suspicion::MaybeInUse,
                v2::Suspicion::LedgerRebuilt => Suspicion::LedgerRebuilt,
            }),
        };
        Ok(Self(frozen.ip, what))
    }
}
