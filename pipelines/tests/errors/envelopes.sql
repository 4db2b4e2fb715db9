-- ENVELOPE: how a changelog is written as rows that only ever come.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts WITH (state_ttl = '1 day') AS SELECT host, region, count(*) AS n FROM telemetry GROUP BY host, region;

CREATE SINK a FROM hosts WITH (connector = 'page', path = 'x');
CREATE SINK b FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE upsert (host, regon);
CREATE SINK c FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE upsert (host);
CREATE SINK d FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE upset (host, region);
CREATE SINK e FROM telemetry WITH (connector = 'page', path = 'x') ENVELOPE upsert;
CREATE SINK f FROM hosts ENVELOPE debezium WITH (connector = 'page', path = 'x') ENVELOPE upsert (host, region);
CREATE SINK g AS SELECT host, region AS _deleted FROM hosts ENVELOPE upsert (host, _deleted) WITH (connector = 'page', path = 'x');
CREATE SINK h FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE upsert (host;
CREATE SINK i FROM hosts WITH (connector = 'screen');
CREATE SINK j FROM hosts WITH (connector = 'screen') ENVELOPE changelog (host);
CREATE SINK k FROM hosts WITH (connector = 'page', path = 'x') ENVELOPE changelog;
