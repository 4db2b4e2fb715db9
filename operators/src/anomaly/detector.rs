//! One series under watch: the stages from a row to a verdict.

use super::calibration::{Tail, score};
use super::codec::{Codec, Coded, decode, encode};
use super::ewma::Ewma;
use super::holt_winters::{DETECT, HoltWinters};
use super::incident::Incident;
use super::mad::Mad;
use super::new_extreme::{MARGINS, NewExtreme};
use super::page_hinkley::{PageHinkley, Shift};
use super::rate_of_change::RateOfChange;
use super::seasonal::Seasonal;
use super::settings::{DetectSettings, Direction, Method};
use super::{Estimate, Reason, Verdict};

/// How much of the mean of `ewma` and `auto` is new each row: about the last five hundred rows count.
const ALPHA: f64 = 0.002;
/// What being beyond all that was seen adds to the surprise.
const EXTREME_WEIGHT: f64 = 5.0;
/// In a short history much is beyond all that was seen: the weight is a whole one after so many rows.
const EXTREME_ROWS: f64 = 300.0;
/// The surprise of what is beyond all that was seen where nothing else is asked.
const EXTREME_SURPRISE: f64 = 6.0;
/// The surprise of a shift of the level: once in ten thousand rows.
const SHIFT_SURPRISE: f64 = 4.0;
/// A row is never an anomaly that is less surprising: once in three hundred rows, however many alarms are tolerated.
const SURPRISE_FROM: f64 = 2.5;
/// A row that is more surprising is always one.
const SURPRISE_TO: f64 = 9.0;
/// Values beyond are taken for this one.
const VALUE_MAX: f64 = 1e30;
/// Seasons before a season is believed.
const SEASONS: i64 = 2;
const DAY_NS: f64 = 86_400e9;

/// One series: what is known of it, and where it is in an incident.
#[derive(Clone, Debug)]
pub struct Detector {
    model: Model,
    tail: Tail,
    incident: Incident,
    last_ns: i64,
    interval_ns: f64,
    rows: u32,
}

#[derive(Clone, Debug)]
enum Model {
    Auto { point: Ewma, season: Option<Box<HoltWinters>>, shift: PageHinkley, extreme: NewExtreme },
    Ewma(Ewma),
    Mad(Mad),
    HoltWinters(Box<HoltWinters>),
    Seasonal(Box<Seasonal>),
    PageHinkley(PageHinkley),
    NewExtreme(NewExtreme),
    RateOfChange(RateOfChange),
}

/// What the models say of a row, before anything is decided.
#[derive(Clone, Copy, Debug)]
struct Finding {
    estimate: Option<Estimate>,
    /// The distance in scales, where there is a point model.
    distance: Option<f64>,
    surprise: f64,
    reason: Option<Reason>,
    /// Whether the models know enough.
    ready: bool,
}

impl Detector {
    /// A series of which nothing is known.
    pub fn new(settings: &DetectSettings) -> Detector {
        let season = || HoltWinters::new(settings.season_ns);
        let model = match settings.method {
            Method::Auto => Model::Auto {
                point: Ewma::default(),
                season: (settings.season_ns > 0).then(|| Box::new(season())),
                shift: PageHinkley::default(),
                extreme: NewExtreme::default(),
            },
            Method::Ewma => Model::Ewma(Ewma::default()),
            Method::Mad => Model::Mad(Mad::default()),
            Method::HoltWinters => Model::HoltWinters(Box::new(season())),
            Method::Seasonal if settings.season_ns > 0 => Model::Seasonal(Box::new(Seasonal::new(settings.season_ns))),
            // Without a season of its own it is a day's.
            Method::Seasonal => Model::Seasonal(Box::new(Seasonal::new(DAY_NS as i64))),
            Method::PageHinkley => Model::PageHinkley(PageHinkley::default()),
            Method::NewExtreme => Model::NewExtreme(NewExtreme::default()),
            Method::RateOfChange => Model::RateOfChange(RateOfChange::default()),
        };
        let (tail, incident) = (Tail::default(), Incident::default());
        Detector { model, tail, incident, last_ns: i64::MIN, interval_ns: 0.0, rows: 0 }
    }

    /// Judges a row of the time `at`, in nanoseconds since 1970, and learns it. Rows come in order of time. `None` is a
    /// value that is missing, which is not zero: like NaN and infinity it is not learnt.
    pub fn observe(&mut self, settings: &DetectSettings, at: i64, value: Option<f64>) -> Verdict {
        self.keep_time(at);
        let x = match value {
            // Squares of what is known stay finite.
            Some(x) if x.is_finite() => x.clamp(-VALUE_MAX, VALUE_MAX),
            Some(_) => return self.nothing(settings, at, Reason::NotFinite),
            None => return self.nothing(settings, at, Reason::Missing),
        };
        let threshold = self.threshold(settings);
        let shift = self.model.shift(x);
        let finding = self.find(settings, at, x, shift);
        let learning = self.rows < settings.warm_up || !finding.ready;
        let stands_out = !learning && finding.surprise >= threshold;
        let outcome = self.incident.note(stands_out, x, settings.debounce);
        self.model.take_note(x);
        if outcome.learn {
            self.model.learn(at, x, outcome.settled);
        }
        if self.rows >= super::WARM_UP && outcome.fresh {
            self.tail.learn(finding.distance.unwrap_or(0.0));
        }
        self.rows = self.rows.saturating_add(1);
        let (lower, upper) = self.band(settings, finding.estimate, threshold);
        let reason = match (finding.reason, outcome.settled, finding.estimate) {
            (Some(Reason::AboveBand | Reason::BelowBand), Some(to), Some(estimate)) => {
                Some(Reason::LevelShift { from: estimate.expected, to })
            }
            (reason, _, _) => reason,
        };
        Verdict {
            expected: finding.estimate.map(|e| e.expected.clamp(settings.lower_bound, settings.upper_bound)),
            lower,
            upper,
            score: if learning { 0.0 } else { score(finding.surprise) },
            is_anomaly: outcome.is_anomaly,
            reason: reason.filter(|_| outcome.is_anomaly),
            learning,
        }
    }

    /// The time of the last row.
    pub fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let more = match &self.model {
            Model::Auto { season: Some(season), .. } => size_of::<HoltWinters>() + season.season.bytes(),
            Model::HoltWinters(model) => size_of::<HoltWinters>() + model.season.bytes(),
            Model::Seasonal(model) => size_of::<Seasonal>() + model.bytes(),
            Model::Mad(model) => model.bytes(),
            _ => 0,
        };
        size_of::<Detector>() + more
    }

    /// Its state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing shows the fields and changes none; reading needs them to be mutable.
        encode(&mut self.clone(), &mut bytes);
        bytes
    }

    /// The series whose state are these bytes; `None` where they are not of a detector with these settings.
    pub fn decode(settings: &DetectSettings, bytes: &[u8]) -> Option<Detector> {
        let mut detector = Detector::new(settings);
        decode(&mut detector, bytes).then_some(detector)
    }

    fn keep_time(&mut self, at: i64) {
        if self.last_ns > i64::MIN && at > self.last_ns {
            let step = at.saturating_sub(self.last_ns) as f64;
            // A gap in the data is not another rhythm.
            self.interval_ns = match self.interval_ns {
                0.0 => step,
                known => known + 0.05 * (step.min(4.0 * known) - known),
            };
        }
        self.last_ns = self.last_ns.max(at);
    }

    /// The surprise from which on a row is an anomaly: such rows come as often as alarms are tolerated.
    fn threshold(&self, settings: &DetectSettings) -> f64 {
        let rows_a_day = if self.interval_ns > 0.0 { DAY_NS / self.interval_ns } else { 1.0 };
        (rows_a_day / settings.sensitivity).log10().clamp(SURPRISE_FROM, SURPRISE_TO)
    }

    /// What the models say of `x`, with what does not matter left out.
    fn find(&self, settings: &DetectSettings, at: i64, x: f64, shift: Option<Shift>) -> Finding {
        let mut finding = self.model.find(at, x, &self.tail, shift);
        let reference = match finding.reason {
            Some(Reason::LevelShift { from, .. }) => Some(from),
            _ => finding.estimate.map(|e| e.expected),
        };
        let Some(expected) = reference else { return finding };
        let wrong_side = match settings.direction {
            Direction::Both => false,
            Direction::Above => x <= expected,
            Direction::Below => x >= expected,
        };
        let effect = (x - expected).abs();
        let too_small = effect < settings.min_effect || effect < settings.min_effect_ratio * expected.abs();
        if wrong_side || too_small {
            finding.surprise = 0.0;
        }
        finding
    }

    fn nothing(&self, settings: &DetectSettings, at: i64, reason: Reason) -> Verdict {
        let estimate = self.model.expect(at);
        let (lower, upper) = self.band(settings, estimate, self.threshold(settings));
        Verdict {
            expected: estimate.map(|e| e.expected.clamp(settings.lower_bound, settings.upper_bound)),
            lower,
            upper,
            score: 0.0,
            is_anomaly: false,
            reason: Some(reason),
            learning: self.rows < settings.warm_up || !self.model.ready(at),
        }
    }

    /// The values that are less surprising than `threshold`; what finds shifts is surprised by no value alone.
    fn band(&self, settings: &DetectSettings, e: Option<Estimate>, threshold: f64) -> (Option<f64>, Option<f64>) {
        let half = match &self.model {
            Model::PageHinkley(_) => None,
            Model::NewExtreme(model) => (model.rows > 0).then(|| {
                let range = model.greatest - model.least;
                (0.5 + MARGINS.share(threshold / EXTREME_SURPRISE)) * range
            }),
            _ => e.map(|e| self.tail.distance(threshold) * e.scale),
        };
        let cut = |x: f64| x.clamp(settings.lower_bound, settings.upper_bound);
        let band = e.zip(half).map(|(e, half)| (cut(e.expected - half), cut(e.expected + half)));
        (band.map(|(lower, _)| lower), band.map(|(_, upper)| upper))
    }
}

impl Model {
    /// Whether the season, where there is one, is known.
    fn ready(&self, at: i64) -> bool {
        match self {
            Model::HoltWinters(model) => model.season.bytes() == 0 || model.season.seen(at, SEASONS),
            Model::Seasonal(model) => model.seen(at),
            _ => true,
        }
    }

    fn expect(&self, at: i64) -> Option<Estimate> {
        match self {
            Model::Auto { season: Some(season), .. } if season.season.seen(at, SEASONS) => season.expect(at),
            Model::Auto { point: model, .. } | Model::Ewma(model) => model.expect(),
            Model::Mad(model) => model.expect(),
            Model::HoltWinters(model) => model.expect(at),
            Model::Seasonal(model) => model.expect(at),
            Model::PageHinkley(model) => model.level.expect(),
            Model::NewExtreme(model) => (model.rows > 0).then(|| {
                Estimate::new(f64::midpoint(model.least, model.greatest), (model.greatest - model.least) / 2.0)
            }),
            Model::RateOfChange(model) => model.expect(),
        }
    }

    /// Takes `x` into the sums that find a shift: they go on whether or not the row is learnt.
    fn shift(&mut self, x: f64) -> Option<Shift> {
        match self {
            Model::Auto { shift, .. } | Model::PageHinkley(shift) => shift.observe(x),
            _ => None,
        }
    }

    fn find(&self, at: i64, x: f64, tail: &Tail, shift: Option<Shift>) -> Finding {
        let estimate = self.expect(at);
        let side = |e: Estimate| if x > e.expected { Reason::AboveBand } else { Reason::BelowBand };
        let mut finding =
            Finding { estimate, distance: None, surprise: 0.0, reason: estimate.map(side), ready: self.ready(at) };
        let shifted = |shift: Shift| Reason::LevelShift { from: shift.from, to: shift.to };
        match self {
            Model::PageHinkley(model) => {
                finding.surprise = shift.map_or(model.share(), |_| 1.0) * SHIFT_SURPRISE;
                finding.reason = shift.map(shifted).or(finding.reason);
            }
            Model::NewExtreme(model) => {
                finding.surprise = model.beyond(x, MARGINS) * EXTREME_SURPRISE;
                finding.reason = Some(Reason::NewExtreme);
            }
            Model::Auto { point, season, extreme, .. } => {
                let plain = point.expect().map_or(0.0, |e| e.distance(x));
                let seasonal = season.as_ref().filter(|s| s.season.seen(at, SEASONS));
                let seasonal = seasonal.and_then(|s| s.expect(at)).map(|e| e.distance(x));
                let distance = seasonal.map_or(plain, |seasonal| (plain * seasonal).sqrt());
                finding.distance = Some(distance);
                let of_point = tail.surprise(distance);
                let of_extreme =
                    EXTREME_WEIGHT * (f64::from(extreme.rows) / EXTREME_ROWS).min(1.0) * extreme.beyond(x, MARGINS);
                finding.surprise = of_point + of_extreme;
                if of_extreme > of_point {
                    finding.reason = Some(Reason::NewExtreme);
                } else if seasonal.is_some_and(|seasonal| seasonal > 3.0 * plain) {
                    finding.reason = Some(Reason::SeasonalMismatch);
                }
                if let Some(shift) = shift.filter(|_| finding.surprise < SHIFT_SURPRISE) {
                    finding.surprise = SHIFT_SURPRISE;
                    finding.reason = Some(shifted(shift));
                }
            }
            Model::Ewma(_) | Model::Mad(_) | Model::HoltWinters(_) | Model::Seasonal(_) | Model::RateOfChange(_) => {
                finding.distance = estimate.map(|e| e.distance(x));
                finding.surprise = finding.distance.map_or(0.0, |distance| tail.surprise(distance));
                if matches!(self, Model::RateOfChange(_)) {
                    finding.reason = Some(Reason::RateOfChange);
                }
            }
        }
        finding
    }

    /// What was seen was seen, in an incident too.
    fn take_note(&mut self, x: f64) {
        if let Model::Auto { extreme, .. } | Model::NewExtreme(extreme) = self {
            extreme.learn(x, MARGINS);
        }
    }

    /// Learns `x`; `settled` is the level that the series has had for long enough.
    fn learn(&mut self, at: i64, x: f64, settled: Option<f64>) {
        let level = |model: &mut Ewma| {
            if let Some(settled) = settled {
                model.mean = settled;
            }
            model.learn(x, ALPHA);
        };
        let seasonal = |model: &mut HoltWinters| {
            if let Some(settled) = settled {
                model.level = settled;
            }
            model.learn(at, x, DETECT);
        };
        match self {
            Model::Auto { point, season, .. } => {
                level(point);
                season.iter_mut().for_each(|season| seasonal(season));
            }
            Model::Ewma(model) => level(model),
            Model::Mad(model) => model.learn(x),
            Model::HoltWinters(model) => seasonal(model),
            Model::Seasonal(model) => model.learn(at, x),
            Model::PageHinkley(_) | Model::NewExtreme(_) => {}
            Model::RateOfChange(model) => model.learn(x),
        }
    }
}

impl Coded for Detector {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        match &mut self.model {
            Model::Auto { point, season, shift, extreme } => {
                point.fields(codec);
                season.iter_mut().for_each(|season| season.fields(codec));
                shift.fields(codec);
                extreme.fields(codec);
            }
            Model::Ewma(model) => model.fields(codec),
            Model::Mad(model) => model.fields(codec),
            Model::HoltWinters(model) => model.fields(codec),
            Model::Seasonal(model) => model.fields(codec),
            Model::PageHinkley(model) => model.fields(codec),
            Model::NewExtreme(model) => model.fields(codec),
            Model::RateOfChange(model) => model.fields(codec),
        }
        self.tail.fields(codec);
        self.incident.fields(codec);
        codec.i64(&mut self.last_ns);
        codec.f64(&mut self.interval_ns);
        codec.u32(&mut self.rows);
    }
}
