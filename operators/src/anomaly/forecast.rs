//! What a series will be some time from now, with an interval that has been right about as often as it says.
//!
//! Level, trend and season are smoothed as Holt and Winters do ([`super::holt_winters`]). Two forecasts compete, with the
//! trend and without it, and the one is given whose errors at this very distance have been smaller: forecasts that were
//! made are kept until their time has come. The standard deviation h rows ahead is that of the model,
//! σ²(1 + Σ(α + αβj)²) over j = 1..h-1 (Hyndman et al., "Forecasting with exponential smoothing", 2008); it is multiplied
//! by what makes 95 % of the intervals hold the value that came: a factor that grows with every miss and shrinks with every
//! hit (adaptive conformal inference, Gibbs & Candès, NeurIPS 2021).

use super::codec::{Codec, Coded, decode, encode};
use super::holt_winters::{FORECAST, FORECAST_SEASON, Gains, HoltWinters};
use super::{Moment, VALUE_MAX, WARM_UP};
use crate::window::Nanos;
use std::fmt;

/// Forecasts that wait for their time.
const WAITING: usize = 16;
/// The share of intervals that may miss.
const MISSES: f64 = 0.05;
/// By how much a miss widens the interval.
const WIDEN: f64 = 0.1;
/// The interval at first: that of normal errors.
const NORMAL: f64 = 1.96;
/// A forecast that has come due counts for so much of the mean error, at least.
const GAIN: f64 = 0.05;
/// Steps in which the way to the horizon is looked at.
const STEPS: usize = 48;

/// What a user asks of a forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastSettings {
    /// How far ahead, in nanoseconds, above zero.
    pub horizon_ns: i64,
    /// The length of the season in nanoseconds; 0 is none.
    pub season_ns: i64,
    /// The value whose crossing is asked for.
    pub threshold: Option<f64>,
    /// No value is less.
    pub lower_bound: f64,
    /// No value is greater.
    pub upper_bound: f64,
    /// A series that is silent for longer, in nanoseconds, is forgotten.
    pub ttl_ns: i64,
}

impl fmt::Display for ForecastSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ahead", Nanos(self.horizon_ns))?;
        if self.season_ns > 0 {
            write!(f, ", season {}", Nanos(self.season_ns))?;
        }
        if let Some(threshold) = self.threshold {
            write!(f, ", until {threshold}")?;
        }
        if self.lower_bound > f64::NEG_INFINITY {
            write!(f, ", at least {}", self.lower_bound)?;
        }
        if self.upper_bound < f64::INFINITY {
            write!(f, ", at most {}", self.upper_bound)?;
        }
        Ok(())
    }
}

/// What is said of the time ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// What the value will be at the horizon; `None` while too little is known.
    pub forecast: Option<f64>,
    /// 95 % of the values lie above.
    pub lower: Option<f64>,
    /// And below; both together hold 95 %.
    pub upper: Option<f64>,
    /// When the forecast crosses the threshold, in nanoseconds since 1970, if it does before the horizon.
    pub breach_ns: Option<i64>,
    /// When the nearer edge of the interval does.
    pub breach_earliest_ns: Option<i64>,
}

fn gains(settings: &ForecastSettings) -> Gains {
    if settings.season_ns > 0 { FORECAST_SEASON } else { FORECAST }
}

/// With the trend, and without it.
const WAYS: usize = 2;

/// A forecast whose time has not come.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    due_ns: i64,
    values: [f64; WAYS],
    deviation: f64,
}

/// One series, and how well it was forecast so far.
#[derive(Clone, Debug)]
pub struct Forecaster {
    model: HoltWinters,
    last_ns: i64,
    interval_ns: f64,
    waiting: Vec<Waiting>,
    /// The mean error of each way.
    errors: [f64; WAYS],
    factors: [f64; WAYS],
    judged: u32,
}

impl Forecaster {
    /// A series of which nothing is known.
    pub fn new(settings: &ForecastSettings) -> Forecaster {
        Forecaster {
            model: HoltWinters::new(settings.season_ns),
            last_ns: i64::MIN,
            interval_ns: 0.0,
            waiting: Vec::new(),
            errors: [0.0; WAYS],
            factors: [NORMAL; WAYS],
            judged: 0,
        }
    }

    /// Learns a row and looks ahead from it. Rows come in order of time. What
    /// is missing, NaN or infinite is not learnt.
    pub fn observe(&mut self, settings: &ForecastSettings, at: impl Into<Moment>, value: Option<f64>) -> Forecast {
        let moment = at.into();
        let Moment { at, local } = moment;
        if self.last_ns > i64::MIN && at > self.last_ns {
            let step = at.saturating_sub(self.last_ns) as f64;
            self.interval_ns = match self.interval_ns {
                0.0 => step,
                known => known + 0.05 * (step.min(4.0 * known) - known),
            };
        }
        self.last_ns = self.last_ns.max(at);
        if let Some(x) = value.filter(|x| x.is_finite()) {
            let x = x.clamp(-VALUE_MAX, VALUE_MAX);
            self.judge(at, x);
            self.model.learn(local, x, gains(settings));
        }
        if self.model.rows < WARM_UP || self.interval_ns <= 0.0 {
            return Forecast::default();
        }
        self.look_ahead(settings, moment)
    }

    /// Compares `x` with what was forecast for about this time.
    fn judge(&mut self, at: i64, x: f64) {
        let late = self.interval_ns;
        let mut due: Vec<Waiting> = Vec::new();
        self.waiting.retain(|waiting| {
            let over = waiting.due_ns <= at;
            due.extend((over && (at - waiting.due_ns) as f64 <= late).then_some(*waiting));
            !over
        });
        for waiting in due {
            self.judged = self.judged.saturating_add(1);
            let gain = GAIN.max(1.0 / f64::from(self.judged));
            for way in 0..WAYS {
                let error = (x - waiting.values[way]).abs();
                self.errors[way] += gain * (error - self.errors[way]);
                let missed = error > self.factors[way] * waiting.deviation;
                let step = if missed { WIDEN * (1.0 - MISSES) } else { -WIDEN * MISSES };
                self.factors[way] = (self.factors[way] * step.exp()).clamp(0.1, 1e6);
            }
        }
    }

    fn look_ahead(&mut self, settings: &ForecastSettings, moment: Moment) -> Forecast {
        let due_ns = moment.at.saturating_add(settings.horizon_ns);
        let deviation = self.deviation(gains(settings), settings.horizon_ns as f64);
        let values = [0, 1].map(|way| self.value(moment, settings.horizon_ns, way));
        let placed = self.waiting.last().map(|waiting| waiting.due_ns);
        let apart = settings.horizon_ns / WAITING as i64;
        if self.waiting.len() < WAITING && placed.is_none_or(|placed| due_ns - placed > apart) {
            self.waiting.push(Waiting { due_ns, values, deviation });
        }
        let way = usize::from(self.errors[1] < self.errors[0]);
        let cut = |x: f64| x.clamp(settings.lower_bound, settings.upper_bound);
        let half = self.factors[way] * deviation;
        let (breach_ns, breach_earliest_ns) = self.breaches(settings, moment, way);
        Forecast {
            forecast: Some(cut(values[way])),
            lower: Some(cut(values[way] - half)),
            upper: Some(cut(values[way] + half)),
            breach_ns,
            breach_earliest_ns,
        }
    }

    /// What is forecast for a time `ahead_ns` from `moment`: way 0 without, way 1 with the trend. The clocks are taken to
    /// go on as they do.
    fn value(&self, moment: Moment, ahead_ns: i64, way: usize) -> f64 {
        let steps = ahead_ns as f64 / self.interval_ns;
        let trend = if way == 1 { self.model.trend * steps } else { 0.0 };
        self.model.level + trend + self.model.season.value(moment.local.saturating_add(ahead_ns))
    }

    /// The standard deviation of a forecast for a time `ahead_ns` from now.
    fn deviation(&self, gains: Gains, ahead_ns: f64) -> f64 {
        let h = (ahead_ns / self.interval_ns).max(1.0);
        let (a, b) = (gains.level, gains.trend);
        let sum = a * a * ((h - 1.0) + b * h * (h - 1.0) + b * b * (h - 1.0) * h * (2.0 * h - 1.0) / 6.0);
        self.model.scale().max(1e-9) * (1.0 + sum).sqrt()
    }

    /// When the forecast and the nearer edge of its interval cross the threshold.
    fn breaches(&self, settings: &ForecastSettings, moment: Moment, way: usize) -> (Option<i64>, Option<i64>) {
        let Some(threshold) = settings.threshold else { return (None, None) };
        let above = self.value(moment, 0, way) > threshold;
        let ahead = |step: usize| (settings.horizon_ns as f64 * step as f64 / STEPS as f64) as i64;
        // How far the path is from the threshold, positive where it has not crossed it; `edge` is how much of the interval.
        let room = |step: usize, edge: f64| {
            let value = self.value(moment, ahead(step), way);
            let half = if step == 0 {
                0.0
            } else {
                edge * self.factors[way] * self.deviation(gains(settings), ahead(step) as f64)
            };
            if above { value - threshold - half } else { threshold - value - half }
        };
        let crossing = |edge: f64| {
            let mut before = room(0, edge);
            for step in 1..=STEPS {
                let now = room(step, edge);
                if now <= 0.0 {
                    let share = if before > now { before / (before - now) } else { 1.0 };
                    let from = ahead(step - 1);
                    return Some(moment.at.saturating_add(from + (share * (ahead(step) - from) as f64) as i64));
                }
                before = now;
            }
            None
        };
        (crossing(0.0), crossing(1.0))
    }

    /// The time of the last row.
    pub fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Forecaster>() + self.model.season.bytes() + size_of::<Waiting>() * self.waiting.capacity()
    }

    /// Its state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The series whose state are these bytes; `None` where they are not of one with these settings.
    pub fn decode(settings: &ForecastSettings, bytes: &[u8]) -> Option<Forecaster> {
        decode(Forecaster::new(settings), bytes)
    }
}

impl Coded for Forecaster {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.model.fields(codec);
        codec.i64(&mut self.last_ns);
        codec.f64(&mut self.interval_ns);
        codec.list(&mut self.waiting, WAITING, |codec, waiting| {
            codec.i64(&mut waiting.due_ns);
            waiting.values.iter_mut().for_each(|value| codec.f64(value));
            codec.f64(&mut waiting.deviation);
        });
        self.errors.iter_mut().chain(&mut self.factors).for_each(|x| codec.f64(x));
        codec.u32(&mut self.judged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::tests::noise;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000_000;
    const HOUR: i64 = 60 * MINUTE;

    fn settings() -> ForecastSettings {
        ForecastSettings {
            horizon_ns: 4 * HOUR,
            season_ns: 0,
            threshold: None,
            lower_bound: f64::NEG_INFINITY,
            upper_bound: f64::INFINITY,
            ttl_ns: i64::MAX,
        }
    }

    /// Forecasts of a series in which there is a row every five minutes.
    fn run(settings: &ForecastSettings, rows: usize, value: impl Fn(usize) -> f64) -> Vec<Forecast> {
        let mut forecaster = Forecaster::new(settings);
        (0..rows).map(|row| forecaster.observe(settings, row as i64 * 5 * MINUTE, Some(value(row)))).collect()
    }

    /// The share of values that lie in the interval that was given for them 48 rows before.
    fn coverage(forecasts: &[Forecast], value: impl Fn(usize) -> f64) -> f64 {
        let judged = 1_000..forecasts.len() - 48;
        let held = judged.clone().filter(|row| {
            let x = value(row + 48);
            forecasts[*row].lower.unwrap() <= x && x <= forecasts[*row].upper.unwrap()
        });
        held.count() as f64 / judged.len() as f64
    }

    #[test]
    fn the_interval_holds_about_as_often_as_it_says() {
        let random_walk: Vec<f64> = (0..9_000)
            .scan(0.0, |level, row| {
                *level += noise(row);
                Some(*level)
            })
            .collect();
        let day = |row: usize| 20.0 * (std::f64::consts::TAU * row as f64 / 288.0).sin();
        let series: [(&str, Box<dyn Fn(usize) -> f64>, i64); 4] = [
            ("noise", Box::new(|row| 100.0 + noise(row as u64)), 0),
            ("a random walk", Box::new(move |row| random_walk[row]), 0),
            ("a trend", Box::new(|row| 0.05 * row as f64 + noise(row as u64)), 0),
            ("a day", Box::new(move |row| 100.0 + day(row) + noise(row as u64)), 24 * HOUR),
        ];
        for (name, value, season_ns) in series {
            let settings = ForecastSettings { season_ns, ..settings() };
            let forecasts = run(&settings, 9_000, &value);
            let covered = coverage(&forecasts, &value);
            assert!((0.88..=0.995).contains(&covered), "{name}: {covered}");
        }
    }

    #[test]
    fn it_knows_trend_and_season() {
        let trend = run(&settings(), 2_000, |row| 10.0 + 0.5 * row as f64);
        assert!((trend[1_999].forecast.unwrap() - (10.0 + 0.5 * 2_047.0)).abs() < 2.0, "{:?}", trend[1_999]);
        let day = |row: usize| 100.0 + 20.0 * (std::f64::consts::TAU * row as f64 / 288.0).sin();
        let season = ForecastSettings { season_ns: 24 * HOUR, ..settings() };
        let forecasts = run(&season, 288 * 12, day);
        let worst = (288 * 10..288 * 12 - 48).map(|row| (forecasts[row].forecast.unwrap() - day(row + 48)).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 6.0, "{worst}");
    }

    #[test]
    fn a_line_is_followed_after_a_hundred_rows() {
        let forecasts = run(&settings(), 120, |row| 10.0 + 2.0 * row as f64);
        let forecast = forecasts[119].forecast.unwrap();
        assert!((forecast - (10.0 + 2.0 * 167.0)).abs() < 10.0, "{:?}", forecasts[119]);
    }

    #[test]
    fn a_disk_that_fills_up_says_when() {
        let settings = ForecastSettings { threshold: Some(100.0), upper_bound: 100.0, ..settings() };
        // A percent an hour: 100 is reached in row 1,200.
        let forecasts = run(&settings, 1_190, |row| row as f64 / 12.0 + 0.02 * noise(row as u64));
        assert_eq!(forecasts[900].breach_ns, None);
        let (breach, earliest) = (forecasts[1_180].breach_ns.unwrap(), forecasts[1_180].breach_earliest_ns.unwrap());
        assert!((breach - 1_200 * 5 * MINUTE).abs() < 30 * MINUTE, "{}", breach / MINUTE);
        assert!(earliest <= breach && earliest > 1_180 * 5 * MINUTE);
        assert!(forecasts[1_180].upper.unwrap() <= 100.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn nothing_upsets_it_and_a_restart_changes_nothing(
            values in prop::collection::vec((prop::option::of(prop::num::f64::ANY), 0i64..4), 1..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let settings = ForecastSettings { threshold: Some(1.0), horizon_ns: 10 * MINUTE, ..settings() };
            let (mut one, mut at) = (Forecaster::new(&settings), 0);
            let mut other = one.clone();
            for (row, (value, step)) in values.iter().enumerate() {
                at += step * MINUTE;
                if row == cut.index(values.len()) {
                    other = Forecaster::decode(&settings, &other.encode()).unwrap();
                }
                let said = one.observe(&settings, at, *value);
                prop_assert_eq!(said, other.observe(&settings, at, *value));
                prop_assert!(said.forecast.is_none_or(f64::is_finite), "{:?}", said);
                prop_assert!(said.lower <= said.forecast && said.forecast <= said.upper, "{:?}", said);
            }
        }
    }
}
