//! Embodied carbon: what making a machine emitted, spread over its life.
//!
//! It accrues with the time for which a machine, or a share of it, is reserved; an idle machine accrues as a busy one does.
//! It is never turned into energy. At the end of its lifespan a machine has been paid for, and accrues no more.

use super::slots::NANOSECONDS;

/// `TE * (TiR / EL) * (RR / ToR)` of ISO/IEC 21031 (SCI), in grams: of `total_kg` over a lifespan, the part of a time and a
/// share of the machine. A machine that is used for longer than its lifespan has been paid for: TiR is at most EL. `None`
/// without a lifespan, and for a time, a share or a total below zero.
pub fn grams(total_kg: f64, lifespan_s: f64, reserved_s: f64, share: f64) -> Option<f64> {
    let possible = lifespan_s > 0.0 && reserved_s >= 0.0 && total_kg >= 0.0 && share >= 0.0;
    possible.then(|| total_kg * 1_000.0 * (reserved_s / lifespan_s).min(1.0) * share)
}

/// A machine, or a share of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asset {
    /// What making the whole machine emitted, in kilograms.
    pub total_kg: f64,
    /// How long it is to live, in nanoseconds.
    pub lifespan_ns: i64,
    /// The share of it that is meant.
    pub share: f64,
    /// Since when it is reserved, in nanoseconds.
    pub provisioned_at: i64,
    /// Until when; not known yet for one that is in use.
    pub retired_at: Option<i64>,
}

impl Asset {
    /// Grams that accrue from `since` to `until`, exactly additive over time.
    pub fn accrued(&self, since: i64, until: i64) -> Option<f64> {
        let paid = self.provisioned_at.saturating_add(self.lifespan_ns);
        let end = until.min(paid).min(self.retired_at.unwrap_or(i64::MAX));
        let reserved = end.saturating_sub(since.max(self.provisioned_at)).max(0);
        grams(self.total_kg, self.lifespan_ns as f64 / NANOSECONDS, reserved as f64 / NANOSECONDS, self.share)
    }
}

/// Kilograms of a server by its parts where nobody published an assessment: Green Software Foundation, Impact Framework
/// 1.1.0, plugin `sci-embodied` (MIT). A base of 1,000 kg has one vCPU and 16 GB.
pub fn server_kg(vcpus: f64, memory_gb: f64, ssds: f64, hdds: f64, gpus: f64) -> f64 {
    const BASE: f64 = 1_000.0;
    const VCPU: f64 = 100.0;
    const MEMORY_GB: f64 = 533.0 / 384.0;
    const SSD: f64 = 50.0;
    const HDD: f64 = 100.0;
    const GPU: f64 = 150.0;
    BASE + VCPU * (vcpus - 1.0).max(0.0)
        + MEMORY_GB * (memory_gb - 16.0).max(0.0)
        + SSD * ssds
        + HDD * hdds
        + GPU * gpus
}
