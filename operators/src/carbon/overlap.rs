//! Meters that overlap: what one of them measures is measured again by one inside it, so only the outermost are added up.
//!
//! What is inside what is known of RAPL's zones, and told by an id and a parent of others (`hw.id`, `hw.parent`).
//! `host` holds all else; `psys` (the platform) holds `package` and `dram`; `package` holds `core` and `uncore`. OpenTelemetry
//! asks for the same by using `hw.host.*` alone for totals, Kepler by filtering on one zone.

use std::collections::BTreeMap;

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

/// Meters by their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hierarchy(BTreeMap<String, Inside>);

/// A meter, or a part of a machine that has none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Inside {
    parent: Option<String>,
    amount: Option<f64>,
}

impl Hierarchy {
    /// Adds what `meter` measured, which is inside `parent`; `None` of one that says nothing, which is looked through. Of two
    /// parents the greater name counts, so that the order of rows does not.
    pub fn add(&mut self, meter: &str, parent: Option<&str>, amount: Option<f64>) {
        let known = self.0.entry(meter.to_string()).or_default();
        if let Some(parent) = parent.filter(|parent| known.parent.as_deref() < Some(*parent)) {
            known.parent = Some(parent.to_string());
        }
        if let Some(amount) = amount.filter(|amount| amount.is_finite()) {
            known.amount = Some(known.amount.unwrap_or(0.0) + amount);
        }
    }

    /// The meters, by id: the parent and what was measured.
    pub fn meters(&self) -> impl Iterator<Item = (&str, Option<&str>, Option<f64>)> {
        self.0.iter().map(|(meter, inside)| (meter.as_str(), inside.parent.as_deref(), inside.amount))
    }

    /// The sum of the meters of which no ancestor says anything; `None` where no meter says anything. Of meters that are
    /// inside each other in a circle the first by name is the outermost.
    pub fn without_overlap(&self) -> Option<f64> {
        let amounts = self.0.iter().filter_map(|(meter, inside)| Some((meter.as_str(), inside.amount?)));
        let outermost = amounts.filter(|(meter, _)| self.outermost(meter));
        outermost.map(|(_, amount)| amount).reduce(|a, b| a + b)
    }

    fn outermost(&self, meter: &str) -> bool {
        let metered: Vec<&str> = self.ancestors(meter).filter(|ancestor| self.says(ancestor)).collect();
        match metered.first() {
            None => true,
            // In a circle, each is an ancestor of the others.
            Some(above) if self.ancestors(above).any(|ancestor| ancestor == meter) => {
                metered.iter().all(|other| meter <= *other)
            }
            Some(_) => false,
        }
    }

    fn says(&self, meter: &str) -> bool {
        self.0.get(meter).is_some_and(|inside| inside.amount.is_some())
    }

    /// What a meter is inside of, from the inside to the outside; a circle is gone round once.
    fn ancestors<'a>(&'a self, meter: &'a str) -> impl Iterator<Item = &'a str> {
        let parent = |id: &&'a str| self.0.get(*id)?.parent.as_deref();
        std::iter::successors(Some(meter), parent).skip(1).take(self.0.len())
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        let of = |(meter, inside): (&String, &Inside)| {
            size_of::<(String, Inside)>() + meter.capacity() + inside.parent.as_ref().map_or(0, String::capacity)
        };
        self.0.iter().map(of).sum()
    }
}

/// Whether two package counters are one counter shown twice, as dies of some processors show that of their socket: they
/// agree to a millionth of their range, or to a joule.
pub fn mirrored(a_uj: f64, b_uj: f64, range_uj: f64) -> bool {
    (a_uj - b_uj).abs() <= (1e-6 * range_uj).max(1e6)
}
