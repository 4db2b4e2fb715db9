-- The row before in order of event time: final row by row; and lists taken apart.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, latency_ms DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW steps AS
SELECT host, since, ts, latency_ms - before AS step FROM (
  SELECT host, ts, latency_ms, lag(ts) OVER w AS since, lag(latency_ms, 1) OVER w AS before
  FROM telemetry WINDOW w AS (PARTITION BY host ORDER BY ts))
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW per_minute AS
SELECT window_start, host, sum(latency_ms - before) AS step FROM TUMBLE((
  SELECT host, ts, latency_ms, lag(latency_ms) OVER (PARTITION BY host ORDER BY ts) AS before FROM telemetry
), ts, INTERVAL '1 minute') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW live AS
SELECT host, ts, lag(latency_ms) OVER (PARTITION BY host ORDER BY ts) AS before FROM telemetry;
-- Two back, or the next, is not the row before.
CREATE MATERIALIZED VIEW two_back AS
SELECT host, ts, lag(latency_ms, 2) OVER (PARTITION BY host ORDER BY ts) AS before FROM telemetry;
CREATE MATERIALIZED VIEW slots AS
SELECT slot['slot_start'] AS slot_start, host, sum(step * slot['share']) AS step
FROM (SELECT host, step, unnest(time_slots(since, ts, INTERVAL '1 minute')) AS slot FROM steps)
GROUP BY slot['slot_start'], host;
