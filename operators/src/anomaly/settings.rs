//! What a user asks of a detector.

use crate::window::Nanos;
use std::fmt;

/// How a series is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A point model, a shift model and new extremes together.
    Auto,
    /// Distance from an exponentially weighted mean.
    Ewma,
    /// Distance from the median of the last rows.
    Mad,
    /// Distance from level and season.
    HoltWinters,
    /// Distance from what is usual at this time of the season.
    Seasonal,
    /// Shifts of the level.
    PageHinkley,
    /// Values beyond all that was seen.
    NewExtreme,
    /// Steps from row to row.
    RateOfChange,
    /// Distributions of the last rows that were not seen before.
    RelativeEntropy,
    /// The tail of the distances from a moving mean.
    Spot,
    /// Tails of counts.
    Poisson,
    /// Tails of shares.
    Beta,
    /// The probability that the level has just changed.
    Bocpd,
    /// Parts of the space in which there are few rows.
    HalfSpaceTrees,
    /// Rows that random cuts part from the others early.
    RandomCutForest,
}

impl Method {
    /// All methods, by their names.
    pub const ALL: &[(&str, Method)] = &[
        ("auto", Method::Auto),
        ("ewma", Method::Ewma),
        ("mad", Method::Mad),
        ("holt_winters", Method::HoltWinters),
        ("seasonal", Method::Seasonal),
        ("page_hinkley", Method::PageHinkley),
        ("new_extreme", Method::NewExtreme),
        ("rate_of_change", Method::RateOfChange),
        ("relative_entropy", Method::RelativeEntropy),
        ("spot", Method::Spot),
        ("poisson", Method::Poisson),
        ("beta", Method::Beta),
        ("bocpd", Method::Bocpd),
        ("half_space_trees", Method::HalfSpaceTrees),
        ("random_cut_forest", Method::RandomCutForest),
    ];

    /// Whether it can judge several values of a row together.
    pub fn takes_several(self) -> bool {
        matches!(self, Method::HalfSpaceTrees | Method::RandomCutForest)
    }

    /// The method of this name.
    pub fn of(name: &str) -> Option<Method> {
        Method::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Method::ALL.iter().find(|(_, method)| method == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// To which side a row must be off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Either.
    #[default]
    Both,
    /// Only greater than expected.
    Above,
    /// Only less than expected.
    Below,
}

/// What a user asks of a detector.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectSettings {
    /// How the series is judged.
    pub method: Method,
    /// The names of the values that are judged together; none where there is one value.
    pub values: Vec<String>,
    /// The length of its season in nanoseconds; 0 is none.
    pub season_ns: i64,
    /// How many false alarms are tolerated per series and day, above zero.
    pub sensitivity: f64,
    /// To which side a row must be off.
    pub direction: Direction,
    /// No value is less: the band is cut there.
    pub lower_bound: f64,
    /// No value is greater.
    pub upper_bound: f64,
    /// A row that is off by less than this matters to nobody.
    pub min_effect: f64,
    /// The same as a share of what is expected.
    pub min_effect_ratio: f64,
    /// How many rows in a row must stand out before they are an anomaly.
    pub debounce: u32,
    /// Rows before a series is judged.
    pub warm_up: u32,
    /// From when to before when nothing is judged or learnt, in nanoseconds since 1970.
    pub excluded: Vec<(i64, i64)>,
    /// A series that is silent for longer, in nanoseconds, is forgotten.
    pub ttl_ns: i64,
}

impl DetectSettings {
    /// Whether nothing is judged or learnt at this time.
    pub(super) fn excludes(&self, at: i64) -> bool {
        self.excluded.iter().any(|(from, to)| (*from..*to).contains(&at))
    }
}

impl Default for DetectSettings {
    fn default() -> DetectSettings {
        DetectSettings {
            method: Method::Auto,
            values: Vec::new(),
            season_ns: 0,
            sensitivity: 1.0,
            direction: Direction::Both,
            lower_bound: f64::NEG_INFINITY,
            upper_bound: f64::INFINITY,
            min_effect: 0.0,
            min_effect_ratio: 0.0,
            debounce: 1,
            warm_up: super::WARM_UP,
            excluded: Vec::new(),
            ttl_ns: 30 * 86_400_000_000_000,
        }
    }
}

impl fmt::Display for DetectSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = DetectSettings::default();
        write!(f, "{}, sensitivity {}", self.method, self.sensitivity)?;
        if self.season_ns > 0 {
            write!(f, ", season {}", Nanos(self.season_ns))?;
        }
        match self.direction {
            Direction::Both => {}
            Direction::Above => f.write_str(", above")?,
            Direction::Below => f.write_str(", below")?,
        }
        if self.lower_bound > default.lower_bound {
            write!(f, ", at least {}", self.lower_bound)?;
        }
        if self.upper_bound < default.upper_bound {
            write!(f, ", at most {}", self.upper_bound)?;
        }
        if self.min_effect > 0.0 {
            write!(f, ", off by {}", self.min_effect)?;
        }
        if self.min_effect_ratio > 0.0 {
            write!(f, ", off by {} of what is expected", self.min_effect_ratio)?;
        }
        if self.debounce > 1 {
            write!(f, ", {} rows in a row", self.debounce)?;
        }
        if self.warm_up != default.warm_up {
            write!(f, ", after {} rows", self.warm_up)?;
        }
        match self.excluded.len() {
            0 => {}
            1 => f.write_str(", without an excluded time")?,
            times => write!(f, ", without {times} excluded times")?,
        }
        Ok(())
    }
}
