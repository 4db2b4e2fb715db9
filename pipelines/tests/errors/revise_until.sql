-- A horizon by event time needs a time, a length and a clock.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, hour TIMESTAMP, host TEXT, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
  WITH (connector = 'feed', path = 'telemetry.ndjson');
CREATE SOURCE silent (hour TIMESTAMP NOT NULL, host TEXT) WITH (connector = 'feed', path = 'silent.ndjson');
CREATE MATERIALIZED VIEW not_by WITH (revise_until = '7 days') AS SELECT hour, count(*) AS n FROM telemetry GROUP BY hour;
CREATE MATERIALIZED VIEW not_until WITH (revise_by = 'hour') AS SELECT hour, count(*) AS n FROM telemetry GROUP BY hour;
CREATE MATERIALIZED VIEW of_nobody WITH (revise_until = '7 days', revise_by = 'day') AS SELECT hour, count(*) AS n FROM telemetry GROUP BY hour;
CREATE MATERIALIZED VIEW of_a_text WITH (revise_until = '7 days', revise_by = 'host') AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW timeless WITH (revise_until = '7 days', revise_by = 'hour') AS SELECT hour, count(*) AS n FROM silent GROUP BY hour;
CREATE MATERIALIZED VIEW wrong_clock WITH (revise_until = '7 days', revise_by = 'hour', revise_clock = 'silent') AS
SELECT hour, count(*) AS n FROM silent GROUP BY hour;
CREATE MATERIALIZED VIEW for_how_long WITH (retain_by = 'hour') AS SELECT hour, host FROM telemetry;
CREATE MATERIALIZED VIEW after_what WITH (retain = '2 days') AS SELECT hour, host FROM telemetry;
CREATE MATERIALIZED VIEW not_there WITH (retain = '2 days', retain_by = 'ts') AS SELECT hour, host FROM telemetry;
CREATE MATERIALIZED VIEW only_clock WITH (revise_clock = 'telemetry') AS SELECT hour, count(*) AS n FROM telemetry GROUP BY hour;
