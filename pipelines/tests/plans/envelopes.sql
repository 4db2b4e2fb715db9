-- Changelogs as rows that only ever come.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW hosts (host, requests) AS SELECT host, count(*) FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW live AS
SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(telemetry, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE SINK upserts FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE upsert (host);
CREATE SINK by_its_key FROM live ENVELOPE UPSERT WITH (connector = 'page', path = 'x');
CREATE SINK changes AS SELECT host, requests FROM hosts WHERE requests > 3 WITH (connector = 'store', path = 'x') ENVELOPE debezium;
CREATE SINK pairs AS SELECT a.host, b.status FROM telemetry a JOIN telemetry b ON a.host = b.host
  WITH (connector = 'page', path = 'x') ENVELOPE debezium;
CREATE SINK every_change FROM hosts WITH (connector = 'screen') ENVELOPE changelog;
CREATE SINK live_windows FROM live WITH (connector = 'screen') ENVELOPE changelog;
