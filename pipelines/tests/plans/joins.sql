-- Joins that nothing bounds, that event time bounds, and what subqueries become.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW regular AS
SELECT a.host, a.status, b.latency_ms FROM telemetry a LEFT JOIN telemetry b ON a.host = b.service AND a.status < b.status;
CREATE MATERIALIZED VIEW hosts AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW corrected AS
SELECT t.ts, t.service, h.n FROM telemetry t JOIN hosts h ON upper(h.host) = t.service WHERE h.n > 1;
CREATE MATERIALIZED VIEW near AS
SELECT a.ts, a.host, b.ts AS then FROM telemetry a JOIN telemetry b
ON a.host = b.host AND b.ts BETWEEN a.ts - INTERVAL '5 seconds' AND a.ts + INTERVAL '1 minute';
CREATE MATERIALIZED VIEW lonely AS
SELECT a.ts, a.host FROM telemetry a
WHERE NOT EXISTS (SELECT 1 FROM telemetry b WHERE a.host = b.host AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '1 minute')
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW later AS
SELECT a.ts, b.ts AS then FROM telemetry a JOIN telemetry b ON a.host = b.host AND b.ts >= a.ts;
CREATE MATERIALIZED VIEW windowed AS
SELECT a.window_start, a.host, b.status
FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') a JOIN TUMBLE(telemetry, ts, INTERVAL '1 minute') b
ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.host = b.host;
CREATE MATERIALIZED VIEW again AS
SELECT window_start, count(*) AS n FROM TUMBLE(near, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW known AS SELECT service FROM telemetry WHERE service IN (SELECT host FROM telemetry);
CREATE MATERIALIZED VIEW unknown AS SELECT service FROM telemetry WHERE service NOT IN (SELECT host FROM telemetry);
CREATE MATERIALIZED VIEW slow AS SELECT host FROM telemetry WHERE latency_ms > (SELECT avg(latency_ms) FROM telemetry);
CREATE MATERIALIZED VIEW crossed AS SELECT a.host, b.n FROM hosts a CROSS JOIN hosts b;
CREATE MATERIALIZED VIEW latest AS
SELECT t.host, t.ts, u.status FROM telemetry t ASOF JOIN telemetry u ON u.service = t.host AND u.ts <= t.ts;
CREATE MATERIALIZED VIEW next AS
SELECT t.host, t.ts, h.n FROM telemetry t LEFT ASOF JOIN hosts h MATCH_CONDITION (t.status < h.n) ON h.host = t.host;
