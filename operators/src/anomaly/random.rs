//! Numbers that look random and are the same in every run: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).

/// A number that looks random, for each `seed` its own.
pub(super) fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of such numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence(pub u64);

impl Sequence {
    /// The next, from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (mixed(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
