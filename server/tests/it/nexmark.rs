//! The queries of the Nexmark benchmark over its generator: each live view ends with the answer that DataFusion gives over
//! the same events as a table, whatever the number of workers; and holds such an answer as of every epoch before.

mod epochs;

use crate::equivalence::{difference, lines};
use crate::in_process;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::prelude::SessionContext;
use std::fmt::Write;

const EVENTS: usize = 4_000;

/// All events, and a function that q14 calls.
const VIEWS: &str = "
CREATE MATERIALIZED VIEW events AS SELECT * FROM nexmark;
CREATE FUNCTION count_char(text TEXT, c TEXT) RETURNS BIGINT RETURN length(text) - length(replace(text, c, ''));
";

/// The relations by kind of event, then the queries, each under a comment with its name.
const TEXTS: &str = include_str!("../../../benches/nexmark/queries.sql");
/// What Flink's users call `bid`, `auction` and `person`: the same for both.
const RELATIONS: usize = 3;

/// Names and texts, in the order of the file.
fn texts() -> Vec<(&'static str, &'static str)> {
    // Before the first name is what the file is about.
    let named = TEXTS.split("\n\n-- ").skip(1);
    named.map(|part| part.split_once('\n').unwrap()).map(|(name, text)| (name, text.trim())).collect()
}

/// Puts something in place of each `{..}`.
fn replace(query: &str, with: impl Fn(&[&str]) -> String) -> String {
    let mut out = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').unwrap();
        out += before;
        out += &with(&inside.split(' ').collect::<Vec<_>>());
        rest = after;
    }
    out + rest
}

fn streaming(query: &str) -> String {
    replace(query, |words| match words {
        ["tumble", relation, size] => format!("TUMBLE({relation}, date_time, INTERVAL '{size} seconds')"),
        ["hop", relation, slide, size] => {
            format!("HOP({relation}, date_time, INTERVAL '{slide} seconds', INTERVAL '{size} seconds')")
        }
        ["session", gap] => format!("SESSION(bid, date_time, INTERVAL '{gap} seconds', PARTITION BY bidder)"),
        other => panic!("{other:?}"),
    })
}

fn batch(query: &str) -> String {
    let window = |relation: &str, start: String, size: &str| {
        format!("SELECT *, {start} AS window_start, {start} + INTERVAL '{size} seconds' AS window_end FROM {relation}")
    };
    let replaced = replace(query, |words| match words {
        ["tumble", relation, size] => {
            format!("({})", window(relation, format!("date_bin(INTERVAL '{size} seconds', date_time)"), size))
        }
        ["hop", relation, slide, size] => {
            let (slide_s, size_s): (u64, u64) = (slide.parse().unwrap(), size.parse().unwrap());
            let start = |back: u64| {
                format!("date_bin(INTERVAL '{slide} seconds', date_time) - INTERVAL '{} seconds'", back * slide_s)
            };
            let windows: Vec<_> = (0..size_s / slide_s).map(|back| window(relation, start(back), size)).collect();
            format!("({})", windows.join(" UNION ALL "))
        }
        ["session", gap] => format!(
            "(SELECT *, min(date_time) OVER (PARTITION BY bidder, session) AS window_start, \
             max(date_time) OVER (PARTITION BY bidder, session) + INTERVAL '{gap} seconds' AS window_end FROM \
             (SELECT *, sum(CASE WHEN date_time <= before + INTERVAL '{gap} seconds' THEN 0 ELSE 1 END) OVER \
              (PARTITION BY bidder ORDER BY date_time) AS session FROM \
              (SELECT *, lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) AS before FROM bid)))"
        ),
        other => panic!("{other:?}"),
    });
    // What the pipeline's own function comes to.
    replaced.replace("count_char(extra, 'c')", "length(extra) - length(replace(extra, 'c', ''))")
}

/// The source of so many events.
fn generator(events: usize, interval: &str) -> String {
    let options = format!("kind = 'nexmark', rows = '{events}', seed = '7', interval = '{interval}'");
    format!("CREATE SOURCE nexmark WITH (connector = 'generator', {options});")
}

/// The events as they come from `source`, and a view for each query.
fn pipeline(source: &str) -> String {
    let mut pipeline = format!("{source}{VIEWS}");
    for (at, (name, query)) in texts().into_iter().enumerate() {
        let kind = if at < RELATIONS { "VIEW" } else { "MATERIALIZED VIEW" };
        let _ = writeln!(pipeline, "CREATE {kind} {name} AS {};", streaming(query));
    }
    pipeline
}

/// What DataFusion answers to each query over a table of `events`.
fn batch_answers(runtime: &tokio::runtime::Runtime, events: &[RecordBatch]) -> Vec<Vec<String>> {
    let texts = texts();
    let (relations, queries) = texts.split_at(RELATIONS);
    let context = SessionContext::new();
    context.register_batch("nexmark", concat_batches(&events[0].schema(), events).unwrap()).unwrap();
    runtime.block_on(async {
        for (name, query) in relations {
            context.sql(&format!("CREATE VIEW {name} AS {query}")).await.unwrap();
        }
        let mut answers = Vec::new();
        for (name, query) in queries {
            let answer = async { context.sql(&batch(query)).await?.collect().await }.await;
            answers.push(lines(&answer.unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
        answers
    })
}

#[test]
fn every_query_ends_with_the_answer_of_a_batch() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut expected: Option<Vec<Vec<String>>> = None;
    let queries = texts().split_off(RELATIONS);
    assert_eq!(queries.len(), 21);
    for workers in [1, 2, 3] {
        let ended = in_process::run(&pipeline(&generator(EVENTS, "10ms")), std::path::Path::new("."), workers);
        let all = |name: &str| -> Vec<RecordBatch> { ended.ask(&format!("SELECT * FROM {name}")).unwrap() };
        let expected = expected.get_or_insert_with(|| {
            let events = all("events");
            assert_eq!(events.iter().map(RecordBatch::num_rows).sum::<usize>(), EVENTS);
            batch_answers(&runtime, &events)
        });
        for ((name, _), expected) in queries.iter().zip(expected.iter()) {
            let found = lines(&all(name));
            assert!(!expected.is_empty(), "{name} says nothing");
            assert!(found == *expected, "{name} with {workers}: {}", difference(&found, expected));
        }
    }
}
