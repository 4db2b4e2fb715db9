//! Event recall at a budget of false alarms, with one threshold for all series: what an operator asks of a detector.
//!
//! An event is found if a row from `TOLERANCE` rows before to as many behind it is over the threshold. What is over it
//! elsewhere is a false alarm, together with what follows within [`REFRACTORY`] rows.

use super::data::Labelled;
use super::{REFRACTORY, halves};

/// Labels are off by a few rows.
const TOLERANCE: usize = 5;

/// What a threshold comes to on one series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    false_alarms: usize,
    found: usize,
}

/// A recall, and the rate of false alarms that it came with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// The share of events found, with a threshold from other files.
    pub recall: f64,
    /// False alarms per row, with that threshold.
    pub false_alarms: f64,
    /// The share found with the threshold that these files would choose.
    pub in_hindsight: f64,
}

/// What each threshold comes to, by series.
pub fn counts(series: &[Labelled], scores: &[Vec<f64>], thresholds: &[f64]) -> Vec<Vec<Counts>> {
    let of = |(series, scores): (&Labelled, &Vec<f64>)| {
        thresholds.iter().map(|threshold| count(series, scores, *threshold)).collect()
    };
    series.iter().zip(scores).map(of).collect()
}

fn count(series: &Labelled, scores: &[f64], threshold: f64) -> Counts {
    let events: Vec<(usize, usize)> = series.judged().collect();
    let mut found = vec![false; events.len()];
    let (mut false_alarms, mut last) = (0, None::<usize>);
    for row in (series.probation..scores.len()).filter(|row| scores[*row] >= threshold) {
        let near = |(first, last): &(usize, usize)| row + TOLERANCE >= *first && row <= last + TOLERANCE;
        let mut of_event = false;
        for (at, event) in events.iter().enumerate().filter(|(_, event)| near(event)) {
            debug_assert!(near(event));
            (found[at], of_event) = (true, true);
        }
        if !of_event && last.is_none_or(|last| row - last > REFRACTORY) {
            false_alarms += 1;
            last = Some(row);
        }
    }
    Counts { false_alarms, found: found.iter().filter(|found| **found).count() }
}

/// The recall with at most `budget` false alarms per row, with the threshold of the other half of the files.
pub fn transferred(series: &[Labelled], counts: &[Vec<Counts>], budget: f64) -> Recall {
    let thresholds = counts.first().map_or(0, Vec::len);
    let rows = |files: &[usize]| -> usize {
        files.iter().map(|file| series[*file].values.len() - series[*file].probation).sum()
    };
    let sum = |files: &[usize], at: usize| {
        let all = files.iter().map(|file| counts[*file][at]);
        all.fold(Counts::default(), |a, b| Counts {
            false_alarms: a.false_alarms + b.false_alarms,
            found: a.found + b.found,
        })
    };
    let events = |files: &[usize]| -> usize { files.iter().map(|file| series[*file].judged().count()).sum() };
    // The lowest threshold within the budget.
    let chosen = |files: &[usize]| {
        let most = budget * rows(files) as f64;
        (0..thresholds).find(|at| sum(files, *at).false_alarms as f64 <= most).unwrap_or(thresholds.saturating_sub(1))
    };
    let all: Vec<usize> = (0..series.len()).collect();
    let in_hindsight = sum(&all, chosen(&all)).found as f64 / events(&all).max(1) as f64;
    let (mut found, mut there, mut false_alarms, mut judged_rows) = (0, 0, 0, 0);
    for (chosen_on, judged) in halves(series.len(), 10) {
        let counts = sum(&judged, chosen(&chosen_on));
        found += counts.found;
        there += events(&judged);
        false_alarms += counts.false_alarms;
        judged_rows += rows(&judged);
    }
    Recall {
        recall: found as f64 / there.max(1) as f64,
        false_alarms: false_alarms as f64 / judged_rows.max(1) as f64,
        in_hindsight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_once_and_a_burst_is_one_false_alarm() {
        let series = Labelled {
            name: "a/b.csv".into(),
            times: (0..1_000).collect(),
            values: vec![Some(0.0); 1_000],
            events: vec![(10, 20), (400, 410), (600, 600)],
            probation: 150,
        };
        let mut scores = vec![0.0; 1_000];
        for row in [12, 300, 305, 329, 340, 396, 405, 607] {
            scores[row] = 1.0;
        }
        let counts = count(&series, &scores, 0.5);
        // 300, 305 and 329 are one; 340 begins another; 607 is too far from the event at 600. That in the probation is
        // not judged.
        assert_eq!((counts.found, counts.false_alarms), (1, 3));
    }
}
