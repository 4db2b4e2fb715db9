//! Models of series survive: whatever process died when, and however many workers went on, the same is said of each row.

use super::{Lives, after_deaths, consolidated, lines, random_table, source, world};
use crate::equivalence::difference;
use std::fmt::Write;
use thalweg_operators::anomaly::Method;

/// A view and a sink for each method, one of series in groups, and forecasts.
fn pipeline() -> (String, Vec<String>) {
    let mut queries = Vec::new();
    for (method, _) in Method::ALL {
        // Whatever the values are, they are shares of what lies between the bounds.
        let bounds = if *method == "beta" { ", lower_bound => -500, upper_bound => 500" } else { "" };
        queries.push(format!(
            "SELECT ts, k, f, expected, lower, upper, score, is_anomaly, reason, learning FROM DETECT_ANOMALIES(events, \
             time => ts, value => f, by => k, method => '{method}', season => INTERVAL '20 seconds', warm_up => 5{bounds})"
        ));
    }
    queries.push(
        "SELECT ts, k, g, f, expected, score, reason, learning FROM DETECT_ANOMALIES(events, time => ts, value => f, \
         by => (g, k), parent => g, deploy => b, max_series => 1000, warm_up => 5)"
            .into(),
    );
    for season in ["", ", season => INTERVAL '20 seconds'"] {
        queries.push(format!(
            "SELECT ts, k, f, forecast, lower, upper, breach_at FROM FORECAST(events, time => ts, value => f, by => k, \
             horizon => INTERVAL '10 seconds', threshold => 100{season})"
        ));
    }
    let mut sql = source();
    for (number, query) in queries.iter().enumerate() {
        let _ = writeln!(sql, "CREATE MATERIALIZED VIEW v{number} AS {query};");
        let _ = writeln!(sql, "CREATE SINK s{number} FROM v{number} WITH ({{world}});");
    }
    (sql, queries)
}

#[test]
fn what_is_said_of_a_row_does_not_depend_on_crashes_and_workers() {
    let rows = random_table(31, 400);
    let (sql, queries) = pipeline();
    let straight = Lives::new("detected-straight", &sql, world(&rows, 3, 400)).live(1, i64::MAX).unwrap();
    let (lives, engine) = after_deaths("detected-killed", &sql, || world(&rows, 3, 20), &[(2, 7), (3, 12), (1, 9)]);
    let mut faults = String::new();
    for (number, query) in queries.iter().enumerate() {
        let view = format!("v{number}");
        let expected = lines(&straight.snapshots(&[&view]).unwrap().remove(0).batches);
        assert_eq!(expected.len(), 400, "a row is said of each: {query}");
        for found in [
            lines(&engine.snapshots(&[&view]).unwrap().remove(0).batches),
            consolidated(&lives.world, &format!("s{number}")),
        ] {
            if found != expected {
                let _ = writeln!(faults, "{query}\n{}", difference(&found, &expected));
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
