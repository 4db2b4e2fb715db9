//! One series under watch: the stages from a row to a verdict.

use super::calibration::{Tail, score};
use super::codec::{Codec, Coded, decode, encode};
use super::group::Group;
use super::incident::{Incident, Settled};
use super::model::{Change, EXTREME_SURPRISE, Finding, Model};
use super::settings::{DetectSettings, Direction};
use super::{Estimate, Moment, Reason, VALUE_MAX, Verdict};

/// A row is never an anomaly that is less surprising: once in three hundred rows, however many alarms are tolerated.
const SURPRISE_FROM: f64 = 2.5;
/// A row that is more surprising is always one.
const SURPRISE_TO: f64 = 9.0;
/// For so many rows what is out of the ordinary is said to come after a deployment.
const DEPLOYED_ROWS: u8 = 60;
const DAY_NS: f64 = 86_400e9;

/// One series: what is known of it, and where it is in an incident.
#[derive(Clone, Debug)]
pub struct Detector {
    model: Model,
    tail: Tail,
    incident: Incident,
    last_ns: i64,
    interval_ns: f32,
    rows: u32,
    /// What is deployed, if anybody says so; 0 before anybody has.
    version: u32,
}

impl Detector {
    /// A series of which nothing is known.
    pub fn new(settings: &DetectSettings) -> Detector {
        Detector {
            model: Model::new(settings),
            tail: Tail::default(),
            incident: Incident::default(),
            last_ns: i64::MIN,
            interval_ns: 0.0,
            rows: 0,
            version: 0,
        }
    }

    /// A series of which nothing is known but its group.
    pub fn of_group(settings: &DetectSettings, group: &Group) -> Detector {
        let mut detector = Detector::new(settings);
        if group.known() {
            detector.model.take_after(group);
        }
        detector
    }

    /// Says what is deployed as of the next row. Another version than before is a deployment.
    pub fn deploy(&mut self, version: u32) {
        let version = version.max(1);
        if self.version != 0 && self.version != version {
            self.incident.deployed = DEPLOYED_ROWS;
        }
        self.version = version;
    }

    /// Judges a row and learns it. Rows come in order of time. `None` is a
    /// value that is missing, which is not zero: like NaN and infinity it is not learnt.
    pub fn observe(&mut self, settings: &DetectSettings, at: impl Into<Moment>, value: Option<f64>) -> Verdict {
        self.observe_in(settings, at.into(), value, &[], None)
    }

    /// As [`observe`](Self::observe), for a series of a group: while it is learning, what is beyond all that was seen in
    /// the group stands out, and when it is known, its rows are learnt by the group. `others` are the further values that
    /// are judged together with `value`, finite ones where that is.
    pub fn observe_in(
        &mut self,
        settings: &DetectSettings,
        at: Moment,
        value: Option<f64>,
        others: &[f64],
        group: Option<&mut Group>,
    ) -> Verdict {
        self.keep_time(at.at);
        self.incident.deployed = self.incident.deployed.saturating_sub(1);
        let local = at.local;
        if self.model.turn_to(local) {
            self.tail = Tail::default();
        }
        let x = match value {
            _ if settings.excludes(at.at) => return self.nothing(settings, local, Reason::Excluded),
            Some(x) if x.is_finite() => x.clamp(-VALUE_MAX, VALUE_MAX),
            Some(_) => return self.nothing(settings, local, Reason::NotFinite),
            None => return self.nothing(settings, local, Reason::Missing),
        };
        let threshold = self.threshold(settings);
        // As it was before anything was shown of the row.
        let estimate = self.model.expect(local);
        let change = self.model.change(local, x, others);
        let mut finding = self.find(settings, local, x, (estimate, change));
        let band = self.band(settings, estimate, threshold);
        let learning = self.rows < settings.warm_up || !finding.ready;
        let judged = !learning || self.judged_by(group.as_deref(), x, &mut finding);
        let stands_out = judged && finding.surprise >= threshold;
        let news = if judged { self.incident.news(finding.surprise) } else { 0.0 };
        let off = finding.estimate.map_or(0.0, |e| x - e.expected);
        let outcome = self.incident.note(stands_out, off, settings.debounce);
        self.model.take_note(x);
        if outcome.is_anomaly && !others.is_empty() && matches!(finding.reason, Some(Reason::Isolated(_))) {
            finding.reason = Some(Reason::Isolated(self.model.shares(x, others)));
        }
        if outcome.learn {
            self.model.learn(local, x, others, outcome.settled);
        } else {
            self.model.learn_season(local, x);
        }
        // While a season is learnt, distances are those of a model that does not know it: they say nothing of the tail.
        if self.rows >= super::WARM_UP && outcome.fresh && finding.ready {
            self.tail.learn(finding.distance.unwrap_or(0.0));
        }
        if let Some(group) = group.filter(|_| !learning && !stands_out) {
            group.learn(x);
        }
        self.rows = self.rows.saturating_add(1);
        let reason = match (finding.reason, outcome.settled, finding.estimate) {
            (Some(Reason::AboveBand | Reason::BelowBand), Some(Settled { off, .. }), Some(estimate)) => {
                Some(Reason::LevelShift { from: estimate.expected, to: estimate.expected + off })
            }
            (reason, _, _) => reason,
        };
        Verdict {
            expected: finding.estimate.map(|e| e.expected.clamp(settings.lower_bound, settings.upper_bound)),
            lower: band.map(|(lower, _)| lower),
            upper: band.map(|(_, upper)| upper),
            score: score(news),
            is_anomaly: outcome.is_anomaly,
            reason: reason.filter(|_| outcome.is_anomaly),
            learning,
            after_deploy: outcome.is_anomaly && self.incident.deployed > 0,
        }
    }

    /// The time of the last row.
    pub fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Detector>() + self.model.bytes()
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
            let step = at.saturating_sub(self.last_ns) as f32;
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
        let rows_a_day = if self.interval_ns > 0.0 { DAY_NS as f32 / self.interval_ns } else { 1.0 };
        // Once a row: with the digits that an interval has, which takes a fifth of the time.
        let surprise = (rows_a_day / settings.sensitivity as f32).log2() * std::f32::consts::LOG10_2;
        f64::from(surprise).clamp(SURPRISE_FROM, SURPRISE_TO)
    }

    /// Whether the group judges `x` while too little is known of the series; what it says takes the place of `finding`.
    fn judged_by(&self, group: Option<&Group>, x: f64, finding: &mut Finding) -> bool {
        let beyond = group.map_or(0.0, |group| group.beyond(x));
        (finding.surprise, finding.reason) = (beyond * EXTREME_SURPRISE, Some(Reason::NewExtreme));
        beyond > 0.0
    }

    /// What the models say of `x`, with what does not matter left out.
    fn find(&self, settings: &DetectSettings, at: i64, x: f64, shown: (Option<Estimate>, Option<Change>)) -> Finding {
        let mut finding = self.model.find(at, x, &self.tail, shown);
        let reference = match finding.reason {
            Some(Reason::LevelShift { from, .. }) => Some(from),
            // That it does not move is not to one side.
            Some(Reason::Flatline) => None,
            _ => finding.estimate.map(|e| e.expected),
        };
        // Which side of several values?
        let Some(expected) = reference.filter(|_| settings.values.len() < 2) else { return finding };
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
        let band = self.band(settings, estimate, self.threshold(settings));
        Verdict {
            expected: estimate.map(|e| e.expected.clamp(settings.lower_bound, settings.upper_bound)),
            lower: band.map(|(lower, _)| lower),
            upper: band.map(|(_, upper)| upper),
            score: 0.0,
            is_anomaly: false,
            reason: Some(reason),
            learning: self.rows < settings.warm_up || !self.model.ready(at),
            after_deploy: false,
        }
    }

    /// The values that are less surprising than `threshold`, within the bounds.
    fn band(&self, settings: &DetectSettings, estimate: Option<Estimate>, threshold: f64) -> Option<(f64, f64)> {
        let cut = |x: f64| x.clamp(settings.lower_bound, settings.upper_bound);
        self.model.band(estimate, &self.tail, threshold).map(|(lower, upper)| (cut(lower), cut(upper)))
    }
}

impl Coded for Detector {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.model.fields(codec);
        self.tail.fields(codec);
        self.incident.fields(codec);
        codec.i64(&mut self.last_ns);
        codec.f64_of(&mut self.interval_ns);
        codec.u32(&mut self.rows);
        codec.u32(&mut self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_without_a_season_takes_less_than_a_hundred_and_seventy_bytes() {
        assert!(size_of::<Option<Detector>>() <= 168, "{} bytes", size_of::<Option<Detector>>());
    }
}
