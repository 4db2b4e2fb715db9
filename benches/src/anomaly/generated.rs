//! A labelled set of our own, so that a clone can measure without any data: series as services have them, each with events
//! whose rows are known. The same on every machine; it is made to be read, not to be hard.

use super::data::Labelled;
use super::mixed;

const ROWS: usize = 3_000;
const STEP_NS: i64 = 300_000_000_000;
/// Rows of a day.
const DAY: usize = 288;

/// What a series looks like where nothing happens.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Requests: a day, less at the weekend.
    Traffic,
    /// Milliseconds: a floor and a long tail.
    Latency,
    /// Errors: small counts.
    Errors,
    /// Memory: it fills and is emptied.
    Memory,
    /// A level that wanders.
    Queue,
    /// A share that hardly moves.
    HitRate,
}

/// What happens in a row of an event: by how much the value is multiplied, and what is added.
const EVENTS: [(&str, usize, f64, f64); 5] = [
    ("spike", 1, 4.0, 0.0),
    ("burst", 8, 2.5, 0.0),
    ("outage", 12, 0.0, 0.0),
    ("dip", 3, 0.3, 0.0),
    ("shift", 60, 1.8, 0.0),
];

/// Two series of each shape with a few events each.
pub fn series(seed: u64) -> Vec<Labelled> {
    use Shape::{Errors, HitRate, Latency, Memory, Queue, Traffic};
    let shapes = [Traffic, Latency, Errors, Memory, Queue, HitRate];
    let numbered = shapes.iter().flat_map(|shape| [(*shape, 1), (*shape, 2)]).enumerate();
    numbered.map(|(at, (shape, number))| one(seed.wrapping_mul(1_000).wrapping_add(at as u64), shape, number)).collect()
}

fn one(seed: u64, shape: Shape, number: u64) -> Labelled {
    let unit =
        |salt: u64, row: usize| (mixed(seed ^ mixed(salt << 32 | row as u64)) >> 11) as f64 / (1u64 << 53) as f64;
    let mut level = 50.0;
    let mut values: Vec<f64> = (0..ROWS)
        .map(|row| {
            let noise = unit(1, row) + unit(2, row) + unit(3, row) - 1.5;
            let day = (std::f64::consts::TAU * (row % DAY) as f64 / DAY as f64).sin();
            let weekend = if matches!(row / DAY % 7, 5 | 6) { 0.6 } else { 1.0 };
            level += 0.4 * noise;
            match shape {
                Shape::Traffic => 1_000.0 * weekend * (1.0 + 0.6 * day) + 60.0 * noise,
                Shape::Latency => 40.0 - 15.0 * unit(4, row).max(1e-9).ln() + 5.0 * day,
                Shape::Errors => (-(unit(5, row).max(1e-9)).ln() * 2.0).floor(),
                Shape::Memory => 300.0 + (row % 700) as f64 * 0.5 + 8.0 * noise,
                Shape::Queue => level + 3.0 * noise,
                Shape::HitRate => 96.0 + 0.4 * noise,
            }
        })
        .collect();
    let mut events = Vec::new();
    for slot in 0..6 {
        let (_, length, factor, more) = EVENTS[(mixed(seed + slot) % EVENTS.len() as u64) as usize];
        let first = 600 + 390 * slot as usize + (mixed(seed * 7 + slot) % 200) as usize;
        let of_small_counts = if matches!(shape, Shape::Errors) && factor > 0.0 { 12.0 } else { 0.0 };
        for value in &mut values[first..first + length] {
            *value = *value * factor + more + of_small_counts;
        }
        // A count that is low anyway has no outage to be found.
        if !(matches!(shape, Shape::Errors) && factor < 1.0) {
            events.push((first, first + length - 1));
        }
    }
    Labelled {
        name: format!("generated/{shape:?}-{number}").to_lowercase(),
        times: (0..ROWS).map(|row| row as i64 * STEP_NS).collect(),
        values: values.into_iter().map(Some).collect(),
        events,
        probation: (15 * ROWS / 100).min(750),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::{detect, figures};
    use thalweg_operators::anomaly::DetectSettings;

    #[test]
    fn auto_finds_most_of_it_and_a_constant_score_nothing() {
        let series = series(1);
        assert!(series.iter().map(|one| one.judged().count()).sum::<usize>() >= 40);
        let settings = DetectSettings { season_ns: DAY as i64 * STEP_NS, ..DetectSettings::default() };
        let constant: Vec<Vec<f64>> = series.iter().map(|one| vec![0.0; one.values.len()]).collect();
        assert_eq!(figures(&series, &constant).nab.score, 0.0);
        let scores: Vec<Vec<f64>> = series.iter().map(|one| detect(one, &settings)).collect();
        let auto = figures(&series, &scores);
        assert!(auto.nab.score > 50.0 && auto.per_1_000.recall > 0.6, "{auto:?}");
        assert!(auto.per_1_000.false_alarms < 2e-3, "{auto:?}");
    }
}
