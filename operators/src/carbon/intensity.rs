//! The carbon intensity of a grid, published again and again for the same hour: which value is in force, and at which
//! revision.
//!
//! Better kinds beat worse ones whenever they were published: a forecast that comes after the measurement changes
//! nothing. Among equals the latest publication wins. The answer is a function of the set of publications, whatever the
//! order in which they arrive.

/// What a value is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Measured, and settled.
    Actual,
    /// Measured in part; will be restated.
    Estimated,
    /// Said beforehand.
    Forecast,
    /// The same hour of another day.
    Profile,
    /// The mean of a year in the zone.
    Annual,
    /// The mean of a year in the country.
    Country,
    /// The mean of a year in the world.
    World,
}

/// All of them by name, best first.
const KINDS: [(&str, Kind); 7] = [
    ("actual", Kind::Actual),
    ("estimated", Kind::Estimated),
    ("forecast", Kind::Forecast),
    ("profile", Kind::Profile),
    ("annual", Kind::Annual),
    ("country", Kind::Country),
    ("world", Kind::World),
];

impl Kind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<Kind> {
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The names of all kinds, best first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }

    /// 0 for the best.
    pub fn rank(self) -> i64 {
        self as i64
    }
}

/// No grid is dirtier than this, in g/kWh: coal is at about 1,000, so that more is a mistake of units (or, as once in a
/// published table, a sum of regions).
pub const G_PER_KWH_MAX: f64 = 1_500.0;

/// The intensity, if a grid can have it. Zero is a value.
pub fn plausible(g_per_kwh: f64) -> Option<f64> {
    (0.0..=G_PER_KWH_MAX).contains(&g_per_kwh).then_some(g_per_kwh)
}

/// Grams of `kwh` of IT energy at an intensity, with the power usage effectiveness of the building where the energy was
/// metered inside it (1 where it was metered at the building's door).
pub fn grams(kwh: f64, g_per_kwh: f64, pue: f64) -> f64 {
    kwh * pue * g_per_kwh
}

/// A value as it was published for one zone and slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// When it became known, in nanoseconds.
    pub published_at: i64,
    /// What it is.
    pub kind: Kind,
    /// The value.
    pub g_per_kwh: f64,
}

/// The value in force among all publications for one slot, and how often the value in force had changed hands before.
pub fn in_force(published: &[Published]) -> Option<(Published, u32)> {
    let mut order = published.to_vec();
    let key = |p: &Published| (p.published_at, std::cmp::Reverse(p.kind));
    order.sort_by(|a, b| key(a).cmp(&key(b)).then(a.g_per_kwh.total_cmp(&b.g_per_kwh)));
    let mut force: Option<(Published, u32)> = None;
    for publication in order {
        match &mut force {
            None => force = Some((publication, 0)),
            Some((current, revision)) if publication.kind <= current.kind => {
                *current = publication;
                *revision += 1;
            }
            Some(_) => {}
        }
    }
    force
}
