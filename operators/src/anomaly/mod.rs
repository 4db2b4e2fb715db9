//! Anomalies and forecasts of one series: values that take in a row at a time, without Arrow, SQL or a dataflow.
//!
//! A [`Detector`] is a pipeline, and its stages matter more than its model: a model says what is expected and on what
//! scale; the distance is calibrated by the tail of the series' own distances; what finds single rows is combined with
//! what finds shifts; differences that do not matter are left out; an incident is debounced, and what happens in it is not
//! learnt; a reason is given. State is small, the same rows in the same order come to the same verdicts, and all of it
//! goes into a checkpoint ([`Detector::encode`]).

mod adwin;
mod bocpd;
mod calibration;
mod codec;
mod detector;
mod ewma;
mod flatline;
mod forecast;
mod group;
mod half_space_trees;
mod holt_winters;
mod incident;
mod mad;
mod model;
pub mod new_extreme;
mod page_hinkley;
mod random;
mod random_cut_forest;
mod rate_of_change;
mod rates;
mod relative_entropy;
mod season;
mod seasonal;
mod settings;
mod spot;

#[cfg(test)]
mod tests;

pub use detector::Detector;
pub use forecast::{Forecast, ForecastSettings, Forecaster};
pub use group::Group;
pub use settings::{DetectSettings, Direction, Method};

use std::fmt;

/// Rows before a model is believed.
const WARM_UP: u32 = 30;
/// So many values of a row can be judged together.
pub const VALUES_MAX: usize = 8;
/// Values beyond are taken for this one: squares of what is known stay finite.
const VALUE_MAX: f64 = 1e30;
/// Distances beyond this are all alike.
const DISTANCE_MAX: f64 = 40.0;

/// When a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// The same as the clocks show it where the season is at home.
    pub local: i64,
}

impl From<i64> for Moment {
    /// Where the clocks show universal time.
    fn from(at: i64) -> Moment {
        Moment { at, local: at }
    }
}

/// What a model expects of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    expected: f64,
    /// The standard deviation of what comes, above zero.
    scale: f64,
}

impl Estimate {
    /// With a scale that is no less than a thousandth of what is expected: a series that was constant so far has no
    /// deviation, and its first flicker is no event.
    fn new(expected: f64, scale: f64) -> Estimate {
        Estimate { expected, scale: scale.max(1e-3 * expected.abs()).max(1e-9) }
    }

    /// How far `x` is off, in scales.
    fn distance(self, x: f64) -> f64 {
        ((x - self.expected).abs() / self.scale).min(DISTANCE_MAX)
    }
}

/// What is said of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What was expected; `None` before anything is known.
    pub expected: Option<f64>,
    /// The least value that would not have been out of the ordinary.
    pub lower: Option<f64>,
    /// The greatest.
    pub upper: Option<f64>,
    /// How surprising the row is: s²/(s² + 9) with s = -log10 of the probability of such a row. 0.5 is once in a thousand
    /// rows, 0.8 once in a million. 0 while it is learning and where the value is missing.
    pub score: f64,
    /// Whether the row is part of an incident.
    pub is_anomaly: bool,
    /// Why.
    pub reason: Option<Reason>,
    /// Whether too little is known of the series to judge it.
    pub learning: bool,
    /// Whether something was deployed shortly before an anomaly.
    pub after_deploy: bool,
}

/// Why a row stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The value is NULL: nothing is learnt, nothing is judged.
    Missing,
    /// The value is NaN or infinite; as `Missing`.
    NotFinite,
    /// At a time that was excluded; as `Missing`.
    Excluded,
    /// Greater than the band.
    AboveBand,
    /// Less than the band.
    BelowBand,
    /// Beyond all that was seen.
    NewExtreme,
    /// Ordinary as a value, and not at this time of the season.
    SeasonalMismatch,
    /// A step from the row before that is out of the ordinary.
    RateOfChange,
    /// The same value for far longer than ever, in a series that moves.
    Flatline,
    /// The last rows are distributed as none were before.
    DistributionChange,
    /// Apart from all other rows; where several values are judged together, by how many percent each of them is why.
    Isolated([u8; VALUES_MAX]),
    /// The level has moved.
    LevelShift {
        /// From here.
        from: f64,
        /// To here.
        to: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Missing => "MISSING",
            Reason::NotFinite => "NOT_FINITE",
            Reason::Excluded => "EXCLUDED",
            Reason::AboveBand => "ABOVE_BAND",
            Reason::BelowBand => "BELOW_BAND",
            Reason::NewExtreme => "NEW_EXTREME",
            Reason::SeasonalMismatch => "SEASONAL_MISMATCH",
            Reason::RateOfChange => "RATE_OF_CHANGE",
            Reason::Flatline => "FLATLINE",
            Reason::DistributionChange => "DISTRIBUTION_CHANGE",
            Reason::Isolated(_) => "ISOLATED",
            Reason::LevelShift { from, to } => {
                return write!(f, "LEVEL_SHIFT from {} to {}", Rounded(*from), Rounded(*to));
            }
        })
    }
}

impl Reason {
    /// The reason where these values are judged together, those first that are most of it.
    pub fn with(&self, values: &[String]) -> String {
        let Reason::Isolated(shares) = self else { return self.to_string() };
        let mut named: Vec<(u8, &String)> =
            shares.iter().copied().zip(values).filter(|(share, _)| *share > 0).collect();
        named.sort_by_key(|(share, _)| std::cmp::Reverse(*share));
        let parts: Vec<String> = named.iter().map(|(share, name)| format!("{name} {share} %")).collect();
        if parts.is_empty() { self.to_string() } else { format!("{self} by {}", parts.join(", ")) }
    }
}

/// A number to four significant digits.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0.0 || !self.0.is_finite() {
            return write!(f, "{}", self.0);
        }
        let unit = 10f64.powi(3 - self.0.abs().log10().floor() as i32);
        write!(f, "{}", (self.0 * unit).round() / unit)
    }
}
