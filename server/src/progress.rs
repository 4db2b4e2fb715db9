//! How a run is told on stderr: the progress line of a bounded run, and the summary at its end.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use thalweg_engine::status::Status;
use thalweg_schemas::epoch::Watermark;

/// The sums over all sources and views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    rows_in: u64,
    rows_to_sinks: u64,
    late: u64,
    dead: u64,
}

impl Totals {
    /// The sums of `status`.
    pub fn of(status: &Status) -> Totals {
        Totals {
            rows_in: status.sources.iter().map(|source| source.rows_in).sum(),
            rows_to_sinks: status.sinks.iter().map(|sink| sink.rows).sum(),
            late: status.views.iter().map(|view| view.late).sum(),
            dead: status.sources.iter().map(|source| source.dead).sum::<u64>()
                + status.views.iter().map(|view| view.dead).sum::<u64>(),
        }
    }

    /// The summary of a run that took `elapsed`.
    pub fn line(&self, elapsed: Duration) -> String {
        format!(
            "done: {} rows in ({} rows/s), {} rows to sinks, {} late, {} dead, {:.2} s",
            grouped(self.rows_in),
            grouped(per_second(self.rows_in, elapsed)),
            grouped(self.rows_to_sinks),
            grouped(self.late),
            grouped(self.dead),
            elapsed.as_secs_f64()
        )
    }
}

fn per_second(rows: u64, elapsed: Duration) -> u64 {
    (rows as f64 / elapsed.as_secs_f64().max(1e-3)) as u64
}

/// `4000000` as `4,000,000`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A line on the terminal that follows a run whose sources say how far they have come; nothing where stderr is none.
pub struct ProgressLine {
    bar: ProgressBar,
}

impl ProgressLine {
    /// A line that appears with the first [`draw`](Self::draw) that has something to show.
    pub fn new() -> ProgressLine {
        ProgressLine { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()) }
    }

    /// Draws the state of the run.
    pub fn draw(&self, status: &Status, elapsed: Duration) {
        let measured: Vec<_> = status.sources.iter().filter_map(|source| source.progress).collect();
        if self.bar.is_hidden() || measured.is_empty() {
            return;
        }
        if self.bar.length().is_none() {
            let style = ProgressStyle::with_template("{wide_bar:.cyan/dim} {percent:>3}% {msg}");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        self.bar.set_length(measured.iter().map(|progress| progress.total).sum());
        self.bar.set_position(measured.iter().map(|progress| progress.done).sum());
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        self.bar.set_message(message(status, elapsed, columns));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for ProgressLine {
    fn default() -> ProgressLine {
        ProgressLine::new()
    }
}

/// Fewer columns than these, and the message says the same in fewer words, so that a bar is left.
const NARROW: usize = 120;

fn message(status: &Status, elapsed: Duration, columns: usize) -> String {
    let rows = Totals::of(status).rows_in;
    let rate = per_second(rows, elapsed);
    let narrow = columns < NARROW;
    let mut text = match narrow {
        true => format!("{} rows, {}/s", grouped(rows), short(rate)),
        false => format!("{} rows, {} rows/s", grouped(rows), grouped(rate)),
    };
    let watermark = status.sources.iter().filter_map(|source| source.watermark).min();
    if let Some(watermark) = watermark.filter(|w| *w != Watermark::MIN && *w != Watermark::MAX) {
        let second = watermark.to_string();
        let second = second.split_once('.').map_or(second.as_str(), |(second, _)| second);
        let lag = status.epoch_start_ns.saturating_sub(watermark.0).max(0) as u64;
        let word = if narrow { "to" } else { "watermark" };
        text.push_str(&format!(", {word} {second}, lag {}", rough(Duration::from_nanos(lag))));
    }
    text
}

/// A number in three digits or so.
fn short(n: u64) -> String {
    match n {
        0..10_000 => grouped(n),
        10_000..1_000_000 => format!("{}k", n / 1_000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

/// A length of time in its largest unit.
pub fn rough(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::status::{SourceStatus, ViewStatus};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1_000, 1_234_567].map(grouped)[..]);
    }

    #[test]
    fn the_message_leaves_room_for_a_bar() {
        let source = SourceStatus {
            rows_in: 123_456_789,
            watermark: Some(Watermark(1_767_225_706_783_000_000)),
            ..SourceStatus::default()
        };
        let status = Status { sources: vec![source], epoch_start_ns: 1_767_225_716_783_000_000, ..Status::default() };
        let elapsed = Duration::from_secs(10);
        let narrow = message(&status, elapsed, 80);
        assert_eq!(narrow, "123,456,789 rows, 12.3M/s, to 2026-01-01 00:01:46, lag 10 s");
        assert_eq!(
            message(&status, elapsed, 160),
            "123,456,789 rows, 12,345,678 rows/s, watermark 2026-01-01 00:01:46, lag 10 s"
        );
    }

    #[test]
    fn the_summary_counts_every_row() {
        let status = Status {
            sources: vec![
                SourceStatus { rows_in: 4_000, dead: 3, ..SourceStatus::default() },
                SourceStatus { rows_in: 1_000, ..SourceStatus::default() },
            ],
            views: vec![ViewStatus { late: 2, dead: 1, ..ViewStatus::default() }],
            ..Status::default()
        };
        let line = Totals::of(&status).line(Duration::from_secs(2));
        assert_eq!(line, "done: 5,000 rows in (2,500 rows/s), 0 rows to sinks, 2 late, 4 dead, 2.00 s");
    }
}
