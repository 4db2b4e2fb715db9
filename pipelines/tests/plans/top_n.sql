-- The first rows of each: as a subquery, by QUALIFY, within windows, DISTINCT ON, LIMIT; with and without their places.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW slowest AS
SELECT host, service, latency_ms, place FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY service ORDER BY latency_ms DESC) AS place FROM telemetry) WHERE place <= 3;
CREATE MATERIALIZED VIEW latest AS
SELECT host, service, status FROM telemetry WHERE region = 'eu'
QUALIFY ROW_NUMBER() OVER (PARTITION BY host, upper(service) ORDER BY ts DESC) = 1;
CREATE MATERIALIZED VIEW first_of_each AS SELECT DISTINCT ON (host) host, latency_ms FROM telemetry ORDER BY host, ts;
CREATE MATERIALIZED VIEW last_five AS SELECT host, ts FROM telemetry ORDER BY ts DESC LIMIT 5;
CREATE MATERIALIZED VIEW any_five AS SELECT host FROM telemetry LIMIT 5 OFFSET 2;
CREATE MATERIALIZED VIEW busy AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW busiest AS SELECT * FROM (SELECT *, rank() OVER (ORDER BY n DESC) AS r FROM busy) WHERE r < 4;
CREATE MATERIALIZED VIEW per_minute AS
SELECT window_start, window_end, host, n FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY n DESC) AS place FROM (
    SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, host)) WHERE place <= 3
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW once_a_minute WITH (lateness = '10 s') AS
SELECT window_end, host, latency_ms FROM TABLE(TUMBLE(TABLE telemetry, DESCRIPTOR(ts), INTERVAL '1 minute'))
QUALIFY ROW_NUMBER() OVER (PARTITION BY window_start, window_end, host ORDER BY ts) = 1;
CREATE MATERIALIZED VIEW of_those AS
SELECT window_start, count(*) AS n FROM TUMBLE(once_a_minute, window_end, INTERVAL '1 hour') GROUP BY window_start;
