//! Meters that overlap: what one of them measures is measured again by one inside it, so only the outermost are added up.
//!
//! `host` holds all else; `psys` (the platform) holds `package` and `dram`; `package` holds `core` and `uncore`. OpenTelemetry
//! asks for the same by using `hw.host.*` alone for totals, Kepler by filtering on one zone.

/// What meters said of one machine in one interval; each may be missing. In any one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Meters {
    /// The whole machine, at its power supply.
    pub host: Option<f64>,
    /// The platform: processor and memory.
    pub psys: Option<f64>,
    /// The processor's packages.
    pub package: Option<f64>,
    /// Their cores.
    pub core: Option<f64>,
    /// What is on them beside cores.
    pub uncore: Option<f64>,
    /// The memory.
    pub dram: Option<f64>,
    /// Accelerators.
    pub gpu: Option<f64>,
}

impl Meters {
    /// The sum of the outermost meters that there are; `None` if there is none.
    pub fn without_overlap(&self) -> Option<f64> {
        let package = self.package.or(sum(&[self.core, self.uncore]));
        let platform = self.psys.or(sum(&[package, self.dram]));
        self.host.or(sum(&[platform, self.gpu]))
    }
}

/// The sum of what is there; `None` where nothing is.
fn sum(parts: &[Option<f64>]) -> Option<f64> {
    parts.iter().flatten().copied().reduce(|a, b| a + b)
}

/// Whether each of `meters` counts: those count of which no ancestor is metered. A meter has an id and perhaps the id of
/// its parent (`hw.id`, `hw.parent`); parents that are not metered are looked through.
pub fn outermost<'a>(
    meters: &[(&'a str, Option<&'a str>)],
    parent_of: impl Fn(&'a str) -> Option<&'a str>,
) -> Vec<bool> {
    let counts = |parent: Option<&'a str>| {
        let mut ancestor = parent;
        // A chain of parents longer than this is a circle.
        for _ in 0..64 {
            match ancestor {
                None => return true,
                Some(id) if meters.iter().any(|(metered, _)| *metered == id) => return false,
                Some(id) => ancestor = parent_of(id),
            }
        }
        true
    };
    meters.iter().map(|(_, parent)| counts(*parent)).collect()
}

/// Whether two package counters are one counter shown twice, as dies of some processors show that of their socket: they
/// agree to a millionth of their range, or to a joule.
pub fn mirrored(a_uj: f64, b_uj: f64, range_uj: f64) -> bool {
    (a_uj - b_uj).abs() <= (1e-6 * range_uj).max(1e6)
}
