-- Connectors, formats and options.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE SOURCE a (x INT) WITH (connector = 'fed', path = 'x');
CREATE SOURCE b (x INT) WITH (path = 'x');
CREATE SOURCE c (x INT) WITH (connector = 'feed', pth = 'x', mode = 'tial', on_bad = 'ignore');
CREATE SOURCE d (x INT) WITH (connector = 'feed', path = 'x', format = 'jsn');
CREATE SOURCE e WITH (connector = 'feed', path = 'x');
CREATE SOURCE f (x FLOOT, x INT, _offset TEXT) WITH (connector = 'store', path = '${HOME_OF_F}');
CREATE SOURCE g (x INT, y INT AS (z + 1), z INT AS (w)) WITH (connector = 'feed', path = 'x');
CREATE SINK h FROM telemetry WITH (connector = 'feed', path = 'x');
CREATE SINK i FROM nothing WITH (connector = 'store', path = 'x');
CREATE MATERIALIZED VIEW hosts WITH (latness = '5s') AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW pairs AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE SINK j FROM pairs WITH (connector = 'store', path = 'x');
CREATE SINK k FROM pairs WITH (connector = 'screen', format = 'xml');
CREATE SOURCE gauges WITH (connector = 'gauge', format = 'json');
CREATE MATERIALIZED VIEW never_late WITH (lateness = '5s') AS SELECT host FROM telemetry;
