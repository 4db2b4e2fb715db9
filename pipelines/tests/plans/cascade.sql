-- Views over views: windows over windows, windows shown when closed, a count over live windows.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW seconds AS
SELECT window_start, window_end, service, max(latency_ms) AS worst
FROM TUMBLE(telemetry, ts, INTERVAL '1 second') GROUP BY window_start, window_end, service;
CREATE MATERIALIZED VIEW minutes AS
SELECT window_start, window_end, avg(worst) AS worst
FROM TUMBLE(seconds, window_start, INTERVAL '1 minute') GROUP BY window_start, window_end
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW hours AS
SELECT window_start, count(*) AS n FROM TUMBLE(minutes, window_end, '1h') GROUP BY window_start;
CREATE MATERIALIZED VIEW live AS SELECT count(*) AS windows FROM seconds;
CREATE MATERIALIZED VIEW closed AS SELECT count(*) AS windows FROM minutes;
