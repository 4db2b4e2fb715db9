-- DETECT_ANOMALIES: what is wrong with its arguments, and what it cannot read.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT, lower DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts AS SELECT host, max(ts) AS ts, count(*) AS n FROM telemetry GROUP BY host;
CREATE VIEW plain AS SELECT ts, ts + INTERVAL '1 second' AS later, host, latency_ms FROM telemetry;

CREATE MATERIALIZED VIEW a AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, methd => 'auto');
CREATE MATERIALIZED VIEW b AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, method => 'holt_winter');
CREATE MATERIALIZED VIEW c AS SELECT * FROM DETECT_ANOMALIES(plain, value => latency_ms);
CREATE MATERIALIZED VIEW d AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => host);
CREATE MATERIALIZED VIEW e AS SELECT * FROM DETECT_ANOMALIES(plain, time => host, value => latency_ms);
CREATE MATERIALIZED VIEW f AS SELECT * FROM DETECT_ANOMALIES(plain, time => later, value => latency_ms);
CREATE MATERIALIZED VIEW g AS SELECT * FROM DETECT_ANOMALIES(hosts, time => ts, value => n, by => host);
CREATE MATERIALIZED VIEW h AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, by => (hots, host));
CREATE MATERIALIZED VIEW i AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, sensitivity => 0);
CREATE MATERIALIZED VIEW j AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, season => 'a day');
CREATE MATERIALIZED VIEW k AS SELECT * FROM DETECT_ANOMALIES(plain, ts, latency_ms);
CREATE MATERIALIZED VIEW l AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, time => ts, value => latency_ms);
CREATE MATERIALIZED VIEW m AS SELECT * FROM DETECT_ANOMALIES(telemetry, time => ts, value => latency_ms);
CREATE MATERIALIZED VIEW n AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, lower_bound => 5, upper_bound => -5);
CREATE MATERIALIZED VIEW o AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, direction => 'up');
CREATE MATERIALIZED VIEW p AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, debounce => 1.5);
CREATE MATERIALIZED VIEW q AS SELECT * FROM DETECT_ANOMALIES();
CREATE MATERIALIZED VIEW r AS SELECT * FROM DETECT_ANOMALY(plain, time => ts, value => latency_ms);
CREATE MATERIALIZED VIEW s AS SELECT * FROM FORECAST(plain, time => ts, value => latency_ms);
CREATE MATERIALIZED VIEW t AS SELECT * FROM FORECAST(plain, time => ts, value => latency_ms, horizon => INTERVAL '1 hour', sensitivity => 3);
CREATE MATERIALIZED VIEW u AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, time_zone => 'Europe/Zuerich');
CREATE MATERIALIZED VIEW v AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, by => host, parent => later);
CREATE MATERIALIZED VIEW w AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, exclude => '2026-12-24');
CREATE MATERIALIZED VIEW x AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => latency_ms, max_series => 3);
CREATE MATERIALIZED VIEW y AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => (latency_ms, latency_ms));
CREATE MATERIALIZED VIEW z AS SELECT * FROM DETECT_ANOMALIES(telemetry, time => ts, value => (status, latency_ms), method => 'random_cut_forest', direction => 'above');
CREATE MATERIALIZED VIEW aa AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => (latency_ms, latency_ms), method => 'half_space_trees');
CREATE MATERIALIZED VIEW bb AS SELECT * FROM DETECT_ANOMALIES(plain, time => ts, value => (latency_ms, host), method => 'random_cut_forest');
CREATE MATERIALIZED VIEW cc AS SELECT * FROM FORECAST(plain, time => ts, value => (latency_ms, latency_ms), horizon => INTERVAL '1 hour');
