//! A side of an interval join that brings nothing holds the other for its `idle_timeout`, and no longer.

use crate::documents::holds;

const PIPELINE: &str = "
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, id BIGINT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'orders.ndjson', mode = 'tail');
CREATE SOURCE payments (ts TIMESTAMP NOT NULL, of_order BIGINT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'payments.ndjson', mode = 'tail', idle_timeout = '20 seconds');
CREATE MATERIALIZED VIEW settled AS
SELECT o.id, p.ts AS paid FROM orders AS o LEFT JOIN payments AS p
ON p.of_order = o.id AND p.ts BETWEEN o.ts AND o.ts + INTERVAL '1 minute'
EMIT ON WINDOW CLOSE;
";

#[test]
fn a_side_that_is_idle_holds_the_other_for_its_timeout_and_no_longer() {
    holds(
        PIPELINE,
        "INSERT INTO payments (ts, of_order) VALUES ('2026-01-01 00:00:00', 9);
INSERT INTO orders (ts, id) VALUES ('2026-01-01 00:00:00', 1), ('2026-01-01 00:00:10', 2), ('2026-01-01 00:05:00', 3);
-- Whether the first order is paid, a payment may still say.
ADVANCE INTERVAL '15 seconds';
INSERT INTO orders (ts, id) VALUES ('2026-01-01 00:05:10', 4);
EXPECT SELECT id, paid FROM settled;
----

INSERT INTO payments (ts, of_order) VALUES ('2026-01-01 00:00:15', 2);
ADVANCE INTERVAL '15 seconds';
INSERT INTO orders (ts, id) VALUES ('2026-01-01 00:05:20', 5);
EXPECT SELECT id, paid FROM settled;
----
2 | 2026-01-01T00:00:15

ADVANCE INTERVAL '15 seconds';
INSERT INTO orders (ts, id) VALUES ('2026-01-01 00:05:30', 6);
EXPECT SELECT id, paid FROM settled ORDER BY id;
----
1 | NULL
2 | 2026-01-01T00:00:15

-- What it brings after all is late where the other side has gone on, and is not where it has not.
INSERT INTO payments (ts, of_order) VALUES ('2026-01-01 00:00:20', 1), ('2026-01-01 00:05:35', 3);
INSERT INTO orders (ts, id) VALUES ('2026-01-01 00:09:00', 7);
INSERT INTO payments (ts, of_order) VALUES ('2026-01-01 00:09:00', 7);
EXPECT SELECT id, paid FROM settled WHERE id < 4 ORDER BY id;
----
1 | NULL
2 | 2026-01-01T00:00:15
3 | 2026-01-01T00:05:35
",
    );
}
