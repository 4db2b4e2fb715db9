//! VUS-PR, the volume under the surface of precision and recall (Paparrizos et al., "Volume under the surface", VLDB 2022):
//! no threshold and no tolerance is chosen, since it is the mean over all of them.
//!
//! For each length ℓ from 0 to `WINDOW` the labels reach ℓ/2 rows beyond each event and fall off as √(1 - distance/ℓ).
//! A threshold's true positives are the labels of the rows above it; recall is their share of the mean of the labels with
//! and without those edges, times the share of events that have any row above it; and the area is Σ precision · Δrecall.
//! It rewards scores that cover an event where an operator wants one alarm: read it beside the recall at a budget.

use super::data::Labelled;

/// The longest edge, in rows.
const WINDOW: usize = 100;
/// Thresholds that are looked at: quantiles of the scores.
const THRESHOLDS: usize = 250;

/// The mean over the series that have an event; 0 where none has one.
pub fn mean(series: &[Labelled], scores: &[Vec<f64>]) -> f64 {
    let of: Vec<f64> = series.iter().zip(scores).filter_map(|(series, scores)| of_series(series, scores)).collect();
    of.iter().sum::<f64>() / of.len().max(1) as f64
}

/// Of one series, over the rows that are judged; `None` where no event is among them.
fn of_series(series: &Labelled, scores: &[f64]) -> Option<f64> {
    let scores = &scores[series.probation..];
    let events: Vec<(usize, usize)> =
        series.judged().map(|(first, last)| (first - series.probation, last - series.probation)).collect();
    if events.is_empty() {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    // How many rows are above each threshold, those that are equal to it among them.
    let above: Vec<usize> = (0..THRESHOLDS)
        .map(|k| {
            let threshold = scores[order[k * (scores.len() - 1) / (THRESHOLDS - 1)]];
            order.partition_point(|row| scores[*row] >= threshold)
        })
        .collect();
    let mut rank = vec![0; scores.len()];
    order.iter().enumerate().for_each(|(at, row)| rank[*row] = at);
    let areas = (0..=WINDOW).map(|edge| area(&events, edge, &order, &rank, &above));
    Some(areas.sum::<f64>() / (WINDOW + 1) as f64)
}

/// The area under precision and recall with edges of this length.
fn area(events: &[(usize, usize)], edge: usize, order: &[usize], rank: &[usize], above: &[usize]) -> f64 {
    let rows = order.len();
    let labels = with_edges(events, edge, rows);
    let plain: usize = events.iter().map(|(first, last)| last - first + 1).sum();
    let positives = f64::midpoint(plain as f64, labels.iter().sum());
    // Events whose edges meet are one; it exists from the best rank of its rows on.
    let mut exists: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < rows {
        let end = (at..rows).find(|row| labels[*row] <= 0.0).unwrap_or(rows);
        exists.extend(rank[at..end].iter().min());
        at = end + 1;
    }
    exists.sort_unstable();
    let (mut taken, mut true_positives, mut recall_before, mut area) = (0, 0.0, 0.0, 0.0);
    for above in above {
        true_positives += order[taken..*above].iter().map(|row| labels[*row]).sum::<f64>();
        taken = *above;
        let existing = exists.partition_point(|rank| rank < above) as f64 / exists.len().max(1) as f64;
        let recall = (true_positives / positives).min(1.0) * existing;
        area += (recall - recall_before) * true_positives / *above as f64;
        recall_before = recall;
    }
    area
}

/// 1 in an event, and less and less beside it.
fn with_edges(events: &[(usize, usize)], edge: usize, rows: usize) -> Vec<f64> {
    let mut labels = vec![0.0f64; rows];
    for (first, last) in events {
        labels[*first..=*last].fill(1.0);
        for distance in 1..=edge / 2 {
            let more = (1.0 - distance as f64 / edge as f64).sqrt();
            for row in
                [first.checked_sub(distance), Some(last + distance).filter(|row| *row < rows)].into_iter().flatten()
            {
                labels[row] = (labels[row] + more).min(1.0);
            }
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Labelled {
        Labelled {
            name: "a/b.csv".into(),
            times: (0..1_150).collect(),
            values: vec![Some(0.0); 1_150],
            events: vec![(550, 599), (900, 904)],
            probation: 150,
        }
    }

    fn scored(score: impl Fn(usize) -> f64) -> f64 {
        mean(&[series()], &[(0..1_150).map(score).collect()])
    }

    #[test]
    fn a_score_without_a_word_is_worth_the_share_of_events() {
        // 55 of 1,000 rows; with edges of 100 rows up to 200 more of them count in part.
        let constant = scored(|_| 0.0);
        assert!((0.055..0.15).contains(&constant), "{constant}");
        assert_eq!(mean(&[], &[]), 0.0);
    }

    #[test]
    fn the_labels_themselves_are_worth_the_most() {
        let label = |row: usize| f64::from(u8::from((550..=599).contains(&row) || (900..=904).contains(&row)));
        let exact = scored(label);
        assert!(exact > 0.6, "{exact}");
        assert!(scored(|row| 1.0 - label(row)) < exact / 3.0);
        // Half of an event is worth less, and a whole one without the other much less: it does not exist.
        let half = scored(|row| if row < 575 { label(row) } else { label(row) * f64::from(u8::from(row >= 900)) });
        let one = scored(|row| if row < 700 { label(row) } else { 0.0 });
        assert!(one < half && half < exact, "{one} {half} {exact}");
    }

    #[test]
    fn without_edges_it_is_the_average_precision() {
        // Ten rows in order of score: hit, miss, hit; precision 1 at recall 1/2, 2/3 at 1. Both events exist by then.
        let (events, order) = (vec![(2, 2), (5, 5)], vec![2, 0, 5, 1, 3, 4, 6, 7, 8, 9]);
        let mut rank = vec![0; 10];
        order.iter().enumerate().for_each(|(at, row)| rank[*row] = at);
        let found = area(&events, 0, &order, &rank, &(1..=10).collect::<Vec<_>>());
        // Recall counts half while one of both events exists.
        assert!((found - (0.25 * 1.0 + 0.75 * 2.0 / 3.0)).abs() < 1e-12, "{found}");
    }
}
