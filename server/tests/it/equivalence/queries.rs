//! The queries, each in one text: `{tumble 10}`, `{hop 5 20}` and `{cumulate 5 20}` (slide or step, and size in seconds)
//! stand for the window's table function in the pipeline and for a subquery that assigns windows by `date_bin` in batch;
//! `{session 2 k}` (gap, partition) for one that looks back to the row before; in `{marked both 2 k}` rows say where sessions
//! begin and end (`both`, `start`, `end`). Sizes are multiples.

pub const QUERIES: &[&str] = &[
    // Rows as they are.
    "SELECT ts, k, v FROM events",
    "SELECT ts, k, v FROM events WHERE v > 0",
    "SELECT ts, v + g AS s, f * 2 AS t, upper(k) AS u FROM events WHERE k IS NOT NULL AND b",
    "SELECT ts, CASE WHEN v > 500 THEN 'high' WHEN v IS NULL THEN 'none' ELSE 'low' END AS level FROM events",
    "SELECT ts, coalesce(k, 'nobody') AS k, abs(v) AS v FROM events WHERE g IN (1, 2)",
    "SELECT ts, k FROM events WHERE k LIKE 'key-%' AND k BETWEEN 'key-1' AND 'key-3'",
    "SELECT ts, v FROM events WHERE v > 900 UNION ALL SELECT ts, v FROM events WHERE v < -900",
    "SELECT date_trunc('minute', ts) AS minute, d FROM events WHERE d > 0",
    "SELECT x.ts, x.w FROM (SELECT ts, v * 2 AS w FROM events) x WHERE x.w > 100",
    "SELECT window_start, window_end, ts, v FROM {tumble 10} WHERE v > 0",
    "SELECT window_start, ts, k FROM {hop 5 20} WHERE k = 'key-1'",
    // Tumbling windows.
    "SELECT window_start, window_end, count(*) AS n FROM {tumble 10} GROUP BY window_start, window_end",
    "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, avg(f) AS a, min(v) AS lo, max(f) AS hi FROM {tumble 10} GROUP BY window_start, window_end, k",
    "SELECT window_start, window_end, k, g, count(v) AS n FROM {tumble 7} GROUP BY window_start, window_end, k, g",
    "SELECT window_start, k, sum(d) AS s, avg(d) AS a FROM {tumble 30} GROUP BY window_start, window_end, k",
    "SELECT window_end, g, max(k) AS hi, min(k) AS lo FROM {tumble 30} GROUP BY window_start, window_end, g",
    "SELECT window_start, k, approx_percentile_cont(f, 0.5) AS p50, approx_percentile_cont(f, 0.99) AS p99 FROM {tumble 60} GROUP BY window_start, window_end, k",
    "SELECT window_start, approx_median(v) AS m FROM {tumble 60} GROUP BY window_start, window_end",
    "SELECT window_start, k, median(v) AS m FROM {tumble 60} GROUP BY window_start, window_end, k",
    "SELECT window_start, k, count(DISTINCT g) AS n, count(DISTINCT v) AS m FROM {tumble 20} GROUP BY window_start, window_end, k",
    "SELECT window_start, sum(DISTINCT g) AS s, avg(v) AS a FROM {tumble 20} GROUP BY window_start, window_end",
    "SELECT window_start, k, count(*) FILTER (WHERE v > 0) AS n, sum(v) FILTER (WHERE b) AS s FROM {tumble 20} GROUP BY window_start, window_end, k",
    "SELECT window_start, k, count(*) AS n FROM {tumble 20} GROUP BY window_start, window_end, k HAVING count(*) > 5",
    "SELECT window_start, k, stddev(f) AS s, var_pop(f) AS v FROM {tumble 30} GROUP BY window_start, window_end, k",
    "SELECT window_start, corr(v, f) AS c, covar_samp(v, f) AS s FROM {tumble 30} GROUP BY window_start, window_end",
    "SELECT window_start, k, bool_and(b) AS a, bool_or(b) AS o FROM {tumble 30} GROUP BY window_start, window_end, k",
    "SELECT window_start, bit_and(g) AS a, bit_or(g) AS o, bit_xor(g) AS x FROM {tumble 30} GROUP BY window_start, window_end",
    "SELECT window_start, k, approx_distinct(v) AS n FROM {tumble 60} GROUP BY window_start, window_end, k",
    "SELECT window_start, g, first_value(v ORDER BY ts, v, f) AS first, last_value(v ORDER BY ts, v, f) AS last FROM {tumble 30} GROUP BY window_start, window_end, g",
    "SELECT window_start, array_length(array_agg(v)) AS n FROM {tumble 30} GROUP BY window_start, window_end",
    "SELECT window_start, string_agg(k, ',' ORDER BY ts, k, v) AS s FROM {tumble 10} GROUP BY window_start, window_end",
    "SELECT window_start, b, count(*) AS n FROM {tumble 30} GROUP BY window_start, window_end, b",
    "SELECT window_start, g % 2 AS parity, sum(v) AS s FROM {tumble 30} GROUP BY window_start, window_end, g % 2",
    "SELECT window_start, upper(k) AS u, sum(v * 2) AS s FROM {tumble 30} WHERE v > -500 GROUP BY window_start, window_end, upper(k)",
    "SELECT window_start, k, sum(v) / count(*) AS mean, sum(v) + 1 AS more FROM {tumble 30} GROUP BY window_start, window_end, k",
    "SELECT window_start, d, count(*) AS n FROM {tumble 60} WHERE d > 400 GROUP BY window_start, window_end, d",
    "SELECT window_start, f > 0 AS up, count(*) AS n, max(ts) AS latest FROM {tumble 30} GROUP BY window_start, window_end, f > 0",
    "SELECT count(*) AS n, window_start FROM {tumble 1} GROUP BY window_start, window_end",
    "SELECT window_start, k, max(v) - min(v) AS spread FROM {tumble 45} GROUP BY window_start, window_end, k HAVING max(v) > 100 AND min(v) < 0",
    "SELECT window_start, regr_slope(f, v) AS slope FROM {tumble 60} GROUP BY window_start, window_end",
    // Hopping windows.
    "SELECT window_start, window_end, count(*) AS n FROM {hop 5 20} GROUP BY window_start, window_end",
    "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, avg(f) AS a, min(v) AS lo, max(v) AS hi FROM {hop 10 30} GROUP BY window_start, window_end, k",
    "SELECT window_start, k, approx_percentile_cont(f, 0.9) AS p90 FROM {hop 10 60} GROUP BY window_start, window_end, k",
    "SELECT window_start, k, count(DISTINCT v) AS n FROM {hop 10 40} GROUP BY window_start, window_end, k",
    "SELECT window_start, g, sum(d) AS s FROM {hop 15 30} WHERE b GROUP BY window_start, window_end, g",
    "SELECT window_start, count(*) FILTER (WHERE v > 0) AS up FROM {hop 4 12} GROUP BY window_start, window_end",
    "SELECT window_start, k, stddev(v) AS s FROM {hop 20 60} GROUP BY window_start, window_end, k HAVING count(*) > 10",
    "SELECT window_start, median(f) AS m FROM {hop 20 60} GROUP BY window_start, window_end",
    "SELECT window_start, string_agg(k, ',' ORDER BY ts, k, v) AS s FROM {hop 5 10} GROUP BY window_start, window_end",
    // Without windows.
    "SELECT count(*) AS n FROM events",
    "SELECT count(*) AS n, sum(v) AS s, avg(f) AS a, min(d) AS lo, max(k) AS hi FROM events WHERE v > 0",
    "SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k",
    "SELECT k, g, avg(f) AS a, max(v) AS hi FROM events GROUP BY k, g",
    "SELECT g, approx_percentile_cont(f, 0.95) AS p95, count(DISTINCT k) AS n FROM events GROUP BY g",
    "SELECT k, count(*) AS n FROM events GROUP BY k HAVING count(*) > 60",
    "SELECT DISTINCT k, g FROM events",
    "SELECT sum(v) FILTER (WHERE b) AS yes, sum(v) FILTER (WHERE NOT b) AS no FROM events",
    "SELECT date_trunc('minute', ts) AS minute, median(v) AS m FROM events GROUP BY date_trunc('minute', ts)",
    "SELECT g, var_samp(f) AS v, bool_or(b) AS b FROM events WHERE k IS NOT NULL GROUP BY g",
    "SELECT count(*) AS n FROM events WHERE v > 100000",
    // What fails for no row here: arguments under a filter, checked arithmetic, sums of wide types.
    "SELECT window_start, k, sum(v * 1000000 + g) AS s, sum(d * 2) AS t FROM {tumble 20} GROUP BY window_start, window_end, k",
    "SELECT k, sum(100 / g) FILTER (WHERE g > 0) AS q, count(*) AS n FROM events WHERE g IS NULL OR g <> 0 GROUP BY k",
    "SELECT k, sum(DISTINCT v) AS s, avg(d) AS a, sum(d) AS t FROM events GROUP BY k",
    "SELECT g, sum(CAST(d AS DECIMAL(38, 4))) AS s, avg(CAST(v AS DECIMAL(20, 2))) AS a FROM events GROUP BY g",
    "SELECT window_start, max(abs(v - 5)) FILTER (WHERE b) AS m FROM {hop 10 20} GROUP BY window_start, window_end",
    "SELECT ts, v - g * 3 AS x, -v AS y FROM events WHERE v + g > 10",
    // Windows in WITH, in subqueries, in unions, and rolled up.
    "WITH w AS (SELECT * FROM {tumble 15}) SELECT window_start, count(*) AS n FROM w GROUP BY window_start, window_end",
    "WITH w AS (SELECT window_start, k, v FROM {hop 5 15} WHERE v > 0) SELECT k, window_start, max(v) AS hi FROM w GROUP BY k, window_start",
    "SELECT x.window_start, x.n FROM (SELECT window_start, count(*) AS n FROM {tumble 30} GROUP BY window_start, window_end) x WHERE x.n > 3",
    "SELECT window_start, k, v FROM {tumble 10} WHERE v > 500 UNION ALL SELECT window_start, k, v FROM {tumble 20} WHERE v < -500",
    "SELECT DISTINCT window_start, k FROM {tumble 30}",
    "SELECT window_end, count(DISTINCT k) AS n FROM {hop 20 40} GROUP BY window_end",
    "SELECT window_start, window_end - window_start AS size, count(*) AS n FROM {tumble 25} GROUP BY window_start, window_end",
    "SELECT date_trunc('minute', window_start) AS minute, sum(n) AS n FROM (SELECT window_start, count(*) AS n FROM {tumble 10} GROUP BY window_start, window_end) w GROUP BY date_trunc('minute', window_start)",
    "SELECT k, max(s) AS hi FROM (SELECT window_start, k, sum(v) AS s FROM {hop 10 30} GROUP BY window_start, window_end, k) w GROUP BY k HAVING count(*) > 2",
    "SELECT t.k, t.window_start, count(t.v) AS n FROM {tumble 60} t GROUP BY t.k, t.window_start, t.window_end HAVING count(t.v) > 1",
    "SELECT window_start, CASE WHEN v > 0 THEN 'up' ELSE 'down' END AS way, count(*) AS n FROM {tumble 60} GROUP BY window_start, window_end, CASE WHEN v > 0 THEN 'up' ELSE 'down' END",
    "SELECT count(*) AS n, min(window_start) AS first, max(window_end) AS last FROM {hop 5 10}",
    // Over the results of others.
    "SELECT k, sum(n) AS total FROM (SELECT window_start, k, count(*) AS n FROM {tumble 10} GROUP BY window_start, window_end, k) w GROUP BY k",
    "SELECT n, count(*) AS keys FROM (SELECT k, count(*) AS n FROM events GROUP BY k) w GROUP BY n",
    "SELECT max(n) AS hi, min(n) AS lo, count(*) AS c FROM (SELECT g, count(*) AS n FROM events GROUP BY g) w",
    // Windows that grow, and sessions.
    "SELECT window_start, window_end, count(*) AS n, sum(v) AS s, max(k) AS hi FROM {cumulate 10 60} GROUP BY window_start, window_end",
    "SELECT window_start, window_end, k, avg(f) AS a, count(DISTINCT g) AS n FROM {cumulate 15 60} GROUP BY window_start, window_end, k",
    "SELECT window_end, approx_percentile_cont(f, 0.9) AS p FROM {cumulate 20 60} WHERE b GROUP BY window_end",
    "SELECT window_start, count(*) AS n FROM {cumulate 20 60} GROUP BY window_start",
    "SELECT window_start, window_end, ts, v FROM {cumulate 5 10} WHERE v > 500",
    "SELECT k, window_start, window_end, count(*) AS n, sum(v) AS s, avg(f) AS a, min(d) AS lo FROM {session 2 k} GROUP BY window_start, window_end, k",
    "SELECT k, g, window_end, count(DISTINCT v) AS n, sum(v) FILTER (WHERE b) AS s, median(f) AS m FROM {session 5 k} GROUP BY window_start, window_end, k, g",
    "SELECT k, b, window_start, approx_percentile_cont(f, 0.9) AS p, string_agg(k, ',' ORDER BY ts) AS t FROM {session 3 k,b} WHERE v > -500 GROUP BY k, b, window_start",
    "SELECT window_start, window_end, count(*) AS n FROM {session 1} WHERE g = 1 GROUP BY window_start, window_end",
    "SELECT window_start, window_end, ts, k, v FROM {session 4 k} WHERE window_end - window_start > INTERVAL '6 seconds'",
    "SELECT window_end, count(*) AS n FROM {session 4 k} GROUP BY window_end",
    "SELECT k, window_end FROM {session 4 k} GROUP BY k, window_end HAVING count(*) > 2",
    "SELECT k, window_start, window_end, count(*) AS n, sum(v) AS s, max(f) AS m FROM {marked both 6 k} GROUP BY window_start, window_end, k",
    "SELECT k, g, window_start, window_end, count(DISTINCT v) AS n FROM {marked start 8 k} GROUP BY window_start, window_end, k, g",
    "SELECT k, b, window_end, count(*) AS n, min(d) AS lo FROM {marked end 8 k,b} WHERE v > -500 GROUP BY k, b, window_end",
    "SELECT window_start, window_end, ts, k, v FROM {marked both 4 k} WHERE window_end - window_start < INTERVAL '6 seconds'",
    // The first rows, over rows that come and over rows that are taken back.
    "SELECT ts, k, v, f FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY v DESC NULLS LAST, ts, f) AS r FROM events) WHERE r <= 3",
    "SELECT k, g, v, f, r FROM (SELECT *, row_number() OVER (PARTITION BY k, g ORDER BY ts DESC, v, f) AS r FROM events) WHERE r = 1",
    "SELECT ts, k, v, r FROM (SELECT *, rank() OVER (PARTITION BY k ORDER BY g DESC NULLS LAST) AS r FROM events) WHERE r < 3",
    "SELECT k, g, r FROM (SELECT *, dense_rank() OVER (PARTITION BY k ORDER BY g) AS r FROM events) WHERE r BETWEEN 2 AND 3 AND b",
    "SELECT DISTINCT ON (k) k, ts, v FROM events ORDER BY k, ts DESC, v, f",
    "SELECT ts, v FROM events ORDER BY ts DESC, v, f LIMIT 7 OFFSET 2",
    "SELECT k, n FROM (SELECT k, g, count(*) AS n FROM events GROUP BY k, g) ORDER BY n DESC, k, g LIMIT 5",
    "SELECT k, s, r FROM (SELECT k, s, row_number() OVER (ORDER BY s DESC, k) AS r FROM (SELECT k, sum(v) AS s FROM events GROUP BY k)) WHERE r <= 3",
    "SELECT window_start, k, n FROM (SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, k) AS r FROM (SELECT window_start, k, count(*) AS n FROM {tumble 20} GROUP BY window_start, window_end, k)) WHERE r <= 2",
    "SELECT window_end, k, v FROM (SELECT *, row_number() OVER (PARTITION BY window_start, window_end, k ORDER BY ts, v, f) AS r FROM {tumble 30}) WHERE r = 1",
    // Window functions.
    "SELECT ts, k, v, lag(v) OVER (PARTITION BY k ORDER BY ts, v, f) AS before, lead(v, 2) OVER (PARTITION BY k ORDER BY ts, v, f) AS next FROM events",
    "SELECT ts, k, sum(v) OVER (PARTITION BY k ORDER BY ts, v, f ROWS UNBOUNDED PRECEDING) AS so_far, count(*) OVER (PARTITION BY k) AS n FROM events WHERE g = 1",
    "SELECT ts, avg(f) OVER (ORDER BY ts, v, f ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS smooth, ntile(4) OVER (ORDER BY ts, v, f) AS q FROM events WHERE k = 'key-1'",
    "SELECT ts, k, max(v * 2) FILTER (WHERE b) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '20 seconds' PRECEDING AND CURRENT ROW) AS m FROM events",
    "SELECT k, n, rank() OVER (ORDER BY n DESC) AS r, first_value(k) OVER (ORDER BY n DESC, k) AS top FROM (SELECT k, count(*) AS n FROM events GROUP BY k)",
    "SELECT window_end, k, n, sum(n) OVER (PARTITION BY window_end) AS whole FROM (SELECT window_end, k, count(*) AS n FROM {tumble 20} GROUP BY window_end, k)",
    // Several groupings at once.
    "SELECT k, g, count(*) AS n, sum(v) AS s FROM events GROUP BY ROLLUP (k, g)",
    "SELECT k, b, g, grouping(k, b, g) AS id, max(f) AS hi FROM events GROUP BY CUBE (k, b, g)",
    "SELECT window_start, k, count(*) AS n, grouping(k) AS whole FROM {tumble 30} GROUP BY window_start, window_end, ROLLUP (k)",
    "SELECT k, g, avg(f) AS a FROM events GROUP BY GROUPING SETS ((k), (g), ())",
    // Sets.
    "SELECT k FROM events UNION SELECT 'key-' || g FROM events",
    "SELECT k, g, ts FROM events WHERE b EXCEPT SELECT k, g, ts FROM events WHERE v > 0",
    "SELECT k, g FROM events WHERE b INTERSECT SELECT k, g FROM events WHERE v < 0",
    "SELECT n FROM (SELECT k, count(*) AS n FROM events GROUP BY k) EXCEPT SELECT n FROM (SELECT g, count(*) AS n FROM events GROUP BY g)",
    // Aggregates of groups whose rows are taken back.
    "SELECT n % 3 AS m, count(*) AS c, sum(s) AS s, min(s) AS lo, max(k) AS hi, avg(a) AS a, count(DISTINCT n) AS d, sum(a) AS t FROM (SELECT k, g, count(*) AS n, sum(v) AS s, avg(f) AS a FROM events GROUP BY k, g) GROUP BY n % 3",
    "SELECT n % 2 AS m, stddev(a) AS s, median(n) AS md, approx_percentile_cont(a, 0.5) AS p, sum(d) FILTER (WHERE n > 8) AS t, bool_or(n > 20) AS o, last_value(k ORDER BY n, k) AS l FROM (SELECT k, g, count(*) AS n, avg(f) AS a, sum(d) AS d FROM events GROUP BY k, g) GROUP BY n % 2",
    "SELECT window_start, n * 10 AS n FROM (SELECT window_start, count(*) AS n FROM {hop 10 20} GROUP BY window_start, window_end) w WHERE n > 20",
    // Joins of rows that only come.
    "SELECT a.ts, b.ts AS then, a.v, b.f FROM events a JOIN events b ON a.v = b.v",
    "SELECT a.ts, a.v, b.k FROM events a LEFT JOIN events b ON a.v = b.v + 1 AND a.g = b.g",
    "SELECT a.k, b.ts, b.v FROM events a RIGHT JOIN events b ON a.v = b.v * 2 AND a.f < b.f",
    "SELECT a.ts, a.v, b.ts AS then, b.d FROM events a FULL JOIN events b ON a.k = b.k AND a.g = b.g AND a.v + b.v > 1800",
    "SELECT a.ts, b.v FROM events a JOIN events b ON a.v > b.v + 1950",
    "SELECT a.v, b.g, c.k FROM events a JOIN events b ON a.v = b.v + 3 LEFT JOIN events c ON c.v = b.v + 1",
    "SELECT count(*) AS n, sum(a.v) AS s FROM events a JOIN events b ON a.k = b.k WHERE b.g = 1 AND a.b",
    // Joins of rows that are corrected.
    "SELECT a.k, a.n, b.hi FROM (SELECT k, count(*) AS n FROM events GROUP BY k) a JOIN (SELECT k, max(v) AS hi FROM events GROUP BY k) b ON a.k = b.k",
    "SELECT a.k, a.n, b.g FROM (SELECT k, count(*) AS n FROM events GROUP BY k) a FULL JOIN (SELECT g, count(*) AS n FROM events GROUP BY g) b ON a.n % 7 = b.n % 7",
    "SELECT e.ts, e.v, w.n FROM events e LEFT JOIN (SELECT k, count(*) AS n FROM events GROUP BY k HAVING count(*) < 55) w ON e.k = w.k AND e.v > w.n * 10",
    "SELECT a.n, b.n AS m FROM (SELECT count(*) AS n FROM events) a CROSS JOIN (SELECT k, sum(v) AS n FROM events GROUP BY k) b",
    "SELECT d.k, count(*) AS n FROM (SELECT DISTINCT k, g FROM events) d JOIN events e ON e.k = d.k AND e.g = d.g GROUP BY d.k",
    // Joins bounded in event time.
    "SELECT a.ts, b.ts AS then, a.v FROM events a JOIN events b ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '2 seconds' AND a.v < b.v",
    "SELECT a.ts, a.v, b.v AS w FROM events a LEFT JOIN events b ON a.g = b.g AND a.k = b.k AND b.ts > a.ts AND b.ts <= a.ts + INTERVAL '4 seconds'",
    "SELECT a.v, b.ts, b.v AS w FROM events a RIGHT JOIN events b ON a.g = b.g AND a.k = b.k AND b.ts - INTERVAL '5 seconds' < a.ts AND a.ts + INTERVAL '1 second' <= b.ts",
    "SELECT a.ts, b.ts AS then FROM events a FULL JOIN events b ON a.v = b.v AND a.ts BETWEEN b.ts - INTERVAL '1 minute' AND b.ts",
    "SELECT a.ts, a.v FROM events a WHERE EXISTS (SELECT 1 FROM events b WHERE a.k = b.k AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '1 second')",
    "SELECT a.ts, a.v FROM events a WHERE NOT EXISTS (SELECT 1 FROM events b WHERE a.k = b.k AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '5 seconds')",
    "SELECT a.window_start, a.ts, b.v FROM {tumble 10} a JOIN {tumble 10} b ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k AND a.v < b.v",
    "SELECT a.window_start, a.v, b.v AS w FROM {hop 5 10} a LEFT JOIN {hop 5 10} b ON a.window_start = b.window_start AND a.k = b.k AND a.g = b.g AND a.v < b.v - 500",
    "SELECT a.window_start, a.k, a.n, b.m FROM (SELECT window_start, window_end, k, count(*) AS n FROM {tumble 20} GROUP BY window_start, window_end, k) a JOIN (SELECT window_start, window_end, max(v) AS m FROM {tumble 20} GROUP BY window_start, window_end) b ON a.window_start = b.window_start AND a.window_end = b.window_end",
    "SELECT a.window_end, a.n, b.k FROM (SELECT window_start, window_end, k, count(*) AS n FROM {tumble 15} GROUP BY window_start, window_end, k) a FULL JOIN (SELECT window_start, window_end, k, count(*) AS n FROM {tumble 15} WHERE b GROUP BY window_start, window_end, k HAVING count(*) > 2) b ON a.window_end = b.window_end AND a.k = b.k",
    "SELECT e.ts, e.v, w.hi FROM events e JOIN (SELECT window_start, window_end, max(v) AS hi FROM {tumble 10} GROUP BY window_start, window_end) w ON e.v = w.hi AND e.ts BETWEEN w.window_end - INTERVAL '10 seconds' AND w.window_end",
    // Subqueries.
    "SELECT ts, v FROM events WHERE v IN (SELECT -v FROM events WHERE g = 1)",
    "SELECT ts, k FROM events WHERE v NOT IN (SELECT v + 1 FROM events WHERE v IS NOT NULL)",
    "SELECT count(*) AS n FROM events WHERE v NOT IN (SELECT v FROM events WHERE g = 2)",
    "SELECT a.ts, a.v FROM events a WHERE EXISTS (SELECT 1 FROM events b WHERE b.v = a.v + 7 AND b.f < a.f)",
    "SELECT a.ts, a.v FROM events a WHERE NOT EXISTS (SELECT 1 FROM events b WHERE b.k = a.k AND b.v > a.v)",
    "SELECT ts, v FROM events WHERE v > 950 OR v IN (SELECT v * 2 FROM events)",
    "SELECT ts, v FROM events WHERE v > (SELECT avg(v) + 400 FROM events)",
    "SELECT a.ts, a.v FROM events a WHERE a.v = (SELECT max(b.v) FROM events b WHERE b.k = a.k)",
    "SELECT k, count(*) AS n, (SELECT max(v) FROM events) AS hi FROM events GROUP BY k",
    "SELECT a.ts, (SELECT count(*) FROM events b WHERE b.v = a.v * 2) AS doubles FROM events a",
    "SELECT ts, v FROM events WHERE k IN (SELECT k FROM events GROUP BY k HAVING count(*) > 55)",
    // Recursions: over rows that only come, and over edges that change, in circles.
    "WITH RECURSIVE t AS (SELECT g AS n FROM events WHERE g = 1 UNION SELECT CAST(abs(e.v) % 5 AS INT) AS n FROM events e JOIN t ON e.g = t.n) SELECT n FROM t",
    "WITH RECURSIVE t AS (SELECT v % 50 AS n, 0 AS depth FROM events WHERE b UNION ALL SELECT t.n / 2, t.depth + 1 FROM t WHERE t.n > 0) SELECT n, depth, count(*) AS times FROM t GROUP BY n, depth",
    "WITH RECURSIVE t AS (SELECT k, v, 0 AS depth FROM events WHERE v > 950 UNION ALL SELECT e.k, e.v, t.depth + 1 FROM t JOIN events e ON e.k = t.k AND e.v < t.v - 900 WHERE t.depth < 2) SELECT k, depth, count(*) AS n, max(v) AS hi FROM t GROUP BY k, depth",
    "WITH RECURSIVE c AS (SELECT k, 'key-' || CAST(abs(sum(v)) % 6 AS TEXT) AS next FROM events GROUP BY k), t AS (SELECT k, next FROM c UNION SELECT t.k, c.next FROM t JOIN c ON c.k = t.next) SELECT * FROM t",
    "WITH RECURSIVE c AS (SELECT g, max(v) AS v FROM events GROUP BY g), t AS (SELECT g, v, 0 AS depth FROM c UNION ALL SELECT t.g, t.v / 2, t.depth + 1 FROM t WHERE EXISTS (SELECT 1 FROM c WHERE c.v <> t.v) AND t.v > 100) SELECT g, max(depth) AS depth, sum(v) AS s FROM t GROUP BY g",
];

/// How a relation is cut; lengths in seconds.
enum Cut<'a> {
    Tumble(u64),
    Hop(u64, u64),
    Cumulate(u64, u64),
    Session(u64, &'a str),
    Marked(u64, &'a str, Marks),
}

/// Which of a session's ends rows say.
#[derive(Clone, Copy)]
struct Marks {
    start: bool,
    end: bool,
}

const STARTS: &str = "v % 3 = 0";
const ENDS: &str = "v % 7 = 0";

/// The query as a pipeline has it.
pub fn streaming(query: &str) -> String {
    let seconds = |n: u64| format!("INTERVAL '{n} seconds'");
    replace(query, |cut| match cut {
        Cut::Tumble(size) => format!("TUMBLE(events, ts, {})", seconds(size)),
        Cut::Hop(slide, size) => format!("HOP(events, ts, {}, {})", seconds(slide), seconds(size)),
        Cut::Cumulate(step, size) => format!("CUMULATE(events, ts, {}, {})", seconds(step), seconds(size)),
        Cut::Session(gap, "") => format!("SESSION(events, ts, {})", seconds(gap)),
        Cut::Session(gap, by) => format!("SESSION(events, ts, {}, PARTITION BY {by})", seconds(gap)),
        Cut::Marked(gap, by, marks) => {
            let start = if marks.start { format!(" START WHEN {STARTS}") } else { String::new() };
            let end = if marks.end { format!(" END WHEN {ENDS}") } else { String::new() };
            format!("SESSION(events, ts, {}, PARTITION BY {by}{start}{end})", seconds(gap))
        }
    })
}

/// The query over the whole table.
pub fn batch(query: &str) -> String {
    let window = |start: String, size: u64| {
        format!("SELECT *, {start} AS window_start, {start} + INTERVAL '{size} seconds' AS window_end FROM events")
    };
    replace(query, |cut| match cut {
        Cut::Tumble(size) => format!("({})", window(format!("date_bin(INTERVAL '{size} seconds', ts)"), size)),
        Cut::Hop(slide, size) => {
            let start =
                |back| format!("date_bin(INTERVAL '{slide} seconds', ts) - INTERVAL '{} seconds'", back * slide);
            let windows = (0..size / slide).map(|back| window(start(back), size));
            format!("({})", windows.collect::<Vec<_>>().join(" UNION ALL "))
        }
        Cut::Cumulate(step, size) => {
            let start = format!("date_bin(INTERVAL '{size} seconds', ts)");
            let grown = |steps: u64| {
                format!(
                    "{} WHERE ts < {start} + INTERVAL '{} seconds'",
                    window(start.clone(), steps * step),
                    steps * step
                )
            };
            format!("({})", (1..=size / step).map(grown).collect::<Vec<_>>().join(" UNION ALL "))
        }
        Cut::Session(gap, by) => {
            let of = |columns: &str| if columns.is_empty() { String::new() } else { format!("PARTITION BY {columns}") };
            let partition = of(by);
            let session = of(&if by.is_empty() { "session".to_string() } else { format!("{by}, session") });
            let gap = format!("INTERVAL '{gap} seconds'");
            format!(
                "(SELECT *, min(ts) OVER ({session}) AS window_start, max(ts) OVER ({session}) + {gap} AS window_end FROM \
                 (SELECT *, count(*) FILTER (WHERE before IS NULL OR ts - before > {gap}) \
                 OVER ({partition} ORDER BY ts ROWS UNBOUNDED PRECEDING) AS session FROM \
                 (SELECT *, lag(ts) OVER ({partition} ORDER BY ts) AS before FROM events)))"
            )
        }
        // What one row says holds for all of its moment.
        Cut::Marked(gap, by, marks) => {
            let gap = format!("INTERVAL '{gap} seconds'");
            let (moment, session) = (format!("PARTITION BY {by}, ts"), format!("PARTITION BY {by}, session"));
            let says = |wanted: bool, condition: &str| match wanted {
                true => format!("coalesce(bool_or({condition}) OVER ({moment}), false)"),
                false => "false".to_string(),
            };
            let (starts, ends) = (says(marks.start, STARTS), says(marks.end, ENDS));
            let which = if marks.start { "WHERE begun" } else { "" };
            format!(
                "(SELECT * FROM (SELECT *, min(ts) OVER ({session}) AS window_start, bool_or(starts) OVER ({session}) AS begun, \
                 max(ts) OVER ({session}) + CASE WHEN bool_or(ends) OVER ({session}) THEN INTERVAL '0 seconds' ELSE {gap} END \
                 AS window_end FROM \
                 (SELECT *, count(*) FILTER (WHERE before IS NULL OR ts - before > {gap} \
                 OR before < ts AND (starts OR ended)) \
                 OVER (PARTITION BY {by} ORDER BY ts ROWS UNBOUNDED PRECEDING) AS session FROM \
                 (SELECT *, lag(ts) OVER (PARTITION BY {by} ORDER BY ts) AS before, \
                 lag(ends) OVER (PARTITION BY {by} ORDER BY ts) AS ended FROM \
                 (SELECT *, {starts} AS starts, {ends} AS ends FROM events)))) {which})"
            )
        }
    })
}

fn replace(query: &str, window: impl Fn(Cut) -> String) -> String {
    let Some((before, rest)) = query.split_once('{') else { return query.to_string() };
    let (inside, after) = rest.split_once('}').unwrap();
    let words: Vec<&str> = inside.split(' ').collect();
    let number = |text: &str| text.parse().unwrap();
    let text = match words[..] {
        ["tumble", size] => window(Cut::Tumble(number(size))),
        ["hop", slide, size] => window(Cut::Hop(number(slide), number(size))),
        ["cumulate", step, size] => window(Cut::Cumulate(number(step), number(size))),
        ["session", gap] => window(Cut::Session(number(gap), "")),
        ["session", gap, by] => window(Cut::Session(number(gap), by)),
        ["marked", which, gap, by] => {
            let marks = Marks { start: which != "end", end: which != "start" };
            window(Cut::Marked(number(gap), by, marks))
        }
        _ => panic!("{inside} is no window"),
    };
    format!("{before}{text}{}", replace(after, window))
}
