//! The score of the Numenta Anomaly Benchmark (Lavin & Ahmad, ICMLA 2015): an alarm in a labelled window earns by how
//! early it is there, one outside costs by how far behind a window it is, a window without one costs a whole. Of all
//! alarms in a window the first counts. 0 is what no alarm at all scores, 100 what a perfect detector does.
//!
//! Weights of the standard profile. Rows that follow an alarm within [`REFRACTORY`] rows are no alarms of their own.

use super::data::Labelled;
use super::{REFRACTORY, halves};

const FALSE_POSITIVE: f64 = 0.11;
const FALSE_NEGATIVE: f64 = 1.0;

/// A score, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// 0 for no alarms, 100 for the first row of every window and no other.
    pub score: f64,
    /// The threshold that it was reached with.
    pub threshold: f64,
    /// Windows found.
    pub found: usize,
    /// Windows there are.
    pub windows: usize,
    /// Alarms outside of all windows.
    pub false_alarms: usize,
}

/// Points of one series with one threshold.
#[derive(Clone, Copy, Debug, Default)]
struct Points {
    points: f64,
    found: usize,
    windows: usize,
    false_alarms: usize,
}

/// 2/(1 + e^5y) - 1: 1 far before the end of a window, 0 at it, -1 far behind.
fn sigmoid(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y).exp()) - 1.0
}

fn points(series: &Labelled, scores: &[f64], threshold: f64) -> Points {
    let mut out = Points { windows: series.events.len(), ..Points::default() };
    let mut best: Vec<Option<f64>> = vec![None; series.events.len()];
    let mut last: Option<usize> = None;
    for row in (series.probation..scores.len()).filter(|row| scores[*row] >= threshold) {
        if last.is_some_and(|last| row - last <= REFRACTORY) {
            continue;
        }
        last = Some(row);
        if let Some(at) = series.events.iter().position(|(from, to)| (*from..=*to).contains(&row)) {
            let (from, to) = series.events[at];
            let y = -((to - row + 1) as f64) / (to - from + 1) as f64;
            let earned = sigmoid(y) / sigmoid(-1.0);
            best[at] = Some(best[at].map_or(earned, |known: f64| known.max(earned)));
            continue;
        }
        out.false_alarms += 1;
        let before = series.events.iter().filter(|(_, to)| *to < row).max_by_key(|(_, to)| *to);
        out.points += FALSE_POSITIVE
            * match before {
                None => -1.0,
                Some((from, to)) => {
                    let y = (row - to) as f64 / (to - from).max(1) as f64;
                    if y > 3.0 { -1.0 } else { sigmoid(y) }
                }
            };
    }
    out.found = best.iter().flatten().count();
    out.points += best.iter().map(|earned| earned.unwrap_or(-FALSE_NEGATIVE)).sum::<f64>();
    out
}

fn normalised(points: f64, windows: usize) -> f64 {
    let (least, most) = (-FALSE_NEGATIVE * windows as f64, windows as f64);
    if windows == 0 { 0.0 } else { 100.0 * (points - least) / (most - least) }
}

/// The score with one threshold.
pub fn score(series: &[Labelled], scores: &[Vec<f64>], threshold: f64) -> Score {
    let all = series.iter().zip(scores).map(|(series, scores)| points(series, scores, threshold));
    let sum = all.fold(Points::default(), |a, b| Points {
        points: a.points + b.points,
        found: a.found + b.found,
        windows: a.windows + b.windows,
        false_alarms: a.false_alarms + b.false_alarms,
    });
    Score {
        score: normalised(sum.points, sum.windows),
        threshold,
        found: sum.found,
        windows: sum.windows,
        false_alarms: sum.false_alarms,
    }
}

/// The score with the threshold that is best for these files, and the mean score with one that is best for other files.
pub fn best_and_transferred(series: &[Labelled], scores: &[Vec<f64>], thresholds: &[f64]) -> (Score, f64) {
    let all = thresholds.iter().map(|threshold| score(series, scores, *threshold));
    let best = all.reduce(|a, b| if b.score > a.score { b } else { a });
    let best = best.unwrap_or_else(|| score(series, scores, f64::INFINITY));
    let table: Vec<Vec<Points>> = series
        .iter()
        .zip(scores)
        .map(|(series, scores)| thresholds.iter().map(|threshold| points(series, scores, *threshold)).collect())
        .collect();
    let of = |files: &[usize], at: usize| {
        let points: f64 = files.iter().map(|file| table[*file][at].points).sum();
        normalised(points, files.iter().map(|file| table[*file][at].windows).sum())
    };
    let transferred: Vec<f64> = halves(series.len(), 10)
        .iter()
        .filter(|(_, judged)| judged.iter().any(|file| !series[*file].events.is_empty()))
        .filter_map(|(chosen, judged)| {
            let at = (0..thresholds.len()).max_by(|a, b| of(chosen, *a).total_cmp(&of(chosen, *b)))?;
            Some(of(judged, at))
        })
        .collect();
    (best, transferred.iter().sum::<f64>() / transferred.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Labelled {
        Labelled {
            name: "a/b.csv".into(),
            times: (0..1_000).collect(),
            values: vec![Some(0.0); 1_000],
            events: vec![(400, 499)],
            probation: 150,
        }
    }

    fn alarms(rows: &[usize]) -> Vec<Vec<f64>> {
        let mut scores = vec![0.0; 1_000];
        rows.iter().for_each(|row| scores[*row] = 1.0);
        vec![scores]
    }

    #[test]
    fn nothing_scores_0_and_the_first_row_of_each_window_100() {
        let of = |rows: &[usize]| score(&[series()], &alarms(rows), 0.5).score;
        assert_eq!(of(&[]), 0.0);
        assert!((of(&[400]) - 100.0).abs() < 1e-9);
        // In the probation nothing counts.
        assert_eq!(of(&[100]), 0.0);
    }

    #[test]
    fn alarms_are_weighed_as_the_benchmark_does() {
        let of = |rows: &[usize]| score(&[series()], &alarms(rows), 0.5).score;
        // A miss and a false alarm: (-1 - 0.11 + 1) / 2.
        assert!((of(&[200]) + 5.5).abs() < 1e-9);
        // The last row: y = -1/100.
        let last = sigmoid(-0.01) / sigmoid(-1.0);
        assert!((of(&[499]) - 50.0 * (last + 1.0)).abs() < 1e-9);
        // Right behind the window a false alarm costs little: y = 1/99.
        let behind = 0.11 * sigmoid(1.0 / 99.0);
        assert!((of(&[400, 500]) - 50.0 * (2.0 + behind)).abs() < 1e-9);
        // What follows an alarm within the refractory rows is none of its own.
        assert_eq!(of(&[200, 210, 220]), of(&[200]));
    }
}
