-- What state_ttl bounds, and what it does not.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW hosts WITH (state_ttl = '1 hour') AS
SELECT host, count(*) AS n, max(ts) AS last_seen FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW services WITH (state_ttl = '1 day') AS SELECT n, min(host) AS one FROM hosts GROUP BY n;
CREATE MATERIALIZED VIEW slowest WITH (state_ttl = '1 hour') AS
SELECT host, service, latency_ms FROM telemetry QUALIFY ROW_NUMBER() OVER (PARTITION BY service ORDER BY latency_ms DESC) <= 3;
CREATE MATERIALIZED VIEW steps WITH (state_ttl = '1 hour') AS
SELECT host, ts, latency_ms - lag(latency_ms) OVER (PARTITION BY host ORDER BY ts) AS step FROM telemetry;
CREATE MATERIALIZED VIEW so_far WITH (state_ttl = '1 hour') AS
SELECT host, sum(latency_ms) OVER (PARTITION BY host ORDER BY latency_ms) AS total FROM telemetry;
CREATE MATERIALIZED VIEW paired WITH (state_ttl = '1 hour') AS
SELECT t.service, h.n FROM telemetry t LEFT JOIN hosts h ON h.host = t.host;
CREATE MATERIALIZED VIEW per_minute WITH (state_ttl = '1 hour') AS
SELECT window_end, count(*) AS n FROM TUMBLE(telemetry, ts, INTERVAL '1 minute') GROUP BY window_end;
CREATE MATERIALIZED VIEW ranks WITH (state_ttl = '1 hour') AS SELECT host, rank() OVER (ORDER BY latency_ms) AS place FROM telemetry;
