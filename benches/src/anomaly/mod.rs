//! The accuracy of the detectors over labelled series: how many events are found for how many false alarms.
//!
//! No single figure is to be trusted, so there are three kinds. *Event recall*: the share of labelled events that are
//! found with at most so many false alarms per thousand rows, with one threshold for all series, chosen on one half of
//! the files and applied to the other. *NAB score*: the rule of the Numenta Anomaly Benchmark. *VUS-PR*: the volume under
//! precision and recall. Point-adjusted F1 is not among them: a random score reaches 0.97 by it.

pub mod data;
pub mod generated;
pub mod nab;
pub mod recall;
pub mod report;
pub mod vus;

use data::Labelled;
use std::collections::BTreeMap;
use thalweg_operators::anomaly::new_extreme::{NewExtreme, PUBLISHED};
use thalweg_operators::anomaly::{DetectSettings, Detector, Method};

/// An alarm opens an incident; what follows within so many rows belongs to it.
pub const REFRACTORY: usize = 30;

/// Scores of a folder's series, one a row, by a detector.
pub struct Scored {
    /// What scored them.
    pub detector: String,
    /// In the order of the series.
    pub scores: Vec<Vec<f64>>,
    /// Rows scored a second.
    pub rows_a_second: f64,
}

/// What a detector reached.
#[derive(Clone, Debug)]
pub struct Figures {
    /// With the threshold that is best for these files: what published scores are.
    pub nab: nab::Score,
    /// With the threshold from other files, by the mean over random halves.
    pub nab_transferred: f64,
    /// Event recall at one false alarm per 1,000 rows.
    pub per_1_000: recall::Recall,
    /// Event recall at one false alarm per 10,000 rows.
    pub per_10_000: recall::Recall,
    /// The volume under precision and recall, the mean over the series.
    pub vus_pr: f64,
}

/// Scores `series` by every method, by what they are compared with, and by `auto` as it is configured by default.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
pub fn score_all(series: &[Labelled], settings: &DetectSettings) -> Vec<Scored> {
    let of = |name: String, score: &dyn Fn(&Labelled) -> Vec<f64>| {
        let began = std::time::Instant::now();
        let scores: Vec<Vec<f64>> = series.iter().map(score).collect();
        let rows: usize = scores.iter().map(Vec::len).sum();
        Scored { detector: name, scores, rows_a_second: rows as f64 / began.elapsed().as_secs_f64() }
    };
    let mut all = vec![
        of("constant".into(), &|series| vec![0.0; series.values.len()]),
        of("new extreme, 5 %, as published".into(), &published_extreme),
    ];
    for (name, method) in Method::ALL {
        let settings = DetectSettings { method: *method, ..settings.clone() };
        all.push(of((*name).to_string(), &|series| detect(series, &settings)));
    }
    all
}

/// The scores of one series by a detector.
pub fn detect(series: &Labelled, settings: &DetectSettings) -> Vec<f64> {
    let mut detector = Detector::new(settings);
    let rows = series.times.iter().zip(&series.values);
    rows.map(|(at, value)| detector.observe(settings, *at, *value).score).collect()
}

fn published_extreme(series: &Labelled) -> Vec<f64> {
    let mut model = NewExtreme::default();
    let score = |value: &Option<f64>| {
        let Some(x) = *value else { return 0.0 };
        let beyond = model.beyond(x, PUBLISHED);
        model.learn(x, PUBLISHED);
        beyond
    };
    series.values.iter().map(score).collect()
}

/// The figures of one detector.
pub fn figures(series: &[Labelled], scores: &[Vec<f64>]) -> Figures {
    let thresholds = thresholds(series, scores);
    let (nab, nab_transferred) = nab::best_and_transferred(series, scores, &thresholds);
    let counts = recall::counts(series, scores, &thresholds);
    let at = |per_row: f64| recall::transferred(series, &counts, per_row);
    Figures { nab, nab_transferred, per_1_000: at(1e-3), per_10_000: at(1e-4), vus_pr: vus::mean(series, scores) }
}

/// Thresholds worth trying, the lowest first: quantiles of the highest scores.
fn thresholds(series: &[Labelled], scores: &[Vec<f64>]) -> Vec<f64> {
    let judged = series.iter().zip(scores).flat_map(|(series, scores)| &scores[series.probation..]);
    let mut high: Vec<f64> = judged.copied().filter(|score| *score > 0.0).collect();
    high.sort_by(|a, b| b.total_cmp(a));
    let mut chosen = BTreeMap::new();
    let mut at = 1.0;
    while (at as usize) < high.len() && at < 0.05 * high.len() as f64 + 2.0 {
        let score = high[at as usize - 1];
        chosen.insert(score.to_bits(), score);
        at = (at * 1.04).max(at + 1.0);
    }
    // A threshold that nothing reaches.
    chosen.insert(f64::INFINITY.to_bits(), f64::INFINITY);
    chosen.into_values().collect()
}

/// Splits `0..n` into random halves, `rounds` times; both halves of a split come.
pub(crate) fn halves(n: usize, rounds: u64) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut splits = Vec::new();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| mixed(round * 1_000_003 + *i as u64));
        let (a, b) = order.split_at(n / 2);
        splits.push((a.to_vec(), b.to_vec()));
        splits.push((b.to_vec(), a.to_vec()));
    }
    splits
}

/// SplitMix64: the same halves on every machine.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
