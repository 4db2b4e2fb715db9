-- What a view cannot join.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;

CREATE MATERIALIZED VIEW a AS SELECT host FROM telemetry WHERE latency_ms > (SELECT latency_ms FROM telemetry);
CREATE MATERIALIZED VIEW b AS SELECT host FROM telemetry t WHERE status = (SELECT n FROM hosts h WHERE h.host = t.host);
CREATE MATERIALIZED VIEW c AS SELECT host FROM telemetry t JOIN hosts h ON t.host = h.host;
CREATE MATERIALIZED VIEW d AS SELECT t.host FROM telemetry t JOIN hosts h ON t.hst = h.host;
CREATE MATERIALIZED VIEW e AS SELECT t.host FROM telemetry t JOIN hosts h ON t.ts = h.n;
CREATE MATERIALIZED VIEW f AS
SELECT window_start, count(*) AS n
FROM TUMBLE((SELECT t.ts, u.status FROM telemetry t JOIN telemetry u ON t.host = u.host), ts, INTERVAL '1 minute')
GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW g AS SELECT t.host FROM telemetry t LEFT JOIN hosts h ON t.host = h.host EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW h AS SELECT t.host FROM telemetry t
WHERE t.status IN (SELECT status FROM telemetry u WHERE u.host = t.host ORDER BY u.ts LIMIT 1);
CREATE MATERIALIZED VIEW i AS SELECT t.host FROM telemetry t ASOF JOIN telemetry u ON u.host = t.host;
CREATE MATERIALIZED VIEW j AS SELECT t.host FROM telemetry t ASOF JOIN telemetry u ON u.host = t.host AND u.latency_ms <= t.latency_ms;
CREATE MATERIALIZED VIEW k AS SELECT t.host FROM telemetry t ASOF JOIN telemetry u USING (host);
CREATE MATERIALIZED VIEW l AS SELECT t.host FROM telemetry t ASOF JOIN telemetry u ON u.host = t.host AND u.ts <= t.ts AND u.status > 1;
