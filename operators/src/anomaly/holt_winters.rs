//! `holt_winters`: robust additive Holt-Winters smoothing: a level, and what each time of the season adds to it.
//!
//! f = l + t + s; e = x - f, clipped at six scales (Gelper, Fried & Croux, "Robust forecasting with exponential and
//! Holt-Winters smoothing", J. Forecasting 2010); l ← l + t + αe; t ← t + β(Δl - t); s ← s + γ(1 - α)e; the scale is
//! 1.2533 times the smoothed |e|, which is the standard deviation of normal errors. The season advances by the clock, so a
//! missing row shifts nothing. A level alone has no season; a detector's trend is off, since an extrapolated trend is where
//! most nonsense comes from.

use super::codec::{Codec, Coded};
use super::season::Slots;
use super::{Estimate, WARM_UP};

/// √(π/2): the standard deviation of normal values over their mean absolute deviation.
const NORMAL: f64 = 1.2533;
/// How far a row can pull the model, in scales.
const CLIP: f64 = 6.0;
/// How much of the smoothed |e| is new each row.
const SCALE: f64 = 0.005;

/// A time of the season that was seen as often is known as well as it will be.
const KNOWN_TIMES: u8 = 20;
/// Seasons before a season is believed.
const SEASONS: i64 = 2;

/// How fast the parts follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gains {
    pub level: f64,
    pub trend: f64,
    pub season: f64,
}

/// The gains of a detector.
pub(super) const DETECT: Gains = Gains { level: 0.005, trend: 0.0, season: 0.1 };
/// The gains of a forecast, which needs to know where the level is now and where it goes.
pub(super) const FORECAST: Gains = Gains { level: 0.1, trend: 0.01, season: 0.1 };

/// The same where there is a season: a level that follows fast would take the season for its own.
pub(super) const FORECAST_SEASON: Gains = Gains { level: 0.01, trend: 1e-4, season: 0.2 };

/// A level, a trend, a season.
#[derive(Clone, Debug, Default)]
pub(super) struct HoltWinters {
    pub level: f64,
    pub trend: f64,
    pub season: Slots,
    deviation: f64,
    /// Rows that said something of the deviation.
    measured: u32,
    pub rows: u32,
}

impl HoltWinters {
    /// With a season of this length in nanoseconds; 0 is none.
    pub fn new(season_ns: i64) -> HoltWinters {
        HoltWinters { season: Slots::new(season_ns), ..HoltWinters::default() }
    }

    pub fn expect(&self, at: i64) -> Option<Estimate> {
        let expected = self.level + self.trend + self.season.value(at);
        (self.rows > 0).then(|| Estimate::new(expected, self.scale() * self.unknown(at)))
    }

    /// The standard deviation of its errors one row ahead.
    pub fn scale(&self) -> f64 {
        NORMAL * self.deviation
    }

    /// Whether its season, where there is one, has been seen often enough.
    pub fn known(&self, at: i64) -> bool {
        self.season.bytes() == 0 || self.season.seen(at, SEASONS)
    }

    /// Learns `x`, which is part of an incident: of a season that is known what this time of it adds, and nothing of the
    /// level. What is out of the ordinary at the same time of each season is ordinary before long.
    pub fn learn_season(&mut self, at: i64, x: f64, gains: Gains) {
        if !self.known(at) {
            return self.learn(at, x, gains);
        }
        let error = x - (self.level + self.trend + self.season.value(at));
        self.learn_deviation(at, self.clipped(error));
        self.season.learn(at, error, self.clip(), gains.season);
    }

    /// How far a row can pull the model.
    fn clip(&self) -> f64 {
        if self.measured < WARM_UP || self.deviation <= 0.0 { f64::INFINITY } else { CLIP * self.scale() }
    }

    fn clipped(&self, error: f64) -> f64 {
        error.clamp(-self.clip(), self.clip())
    }

    /// By how much errors at a time of the season are larger than they will be: √(1 + 1/n) where it was seen n times (the
    /// recursive residuals of Brown, Durbin & Evans, JRSS B 1975).
    fn unknown(&self, at: i64) -> f64 {
        match self.season.times(at) {
            Some(n @ 1..KNOWN_TIMES) => (1.0 + 1.0 / f64::from(n)).sqrt(),
            _ => 1.0,
        }
    }

    /// Of a time that was never seen an error says nothing.
    fn learn_deviation(&mut self, at: i64, error: f64) {
        let told = 1.0 / (f64::from(self.measured) + 1.0);
        if self.season.times(at) == Some(0) {
            return;
        }
        let error = error / self.unknown(at);
        self.deviation += SCALE.max(told) * (error.abs() - self.deviation);
        self.measured = self.measured.saturating_add(1);
    }

    pub fn learn(&mut self, at: i64, x: f64, gains: Gains) {
        let rows = f64::from(self.rows) + 1.0;
        if self.rows == 0 {
            self.level = x;
        }
        let error = x - (self.level + self.trend + self.season.value(at));
        let (known, clipped) = (self.known(at), self.clipped(error));
        // A level that follows before the season is known takes the season for its own.
        let alpha = if known || gains.trend > 0.0 { gains.level.max(1.0 / rows) } else { 1.0 / rows };
        let step = self.trend + alpha * clipped;
        self.level += step;
        if gains.trend > 0.0 && self.rows > 0 {
            self.trend += gains.trend.max(1.0 / rows) * (step - self.trend);
        }
        self.learn_deviation(at, clipped);
        let left = error - alpha * clipped;
        if known {
            self.season.learn(at, left, self.clip(), gains.season);
        } else {
            self.season.begin(at, left, self.clip());
        }
        self.rows = self.rows.saturating_add(1);
    }
}

impl Coded for HoltWinters {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f64(&mut self.level);
        codec.f64(&mut self.trend);
        codec.f64(&mut self.deviation);
        codec.u32(&mut self.measured);
        codec.u32(&mut self.rows);
        self.season.fields(codec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    #[test]
    fn it_learns_a_day_and_knows_it_after_a_gap() {
        let mut model = HoltWinters::new(24 * HOUR);
        let value = |hour: i64| 100.0 + 20.0 * (std::f64::consts::TAU * hour as f64 / 24.0).sin();
        (0..24 * 20).for_each(|hour| model.learn(hour * HOUR, value(hour), DETECT));
        for hour in [24 * 20 + 6, 24 * 25 + 18, 24 * 40] {
            let expected = model.expect(hour * HOUR).unwrap().expected;
            assert!((expected - value(hour)).abs() < 2.0, "{expected} at {hour}, and it is {}", value(hour));
        }
    }

    #[test]
    fn a_trend_is_followed_where_it_is_asked_for() {
        let mut model = HoltWinters::new(0);
        (0..2_000).for_each(|row| model.learn(row * HOUR, 3.0 * row as f64, FORECAST));
        assert!((model.trend - 3.0).abs() < 0.05, "{}", model.trend);
        assert!((model.expect(0).unwrap().expected - 6_000.0).abs() < 10.0);
    }
}
