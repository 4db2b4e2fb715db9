-- Windows that grow: by both bounds, by the end alone, and by the start alone, which names no window.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW so_far AS
SELECT window_start, window_end, host, count(*) AS n
FROM CUMULATE(telemetry, ts, INTERVAL '1 hour', INTERVAL '1 day') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW by_end AS
SELECT window_end, count(*) AS n
FROM TABLE(CUMULATE(TABLE telemetry, DESCRIPTOR(ts), INTERVAL '1 hour', INTERVAL '1 day', INTERVAL '6 hours'))
GROUP BY window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW by_start AS
SELECT window_start, count(*) AS n
FROM CUMULATE(telemetry, ts, INTERVAL '1 hour', INTERVAL '1 day') GROUP BY window_start;
