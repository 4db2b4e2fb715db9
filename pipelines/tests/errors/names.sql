-- Names, types and functions that are not there.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW a AS SELECT hots FROM telemetry;
CREATE MATERIALIZED VIEW b AS SELECT host FROM telemtry;
CREATE MATERIALIZED VIEW c AS SELECT uper(host) FROM telemetry;
CREATE MATERIALIZED VIEW d AS SELECT host + INTERVAL '1 day' FROM telemetry;
CREATE MATERIALIZED VIEW e AS SELECT host, count(*) FROM telemetry;
CREATE MATERIALIZED VIEW f AS SELECT t.host, u.prize FROM telemetry t, telemetry u;
CREATE MATERIALIZED VIEW g AS SELECT x FROM a;
CREATE MATERIALIZED VIEW h AS SELECT window_start FROM TUMBLE(telemetry, tss, INTERVAL '1 s') GROUP BY window_start;
CREATE MATERIALIZED VIEW i AS SELECT host, host FROM telemetry;
CREATE MATERIALIZED VIEW j AS SELECT now() AS at FROM telemetry;
CREATE MATERIALIZED VIEW k AS SELECT sum(host) FROM telemetry;
