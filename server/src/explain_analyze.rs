//! `EXPLAIN ANALYZE view`: what the operators of a running view have done so far, below its dataflow.

use crate::progress::grouped;
use std::fmt::Write;
use thalweg_engine::status::{OperatorStatus, Status};

/// A line for each operator that works for `view`, all its workers together, in the order in which rows pass them.
pub fn figures(status: &Status, view: &str) -> String {
    let mut operators: Vec<OperatorStatus> = Vec::new();
    for own in status.operators.iter().filter(|operator| operator.view == view) {
        // Several of one name are told apart by their places among a worker's operators.
        let place = status.operators.iter().filter(|o| (&o.view, o.worker) == (&own.view, own.worker));
        let place = place.take_while(|o| !std::ptr::eq(*o, own)).count();
        match operators.get_mut(place) {
            Some(sum) => {
                sum.rows_in += own.rows_in;
                sum.rows_out += own.rows_out;
                sum.state_rows += own.state_rows;
                sum.state_bytes += own.state_bytes;
                sum.busy_ns += own.busy_ns;
            }
            None => operators.push(own.clone()),
        }
    }
    let mut out = format!("as of epoch {}, {} workers:\n", status.epoch, status.workers);
    for operator in operators {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "  {}: {} rows in, {} rows out, state {} rows in {} bytes, busy {:.1} ms",
            operator.operator,
            grouped(operator.rows_in),
            grouped(operator.rows_out),
            grouped(operator.state_rows),
            grouped(operator.state_bytes),
            operator.busy_ns as f64 / 1e6
        );
    }
    if let Some(own) = status.views.iter().find(|own| own.name == view) {
        let _ = writeln!(
            out,
            "  view: {} rows in {} bytes, {} late, {} dead",
            grouped(own.rows),
            grouped(own.bytes),
            grouped(own.late),
            grouped(own.dead)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::status::ViewStatus;
    use thalweg_schemas::epoch::Epoch;

    #[test]
    fn workers_are_added_up_operator_by_operator() {
        let operator = |view: &str, name: &str, worker, rows| OperatorStatus {
            view: view.into(),
            operator: name.into(),
            worker,
            rows_in: rows,
            rows_out: 1,
            state_rows: 2,
            state_bytes: 1_000,
            evicted: 0,
            busy_ns: 500_000,
            hottest_keys: None,
        };
        let status = Status {
            epoch: Epoch(7),
            workers: 2,
            operators: vec![
                operator("v", "Filter", 0, 10),
                operator("w", "Filter", 0, 99),
                operator("v", "Filter", 1, 20),
                operator("v", "Filter", 0, 1),
                operator("v", "Filter", 1, 2),
            ],
            views: vec![ViewStatus { name: "v".into(), rows: 3, bytes: 1_234, ..ViewStatus::default() }],
            ..Status::default()
        };
        assert_eq!(
            figures(&status, "v"),
            "as of epoch 7, 2 workers:\n  \
             Filter: 30 rows in, 2 rows out, state 4 rows in 2,000 bytes, busy 1.0 ms\n  \
             Filter: 3 rows in, 2 rows out, state 4 rows in 2,000 bytes, busy 1.0 ms\n  \
             view: 3 rows in 1,234 bytes, 0 late, 0 dead\n"
        );
    }
}
