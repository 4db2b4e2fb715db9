//! The model of a series, one for each method: what is expected, how far off a row is, what several rows show together.

use super::bocpd::{Bocpd, Outlook};
use super::calibration::Tail;
use super::codec::{Codec, Coded};
use super::ewma::Ewma;
use super::flatline::Flatline;
use super::group::Group;
use super::half_space_trees::HalfSpaceTrees;
use super::holt_winters::{DETECT, HoltWinters};
use super::incident::Settled;
use super::mad::Mad;
use super::new_extreme::{MARGINS, NewExtreme, Seen};
use super::page_hinkley::{PageHinkley, Shift};
use super::random_cut_forest::RandomCutForest;
use super::rate_of_change::RateOfChange;
use super::rates::{Family, Rate, Rates};
use super::relative_entropy::RelativeEntropy;
use super::seasonal::Seasonal;
use super::settings::{DetectSettings, Method};
use super::spot::Spot;
use super::{Estimate, Reason, VALUES_MAX};

/// How much of the mean of `ewma` and `auto` is new each row: about the last five hundred rows count.
const ALPHA: f64 = 0.002;
/// What being beyond all that was seen adds to the surprise.
const EXTREME_WEIGHT: f64 = 5.0;
/// In a short history much is beyond all that was seen: the weight is a whole one after so many rows.
const EXTREME_ROWS: f64 = 300.0;
/// The surprise of what is beyond all that was seen where nothing else is asked.
pub(super) const EXTREME_SURPRISE: f64 = 6.0;
/// The surprise of a shift of the level: once in ten thousand rows.
const SHIFT_SURPRISE: f64 = 4.0;
/// `auto` judges whole numbers as counts where fewer come at a time.
const COUNTS_MAX: f64 = 0.5;
/// With a season the distance is the geometric mean of that from the level and that from the season. What the season
/// explains is no incident: the former counts for no more than so many times the latter.
const EXPLAINED: f64 = 4.0;
/// And what is at the wrong time is one: it counts for no less than this part of it.
const UNEXPLAINED: f64 = 9.0;
const DAY_NS: i64 = 86_400_000_000_000;

#[derive(Clone, Debug)]
pub(super) enum Model {
    Auto(Auto),
    Ewma(Ewma),
    Mad(Mad),
    HoltWinters(Box<HoltWinters>),
    Seasonal(Box<Seasonal>),
    PageHinkley(PageHinkley),
    NewExtreme(NewExtreme),
    RateOfChange(RateOfChange),
    RelativeEntropy(Box<Distribution>),
    Spot(Box<Spot>),
    Rates(Box<Rates>),
    Bocpd(Box<Bocpd>),
    HalfSpaceTrees(Box<Scored<HalfSpaceTrees>>),
    RandomCutForest(Box<Scored<RandomCutForest>>),
}

/// A point model, a shift model and new extremes together.
#[derive(Clone, Debug, Default)]
pub(super) struct Auto {
    point: Ewma,
    season: Option<Box<HoltWinters>>,
    shift: PageHinkley,
    extreme: Seen,
    still: Flatline,
    /// Whether a value came that is no count: less than 0, or not whole.
    measured: bool,
    /// Whether the season was known for the last row.
    seasonal: bool,
}

/// A model that says how rare a row is in units of its own, and what it usually says.
#[derive(Clone, Debug)]
pub(super) struct Scored<M> {
    model: M,
    usual: Ewma,
    level: Ewma,
    /// What it says of the row that is being judged.
    rarity: f64,
}

/// Distributions, and the level, for what is expected.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    model: RelativeEntropy,
    level: Ewma,
}

/// What several rows together show, this one among them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Shift(Shift),
    Flatline,
    /// How surprising the last rows are as a whole.
    Distribution(f64),
    Regime(Outlook),
}

/// What the models say of a row, before anything is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding {
    pub estimate: Option<Estimate>,
    /// The distance in scales, where there is a point model.
    pub distance: Option<f64>,
    pub surprise: f64,
    pub reason: Option<Reason>,
    /// Whether the models know enough.
    pub ready: bool,
}

impl Finding {
    /// Of a distance that `tail` knows the probability of.
    fn far(&mut self, distance: f64, tail: &Tail) {
        (self.distance, self.surprise) = (Some(distance), tail.surprise(distance));
    }
}

impl<M> Scored<M> {
    fn of(model: M) -> Scored<M> {
        Scored { model, usual: Ewma::default(), level: Ewma::default(), rarity: 0.0 }
    }

    /// How far what the model says is above what is usual, in its standard deviations.
    fn distance(&self) -> f64 {
        self.usual.expect().filter(|e| self.rarity > e.expected).map_or(0.0, |e| e.distance(self.rarity))
    }
}

impl Auto {
    /// Whether the values are counts of which few come at a time, which no normal distribution fits.
    fn counts(&self) -> Option<Rate> {
        self.few().then(|| Rate::of(Family::Counts, &self.point))
    }

    fn few(&self) -> bool {
        !self.measured && self.point.mean < COUNTS_MAX
    }

    /// The season, once it is known; of counts of which few come at a time it has no deviation.
    fn season(&self, at: i64) -> Option<&HoltWinters> {
        self.season.as_deref().filter(|season| season.known(at) && !self.few())
    }

    fn find(&self, finding: &mut Finding, at: i64, x: f64, tail: &Tail) {
        let plain = match self.counts() {
            Some(rate) => rate.distance(x),
            None => self.point.expect().map_or(0.0, |e| e.distance(x)),
        };
        let seasonal = self.season(at).and_then(|season| season.expect(at)).map(|e| e.distance(x));
        let both = |seasonal: f64| (plain.clamp(seasonal / UNEXPLAINED, EXPLAINED * seasonal) * seasonal).sqrt();
        finding.far(seasonal.map_or(plain, both), tail);
        let of_point = finding.surprise;
        // All but the row that is looked at, which the shift model has taken in.
        let rows = self.shift.level.rows.saturating_sub(1);
        let of_extreme =
            EXTREME_WEIGHT * (f64::from(rows) / EXTREME_ROWS).min(1.0) * self.extreme.beyond(x, MARGINS, rows);
        finding.surprise = of_point + of_extreme;
        if of_extreme > of_point {
            finding.reason = Some(Reason::NewExtreme);
        } else if seasonal.is_some_and(|seasonal| seasonal > 3.0 * plain) {
            finding.reason = Some(Reason::SeasonalMismatch);
        }
    }
}

impl Model {
    pub fn new(settings: &DetectSettings) -> Model {
        let season = || Box::new(HoltWinters::new(settings.season_ns));
        let seasonal = settings.season_ns > 0;
        match settings.method {
            Method::Auto => Model::Auto(Auto { season: seasonal.then(season), ..Auto::default() }),
            Method::Ewma => Model::Ewma(Ewma::default()),
            Method::Mad => Model::Mad(Mad::default()),
            Method::HoltWinters => Model::HoltWinters(season()),
            // Without a season of its own it is a day's.
            Method::Seasonal => {
                Model::Seasonal(Box::new(Seasonal::new(if seasonal { settings.season_ns } else { DAY_NS })))
            }
            Method::PageHinkley => Model::PageHinkley(PageHinkley::default()),
            Method::NewExtreme => Model::NewExtreme(NewExtreme::default()),
            Method::RateOfChange => Model::RateOfChange(RateOfChange::default()),
            Method::RelativeEntropy => Model::RelativeEntropy(Box::default()),
            Method::Spot => Model::Spot(Box::default()),
            Method::Poisson => Model::Rates(Box::new(Rates::new(Family::Counts))),
            Method::Beta => Model::Rates(Box::new(Rates::new(shares(settings)))),
            Method::Bocpd => Model::Bocpd(Box::default()),
            Method::HalfSpaceTrees => Model::HalfSpaceTrees(Box::new(Scored::of(HalfSpaceTrees::default()))),
            Method::RandomCutForest => {
                Model::RandomCutForest(Box::new(Scored::of(RandomCutForest::new(settings.values.len()))))
            }
        }
    }

    /// Begins with what the series of its group are like, until it knows better.
    pub fn take_after(&mut self, group: &Group) {
        match self {
            Model::Auto(auto) => auto.point = group.prior(),
            Model::Ewma(model) => *model = group.prior(),
            Model::Rates(of) => of.level = group.prior(),
            _ => {}
        }
    }

    /// Bytes that it takes elsewhere.
    pub fn bytes(&self) -> usize {
        match self {
            Model::Auto(Auto { season: Some(season), .. }) => size_of::<HoltWinters>() + season.season.bytes(),
            Model::HoltWinters(model) => size_of::<HoltWinters>() + model.season.bytes(),
            Model::Seasonal(model) => size_of::<Seasonal>() + model.bytes(),
            Model::Mad(model) => model.bytes(),
            Model::RelativeEntropy(of) => size_of::<Distribution>() + of.model.bytes(),
            Model::Spot(model) => size_of::<Spot>() + model.bytes(),
            Model::Rates(of) => size_of::<Rates>() + of.bytes(),
            Model::Bocpd(model) => size_of::<Bocpd>() + model.bytes(),
            Model::HalfSpaceTrees(of) => size_of::<Scored<HalfSpaceTrees>>() + of.model.bytes(),
            Model::RandomCutForest(of) => size_of::<Scored<RandomCutForest>>() + of.model.bytes(),
            _ => 0,
        }
    }

    /// The row that is looked at is of the time `at`; whether distances are others as of now, since the season is known.
    pub fn turn_to(&mut self, at: i64) -> bool {
        if let Model::Auto(Auto { season: Some(season), .. }) | Model::HoltWinters(season) = self {
            season.season.turn_to(at);
        }
        match self {
            Model::Auto(auto) if !auto.seasonal && auto.season(at).is_some() => {
                auto.seasonal = true;
                true
            }
            _ => false,
        }
    }

    /// Whether the season, where there is one, is known.
    pub fn ready(&self, at: i64) -> bool {
        match self {
            Model::HoltWinters(model) => model.known(at),
            Model::Seasonal(model) => model.seen(at),
            Model::RelativeEntropy(of) => of.model.ready(),
            Model::Spot(model) => model.ready(),
            // What is usual is known some rows later.
            Model::HalfSpaceTrees(of) => of.model.ready() && of.usual.rows >= super::WARM_UP,
            Model::RandomCutForest(of) => of.model.ready() && of.usual.rows >= super::WARM_UP,
            _ => true,
        }
    }

    pub fn expect(&self, at: i64) -> Option<Estimate> {
        match self {
            Model::Auto(auto) => match auto.season(at) {
                Some(season) => season.expect(at),
                None => auto.point.expect(),
            },
            Model::Ewma(model) => model.expect(),
            Model::Mad(model) => model.expect(),
            Model::HoltWinters(model) => model.expect(at),
            Model::Seasonal(model) => model.expect(at),
            Model::PageHinkley(model) => model.level.expect(),
            Model::NewExtreme(model) => model.expect(),
            Model::RateOfChange(model) => model.expect(),
            Model::RelativeEntropy(of) => of.level.expect(),
            Model::Spot(model) => model.expect(),
            Model::Rates(of) => of.expect(),
            Model::Bocpd(model) => model.expect(),
            Model::HalfSpaceTrees(of) => of.level.expect(),
            Model::RandomCutForest(of) => of.level.expect(),
        }
    }

    /// The values that are less surprising than `threshold`, around what is expected; what finds shifts is surprised by no
    /// value alone.
    pub fn band(&self, estimate: Option<Estimate>, tail: &Tail, threshold: f64) -> Option<(f64, f64)> {
        let around = |e: Estimate, half: f64| (e.expected - half, e.expected + half);
        match self {
            Model::PageHinkley(_) | Model::RelativeEntropy(_) | Model::Bocpd(_) => None,
            Model::HalfSpaceTrees(_) | Model::RandomCutForest(_) => None,
            Model::Rates(of) => (of.level.rows > 0).then(|| of.rate().band(threshold)),
            Model::Spot(model) => model.expect().zip(model.distance(threshold)).map(|(e, half)| around(e, half)),
            Model::NewExtreme(model) => {
                let margin = 0.5 + MARGINS.share(threshold / EXTREME_SURPRISE);
                model.expect().map(|e| around(e, margin * (model.seen.greatest - model.seen.least)))
            }
            Model::Auto(auto) if auto.point.rows > 0 && auto.few() => {
                let distance = tail.distance(threshold);
                auto.counts().map(|rate| rate.band(distance * distance / 2.0 * std::f64::consts::LOG10_E))
            }
            _ => estimate.map(|e| around(e, tail.distance(threshold) * e.scale)),
        }
    }

    /// Takes `x` into what looks at several rows together: it goes on whether or not the row is learnt.
    pub fn change(&mut self, at: i64, x: f64, others: &[f64]) -> Option<Change> {
        match self {
            Model::Auto(auto) => {
                auto.measured |= x < 0.0 || x.fract() != 0.0;
                let stands_still = auto.still.observe(x).then_some(Change::Flatline);
                let usual = auto.season(at).map_or(0.0, |season| season.season.value(at));
                auto.shift.observe(x - usual).map(Change::Shift).or(stands_still)
            }
            Model::PageHinkley(shift) => shift.observe(x).map(Change::Shift),
            Model::RelativeEntropy(of) => Some(Change::Distribution(of.model.observe(x))),
            Model::Bocpd(model) => Some(Change::Regime(model.observe(x))),
            Model::HalfSpaceTrees(of) if of.model.ready() => {
                of.rarity = of.model.rarity(x, others);
                None
            }
            Model::RandomCutForest(of) if of.model.ready() => {
                of.rarity = of.model.score(x, others);
                None
            }
            _ => None,
        }
    }

    /// What is to be said of `x`, of which `estimate` was expected, and which together with the rows before shows `change`.
    pub fn find(
        &self,
        at: i64,
        x: f64,
        tail: &Tail,
        (estimate, change): (Option<Estimate>, Option<Change>),
    ) -> Finding {
        let side = |e: Estimate| if x > e.expected { Reason::AboveBand } else { Reason::BelowBand };
        let mut finding =
            Finding { estimate, distance: None, surprise: 0.0, reason: estimate.map(side), ready: self.ready(at) };
        match self {
            Model::PageHinkley(model) => {
                finding.surprise = change.map_or(model.share(), |_| 1.0) * SHIFT_SURPRISE;
            }
            Model::NewExtreme(model) => {
                finding.surprise = model.beyond(x, MARGINS) * EXTREME_SURPRISE;
                finding.reason = Some(Reason::NewExtreme);
            }
            Model::Auto(auto) => auto.find(&mut finding, at, x, tail),
            Model::RelativeEntropy(_) | Model::Bocpd(_) => {}
            Model::Spot(model) => finding.surprise = model.surprise(x),
            Model::Rates(of) => finding.surprise = of.rate().surprise(x),
            Model::HalfSpaceTrees(of) if finding.ready => {
                finding.far(of.distance(), tail);
                finding.reason = Some(Reason::Isolated([0; VALUES_MAX]));
            }
            Model::RandomCutForest(of) if finding.ready => {
                finding.far(of.distance(), tail);
                finding.reason = Some(Reason::Isolated([0; VALUES_MAX]));
            }
            Model::HalfSpaceTrees(_) | Model::RandomCutForest(_) => {}
            Model::Ewma(_) | Model::Mad(_) | Model::HoltWinters(_) | Model::Seasonal(_) | Model::RateOfChange(_) => {
                if let Some(estimate) = estimate {
                    finding.far(estimate.distance(x), tail);
                }
                if matches!(self, Model::RateOfChange(_)) {
                    finding.reason = Some(Reason::RateOfChange);
                }
            }
        }
        if let Some(change) = change {
            finding.told(change);
        }
        finding
    }

    /// Which share of what sets a row apart is that of each value, in percent.
    pub fn shares(&self, x: f64, others: &[f64]) -> [u8; VALUES_MAX] {
        match self {
            Model::RandomCutForest(of) => of.model.shares(x, others),
            _ => [0; VALUES_MAX],
        }
    }

    /// What was seen was seen, in an incident too.
    pub fn take_note(&mut self, x: f64) {
        match self {
            Model::Auto(auto) => auto.extreme.learn(x, MARGINS, auto.shift.level.rows <= 1),
            Model::NewExtreme(extreme) => extreme.learn(x, MARGINS),
            _ => {}
        }
    }

    /// Learns what only a season tells from an incident: `x` is part of one, and may be so at this time of every season.
    pub fn learn_season(&mut self, at: i64, x: f64) {
        if let Model::Auto(Auto { season: Some(season), .. }) = self {
            season.learn_season(at, x, DETECT);
        }
    }

    /// Learns `x`; `settled` says where the level is that the series has had for long enough.
    pub fn learn(&mut self, at: i64, x: f64, others: &[f64], settled: Option<Settled>) {
        let level = |model: &mut Ewma| {
            if let Some(settled) = settled {
                model.settle(settled);
            }
            model.learn(x, ALPHA);
        };
        let seasonal = |model: &mut HoltWinters| {
            if let Some(Settled { off, .. }) = settled.filter(|_| model.known(at)) {
                model.level += off;
            }
            model.learn(at, x, DETECT);
        };
        match self {
            Model::Auto(auto) => {
                level(&mut auto.point);
                auto.season.iter_mut().for_each(|season| seasonal(season));
            }
            Model::Ewma(model) => level(model),
            Model::Mad(model) => model.learn(x),
            Model::HoltWinters(model) => seasonal(model),
            Model::Seasonal(model) => model.learn(at, x),
            Model::PageHinkley(_) | Model::NewExtreme(_) | Model::Bocpd(_) => {}
            Model::RateOfChange(model) => model.learn(x),
            Model::RelativeEntropy(of) => level(&mut of.level),
            Model::Spot(model) => model.learn(x),
            Model::Rates(of) => of.learn(x, settled),
            Model::HalfSpaceTrees(of) => {
                if of.model.ready() {
                    of.usual.learn(of.rarity, ALPHA);
                }
                of.model.learn(x, others);
                level(&mut of.level);
            }
            Model::RandomCutForest(of) => {
                if of.model.ready() {
                    of.usual.learn(of.rarity, ALPHA);
                }
                of.model.learn(x, others);
                level(&mut of.level);
            }
        }
    }
}

impl Finding {
    /// What several rows show, where it is more surprising than the row.
    fn told(&mut self, change: Change) {
        match change {
            Change::Shift(_) | Change::Flatline if self.surprise > SHIFT_SURPRISE => {}
            Change::Shift(Shift { from, to }) => {
                (self.surprise, self.reason) = (SHIFT_SURPRISE, Some(Reason::LevelShift { from, to }));
            }
            Change::Flatline => (self.surprise, self.reason) = (SHIFT_SURPRISE, Some(Reason::Flatline)),
            Change::Distribution(surprise) => {
                (self.surprise, self.reason) = (surprise, Some(Reason::DistributionChange));
            }
            Change::Regime(Outlook { surprise, shift }) => {
                self.surprise = surprise;
                self.reason = shift.map_or(self.reason, |Shift { from, to }| Some(Reason::LevelShift { from, to }));
            }
        }
    }
}

/// Shares lie between the bounds that were given, or else between 0 and 1.
fn shares(settings: &DetectSettings) -> Family {
    let bounded = |bound: f64, usual: f64| if bound.is_finite() { bound } else { usual };
    Family::Shares { least: bounded(settings.lower_bound, 0.0), greatest: bounded(settings.upper_bound, 1.0) }
}

impl Coded for Model {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        match self {
            Model::Auto(auto) => {
                auto.point.fields(codec);
                auto.season.iter_mut().for_each(|season| season.fields(codec));
                auto.shift.fields(codec);
                auto.extreme.fields(codec);
                auto.still.fields(codec);
                codec.bool(&mut auto.measured);
                codec.bool(&mut auto.seasonal);
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
            }
            Model::Spot(model) => model.fields(codec),
            Model::Rates(of) => of.fields(codec),
            Model::Bocpd(model) => model.fields(codec),
            Model::HalfSpaceTrees(of) => of.fields(codec),
            Model::RandomCutForest(of) => of.fields(codec),
        }
    }
}

impl<M: Coded> Coded for Scored<M> {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.model.fields(codec);
        self.usual.fields(codec);
        self.level.fields(codec);
    }
}
