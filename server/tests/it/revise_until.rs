//! `revise_until` of what no window bounds: what `docs/sql/revise-until.md` shows is so; the shipped carbon pipeline holds no more than
//! its horizon says, and its ledger is what batch says of all rows.

use crate::carbon::{READ, alike, batch, by_default, reading_from};
use crate::documents::{block, holds};
use crate::equivalence::scripted::{self, script};
use crate::equivalence::{BEGIN_NS, difference, lines, wait_until};
use crate::in_process;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::testfile::{self, Action};
use thalweg_pipelines::{Program, SqlText};
use thalweg_schemas::table::Column;

#[test]
fn the_documents_example_goes_as_it_says() {
    let document = include_str!("../../../docs/sql/revise-until.md");
    holds(block(document, "sql"), block(document, "test"));
}

/// Rows leave a view that shows them for a while, and not what is made of them; a correction of one that has left changes nothing.
#[test]
fn what_a_view_shows_goes_and_what_is_made_of_it_stays() {
    let document = include_str!("../../../docs/sql/revise-until.md");
    let pipeline = block(document, "sql").to_string()
        + "CREATE MATERIALIZED VIEW recent WITH (retain = '1 hour', retain_by = 'hour') AS SELECT hour, city, fare FROM fares;
           CREATE MATERIALIZED VIEW all_of_it AS SELECT count(*) AS hours, sum(fare) AS fare FROM recent;";
    holds(
        &pipeline,
        "INSERT INTO tariffs (city, per_km) VALUES ('Oslo', 2);
INSERT INTO trips (ts, hour, city, km) VALUES ('2026-01-01 08:10:00', '2026-01-01 08:00:00', 'Oslo', 10);
EXPECT SELECT hour, fare FROM recent;
----
2026-01-01T08:00:00 | 20.0

ADVANCE INTERVAL '80 minutes';
INSERT INTO trips (ts, hour, city, km) VALUES ('2026-01-01 09:30:00', '2026-01-01 09:00:00', 'Oslo', 5);
EXPECT SELECT hour, fare FROM recent;
----
2026-01-01T09:00:00 | 10.0

EXPECT SELECT hours, fare FROM all_of_it;
----
2 | 30.0

INSERT INTO tariffs (city, per_km) VALUES ('Oslo', 3);
EXPECT SELECT hour, fare FROM recent;
----
2026-01-01T09:00:00 | 15.0

EXPECT SELECT hours, fare FROM all_of_it;
----
2 | 45.0
",
    );
}

/// Every kind of state by an hour, with tariffs that have none.
const EVERY_KIND: &str = "
CREATE SOURCE trips (ts TIMESTAMP NOT NULL, hour TIMESTAMP, city TEXT, km DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 minute')
  WITH (connector = 'file', path = 'trips.ndjson');
CREATE SOURCE rides (ride TEXT PRIMARY KEY, began TIMESTAMP, city TEXT, km DOUBLE)
  WITH (connector = 'file', path = 'rides.ndjson', format = 'upsert');
CREATE SOURCE tariffs (city TEXT, since TIMESTAMP, per_km DOUBLE) WITH (connector = 'file', path = 'tariffs.ndjson');
CREATE MATERIALIZED VIEW first WITH (revise_until = '2 hours', revise_by = 'hour') AS
SELECT hour, city, km FROM trips QUALIFY ROW_NUMBER() OVER (PARTITION BY hour ORDER BY km DESC) = 1;
CREATE MATERIALIZED VIEW shares WITH (revise_until = '2 hours', revise_by = 'hour') AS
SELECT hour, city, km * 100 / sum(km) OVER (PARTITION BY hour) AS percent FROM trips;
CREATE MATERIALIZED VIEW cities WITH (revise_until = '2 hours', revise_by = 'hour') AS
SELECT date_trunc('day', hour) AS day, count(DISTINCT city) AS cities FROM trips GROUP BY date_trunc('day', hour);
CREATE MATERIALIZED VIEW priced WITH (revise_until = '2 hours', revise_by = 'hour') AS
SELECT t.hour, t.city, t.km * f.per_km AS fare FROM trips t LEFT ASOF JOIN tariffs f ON f.city = t.city AND f.since <= t.hour;
CREATE MATERIALIZED VIEW by_hour WITH (revise_until = '2 hours', revise_by = 'hour', revise_clock = 'trips') AS
SELECT hour, city, sum(km) AS km FROM (SELECT date_bin(INTERVAL '1 hour', began) AS hour, city, km FROM rides) GROUP BY hour, city;
CREATE MATERIALIZED VIEW both WITH (revise_until = '2 hours', revise_by = 'hour') AS
SELECT f.hour, f.city, r.km FROM first f LEFT JOIN by_hour r ON r.hour = f.hour AND r.city = f.city;
";

#[test]
fn every_kind_of_state_goes_and_what_was_said_stays() {
    holds(
        EVERY_KIND,
        "INSERT INTO tariffs (city, since, per_km) VALUES ('Oslo', '2025-01-01 00:00:00', 2), ('Oslo', '2026-01-01 12:00:00', 5);
INSERT INTO trips (ts, hour, city, km) VALUES ('2026-01-01 08:10:00', '2026-01-01 08:00:00', 'Oslo', 10),
  ('2026-01-01 08:11:00', '2026-01-01 08:00:00', 'Bergen', 30), ('2026-01-01 08:12:00', NULL, 'Oslo', 1);
INSERT INTO rides (ride, began, city, km) VALUES ('a', '2026-01-01 08:30:00', 'Bergen', 7), ('b', '2026-01-01 08:40:00', 'Bergen', 8);
ADVANCE INTERVAL '2 hours';
-- Ten o'clock and a minute, and what was said of eight o'clock is final.
INSERT INTO trips (ts, hour, city, km) VALUES ('2026-01-01 10:02:00', '2026-01-01 10:00:00', 'Oslo', 4);
INSERT INTO trips (ts, hour, city, km) VALUES ('2026-01-01 10:02:30', '2026-01-01 08:00:00', 'Oslo', 60),
  ('2026-01-01 10:02:31', NULL, 'Oslo', 3), ('2026-01-01 10:02:32', '2026-01-01 10:00:00', 'Bergen', 12);
INSERT INTO rides (ride, began, city, km) VALUES ('b', '2026-01-01 08:40:00', 'Bergen', 80), ('c', '2026-01-01 10:05:00', 'Bergen', 9);
INSERT INTO tariffs (city, since, per_km) VALUES ('Oslo', '2026-01-01 07:00:00', 3);
EXPECT SELECT hour, city, km FROM first ORDER BY hour;
----
2026-01-01T08:00:00 | Bergen | 30.0
2026-01-01T10:00:00 | Bergen | 12.0
NULL | Oslo | 3.0

EXPECT SELECT hour, city, percent FROM shares WHERE hour IS NOT NULL ORDER BY hour, percent;
----
2026-01-01T08:00:00 | Oslo | 25.0
2026-01-01T08:00:00 | Bergen | 75.0
2026-01-01T10:00:00 | Oslo | 25.0
2026-01-01T10:00:00 | Bergen | 75.0

EXPECT SELECT day, cities FROM cities ORDER BY day;
----
2026-01-01T00:00:00 | 2
NULL | 1

-- A tariff that is told of late counts from the hours on that can still be corrected.
EXPECT SELECT hour, city, fare FROM priced WHERE city = 'Oslo' ORDER BY hour;
----
2026-01-01T08:00:00 | Oslo | 20.0
2026-01-01T10:00:00 | Oslo | 12.0
NULL | Oslo | NULL
NULL | Oslo | NULL

-- The ride that is corrected belongs to an hour that is final; what took its place comes too late as well.
EXPECT SELECT hour, city, km FROM by_hour ORDER BY hour;
----
2026-01-01T08:00:00 | Bergen | 15.0
2026-01-01T10:00:00 | Bergen | 9.0

EXPECT SELECT hour, city, km FROM both ORDER BY hour;
----
2026-01-01T08:00:00 | Bergen | 15.0
2026-01-01T10:00:00 | Bergen | 9.0
NULL | Oslo | NULL

EXPECT SELECT view, count(*) AS rows FROM thalweg.late_rows GROUP BY view ORDER BY view;
----
by_hour | 1
cities | 1
first | 1
priced | 1
shares | 1
",
    );
}

/// What a machine and its grid say in one hour of a run: readings each five minutes, use, units and two publications, of which the second
/// restates the hour before.
fn an_hour(hour: usize) -> Vec<(&'static str, String)> {
    let at = |minutes: usize| {
        format!("'2026-01-{:02} {:02}:{:02}:00'", 1 + minutes / 1_440, minutes / 60 % 24, minutes % 60)
    };
    let (mut samples, mut usage) = (String::new(), String::new());
    for minute in (0..60).step_by(5).map(|minute| hour * 60 + minute) {
        for machine in 0..3 {
            let joules = minute * 60 * (80 + 10 * machine);
            let _ = writeln!(samples, "({}, 'm{machine}', 'bmc', 'host', 'counter', {joules}, 'J'),", at(minute));
            let _ = writeln!(usage, "({}, 'm{machine}', 'a', 'shop', {}, 1),", at(minute + 2), 60 + minute % 7);
        }
    }
    let published = |hour: usize, revision: usize, kind: &str| {
        let (from, to, told) = (at(hour * 60), at(hour * 60 + 60), at((hour + revision) * 60 + 61));
        format!(
            "('DE', {from}, {to}, {}, 'g/kWh', '{kind}', 'average', 'lifecycle', 'em', {told})",
            200 + 10 * (hour % 9) + revision
        )
    };
    let before = hour.checked_sub(1).map(|before| published(before, 1, "actual"));
    let intensities: Vec<String> = [published(hour, 0, "estimated")].into_iter().chain(before).collect();
    let insert = |source: &'static str, columns: &str, rows: &str| {
        (source, format!("INSERT INTO {source} ({columns}) VALUES\n{};\n", rows.trim_end().trim_end_matches(',')))
    };
    vec![
        insert("energy_samples", "ts, machine, meter, scope, kind, value, unit", &samples),
        insert("workload_usage", "ts, machine, workload, tenant, cpu_seconds, cpu_request", &usage),
        insert(
            "grid_intensity",
            "zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at",
            &intensities.join(",\n"),
        ),
        insert("functional_units", "ts, tenant, units", &format!("({}, 'shop', {})", at(hour * 60 + 7), 1 + hour)),
    ]
}

fn the_fleet() -> Vec<(&'static str, String)> {
    let machine = |n: usize| {
        format!("('m{n}', 'aws', 'eu-central-1', 4, false, 1000, 1, '2025-01-01 00:00:00', '2028-12-31 00:00:00')")
    };
    let machines: Vec<String> = (0..3).map(machine).collect();
    vec![
        ("machines", format!("INSERT INTO machines (machine, provider, region, vcpus, at_the_door, embodied_kg, share, provisioned_at, written_off_at) VALUES {};", machines.join(","))),
        ("factor_regions", "INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES ('t', 'aws', 'eu-central-1', 'DE', 'DE', 1.35, 'disclosed', 't', 'none', '2026-01-01');".into()),
        ("factor_intensity", "INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES ('t', 'world', 'world', 2025, 470, 'average', 'lifecycle', 't', 'none', '2026-01-01');".into()),
        ("factor_uncertainty", "INSERT INTO factor_uncertainty (factor_set, subject, relative_error, source, licence, taken) VALUES ('t', 'energy:counter', 0.05, 't', 'none', '2026-01-01'), ('t', 'intensity:actual', 0.05, 't', 'none', '2026-01-01'), ('t', 'intensity:estimated', 0.15, 't', 'none', '2026-01-01');".into()),
        ("certificates", "INSERT INTO certificates (certificate, hour, zone, kwh, g_per_kwh) VALUES ('GO-1', '2026-01-01 03:00:00', 'DE', 0.1, 0);".into()),
        ("residual_mix", "INSERT INTO residual_mix (zone, g_per_kwh, source) VALUES ('DE', 700, 't');".into()),
        ("budgets", "INSERT INTO budgets (tenant, since, until, grams) VALUES ('shop', '2026-01-01 00:00:00', '2026-02-01 00:00:00', 5000);".into()),
        ("llm_calls", "INSERT INTO llm_calls (ts, tenant, model, tokens_out) VALUES ('2026-01-01 01:00:00', 'shop', 'gpt-5', 100);".into()),
    ]
}

fn rows_of(program: &Program, source: &str, insert: &str) -> RecordBatch {
    let steps = testfile::parse(&SqlText { file: "input".into(), text: insert.into() }).unwrap();
    let Action::Insert(insert) = &steps[0].action else { panic!("not an INSERT") };
    let declared = program.dataflow.sources.iter().find(|declared| declared.name == source).unwrap();
    let given = insert.rows(&declared.columns).unwrap();
    let column = |column: &Column| {
        let values = given.column_by_name(&column.name).cloned();
        let values = values.unwrap_or_else(|| arrow::array::new_null_array(&column.data_type, given.num_rows()));
        (column.name.clone(), values, true)
    };
    RecordBatch::try_from_iter_with_nullable(declared.columns.iter().map(column)).unwrap()
}

/// Forty hours with a horizon of four: from hour to hour no operator that goes by time holds more, and every view is what batch says of
/// all forty.
#[test]
fn the_ledger_holds_its_horizon_and_says_all_of_it() {
    const HOURS: usize = 40;
    let text = by_default().replace("'45 days'", "'4 hours'").replace("'400 days'", "'30 days'");
    let name = |source: &str| format!("horizon-{source}");
    let program = reading_from(&text, &scripted::CONNECTORS[0], &scripted::OPTION, &name);
    let clock = VirtualClock::at(BEGIN_NS + 72 * 3_600_000_000_000);
    // One worker: of several, the one whose share rests for a moment holds event time, and with it what is forgotten.
    let settings = Settings { workers: 1, tick: Duration::from_millis(100), ..Settings::default() };
    let engine = Engine::start(program.dataflow.clone(), scripted::CONNECTORS, clock.clone(), settings).unwrap();
    let mut tables: BTreeMap<&'static str, Vec<RecordBatch>> = BTreeMap::new();
    let mut feed = |inserts: Vec<(&'static str, String)>| {
        for (source, insert) in inserts {
            let rows = rows_of(&program, source, &insert);
            script(&name(source)).push(rows.clone());
            tables.entry(source).or_default().push(rows);
            wait_until("what was handed over is read", || script(&name(source)).is_empty());
        }
        let told = engine.status().epoch;
        clock.advance(Duration::from_millis(300));
        wait_until("the epoch is complete", || engine.status().epoch.0 >= told.0 + 2);
    };
    feed(the_fleet());
    let mut held = Vec::new();
    for hour in 0..HOURS {
        feed(an_hour(hour));
        let bounded = |view: &str| ["budget_status", "llm_hours", "tenant_slots"].iter().all(|other| view != *other);
        let operators = engine.status().operators;
        held.push(operators.iter().filter(|one| bounded(&one.view)).map(|one| one.state_rows).sum::<u64>());
    }
    for program_source in &program.dataflow.sources {
        script(&name(&program_source.name)).close();
    }
    engine.wait().unwrap();
    assert!(held[7] > 100, "{held:?}");
    assert!(held[20..].iter().all(|rows| rows.abs_diff(held[20]) * 20 < held[20]), "state grows: {held:?}");
    assert_eq!(engine.late_rows().unwrap().count(), 0);
    let tables: BTreeMap<&'static str, RecordBatch> = tables
        .into_iter()
        .map(|(source, parts)| (source, arrow::compute::concat_batches(&parts[0].schema(), &parts).unwrap()))
        .collect();
    let batch = batch::answers(&text, &tables);
    for view in READ {
        let found = lines(&engine.snapshots(&[view]).unwrap().remove(0).batches);
        let expected = lines(&batch[*view]);
        assert!(alike(&found, &expected), "{view}:\n{}", difference(&found, &expected));
    }
    assert!(lines(&batch["ledger"]).len() > 3 * 12 * (HOURS - 1));
}

/// Rows that come within the horizon: the same answers whoever computes them.
#[test]
fn what_goes_is_the_same_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    let mut trips = String::new();
    for minute in 0..60_000usize {
        // Up to two hours late, of a horizon of five.
        let hour = (minute / 60).saturating_sub(minute % 3);
        let time = |minute: usize| {
            format!(
                "2026-{:02}-{:02}T{:02}:{:02}:00",
                1 + minute / 40_320,
                1 + minute / 1_440 % 28,
                minute / 60 % 24,
                minute % 60
            )
        };
        let _ = writeln!(
            trips,
            r#"{{"ts":"{}","hour":"{}","city":"c{}","km":{}}}"#,
            time(minute),
            time(hour * 60),
            minute % 7,
            minute % 11
        );
    }
    std::fs::write(folder.path().join("trips.ndjson"), trips).unwrap();
    let text = "CREATE SOURCE trips (ts TIMESTAMP NOT NULL, hour TIMESTAMP NOT NULL, city TEXT, km DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 minute')
      WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');
    CREATE MATERIALIZED VIEW hours WITH (revise_until = '5 hours', revise_by = 'hour') AS
    SELECT hour, city, sum(km) AS km, count(*) AS trips, max(km) AS longest FROM trips GROUP BY hour, city;
    CREATE MATERIALIZED VIEW most WITH (revise_until = '5 hours', revise_by = 'hour') AS
    SELECT hour, city, km FROM hours QUALIFY ROW_NUMBER() OVER (PARTITION BY hour ORDER BY km DESC, city) = 1;
    CREATE MATERIALIZED VIEW beside WITH (revise_until = '5 hours', revise_by = 'hour') AS
    SELECT h.hour, h.city, h.km, m.city AS most FROM hours h JOIN most m ON m.hour = h.hour;
    CREATE MATERIALIZED VIEW days WITH (revise_until = '5 hours', revise_by = 'hour') AS
    SELECT date_bin(INTERVAL '1 day', hour) AS day, sum(km) AS km, count(DISTINCT most) AS firsts FROM beside GROUP BY date_bin(INTERVAL '1 day', hour);";
    let asked = |ended: &in_process::Ended| {
        let ask = |query: &str| pretty_format_batches(&ended.ask(query).unwrap()).unwrap().to_string();
        ask("SELECT * FROM days ORDER BY day") + &ask("SELECT * FROM most ORDER BY hour LIMIT 50")
    };
    let without = text.replace(" WITH (revise_until = '5 hours', revise_by = 'hour')", "");
    let straight = asked(&in_process::run(&without, folder.path(), 1));
    assert!(straight.lines().count() > 80, "{straight}");
    assert_eq!(asked(&in_process::run(text, folder.path(), 3)), straight);
    // Who goes on may read the rest of what another had begun, long before what it had read itself.
    for workers in [[2, 2], [2, 3]] {
        assert_eq!(asked(&in_process::run_in_two_lives(text, folder.path(), workers)), straight);
    }
}

#[test]
fn nothing_is_wrong_without_rows() {
    let text = "CREATE SOURCE trips (ts TIMESTAMP NOT NULL, km DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 minute')
      WITH (connector = 'file', path = '${DATA}/*.ndjson', format = 'json');
    CREATE MATERIALIZED VIEW hours WITH (revise_until = '5 hours', revise_by = 'ts') AS SELECT ts, sum(km) AS km FROM trips GROUP BY ts;";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trips.ndjson"), "").unwrap();
    let ended = in_process::run(text, Path::new(folder.path()), 2);
    assert_eq!(ended.ask("SELECT * FROM hours").unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}
