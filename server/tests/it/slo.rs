//! Service level objectives in virtual time: exact burn rates, the alert of several windows, what is left of the budget.

use crate::in_process::compile;
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_server::test_run;

const PIPELINE: &str = "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, ok BIGINT, n BIGINT,
    WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'file', path = 'requests.ndjson');
    CREATE SLO availability FROM requests BY service GOOD ok TOTAL n OBJECTIVE 0.999 EVERY INTERVAL '5 minutes';";

/// A tenth of the requests of one minute fails, and nothing afterwards.
const TEST: &str = "INSERT INTO requests (ts, service, ok, n) VALUES
  ('2026-01-01 00:00:30', 'api', 1000, 1000), ('2026-01-01 00:10:30', 'api', 900, 1000),
  ('2026-01-01 00:20:30', 'api', 1000, 1000), ('2026-01-01 07:00:30', 'api', 1000, 1000);
ADVANCE INTERVAL '1 second';

-- 100 of 1000 is a hundred times the thousandth that is allowed; of 2000 it is fifty times.
EXPECT SELECT at, burn_5m, burn_30m, round(burn_1h, 3), round(burn_3d, 3) FROM availability_burn_rates
WHERE at IN ('2026-01-01 00:10:00', '2026-01-01 00:15:00', '2026-01-01 00:20:00', '2026-01-01 00:40:00') ORDER BY at;
----
2026-01-01T00:10:00 | 0.0 | 0.0 | 0.0 | 0.0
2026-01-01T00:15:00 | 100.0 | 50.0 | 50.0 | 50.0
2026-01-01T00:20:00 | 0.0 | 50.0 | 50.0 | 50.0
2026-01-01T00:40:00 | 0.0 | 50.0 | 33.333 | 33.333

EXPECT SELECT at, burn_30m, round(burn_1h, 3), round(burn_2h, 3), round(burn_6h, 3) FROM availability_burn_rates
WHERE at IN ('2026-01-01 00:45:00', '2026-01-01 01:10:00', '2026-01-01 01:15:00', '2026-01-01 06:10:00',
'2026-01-01 06:15:00') ORDER BY at;
----
2026-01-01T00:45:00 | 0.0 | 33.333 | 33.333 | 33.333
2026-01-01T01:10:00 | 0.0 | 50.0 | 33.333 | 33.333
2026-01-01T01:15:00 | 0.0 | 0.0 | 33.333 | 33.333
2026-01-01T06:10:00 | 0.0 | 0.0 | 0.0 | 50.0
2026-01-01T06:15:00 | 0.0 | 0.0 | 0.0 | 0.0

-- The hour's pair fires at once; that of six hours holds for as long as half an hour remembers; then that of three days.
EXPECT SELECT seq, kind, severity, event_time FROM thalweg.alert_events ORDER BY seq;
----
1 | firing | page | 2026-01-01T00:15:00
2 | deescalated | ticket | 2026-01-01T00:45:00
3 | resolved | ticket | 2026-01-01T06:15:00

EXPECT SELECT at, good, total, round(budget_spent, 3), round(budget_left, 3) FROM availability_error_budget
WHERE at IN ('2026-01-01 01:00:00', '2026-01-01 06:00:00') ORDER BY at;
----
2026-01-01T01:00:00 | 2900 | 3000 | 33.333 | -32.333
2026-01-01T06:00:00 | 2900 | 3000 | 33.333 | -32.333
";

#[test]
fn burn_rates_and_what_they_raise_are_exact() {
    let program = compile(PIPELINE, std::path::Path::new("."));
    let text = SqlText { file: "slo.test.sql".into(), text: TEST.into() };
    let steps = testfile::parse(&text).unwrap();
    let failures = test_run::run(&program, &steps, 2).unwrap();
    assert!(failures.is_empty(), "{}", render_errors(&failures, std::slice::from_ref(&text)));
}
