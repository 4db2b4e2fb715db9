//! One series under watch: the stages from a row to a verdict.

use super::calibration::{Tail, score};
use super::codec::{Codec, Coded, decode, encode};
use super::ewma::Ewma;
use super::flatline::Flatline;
use super::half_space_trees::HalfSpaceTrees;
use super::holt_winters::{DETECT, HoltWinters};
use super::incident::Incident;
use super::mad::Mad;
use super::new_extreme::{MARGINS, NewExtreme};
use super::page_hinkley::{PageHinkley, Shift};
use super::random_cut_forest::RandomCutForest;
use super::rate_of_change::RateOfChange;
use super::relative_entropy::RelativeEntropy;
use super::seasonal::Seasonal;
use super::settings::{DetectSettings, Direction, Method};
use super::spot::Spot;
use super::{Estimate, Moment, Reason, VALUE_MAX, Verdict};

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
    Auto { point: Ewma, season: Option<Box<HoltWinters>>, shift: PageHinkley, extreme: NewExtreme, still: Flatline },
    Ewma(Ewma),
    Mad(Mad),
    HoltWinters(Box<HoltWinters>),
    Seasonal(Box<Seasonal>),
    PageHinkley(PageHinkley),
    NewExtreme(NewExtreme),
    RateOfChange(RateOfChange),
    RelativeEntropy(Box<Distribution>),
    Spot(Box<Spot>),
    HalfSpaceTrees(Box<Scored<HalfSpaceTrees>>),
    RandomCutForest(Box<Scored<RandomCutForest>>),
}

/// A model that says how rare a row is in units of its own, and what it usually says.
#[derive(Clone, Debug, Default)]
struct Scored<M> {
    model: M,
    usual: Ewma,
    level: Ewma,
}

/// Distributions, and the level, for what is expected.
#[derive(Clone, Debug, Default)]
struct Distribution {
    model: RelativeEntropy,
    level: Ewma,
    /// What the model says of the last row.
    surprise: f64,
}

impl<M> Scored<M> {
    /// How far `rarity` is above what is usual, in its standard deviations.
    fn distance(&self, rarity: f64) -> f64 {
        self.usual.expect().filter(|e| rarity > e.expected).map_or(0.0, |e| e.distance(rarity))
    }
}

/// What several rows together show.
#[derive(Clone, Copy, Debug)]
enum Change {
    Shift(Shift),
    Flatline,
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
                still: Flatline::default(),
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
            Method::RelativeEntropy => Model::RelativeEntropy(Box::default()),
            Method::Spot => Model::Spot(Box::default()),
            Method::HalfSpaceTrees => Model::HalfSpaceTrees(Box::default()),
            Method::RandomCutForest => Model::RandomCutForest(Box::default()),
        };
        let (tail, incident) = (Tail::default(), Incident::default());
        Detector { model, tail, incident, last_ns: i64::MIN, interval_ns: 0.0, rows: 0 }
    }

    /// Judges a row and learns it. Rows come in order of time. `None` is a
    /// value that is missing, which is not zero: like NaN and infinity it is not learnt.
    pub fn observe(&mut self, settings: &DetectSettings, at: impl Into<Moment>, value: Option<f64>) -> Verdict {
        let Moment { at, local } = at.into();
        self.keep_time(at);
        let x = match value {
            Some(x) if x.is_finite() => x.clamp(-VALUE_MAX, VALUE_MAX),
            Some(_) => return self.nothing(settings, local, Reason::NotFinite),
            None => return self.nothing(settings, local, Reason::Missing),
        };
        let threshold = self.threshold(settings);
        let change = self.model.change(x);
        let finding = self.find(settings, local, x, change);
        let learning = self.rows < settings.warm_up || !finding.ready;
        let stands_out = !learning && finding.surprise >= threshold;
        let news = if learning { 0.0 } else { self.incident.news(finding.surprise) };
        let outcome = self.incident.note(stands_out, x, settings.debounce);
        self.model.take_note(x);
        if outcome.learn {
            self.model.learn(local, x, outcome.settled);
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
            score: score(news),
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
            Model::RelativeEntropy(of) => size_of::<Distribution>() + of.model.bytes(),
            Model::Spot(model) => size_of::<Spot>() + model.bytes(),
            Model::HalfSpaceTrees(of) => size_of::<Scored<HalfSpaceTrees>>() + of.model.bytes(),
            Model::RandomCutForest(of) => size_of::<Scored<RandomCutForest>>() + of.model.bytes(),
            _ => 0,
        };
        size_of::<Detector>() + more
    }

    /// Its state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The series whose state are these bytes; `None` where they are not of a detector with these settings.
    pub fn decode(settings: &DetectSettings, bytes: &[u8]) -> Option<Detector> {
        decode(Detector::new(settings), bytes)
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
    fn find(&self, settings: &DetectSettings, at: i64, x: f64, change: Option<Change>) -> Finding {
        let mut finding = self.model.find(at, x, &self.tail, change);
        let reference = match finding.reason {
            Some(Reason::LevelShift { from, .. }) => Some(from),
            // That it does not move is not to one side.
            Some(Reason::Flatline) => None,
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
            Model::PageHinkley(_) | Model::RelativeEntropy(_) => None,
            Model::HalfSpaceTrees(_) | Model::RandomCutForest(_) => None,
            Model::Spot(model) => model.distance(threshold),
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
            Model::RelativeEntropy(of) => of.model.ready(),
            Model::Spot(model) => model.ready(),
            // What is usual is known some rows later.
            Model::HalfSpaceTrees(of) => of.model.ready() && of.usual.rows >= super::WARM_UP,
            Model::RandomCutForest(of) => of.model.ready() && of.usual.rows >= super::WARM_UP,
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
            Model::RelativeEntropy(of) => of.level.expect(),
            Model::Spot(model) => model.expect(),
            Model::HalfSpaceTrees(of) => of.level.expect(),
            Model::RandomCutForest(of) => of.level.expect(),
        }
    }

    /// Takes `x` into what looks at several rows together: it goes on whether or not the row is learnt.
    fn change(&mut self, x: f64) -> Option<Change> {
        match self {
            Model::Auto { shift, still, .. } => {
                let stands_still = still.observe(x).then_some(Change::Flatline);
                shift.observe(x).map(Change::Shift).or(stands_still)
            }
            Model::PageHinkley(shift) => shift.observe(x).map(Change::Shift),
            Model::RelativeEntropy(of) => {
                of.surprise = of.model.observe(x);
                None
            }
            _ => None,
        }
    }

    fn find(&self, at: i64, x: f64, tail: &Tail, change: Option<Change>) -> Finding {
        let estimate = self.expect(at);
        let side = |e: Estimate| if x > e.expected { Reason::AboveBand } else { Reason::BelowBand };
        let mut finding =
            Finding { estimate, distance: None, surprise: 0.0, reason: estimate.map(side), ready: self.ready(at) };
        let told = |change: Change| match change {
            Change::Shift(shift) => Reason::LevelShift { from: shift.from, to: shift.to },
            Change::Flatline => Reason::Flatline,
        };
        match self {
            Model::PageHinkley(model) => {
                finding.surprise = change.map_or(model.share(), |_| 1.0) * SHIFT_SURPRISE;
                finding.reason = change.map(told).or(finding.reason);
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
                if let Some(change) = change.filter(|_| finding.surprise < SHIFT_SURPRISE) {
                    finding.surprise = SHIFT_SURPRISE;
                    finding.reason = Some(told(change));
                }
            }
            Model::RelativeEntropy(of) => {
                finding.surprise = of.surprise;
                finding.reason = Some(Reason::DistributionChange);
            }
            Model::Spot(model) => finding.surprise = model.surprise(x),
            Model::HalfSpaceTrees(of) if finding.ready => {
                let distance = of.distance(of.model.rarity(x));
                (finding.distance, finding.surprise) = (Some(distance), tail.surprise(distance));
                finding.reason = Some(Reason::Isolated);
            }
            Model::RandomCutForest(of) if finding.ready => {
                let distance = of.distance(of.model.score(x));
                (finding.distance, finding.surprise) = (Some(distance), tail.surprise(distance));
                finding.reason = Some(Reason::Isolated);
            }
            Model::HalfSpaceTrees(_) | Model::RandomCutForest(_) => {}
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
            Model::RelativeEntropy(of) => level(&mut of.level),
            Model::Spot(model) => model.learn(x),
            Model::HalfSpaceTrees(of) => {
                if of.model.ready() {
                    of.usual.learn(of.model.rarity(x), ALPHA);
                }
                of.model.learn(x);
                level(&mut of.level);
            }
            Model::RandomCutForest(of) => {
                if of.model.ready() {
                    of.usual.learn(of.model.score(x), ALPHA);
                }
                of.model.learn(x);
                level(&mut of.level);
            }
        }
    }
}

impl Coded for Detector {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        match &mut self.model {
            Model::Auto { point, season, shift, extreme, still } => {
                point.fields(codec);
                season.iter_mut().for_each(|season| season.fields(codec));
                shift.fields(codec);
                extreme.fields(codec);
                still.fields(codec);
            }
            Model::Ewma(model) => model.fields(codec),
            Model::Mad(model) => model.fields(codec),
            Model::HoltWinters(model) => model.fields(codec),
            Model::Seasonal(model) => model.fields(codec),
            Model::PageHinkley(model) => model.fields(codec),
            Model::NewExtreme(model) => model.fields(codec),
            Model::RateOfChange(model) => model.fields(codec),
            Model::RelativeEntropy(of) => {
                of.model.fields(codec);
                of.level.fields(codec);
                codec.f64(&mut of.surprise);
            }
            Model::Spot(model) => model.fields(codec),
            Model::HalfSpaceTrees(of) => of.fields(codec),
            Model::RandomCutForest(of) => of.fields(codec),
        }
        self.tail.fields(codec);
        self.incident.fields(codec);
        codec.i64(&mut self.last_ns);
        codec.f64(&mut self.interval_ns);
        codec.u32(&mut self.rows);
    }
}

impl<M: Coded> Coded for Scored<M> {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.model.fields(codec);
        self.usual.fields(codec);
        self.level.fields(codec);
    }
}
