//! The figures as a table.

use super::data::Labelled;
use super::{Scored, figures};
use std::fmt::Write;

/// A table of all detectors, in Markdown.
pub fn table(series: &[Labelled], scored: &[Scored]) -> String {
    let rows: usize = series.iter().map(|one| one.values.len()).sum();
    let events: usize = series.iter().map(|one| one.judged().count()).sum();
    let mut out = format!("{} series, {rows} rows, {events} events behind the probation\n\n", series.len());
    out += "| detector | recall at 1/1,000 | false alarms | recall at 1/10,000 | false alarms | NAB, transferred | NAB, best | VUS-PR | rows/s |\n";
    out += "|---|---|---|---|---|---|---|---|---|\n";
    for one in scored {
        let of = figures(series, &one.scores);
        let recall =
            |recall: super::recall::Recall| format!("{:.3} | {:.2}/1,000", recall.recall, recall.false_alarms * 1e3);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.1} | {:.1} | {:.3} | {:.1} M |",
            one.detector,
            recall(of.per_1_000),
            recall(of.per_10_000),
            of.nab_transferred,
            of.nab.score,
            of.vus_pr,
            one.rows_a_second / 1e6,
        );
    }
    out
}
