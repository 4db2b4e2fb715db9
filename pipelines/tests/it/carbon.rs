//! The carbon functions, as their pages show them: every call is run, every function is named.

use crate::queries::context;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use std::path::Path;

/// The pages but their list, each with its text.
fn pages() -> Vec<(String, String)> {
    let paths = std::fs::read_dir("../docs/operators/carbon").unwrap().map(|entry| entry.unwrap().path());
    let pages = paths.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()));
    pages.filter(|(name, _)| !name.ends_with("README.md")).collect()
}

/// Calls in SQL with their answers: the rows of the page's table of them.
fn calls(page: &str) -> Vec<(String, String)> {
    let row = |line: &str| {
        let (call, answer) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((call.to_string(), answer.strip_suffix(" |")?.to_string()))
    };
    let table = page.split_once("| call | answer |\n").map_or("", |(_, rows)| rows);
    table.lines().take_while(|line| line.starts_with('|')).filter_map(row).collect()
}

fn answer(context: &SessionContext, call: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(&format!("SELECT {call}")).await?.collect().await });
    let batches = batches.map_err(|error| error.to_string())?;
    let options = FormatOptions::default().with_null("NULL");
    let shown = ArrayFormatter::try_new(batches[0].column(0).as_ref(), &options).map_err(|error| error.to_string())?;
    Ok(shown.value(0).to_string())
}

fn alike(given: &str, expected: &str) -> bool {
    match (given.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(given), Ok(expected)) => (given - expected).abs() <= 1e-9 * expected.abs().max(1e-12),
        _ => given == expected,
    }
}

#[test]
fn every_call_of_the_pages_answers_as_it_says() {
    let context = context(Path::new("."));
    for (page, text) in pages() {
        let calls = calls(&text);
        assert!(calls.len() >= 3 || text.contains("```test\n"), "{page} shows too little: {} calls", calls.len());
        for (call, expected) in calls {
            let given = answer(&context, &call).unwrap_or_else(|error| panic!("{page}: {call}: {error}"));
            assert!(alike(&given, &expected), "{page}: {call} is {given}, and the page says {expected}");
        }
    }
}

#[test]
fn every_function_has_its_page() {
    let list = std::fs::read_to_string("../docs/operators/carbon/README.md").unwrap();
    let pages = pages();
    let (scalars, aggregates) = thalweg_operators::carbon::functions();
    let names = scalars.iter().map(|f| f.name().to_string()).chain(aggregates.iter().map(|f| f.name().to_string()));
    for name in names {
        let row = list.lines().find(|line| line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the list of carbon functions"));
        let page = row.split_once("](").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
        let (_, text) = pages.iter().find(|(path, _)| path.ends_with(&format!("/{page}"))).unwrap();
        assert!(text.contains(&format!("{name}(")) || text.contains(&format!("`{name}`")), "{name} is not on {page}");
    }
    for (path, _) in &pages {
        let name = path.rsplit('/').next().unwrap();
        assert!(list.contains(&format!("]({name})")), "{name} is not in the list of carbon functions");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let context = context(Path::new("."));
    for (call, reason) in [
        ("joules(1, 'furlongs')", "joules: \"furlongs\" is not a unit of energy that is known"),
        ("grams_per_kwh(0.002805, 't/kWh')", "2805 g/kWh is no intensity of a grid (0 to 1500): is its unit right?"),
        ("carbon_grams(1, 300, 0.9)", "a PUE of 0.9 would make energy: it is at least 1"),
        ("intensity_rank('guessed')", "they are actual, estimated, forecast, profile, annual, country, world"),
        ("storage_kwh(1, 'tape')", "it is 'ssd' or 'hdd'"),
        ("sci(1, 2)", "sci(kwh, g_per_kwh, embodied_g, units) takes 4 arguments, not 2"),
        ("kwh('much')", "argument \"joules\" of kwh is a number, not of type Utf8"),
        (
            "time_slots('2026-01-01T00:00:00', '2026-01-02T00:00:00', INTERVAL '1 month')",
            "time_slots: a month has no length of its own: write days",
        ),
        (
            "embodied_grams(1000, INTERVAL '4 years', INTERVAL '1 hour', 1)",
            "embodied_grams: a month has no length of its own: write days",
        ),
        (
            "time_slots('2026-01-01T00:00:00', '2026-01-02T00:00:00', INTERVAL '0 hours')",
            "the size of a slot is longer than nothing",
        ),
    ] {
        let error = answer(&context, call).unwrap_err();
        assert!(error.contains(reason), "{call}: {error}");
    }
}

#[test]
fn the_best_window_of_a_forecast_is_found_over_groups() {
    let context = context(Path::new("."));
    let forecast =
        "(VALUES (0, 210), (1, 205), (2, 190), (3, 170), (4, 150), (5, 120), (6, 90), (7, 80), (8, 85), (9, 110))";
    let slot = |hours: &str| format!("to_timestamp_nanos(1767225600000000000 + ({hours}) * 3600000000000)");
    let best = |field: &str| {
        let (start, end) = (slot("h"), slot("h + 1"));
        format!("(SELECT best_window({start}, {end}, g, INTERVAL '3 hours')['{field}'] FROM {forecast} AS t(h, g))")
    };
    assert_eq!(answer(&context, &best("start")).unwrap(), "2026-01-01T06:00:00");
    assert_eq!(answer(&context, &best("g_per_kwh")).unwrap(), "85.0");
    assert_eq!(answer(&context, &format!("round({}, 3)", best("saving_percent"))).unwrap(), "57.851");
}

#[test]
fn the_best_region_is_the_one_with_the_least_grams_of_what_the_job_uses() {
    let context = context(Path::new("."));
    // The same forecast twice: the building decides. A third is cleaner, and holds no three hours in a row.
    let forecast = "(VALUES ('hot', 1.4, 0, 210), ('hot', 1.4, 1, 205), ('hot', 1.4, 2, 190), ('hot', 1.4, 3, 170),
                     ('cool', 1.1, 0, 210), ('cool', 1.1, 1, 205), ('cool', 1.1, 2, 190), ('cool', 1.1, 3, 170),
                     ('holed', 1.0, 0, 10), ('holed', 1.0, 1, 10), ('holed', 1.0, 3, 10), (NULL, 1.0, 0, 1))";
    let slot = |hours: &str| format!("to_timestamp_nanos(1767225600000000000 + ({hours}) * 3600000000000)");
    let best = |hours: &str, field: &str| {
        let (start, end) = (slot("h"), slot("h + 1"));
        let call = format!("best_region(r, pue, {start}, {end}, g, INTERVAL '{hours} hours')['{field}']");
        answer(&context, &format!("(SELECT {call} FROM {forecast} AS t(r, pue, h, g))")).unwrap()
    };
    assert_eq!(best("3", "region"), "cool");
    assert_eq!(best("3", "start"), "2026-01-01T01:00:00");
    assert!(alike(&best("3", "g_per_kwh"), &format!("{}", 1.1 * (205.0 + 190.0 + 170.0) / 3.0)));
    assert!(alike(&best("3", "now_g_per_kwh"), &format!("{}", 1.1 * (210.0 + 205.0 + 190.0) / 3.0)));
    assert!(alike(&best("3", "saving_percent"), &format!("{}", 100.0 * (1.0 - 565.0 / 605.0))));
    assert_eq!(best("2", "region"), "holed");
    assert_eq!(best("5", "region"), "NULL");
}
