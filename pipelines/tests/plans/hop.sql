-- A hopping window with a filter, HAVING, FILTER, DISTINCT inside an aggregate and an offset.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW errors WITH (lateness = '10s', on_late = 'revise', revise_until = '1h') AS
SELECT w.window_end AS until, upper(service) AS service, count(DISTINCT host) AS hosts,
       count(*) FILTER (WHERE status >= 500) AS failed, sum(latency_ms) / count(*) AS mean
FROM HOP(telemetry, ts, INTERVAL '1 second', INTERVAL '1 minute', INTERVAL '500 milliseconds') AS w
WHERE region <> 'test' AND latency_ms IS NOT NULL
GROUP BY w.window_start, w.window_end, upper(service)
HAVING count(*) > 10;
