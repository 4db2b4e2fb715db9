//! Random input of the carbon pipeline: what four machines and their publishers send within fifty minutes, with all that goes
//! wrong: counters that wrap and are reset, gauges with holes, sentinels and NULLs, rows that come twice or out of order, and
//! intensities that are published again and again, for a time that has long been accounted for.

use crate::equivalence::Random;
use arrow::array::{RecordBatch, new_null_array};
use std::collections::BTreeMap;
use thalweg_pipelines::testfile::{self, Action};
use thalweg_pipelines::{Program, SqlText};
use thalweg_schemas::table::Column;

/// The rows of each source, as tuples, in the order in which they come.
pub struct Input(BTreeMap<&'static str, (&'static str, Vec<String>)>);

const SAMPLES: &str = "ts, machine, meter, scope, kind, value, unit, counter_range, started_at";
const RANGE: u64 = 2_000_000_000;
/// Seconds after the beginning; the watermark of samples stays half a minute behind.
const UNTIL: i64 = 50 * 60;
const LATENESS: usize = 30;

/// A time so many seconds after the clock of the tests begins.
fn at(seconds: i64) -> String {
    format!("'2026-01-01 00:{:02}:{:02}'", seconds / 60, seconds % 60)
}

fn text(value: Option<String>) -> String {
    value.unwrap_or_else(|| "NULL".into())
}

impl Input {
    pub fn random(seed: u64) -> Input {
        let mut random = Random::new(seed);
        let mut input = Input(BTreeMap::new());
        input.the_fleet();
        input.samples(&mut random);
        input.intensities(&mut random);
        input.workloads(&mut random);
        input
    }

    fn put(&mut self, source: &'static str, columns: &'static str, rows: impl IntoIterator<Item = String>) {
        self.0.entry(source).or_insert((columns, Vec::new())).1.extend(rows);
    }

    /// What does not change: machines, regions, factors, certificates, budgets.
    fn the_fleet(&mut self) {
        let texts = |rows: &[&str]| rows.iter().map(|row| format!("({row})")).collect::<Vec<_>>();
        self.put(
            "machines",
            "machine, provider, region, vcpus, least_watts, most_watts, at_the_door, embodied_kg, share, provisioned_at, \
             written_off_at",
            texts(&[
                "'m0', 'aws', 'eu-central-1', 4, NULL, NULL, false, 1000, 1, '2025-01-01 00:00:00', '2028-12-31 00:00:00'",
                "'m1', 'aws', 'eu-north-1', 8, NULL, NULL, true, 1200, 0.5, '2026-01-01 00:20:00', '2029-12-31 00:00:00'",
                "'m2', 'gcp', 'europe-west1', 2, 0.74, 3.5, false, NULL, NULL, NULL, NULL",
                "'m3', 'aws', 'eu-central-1', 4, 0.5, 2, NULL, 900, 1, '2020-01-01 00:00:00', '2024-01-01 00:00:00'",
                "'m4', 'aws', 'nowhere', 4, NULL, NULL, false, NULL, NULL, NULL, NULL",
                // Said before with another share: what is said last is what holds.
                "'m0', 'aws', 'eu-central-1', 4, NULL, NULL, false, 1000, 0.25, '2025-01-01 00:00:00', '2028-12-31 00:00:00'",
            ]),
        );
        self.put(
            "factor_regions",
            "factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at",
            texts(&[
                "'f', 'aws', 'eu-central-1', 'DE', 'DE', 1.35, 'disclosed', 's', 'l', '2026-01-01'",
                "'f', 'aws', 'eu-north-1', 'SE', 'SE', 1.1, 'disclosed', 's', 'l', '2026-01-01'",
                "'e', 'aws', 'eu-north-1', 'SE', 'SE', 1.9, 'default', 's', 'l', '2025-01-01'",
                "'f', 'gcp', 'europe-west1', 'BE', 'BE', 1.09, 'default', 's', 'l', '2026-01-01'",
            ]),
        );
        self.put(
            "factor_intensity",
            "factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken",
            texts(&[
                "'f', 'annual', 'SE', 2025, 0, 'average', 'direct', 's', 'l', '2026-01-01'",
                "'f', 'country', 'DE', 2025, 342, 'average', 'lifecycle', 's', 'l', '2026-01-01'",
                "'f', 'country', 'DE', 2021, 439, 'average', 'lifecycle', 's', 'l', '2026-01-01'",
                "'f', 'country', 'DE', 2027, 300, 'average', 'lifecycle', 's', 'l', '2026-01-01'",
                "'f', 'world', 'world', 2025, 470, 'average', 'lifecycle', 's', 'l', '2026-01-01'",
            ]),
        );
        self.put(
            "factor_uncertainty",
            "factor_set, subject, relative_error, source, licence, taken",
            texts(&[
                "'f', 'energy:counter', 0.05, 's', 'l', '2026-01-01'",
                "'f', 'energy:gauge', 0.1, 's', 'l', '2026-01-01'",
                "'f', 'energy:utilisation', 0.3, 's', 'l', '2026-01-01'",
                "'f', 'intensity:actual', 0.05, 's', 'l', '2026-01-01'",
                "'f', 'intensity:forecast', 0.2, 's', 'l', '2026-01-01'",
                "'f', 'intensity:world', 0.5, 's', 'l', '2026-01-01'",
            ]),
        );
        self.put(
            "certificates",
            "hour, zone, kwh, g_per_kwh",
            texts(&["'2026-01-01 00:00:00', 'DE', 0.01, 0", "'2026-01-01 00:00:00', 'DE', 0.02, 11"]),
        );
        self.put("residual_mix", "zone, g_per_kwh, source", texts(&["'DE', 690, 's'", "'SE', 12, 's'"]));
        self.put(
            "budgets",
            "tenant, since, until, grams",
            texts(&["'shop', '2026-01-01 00:00:00', '2026-01-02 00:00:00', 40"]),
        );
    }

    fn samples(&mut self, random: &mut Random) {
        let mut rows: Vec<(i64, String)> = Vec::new();
        for (machine, meter, scope, kind, unit) in [
            ("m0", "package-0", "package", "counter", "uJ"),
            ("m0", "package-1", "package", "counter", "uJ"),
            ("m0", "core-0", "core", "counter", "uJ"),
            ("m0", "dram-0", "dram", "counter", "uJ"),
            ("m1", "psu", "host", "gauge", "W"),
            ("m1", "package-0", "package", "counter", "uJ"),
            ("m2", "cpu", "model", "utilisation", "%"),
            ("m3", "bmc", "host", "counter", "J"),
            ("m3", "bmc-power", "host", "gauge", "mW"),
            ("m3", "cpu", "model", "utilisation", "%"),
            ("m4", "psu", "host", "gauge", "W"),
            ("m5", "psu", "host", "gauge", "W"),
        ] {
            let (mut time, mut count) = (random.below(60) as i64, random.below(RANGE as usize) as u64);
            let mut started = -60;
            while time < UNTIL {
                // Now and then nothing is heard for longer than a gauge is held.
                let step = if random.below(12) == 0 { 240 + random.below(600) } else { 20 + random.below(100) };
                count += (step * (1 + random.below(400_000))) as u64;
                let reset = random.below(15) == 0;
                (count, started) = if reset { (random.below(1_000) as u64, time) } else { (count, started) };
                let value = match kind {
                    "counter" if unit == "uJ" => (count % RANGE).to_string(),
                    "counter" => (count / 1_000_000).to_string(),
                    "utilisation" => random.below(101).to_string(),
                    _ => match random.below(12) {
                        0 => "NULL".to_string(),
                        1 => "4294967295".to_string(),
                        _ => (random.below(400_000) as f64 / if unit == "W" { 1e3 } else { 1.0 }).to_string(),
                    },
                };
                let range = (unit == "uJ").then(|| RANGE.to_string());
                let started_at = (meter == "bmc").then(|| at(started.max(0)));
                let row = format!(
                    "({}, '{machine}', '{meter}', '{scope}', '{kind}', {value}, '{unit}', {}, {})",
                    at(time),
                    text(range),
                    text(started_at)
                );
                let comes = |random: &mut Random| time + random.below(LATENESS) as i64;
                if random.below(10) == 0 {
                    rows.push((comes(random), row.clone()));
                }
                rows.push((comes(random), row));
                time += step as i64;
            }
        }
        rows.sort_by_key(|(comes, _)| *comes);
        self.put("energy_samples", SAMPLES, rows.into_iter().map(|(_, row)| row));
    }

    /// In no order at all: whatever was published last, when it came does not matter.
    fn intensities(&mut self, random: &mut Random) {
        let row = |_| {
            let zone = ["DE", "SE", "BE"][random.below(3)];
            // Of two slots nobody says anything.
            let slot = match (zone, random.below(5) as i64 * 600) {
                ("DE", 600) | ("BE", 1_200) => 0,
                (_, slot) => slot,
            };
            let kind = ["actual", "estimated", "forecast", "profile"][random.below(4)];
            let signal = if random.below(6) == 0 { "marginal" } else { "average" };
            // Few values and times, so that some are published twice in the same words.
            let (g, published) = (random.below(40) * 25, random.below(12) as i64 * 200);
            format!(
                "('{zone}', {}, {}, {g}, 'g/kWh', '{kind}', '{signal}', 'lifecycle', 'em', 'v1', {})",
                at(slot),
                at(slot + 600 - 1),
                at(published)
            )
        };
        let rows: Vec<String> = (0..60).map(row).collect();
        let columns =
            "zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, source_version, published_at";
        self.put("grid_intensity", columns, rows);
    }

    fn workloads(&mut self, random: &mut Random) {
        let usage = |_| {
            let (time, machine) = (at(random.below(UNTIL as usize) as i64), random.below(4));
            let (workload, tenant) = [("a", "shop"), ("b", "search"), ("kubelet", "__system__")][random.below(3)];
            let request = if workload == "kubelet" { "NULL" } else { "0.5" };
            let seconds = random.below(200);
            format!("({time}, 'm{machine}', '{workload}', '{tenant}', {seconds}, {request})")
        };
        let usage: Vec<String> = (0..120).map(usage).collect();
        self.put("workload_usage", "ts, machine, workload, tenant, cpu_seconds, cpu_request", usage);
        let units =
            |n: usize| format!("({}, '{}', {})", at(n as i64 * 60), ["shop", "search"][n % 2], random.below(50));
        let units: Vec<String> = (0..20).map(units).collect();
        self.put("functional_units", "ts, tenant, units", units);
        let calls = |n: i64| {
            let model = ["gpt-5", "mistral-large-latest", "of-our-own"][random.below(3)];
            let seconds = if n % 3 == 0 { "NULL".to_string() } else { random.below(20).to_string() };
            format!("({}, 'shop', '{model}', {}, {seconds})", at(n * 90), random.below(900))
        };
        let calls: Vec<String> = (0..20).map(calls).collect();
        self.put("llm_calls", "ts, tenant, model, tokens_out, seconds", calls);
    }

    /// The rows of each source of the pipeline with all of its columns, in the order in which they come.
    pub fn rows(&self, program: &Program) -> BTreeMap<&'static str, RecordBatch> {
        let rows = self.0.iter().map(|(source, (columns, rows))| {
            let insert = format!("INSERT INTO {source} ({columns}) VALUES\n{};\n", rows.join(",\n"));
            let steps = testfile::parse(&SqlText { file: "input".into(), text: insert.into() }).unwrap();
            let Action::Insert(insert) = &steps[0].action else { panic!("not an INSERT") };
            let declared = program.dataflow.sources.iter().find(|declared| declared.name == *source).unwrap();
            let given = insert.rows(&declared.columns).unwrap();
            let column = |column: &Column| {
                let values = given.column_by_name(&column.name).cloned();
                let values = values.unwrap_or_else(|| new_null_array(&column.data_type, given.num_rows()));
                (column.name.clone(), values, true)
            };
            (*source, RecordBatch::try_from_iter_with_nullable(declared.columns.iter().map(column)).unwrap())
        });
        rows.collect()
    }
}
