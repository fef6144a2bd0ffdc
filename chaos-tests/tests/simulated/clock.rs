//! Virtual time: tokio's paused clock, seen as a kernel's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::Clock;

use crate::shared::SharedBox;

/// Wall time at the box's beginning: any instant will do.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// The same for the box.
pub(crate) fn epoch() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(EPOCH_MS)
}

#[derive(Debug)]
struct Inner {
    boot: u32,
    booted_after: Duration,
    random: u64,
}

/// The clock of one node: the box's time, since the node's own boot. It outlives the node's processes.
#[derive(Debug, Clone)]
pub(crate) struct VirtualClock {
    shared: SharedBox,
    inner: Arc<Mutex<Inner>>,
}

impl VirtualClock {
    /// Under the first boot, which is the box's beginning.
    pub(crate) fn new(shared: &SharedBox, seed: u64) -> Self {
        let inner = Inner { boot: 1, booted_after: Duration::ZERO, random: seed };
        Self { shared: shared.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    /// The node is restarted.
    pub(crate) fn reboot(&self) {
        let elapsed = self.shared.elapsed();
        let mut inner = self.lock();
        inner.boot += 1;
        inner.booted_after = elapsed;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let elapsed = self.shared.elapsed();
        let inner = self.lock();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now {
            boot: BootId::new(format!("boot-{}", inner.boot)),
            boottime: BootTime(millis(elapsed.saturating_sub(inner.booted_after))),
            wall: WallTime(EPOCH_MS + millis(elapsed)),
        }
    }

    fn random(&self) -> u128 {
        // SplitMix64, twice: no need for more than different bits each time.
        let mut inner = self.lock();
        let mut draw = || {
            inner.random = inner.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = inner.random;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^ (bits >> 31)
        };
        (u128::from(draw()) << 64) | u128::from(draw())
    }
}
