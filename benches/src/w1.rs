//! W1: telemetry of hosts, one row each 100 microseconds of event time, about 127 bytes as NDJSON.
//!
//! 20 services in 5 regions give 100 groups; latencies are log-normal, nine rows in ten have status 200.

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

const SERVICES: u32 = 20;
/// The regions.
pub const REGIONS: [&str; 5] = ["eu-west-1", "eu-north-1", "us-east-1", "us-west-2", "ap-south-1"];
const STATUSES: [i32; 10] = [200, 200, 200, 200, 200, 200, 200, 200, 200, 500];

/// 2026-01-01T00:00:00Z, where event time begins.
pub const START_US: i64 = 1_767_225_600_000_000;
const STEP_US: i64 = 100;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Event time, microseconds since 1970.
    pub ts_us: i64,
    /// Number of the host.
    pub host: u32,
    /// Number of the service.
    pub service: u32,
    /// Region.
    pub region: &'static str,
    /// Latency in thousandths of a millisecond.
    pub latency_us: u32,
    /// HTTP status.
    pub status: i32,
}

/// The rows, one after the other.
pub struct Rows {
    random: StdRng,
    hosts: u32,
    next: i64,
}

impl Rows {
    /// Rows by `seed`, of `hosts` different hosts.
    pub fn new(seed: u64, hosts: u32) -> Rows {
        Rows { random: StdRng::seed_from_u64(seed), hosts: hosts.max(1), next: 0 }
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let ts_us = START_US + self.next * STEP_US;
        self.next += 1;
        // The sum of twelve uniform numbers is normal enough, and the same to the bit everywhere.
        let normal: f64 = (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0;
        Some(Row {
            ts_us,
            host: self.random.random_range(0..self.hosts),
            service: self.random.random_range(0..SERVICES),
            region: REGIONS[self.random.random_range(0..REGIONS.len())],
            latency_us: ((3.5 + 0.8 * normal).exp() * 1_000.0) as u32,
            status: STATUSES[self.random.random_range(0..STATUSES.len())],
        })
    }
}

impl Row {
    fn time(&self) -> String {
        let at = arrow::temporal_conversions::timestamp_us_to_datetime(self.ts_us).unwrap_or_default();
        at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    /// The row as a line of JSON, without its end.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"ts\":\"{}\",\"host\":\"host-{:03}\",\"service\":\"svc-{:02}\",\"region\":\"{}\",\"latency_ms\":{}.{:03},\"status\":{}}}",
            self.time(),
            self.host,
            self.service,
            self.region,
            self.latency_us / 1_000,
            self.latency_us % 1_000,
            self.status
        )
    }

    /// The row as a line of CSV, without its end.
    pub fn to_csv(&self) -> String {
        format!(
            "{},host-{:03},svc-{:02},{},{}.{:03},{}",
            self.time(),
            self.host,
            self.service,
            self.region,
            self.latency_us / 1_000,
            self.latency_us % 1_000,
            self.status
        )
    }
}

/// The columns of W1.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("host", DataType::Utf8, true),
        Field::new("service", DataType::Utf8, true),
        Field::new("region", DataType::Utf8, true),
        Field::new("latency_ms", DataType::Float64, true),
        Field::new("status", DataType::Int32, true),
    ]))
}

/// `rows` as a batch.
pub fn to_batch(rows: &[Row]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts_us))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("host-{:03}", r.host)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| format!("svc-{:02}", r.service)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.region))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| f64::from(r.latency_us) / 1_000.0))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.status))),
    ];
    RecordBatch::try_new(schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_workload() {
        let rows: Vec<Row> = Rows::new(1, 100).take(1_000).collect();
        assert_eq!(rows, Rows::new(1, 100).take(1_000).collect::<Vec<_>>());
        assert_ne!(rows, Rows::new(2, 100).take(1_000).collect::<Vec<_>>());
        let bytes: usize = rows.iter().map(|row| row.to_json().len() + 1).sum();
        assert!((120..135).contains(&(bytes / rows.len())), "{}", bytes / rows.len());
    }
}
