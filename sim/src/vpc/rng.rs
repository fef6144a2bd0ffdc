//! Seeded pseudo-random numbers: SplitMix64, small and the same on every platform and in every release.

/// One stream of numbers. Its outputs do not repeat within 2^64 draws, so that ids made from one stream are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream(u64);

impl Stream {
    /// The stream named `purpose` of a seed. Streams with different purposes are independent, so that one more
    /// draw for addresses does not change later ids.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// An identifier of EC2's long form.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}0{:016x}", self.next())
    }

    /// A request id in the form of a version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
