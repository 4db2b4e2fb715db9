-- Time: windows that could never close.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE SOURCE plain (at TIMESTAMP, name TEXT) WITH (connector = 'feed', path = 'x', mode = 'tail');
CREATE MATERIALIZED VIEW a AS SELECT window_start, count(*) AS n FROM TUMBLE(plain, at, INTERVAL '1 s') GROUP BY window_start EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW b AS SELECT window_start, count(*) AS n FROM TUMBLE(telemetry, host, INTERVAL '1 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW hosts AS SELECT host, max(ts) AS ts FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW c AS SELECT window_start, count(*) AS n FROM TUMBLE(hosts, ts, INTERVAL '1 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW d AS SELECT host, count(*) AS n FROM telemetry GROUP BY host EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW e AS SELECT count(*) FROM HOP(telemetry, ts, INTERVAL '1 minute', INTERVAL '1 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW f AS SELECT count(*) FROM TUMBLE(telemetry, ts, INTERVAL '1 month') GROUP BY window_start;
CREATE MATERIALIZED VIEW g AS SELECT count(*) FROM TUMBLE(telemetry, ts) GROUP BY window_start;
CREATE SOURCE wrong (at TIMESTAMP, WATERMARK FOR at AS at + INTERVAL '1 s') WITH (connector = 'feed', path = 'x');
CREATE MATERIALIZED VIEW h AS SELECT window_start FROM TUMBLE((SELECT ts, ts + INTERVAL '1 s' AS later FROM telemetry), later, INTERVAL '1 s') GROUP BY window_start;
