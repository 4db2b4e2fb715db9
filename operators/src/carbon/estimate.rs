//! Energy where nothing is metered, from use and coefficients. Always marked as an estimate: half of what it says may be
//! wrong. Coefficients are those of Cloud Carbon Footprint (CCF, Apache-2.0; `ComputeEstimator.ts` and its siblings, core
//! 1.0.0) unless told otherwise.

/// Memory, in kWh a gigabyte-hour (CCF).
pub const MEMORY_KWH_PER_GB_HOUR: f64 = 0.000_392;
/// Solid-state disks, in Wh a terabyte-hour (CCF).
pub const SSD_WH_PER_TB_HOUR: f64 = 1.2;
/// Spinning disks, in Wh a terabyte-hour (CCF).
pub const HDD_WH_PER_TB_HOUR: f64 = 0.65;
/// Networks, in kWh a gigabyte (CCF). Others take 59 times as much: what a network is, is a choice of boundary.
pub const NETWORK_KWH_PER_GB: f64 = 0.001;

/// The average watts of a vCPU (or a GPU) at a use between 0 and 100 %: straight from idle to full, and no more than that.
pub fn utilisation_watts(percent: f64, least: f64, most: f64) -> f64 {
    least + percent.clamp(0.0, 100.0) / 100.0 * (most - least)
}

/// kWh of `vcpu_hours` at an average power, before PUE.
pub fn compute_kwh(watts_per_vcpu: f64, vcpu_hours: f64) -> f64 {
    watts_per_vcpu * vcpu_hours / 1_000.0
}

/// kWh of memory, before PUE.
pub fn memory_kwh(gb_hours: f64) -> f64 {
    gb_hours * MEMORY_KWH_PER_GB_HOUR
}

/// kWh of a medium (`ssd` or `hdd`, in capitals or not), before PUE and replication. `None` for another medium.
pub fn storage_kwh(tb_hours: f64, medium: &str) -> Option<f64> {
    let wh = if medium.eq_ignore_ascii_case("ssd") {
        SSD_WH_PER_TB_HOUR
    } else if medium.eq_ignore_ascii_case("hdd") {
        HDD_WH_PER_TB_HOUR
    } else {
        return None;
    };
    Some(tb_hours * wh / 1_000.0)
}

/// kWh of traffic, before PUE.
pub fn network_kwh(gb: f64) -> f64 {
    gb * NETWORK_KWH_PER_GB
}

/// The coefficients of a curve of power over load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// The scale.
    pub a: f64,
    /// The scale of the load.
    pub b: f64,
    /// The load at which it begins.
    pub c: f64,
    /// The offset, in watts.
    pub d: f64,
}

impl Curve {
    /// `a * ln(b * (load + c)) + d` watts of a processor at a load in percent, at least one (Boavizta, `cpu_profile.csv`).
    pub fn watts(&self, percent: f64) -> f64 {
        let watts = self.a * (self.b * (percent + self.c)).ln() + self.d;
        // The greater of no number and one would be one.
        if watts.is_nan() { watts } else { watts.max(1.0) }
    }
}

/// Watts of a processor of which only the thermal design power is known: straight between 12, 32, 75 and 102 % of it at
/// 0, 10, 50 and 100 % load (Teads).
pub fn tdp_watts(percent: f64, tdp: f64) -> f64 {
    const KNOTS: [(f64, f64); 4] = [(0.0, 0.12), (10.0, 0.32), (50.0, 0.75), (100.0, 1.02)];
    let percent = percent.clamp(0.0, 100.0);
    let next = KNOTS.iter().position(|knot| percent <= knot.0).unwrap_or(KNOTS.len() - 1).max(1);
    let ((x0, y0), (x1, y1)) = (KNOTS[next - 1], KNOTS[next]);
    tdp * (y0 + (y1 - y0) * (percent - x0) / (x1 - x0))
}
