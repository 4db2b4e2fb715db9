//! `/metrics`: the engine's counters in Prometheus' text format.

use std::fmt::Write;
use thalweg_engine::status::{
    ArchiveStatus, MemoryStatus, OperatorStatus, RejectCount, SinkStatus, SourceStatus, Status, ViewStatus,
};
use thalweg_schemas::epoch::Watermark;

/// A metric of something that has a name.
type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> Option<f64>);

const SOURCES: &[Metric<SourceStatus>] = &[
    ("source_rows_in_total", "counter", "Records taken in, right or wrong.", |s| Some(s.rows_in as f64)),
    ("source_rows_out_total", "counter", "Rows handed to the dataflow.", |s| Some(s.rows_out as f64)),
    ("source_dead_total", "counter", "Records kept as dead letters.", |s| Some(s.dead as f64)),
    ("source_replayed_total", "counter", "Dead letters taken in again.", |s| Some(s.replayed as f64)),
    ("source_bytes_total", "counter", "Bytes taken in.", |s| Some(s.bytes as f64)),
    ("source_ended", "gauge", "Whether the source has ended.", |s| Some(f64::from(u8::from(s.ended)))),
    ("source_watermark_seconds", "gauge", "Event time up to which the source is complete.", |s| {
        let known = s.watermark.filter(|w| *w != Watermark::MIN && *w != Watermark::MAX);
        known.map(|Watermark(ns)| ns as f64 / 1e9)
    }),
];

const VIEWS: &[Metric<ViewStatus>] = &[
    ("view_rows", "gauge", "Rows in the view.", |v| Some(v.rows as f64)),
    ("view_bytes", "gauge", "Bytes the view's published rows take.", |v| Some(v.bytes as f64)),
    ("view_late_total", "counter", "Rows that came after their window had closed.", |v| Some(v.late as f64)),
    ("view_dead_total", "counter", "Rows that could not be computed.", |v| Some(v.dead as f64)),
];

const SINKS: &[Metric<SinkStatus>] = &[
    ("sink_rows_total", "counter", "Rows accepted by the sink.", |s| Some(s.rows as f64)),
    ("sink_queued_bytes", "gauge", "Bytes waiting for the sink.", |s| Some(s.queued_bytes as f64)),
    ("sink_retries_total", "counter", "Calls that were tried again.", |s| Some(s.retries as f64)),
];

const OPERATORS: &[Metric<OperatorStatus>] = &[
    ("operator_rows_in_total", "counter", "Rows the operator was handed.", |o| Some(o.rows_in as f64)),
    ("operator_rows_out_total", "counter", "Rows the operator sent.", |o| Some(o.rows_out as f64)),
    ("operator_state_rows", "gauge", "Rows or groups the operator holds.", |o| Some(o.state_rows as f64)),
    ("operator_state_bytes", "gauge", "Bytes the operator holds.", |o| Some(o.state_bytes as f64)),
    ("operator_evicted_total", "counter", "Rows or groups forgotten because they were silent or too many.", |o| {
        Some(o.evicted as f64)
    }),
    ("operator_busy_seconds_total", "counter", "Time spent in the operator.", |o| Some(o.busy_ns as f64 / 1e9)),
];

/// All metrics of `status`.
pub fn render(status: &Status) -> String {
    let mut out = String::new();
    let whole = [("workers", status.workers as f64), ("epoch", status.epoch.0 as f64)];
    for (name, value) in whole {
        family(&mut out, name, "gauge", "See thalweg.pipelines.");
        let _infallible = writeln!(out, "thalweg_{name} {value}");
    }
    group(&mut out, SOURCES, &status.sources, |s| format!("source=\"{}\"", escaped(&s.name)));
    group(&mut out, VIEWS, &status.views, |v| format!("view=\"{}\"", escaped(&v.name)));
    group(&mut out, SINKS, &status.sinks, |s| format!("sink=\"{}\"", escaped(&s.name)));
    group(&mut out, OPERATORS, &status.operators, |o| {
        format!("view=\"{}\",operator=\"{}\",worker=\"{}\"", escaped(&o.view), escaped(&o.operator), o.worker)
    });
    dead_letters(&mut out, &status.dead_letters);
    memory(&mut out, &status.memory);
    if !status.latencies.is_empty() {
        family(&mut out, "latency_seconds", "summary", "How long rows took.");
    }
    for latency in &status.latencies {
        let name = escaped(&latency.name);
        for (quantile, ns) in [("0.5", latency.p50_ns), ("0.9", latency.p90_ns), ("0.99", latency.p99_ns)] {
            let seconds = ns as f64 / 1e9;
            let _infallible =
                writeln!(out, "thalweg_latency_seconds{{of=\"{name}\",quantile=\"{quantile}\"}} {seconds}");
        }
        let _infallible = writeln!(out, "thalweg_latency_seconds_count{{of=\"{name}\"}} {}", latency.count);
    }
    out
}

fn dead_letters(out: &mut String, archive: &ArchiveStatus) {
    family(out, "dead_letters_total", "counter", "Dead letters, by the kind of their reason.");
    for RejectCount { origin, reason, count } in &archive.counts {
        let (origin, reason) = (escaped(origin), escaped(reason));
        let _infallible =
            writeln!(out, "thalweg_dead_letters_total{{origin=\"{origin}\",reason=\"{reason}\"}} {count}");
    }
    family(out, "dead_letters_removed_total", "counter", "Dead letters removed for want of room.");
    for (origin, removed) in &archive.removed {
        let origin = escaped(origin);
        let _infallible = writeln!(out, "thalweg_dead_letters_removed_total{{origin=\"{origin}\"}} {removed}");
    }
    for (name, help, bytes) in [
        ("dead_letters_bytes", "Bytes of the dead letters that are kept.", archive.bytes),
        ("dead_letters_bytes_max", "Bytes that dead letters may take.", archive.bytes_max),
    ] {
        family(out, name, "gauge", help);
        let _infallible = writeln!(out, "thalweg_{name} {bytes}");
    }
}

fn memory(out: &mut String, memory: &MemoryStatus) {
    let MemoryStatus { budget, resident, operators, views, queues, holds, held } = memory;
    for (name, help, value) in [
        ("memory_budget_bytes", "What the process may take.", *budget),
        ("memory_resident_bytes", "What the process takes of the machine's memory.", Some(*resident)),
        ("memory_operators_bytes", "The state of operators.", Some(*operators)),
        ("memory_views_bytes", "The published rows of views.", Some(*views)),
        ("memory_queues_bytes", "Rows on their way.", Some(*queues)),
        ("memory_held", "Whether the sources are held back for want of memory.", Some(u64::from(held.is_some()))),
    ] {
        family(out, name, "gauge", help);
        if let Some(value) = value {
            let _infallible = writeln!(out, "thalweg_{name} {value}");
        }
    }
    family(out, "memory_holds_total", "counter", "How often the sources were held back for want of memory.");
    let _infallible = writeln!(out, "thalweg_memory_holds_total {holds}");
}

fn group<T>(out: &mut String, metrics: &[Metric<T>], things: &[T], labels: impl Fn(&T) -> String) {
    for (name, kind, help, value) in metrics {
        family(out, name, kind, help);
        for thing in things {
            if let Some(value) = value(thing) {
                let _infallible = writeln!(out, "thalweg_{name}{{{}}} {value}", labels(thing));
            }
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(out, "# HELP thalweg_{name} {help}\n# TYPE thalweg_{name} {kind}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_by_name() {
        let source = SourceStatus { name: "a\"b".into(), rows_in: 3, ..SourceStatus::default() };
        let text = render(&Status { sources: vec![source], workers: 2, ..Status::default() });
        assert!(text.contains("thalweg_source_rows_in_total{source=\"a\\\"b\"} 3\n"), "{text}");
        assert!(text.contains("# TYPE thalweg_source_rows_in_total counter\n"), "{text}");
        assert!(text.contains("thalweg_workers 2\n"), "{text}");
    }
}
