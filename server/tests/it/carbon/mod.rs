//! The shipped carbon pipeline: its own tests with any number of workers, its ledger after a stop with others, and every view
//! of it over random input against the same statements in batch.

pub mod batch;
pub mod input;

use crate::equivalence::scripted::{self, Script, script};
use crate::equivalence::{BEGIN_NS, Random, difference, lines, wait_until};
use crate::in_process;
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use input::Input;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, Program, SqlText, compile, render_errors, testfile};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::options::{GivenOption, OptionSpec, Options};
use thalweg_server::test_run;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/library/carbon").canonicalize().unwrap()
}

/// The files of the folder that end so, in order of their names.
fn texts(ending: &str) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_string();
        name.ends_with(ending).then(|| (name, std::fs::read_to_string(&path).unwrap()))
    });
    named.collect()
}

fn pipeline() -> Vec<(String, String)> {
    texts(".sql").into_iter().filter(|(name, _)| !name.ends_with(".test.sql")).collect()
}

fn program() -> Program {
    let texts = pipeline().into_iter().map(|(name, text)| SqlText { file: name.into(), text: text.into() });
    let texts: Vec<SqlText> = texts.collect();
    let environment = Environment {
        connectors: thalweg_connectors::ALL,
        notification: &thalweg_notify::statements::SPEC,
        variables: &|_| None,
    };
    compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)))
}

#[test]
fn its_worked_examples_hold_with_any_number_of_workers() {
    let program = program();
    let tests = texts(".test.sql");
    assert!(tests.len() >= 3);
    for (name, text) in tests {
        let text = SqlText { file: name.into(), text: text.into() };
        let steps = testfile::parse(&text).unwrap();
        for workers in [1, 3] {
            let failures = test_run::run(&program, &steps, workers).unwrap();
            assert!(
                failures.is_empty(),
                "{workers} workers\n{}",
                render_errors(&failures, std::slice::from_ref(&text))
            );
        }
    }
}

const LEDGER: &str = "SELECT slot_start, machine, zone, round(energy_kwh, 12) AS kwh, round(operational_g, 9) AS g, \
     round(embodied_g, 9) AS embodied_g, quality, round(coverage, 9) AS coverage, intensity_kind, revision \
     FROM ledger ORDER BY slot_start, machine";

/// The pipeline over its sample data.
fn over_the_sample() -> String {
    let at = |name: &str| folder().join(name).display().to_string();
    let text: String = pipeline().into_iter().map(|(_, text)| text + "\n").collect();
    let text = text.replace("${CARBON_DATA:-pipelines/library/carbon/sample}", &at("sample"));
    text.replace("${CARBON_FACTORS:-pipelines/library/carbon/factors}", &at("factors"))
}

#[test]
fn its_ledger_is_the_same_when_two_workers_are_stopped_and_three_go_on() {
    let text = over_the_sample();
    let shown = |ended: &in_process::Ended| pretty_format_batches(&ended.ask(LEDGER).unwrap()).unwrap().to_string();
    let straight = shown(&in_process::run(&text, Path::new("."), 1));
    assert!(straight.lines().count() > 25, "{straight}");
    assert_eq!(shown(&in_process::run_in_two_lives(&text, Path::new("."), [2, 3])), straight);
}

/// The report is a file of queries over the pipeline: each answers.
#[test]
fn its_report_can_be_asked() {
    let text = over_the_sample();
    let ended = in_process::run(&text, Path::new("."), 2);
    let report = std::fs::read_to_string(folder().join("report.txt")).unwrap();
    let mut rows = 0;
    for statement in thalweg_server::statements::split(&report) {
        let answer = ended.ask(statement.text).unwrap_or_else(|error| panic!("{}: {}", statement.text, error.error));
        rows += answer.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    assert!(rows > 20, "{rows}");
}

/// The views that are compared with what batch says of them: all that somebody reads.
pub const READ: &[&str] = &[
    "machine_slots",
    "intensity_in_force",
    "ledger",
    "zone_hours",
    "tenant_ledger",
    "sci_hours",
    "budget_status",
    "llm_hours",
    "daily",
    "by_quality",
    "unplaced",
    "methodology",
];

/// The pipeline in one text, its variables at their defaults.
pub fn by_default() -> String {
    let text: String = pipeline().into_iter().map(|(_, text)| text + "\n").collect();
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap();
        whole += variable.split_once(":-").map_or("", |(_, default)| default);
        whole += rest;
    }
    whole
}

/// `sql` as a program whose sources are read by `connector`, which is told of each what `option` says by its name.
pub fn reading_from(
    sql: &str,
    connector: &ConnectorSpec,
    option: &OptionSpec,
    value: &dyn Fn(&str) -> String,
) -> Program {
    let texts = [SqlText { file: "carbon.sql".into(), text: sql.into() }];
    let connectors: Vec<ConnectorSpec> = thalweg_connectors::ALL.iter().copied().chain([*connector]).collect();
    let environment =
        Environment { connectors: &connectors, notification: &thalweg_notify::statements::SPEC, variables: &|_| None };
    let mut program =
        compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    for source in &mut program.dataflow.sources {
        let given = GivenOption { name: option.name.into(), value: value(&source.name), position: None };
        source.options = Options::check(&[*option], &[given], connector.name).unwrap();
        source.connector = connector.name.into();
        source.format = None;
    }
    program
}

/// Hands the rows of all sources over in random pieces, whichever source comes next, through random epochs.
fn feed(engine: &Engine, clock: &VirtualClock, mut sources: Vec<(Arc<Script>, RecordBatch)>, random: &mut Random) {
    while !sources.is_empty() {
        let source = random.below(sources.len());
        let (script, rows) = &mut sources[source];
        let length = (1 + random.below(40)).min(rows.num_rows());
        script.push(rows.slice(0, length));
        *rows = rows.slice(length, rows.num_rows() - length);
        if rows.num_rows() == 0 {
            script.close();
            sources.swap_remove(source);
        }
        if random.below(3) == 0 {
            clock.advance(Duration::from_millis(100 * (1 + random.below(30) as u64)));
        }
        if random.below(3) == 0 {
            wait_until("what was handed over is read", || sources.iter().all(|(script, _)| script.is_empty()));
        }
    }
    assert!(!engine.ended() || engine.wait().is_ok());
}

/// Batch = stream, restated = fresh, and the order does not matter: whatever came when, the views hold what the statements say
/// of all rows at once. Intensities come in no order, among them many that restate what was accounted for.
#[test]
fn every_view_is_what_its_statement_says_of_all_rows_at_once() {
    let (mut faults, mut seen) = (String::new(), [("ledger", Vec::new()), ("intensity_in_force", Vec::new())]);
    for (seed, workers, policy) in [(1, 1, "by_request"), (2, 2, "by_usage"), (3, 3, "equal")] {
        let name = |source: &str| format!("carbon-{seed}-{source}");
        let text = by_default().replace("'by_request'", &format!("'{policy}'"));
        let program = reading_from(&text, &scripted::CONNECTORS[0], &scripted::OPTION, &name);
        let tables = Input::random(seed).rows(&program);
        let clock = VirtualClock::at(BEGIN_NS + 3_600_000_000_000);
        let settings = Settings { workers, tick: Duration::from_millis(100), ..Settings::default() };
        let engine = Engine::start(program.dataflow.clone(), scripted::CONNECTORS, clock.clone(), settings).unwrap();
        let sources = tables.iter().map(|(source, rows)| (script(&name(source)), rows.clone())).collect();
        feed(&engine, &clock, sources, &mut Random::new(seed + 100));
        engine.wait().unwrap();
        let wrong: Vec<_> = engine.dead_letters().unwrap().flat_map(Result::unwrap).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(engine.late_rows().unwrap().count(), 0);
        let batch = batch::answers(&text, &tables);
        for view in READ {
            let found = lines(&engine.snapshots(&[view]).unwrap().remove(0).batches);
            let expected = lines(&batch[*view]);
            assert!(!found.is_empty(), "{view} is empty, which proves nothing");
            if !alike(&found, &expected) {
                faults += &format!("seed {seed}, {workers} workers, {view}:\n{}", difference(&found, &expected));
            }
        }
        nothing_is_lost(&batch);
        for (view, all) in &mut seen {
            all.extend(lines(&batch[*view]));
        }
    }
    everything_came_to_pass(&seen);
    assert!(faults.is_empty(), "{faults}");
}

/// Whether they are the same rows, but for the last digits of numbers: addition is not associative.
pub fn alike(found: &[String], expected: &[String]) -> bool {
    let cells = |(found, expected): (&str, &str)| match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) => (found - expected).abs() <= 1e-8 * found.abs().max(expected.abs()),
        _ => found == expected,
    };
    let row = |(found, expected): (&String, &String)| found.split(" | ").zip(expected.split(" | ")).all(cells);
    found.len() == expected.len() && found.iter().zip(expected).all(row)
}

/// The shares of all tenants and of nobody add up to the ledger's rows, and the ledger's rows to the days.
fn nothing_is_lost(batch: &BTreeMap<String, Vec<RecordBatch>>) {
    let shares = "SELECT count(*), count(l.energy_kwh), count(*) FILTER (WHERE abs(l.energy_kwh - t.kwh) > 1e-12
           OR abs(l.operational_g - t.g) > 1e-9 OR abs(l.operational_g_high - t.g_high) > 1e-9
           OR abs(l.embodied_g - t.embodied_g) > 1e-9)
        FROM ledger l LEFT JOIN (
          SELECT slot_start, machine, sum(energy_kwh) AS kwh, sum(operational_g) AS g, sum(operational_g_high) AS g_high,
                 sum(embodied_g) AS embodied_g FROM tenant_ledger GROUP BY slot_start, machine) t
        ON t.slot_start = l.slot_start AND t.machine = l.machine AND (l.energy_kwh IS NULL) = (t.kwh IS NULL)";
    let found = batch::asked(batch, shares).remove(0);
    assert!(found.ends_with(" | 0") && !found.starts_with("0 |"), "{found}");
    let days = "SELECT abs((SELECT sum(operational_g) FROM daily) - (SELECT sum(operational_g) FROM ledger)) < 1e-9";
    assert_eq!(batch::asked(batch, days), ["true"]);
}

/// That the input was worth it: restatements, every kind of meter, gaps and fallbacks are among what was compared.
fn everything_came_to_pass([(_, ledger), (_, in_force)]: &[(&str, Vec<String>); 2]) {
    let words = ["counter", "gauge", "utilisation", "missing", "actual", "world", "country"];
    for word in words.map(|word| format!("| {word} |")) {
        assert!(ledger.iter().any(|line| line.contains(&word)), "nothing in the ledgers is {word}");
    }
    assert!(in_force.iter().any(|line| !line.ends_with("| 0")), "no intensity was restated: {in_force:#?}");
}
