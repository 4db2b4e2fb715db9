-- A changelog without windows, and one over it.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW hosts AS SELECT host, count(*) AS n, min(ts) AS first_seen FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW sizes AS SELECT n, count(*) AS hosts FROM hosts WHERE n > 1 GROUP BY n;
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, avg(latency_ms) AS mean FROM telemetry;
CREATE MATERIALIZED VIEW services AS SELECT DISTINCT service FROM telemetry;
CREATE SINK shown FROM hosts WITH (connector = 'screen') ENVELOPE changelog;
