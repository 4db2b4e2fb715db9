//! Breadth: what DataFusion can say of one relation is understood, and no text makes the compiler panic.

use crate::surroundings::{compiled, text};
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use std::sync::Arc;
use thalweg_operators::aggregate::Aggregate;
use thalweg_operators::plan::Plan;
use thalweg_pipelines::render_errors;

const SOURCE: &str = "CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, service VARCHAR(20), ok BOOLEAN, d DATE, n INT, big BIGINT, \
     x DOUBLE, y REAL, price DECIMAL(12, 2), tags TEXT[], payload BYTEA, tz TIMESTAMPTZ, pair STRUCT<a INT, b TEXT>, \
     WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (connector = 'feed', path = 'x');\n";

/// SELECT lists and the rest, over `t`.
const QUERIES: &[&str] = &[
    "SELECT * FROM t",
    "SELECT t.* FROM t AS t WHERE ok",
    "SELECT host || '-' || service AS name FROM t WHERE host LIKE 'a%' OR service ~ '^b'",
    "SELECT coalesce(host, 'none') AS host, nullif(n, 0) AS n FROM t",
    "SELECT date_trunc('minute', ts) AS minute, extract(hour FROM ts) AS hour FROM t",
    "SELECT substr(host, 1, 2) AS s, length(host) AS l, lower(host) AS low, trim(host) AS tr FROM t",
    "SELECT round(x, 2) AS x, abs(n) AS n, sqrt(x) AS r, x::int AS i, cast(n AS TEXT) AS c FROM t",
    "SELECT tags[1] AS first, array_length(tags) AS l, pair['a'] AS a, pair.b FROM t",
    "SELECT CASE WHEN n > 1 THEN 'many' WHEN n = 1 THEN 'one' END AS size FROM t",
    "SELECT host FROM t WHERE n IN (1, 2, 3) AND x BETWEEN 1 AND 2.5 AND host IS NOT NULL",
    "SELECT price * n AS total, price + 1 AS p FROM t",
    "SELECT md5(host) AS h, encode(payload, 'hex') AS p FROM t",
    "SELECT ts + INTERVAL '1 hour' AS later, d + 1 AS tomorrow FROM t",
    "SELECT host FROM (SELECT host, n FROM t WHERE n > 1) AS inner_one WHERE n < 10",
    "WITH a AS (SELECT host, x FROM t), b AS (SELECT host, x * 2 AS x FROM a) SELECT * FROM b WHERE x > 1",
    "SELECT host, x FROM t UNION ALL SELECT service, y FROM t",
    "SELECT host FROM t UNION SELECT service FROM t",
    "SELECT DISTINCT host, service FROM t",
    "SELECT count(*) AS n FROM t",
    "SELECT host, count(*) AS n FROM t GROUP BY host HAVING count(*) > 5",
    "SELECT host, sum(n) AS s, min(x) AS mi, max(x) AS ma, avg(price) AS p, stddev(x) AS sd FROM t GROUP BY host",
    "SELECT host, count(DISTINCT service) AS s, count(*) FILTER (WHERE ok) AS oks FROM t GROUP BY 1",
    "SELECT host, first_value(x ORDER BY ts) AS first, last_value(x ORDER BY ts) AS last FROM t GROUP BY host",
    "SELECT host, array_agg(n) AS ns, string_agg(service, ',') AS services FROM t GROUP BY host",
    "SELECT upper(host) AS h, sum(n) + count(*) AS s FROM t GROUP BY upper(host)",
    "SELECT ok, bool_and(ok) AS b, corr(x, y) AS c, median(x) AS m, var_pop(x) AS v FROM t GROUP BY ok",
    "SELECT n % 10 AS bucket, count(*) AS c FROM t GROUP BY n % 10",
    "SELECT host, n FROM (SELECT host, count(*) AS n FROM t GROUP BY host) AS g WHERE n > 1",
    "SELECT window_start, window_end, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end",
    "SELECT window_end, host, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1' MINUTE) GROUP BY window_end, host",
    "SELECT w.window_start, w.host, max(w.x) AS x FROM TUMBLE(t, ts, INTERVAL '1 minute') w GROUP BY w.window_start, w.host",
    "SELECT t.window_start, t.host, max(t.x) AS x FROM TUMBLE(t, t.ts, INTERVAL '1 minute') GROUP BY t.window_start, t.host",
    "SELECT host, window_start, avg(x) AS x FROM HOP(t, ts, INTERVAL '1 second', INTERVAL '5 seconds') GROUP BY host, window_start",
    "SELECT window_start, median(x) AS m, approx_percentile_cont(x, 0.5) AS p, approx_distinct(host) AS h FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY 1",
    "SELECT window_start, approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY x) AS p FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY 1",
    "SELECT window_start AS s, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') WHERE ok AND x > 1 GROUP BY s",
    "SELECT window_start, host, count(*) AS n FROM TUMBLE((SELECT ts, lower(host) AS host FROM t WHERE ok), ts, INTERVAL '1 h') GROUP BY window_start, host",
    "SELECT window_start, to_char(window_start, '%H:%M') AS label, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start",
    "WITH e AS (SELECT * FROM t WHERE n > 500) SELECT window_start, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 h') GROUP BY window_start",
    "SELECT window_start, n FROM (SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start) AS g WHERE n > 1",
    "SELECT max(n) AS most FROM (SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start) AS g",
    "SELECT window_start, n FROM TUMBLE(t, ts, INTERVAL '1 minute', INTERVAL '10 seconds') WHERE n > 0",
    "SELECT window_start, host, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 m') GROUP BY window_start, window_end, host, service",
    "SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start, host, d HAVING count(*) > 1 AND host <> 'x'",
    "SELECT window_start, sum(CASE WHEN ok THEN 1 ELSE 0 END) AS oks, count(*) - count(n) AS nulls FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start",
    "SELECT window_start, count(*) AS n, max(window_end) AS e FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start",
    "SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') WHERE window_start > ts - INTERVAL '1 h' GROUP BY window_start",
    "SELECT a.window_start, count(*) AS n FROM TUMBLE((SELECT * FROM TUMBLE(t, ts, INTERVAL '1 s')), window_start, INTERVAL '1 h') a GROUP BY a.window_start",
    "SELECT window_start, n FROM (SELECT window_start, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 h') GROUP BY window_start UNION ALL SELECT window_start, sum(n) FROM TUMBLE(t, ts, INTERVAL '2 h') GROUP BY window_start) AS u",
    "SELECT window_start, window_end, count(*) AS n FROM CUMULATE(t, ts, INTERVAL '1 minute', INTERVAL '1 h') GROUP BY 1, 2",
    "SELECT host, window_end FROM CUMULATE(t, ts, INTERVAL '1 minute', INTERVAL '1 h', INTERVAL '1 s') WHERE ok",
    "SELECT window_start, host, count(*) AS n FROM SESSION(t, ts, INTERVAL '5 minutes', PARTITION BY host) GROUP BY window_start, host",
    "SELECT s.window_end, s.service, median(s.x) AS m, s.host FROM SESSION(t PARTITION BY (host, service), DESCRIPTOR(ts), INTERVAL '5' MINUTE) s GROUP BY s.service, s.window_end, s.host",
    "SELECT host, window_end - window_start AS length, n FROM SESSION(t, ts, '5 m', PARTITION BY host) WHERE n > 1",
    "SELECT window_start, upper(host) AS h, count(*) AS c FROM SESSION(t, ts, '5 m', PARTITION BY host) GROUP BY window_start, upper(host)",
    "SELECT DISTINCT window_start, host FROM (SELECT host, window_start, ok FROM SESSION(t, ts, '5 m', PARTITION BY host, service)) AS s WHERE ok",
    "SELECT window_start, count(*) AS n FROM TUMBLE((SELECT host, window_end FROM SESSION(t, ts, '5 m', PARTITION BY host) GROUP BY host, window_end), window_end, '1 h') GROUP BY window_start",
    "SELECT host, x FROM (SELECT *, row_number() OVER (PARTITION BY host ORDER BY x DESC NULLS LAST) AS r FROM t) WHERE r <= 3 AND ok",
    "SELECT host, r FROM (SELECT host, dense_rank() OVER (PARTITION BY upper(host) ORDER BY n % 10, ts) AS r FROM t) AS q WHERE r BETWEEN 2 AND 5",
    "SELECT * FROM t QUALIFY 1 = row_number() OVER (PARTITION BY host, service ORDER BY ts DESC)",
    "SELECT DISTINCT ON (host) host, x FROM t ORDER BY host, ts DESC",
    "SELECT host, n + 1 AS m FROM t ORDER BY x + n DESC LIMIT 10",
    "SELECT host FROM (SELECT host, ts FROM t ORDER BY ts LIMIT 3) AS q WHERE host IS NOT NULL",
    "SELECT host FROM t LIMIT 10 OFFSET 5",
    "SELECT host, lag(x, 2, 0.0) OVER (PARTITION BY host ORDER BY ts) AS l, lead(n) OVER (PARTITION BY host ORDER BY ts) AS d FROM t",
    "SELECT host, sum(x + 1) OVER (PARTITION BY service ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS s, rank() OVER (ORDER BY x) AS r FROM t",
    "SELECT host, first_value(x) IGNORE NULLS OVER (PARTITION BY host ORDER BY ts) AS f, nth_value(x, 2) OVER (PARTITION BY host ORDER BY ts) AS s FROM t",
    "SELECT host, avg(x) OVER (PARTITION BY host ORDER BY ts RANGE BETWEEN INTERVAL '5 minutes' PRECEDING AND CURRENT ROW) AS a FROM t",
    "SELECT window_start, host, n, sum(n) OVER (PARTITION BY window_start) AS all_n FROM (SELECT window_start, host, count(*) AS n FROM TUMBLE(t, ts, '1 m') GROUP BY 1, 2)",
    "SELECT host, service, count(*) AS n FROM t GROUP BY ROLLUP (host, service)",
    "SELECT host, ok, grouping(host, ok) AS g, max(x) FILTER (WHERE n > 1) AS m FROM t GROUP BY CUBE (host, ok)",
    "SELECT upper(host) AS h, count(host) AS n FROM t GROUP BY GROUPING SETS ((upper(host)), ())",
    "SELECT window_start, host, service, count(*) AS n FROM TUMBLE(t, ts, '1 m') GROUP BY window_start, window_end, ROLLUP (host, service)",
    "SELECT window_start, host, count(*) AS n FROM TUMBLE(t, ts, '1 m') GROUP BY ROLLUP (window_start, host)",
    "SELECT host, n FROM t EXCEPT SELECT service, big FROM t",
    "SELECT host FROM t INTERSECT ALL SELECT service FROM t",
    "SELECT host, count(*) AS c FROM (SELECT host FROM t EXCEPT ALL SELECT service FROM t) AS d GROUP BY host",
    "SELECT host, count(*) AS c, sum(n) AS s FROM SESSION(t, ts, '5 m', PARTITION BY host) WHERE ok AND host <> 'x' GROUP BY window_start, host HAVING count(*) > 1",
    "SELECT w, c FROM (SELECT window_end AS w, host, count(*) AS c FROM (SELECT window_end, host FROM SESSION(t, ts, '5 m', PARTITION BY host) WHERE ok) AS s GROUP BY window_end, host) AS q",
];

const ALERT: &str = "CREATE SOURCE t (a INT, b TEXT) WITH (connector = 'feed', path = 'x');
CREATE ALERT x FROM t BY b WHERE a > 0 WARNING WHEN a > 1 CLEAR WHEN a < 1 FOR INTERVAL '1s' KEEP FIRING FOR INTERVAL '1s'
ABSENT FOR INTERVAL '1s' THEN warning LABELS (l = '{{a}}') ANNOTATIONS (m = '{{b}} {{severity}}') WITH (ttl = '1d');";

/// Every expression has the type of its column, over the columns that its input really has.
fn consistent(plan: &Plan, query: &str) {
    let schema = plan.schema();
    let inputs = plan.inputs();
    let typed = |exprs: &[Arc<dyn PhysicalExpr>], first: usize| {
        for (at, expr) in exprs.iter().enumerate() {
            let field = schema.field(first + at);
            let input = inputs[0].schema();
            assert_eq!(expr.data_type(&input).unwrap(), *field.data_type(), "{query}: {expr}");
            assert!(field.is_nullable() || !expr.nullable(&input).unwrap(), "{query}: {expr} may be NULL");
            for column in collect_columns(expr) {
                assert_eq!(column.name(), input.field(column.index()).name(), "{query}: {expr}");
            }
        }
    };
    let aggregated = |aggregates: &[Aggregate], first: usize| {
        for (at, aggregate) in aggregates.iter().enumerate() {
            assert_eq!(aggregate.function.field().data_type(), schema.field(first + at).data_type(), "{query}");
            let input = inputs[0].schema();
            let arguments = aggregate.function.expressions();
            for column in arguments.iter().chain(&aggregate.filter).flat_map(collect_columns) {
                assert_eq!(column.name(), input.field(column.index()).name(), "{query}");
            }
        }
    };
    match plan {
        Plan::Source { .. } | Plan::View { .. } => {}
        Plan::Filter(spec) => {
            assert_eq!(spec.predicate.data_type(&schema).unwrap(), DataType::Boolean, "{query}");
        }
        Plan::Project(spec) => typed(&spec.exprs, 0),
        Plan::Union { inputs } => inputs.iter().for_each(|input| assert_eq!(input.schema(), schema, "{query}")),
        Plan::AssignWindows(spec) => {
            let width = inputs[0].schema().fields().len();
            assert!(matches!(schema.field(spec.time).data_type(), DataType::Timestamp(_, _)), "{query}");
            assert_eq!(schema.fields().len(), width + 2, "{query}");
        }
        Plan::WindowAggregate(spec) => {
            typed(&spec.keys, 2);
            aggregated(&spec.aggregates, 2 + spec.keys.len());
            assert!(!spec.time_origin.sources.is_empty(), "{query}");
        }
        Plan::SessionAggregate(spec) => {
            typed(&spec.keys, 2);
            aggregated(&spec.aggregates, 2 + spec.keys.len());
            assert!(!spec.time_origin.sources.is_empty(), "{query}");
        }
        Plan::TopN(spec) => {
            let input = inputs[0].schema();
            assert_eq!(schema.fields()[..input.fields().len()], input.fields()[..], "{query}");
            assert_eq!(schema.fields().len(), input.fields().len() + usize::from(spec.numbered), "{query}");
        }
        Plan::Over(spec) => {
            let input = inputs[0].schema();
            assert_eq!(schema.fields()[..input.fields().len()], input.fields()[..], "{query}");
            for (at, function) in spec.functions.iter().enumerate() {
                let field = schema.field(input.fields().len() + at);
                assert_eq!(function.field().unwrap().data_type(), field.data_type(), "{query}");
                for column in function.expressions().iter().flat_map(collect_columns) {
                    assert_eq!(column.name(), input.field(column.index()).name(), "{query}");
                }
            }
        }
        Plan::Series(spec) => {
            let input = inputs[0].schema();
            assert_eq!(schema.fields()[..input.fields().len()], input.fields()[..], "{query}");
            assert!(!spec.origin.sources.is_empty(), "{query}");
        }
        Plan::Expand(spec) => {
            typed(&spec.keys, inputs[0].schema().fields().len());
            let last = schema.field(schema.fields().len() - 1).data_type();
            assert!(spec.sets.iter().all(|set| set.number.data_type() == *last), "{query}");
        }
        Plan::Unnest(spec) => {
            assert_eq!(schema.fields().len(), inputs[0].schema().fields().len(), "{query}");
            assert!(matches!(inputs[0].schema().field(spec.column).data_type(), DataType::List(_)), "{query}");
        }
        Plan::Recursion(spec) => {
            for input in inputs.iter().map(|input| input.schema()) {
                assert_eq!(input.fields().len(), spec.schema.fields().len(), "{query}");
                let types =
                    input.fields().iter().zip(spec.schema.fields()).map(|(a, b)| (a.data_type(), b.data_type()));
                types.for_each(|(made, kept)| assert_eq!(made, kept, "{query}"));
            }
        }
        Plan::Recursive { .. } => {}
        Plan::Within(spec) => {
            let time = schema.field(spec.horizon.column).data_type().clone();
            assert!(matches!(time, DataType::Timestamp(..)), "{query}");
        }
        Plan::Envelope(spec) => {
            let width = inputs[0].schema().fields().len();
            assert!(spec.envelope.key.iter().all(|at| *at < width), "{query}");
        }
        Plan::Repeat(_) => assert_eq!(inputs[0].schema().fields()[..schema.fields().len()], schema.fields()[..]),
        Plan::Reduce(spec) => {
            typed(&spec.keys, 0);
            aggregated(&spec.aggregates, spec.keys.len());
        }
        Plan::Alert(spec) => {
            let input = inputs[0].schema();
            let conditions = spec.severities.iter().flat_map(|severity| [Some(severity.when), severity.clear]);
            for at in conditions.flatten() {
                assert!(at >= spec.width && *input.field(at).data_type() == DataType::Boolean, "{query}");
            }
        }
        Plan::AsofJoin(spec) => {
            let at = [inputs[0].schema(), inputs[1].schema()];
            assert_eq!(at[0].field(spec.left_at).data_type(), at[1].field(spec.right_at).data_type(), "{query}");
        }
        Plan::Join(spec) => keys_agree(&inputs, spec.keys, query),
        Plan::LookupJoin(spec) => keys_agree(&inputs, spec.keys, query),
    }
    inputs.into_iter().for_each(|input| consistent(input, query));
}

/// The first columns of both sides of a join have the same types.
fn keys_agree(inputs: &[&Plan], keys: usize, query: &str) {
    let types = |side: usize| -> Vec<DataType> {
        inputs[side].schema().fields().iter().take(keys).map(|f| f.data_type().clone()).collect()
    };
    assert_eq!(types(0), types(1), "{query}");
}

#[test]
fn queries_over_one_relation_compile() {
    let mut wrong = Vec::new();
    for query in QUERIES {
        let texts = [text("q.sql", &format!("{SOURCE}CREATE MATERIALIZED VIEW v AS\n{query};"))];
        match compiled(&texts) {
            Err(errors) => wrong.push(render_errors(&errors, &texts)),
            // The columns of the view are those that its plan says.
            Ok(program) => {
                let schema = program.declaration("v").unwrap().schema.clone();
                assert_eq!(schema, program.dataflow.views[0].plan.schema(), "{query}");
                consistent(&program.dataflow.views[0].plan, query);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_text_makes_it_panic() {
    cut_everywhere(&std::fs::read_to_string("tests/plans/hop.sql").unwrap());
    cut_everywhere(ALERT);
}

fn cut_everywhere(good: &str) {
    let cuts: Vec<usize> = good.char_indices().map(|(at, _)| at).step_by(3).collect();
    for (number, at) in cuts.iter().enumerate() {
        // Cut off at every place, and with a piece taken out.
        let _ = compiled(&[text("a.sql", &good[..*at])]).map_err(|errors| {
            assert!(errors.iter().all(|e| e.position.is_some()), "{errors:?}");
        });
        let after = cuts.get(number + 2).copied().unwrap_or(good.len());
        let _ = compiled(&[text("a.sql", &format!("{}{}", &good[..*at], &good[after..]))]);
    }
}
