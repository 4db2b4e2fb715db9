-- What revise_until bounds where no window does, and where the rows that come too late are held up.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, hour TIMESTAMP, host TEXT, service TEXT, latency_ms DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE SOURCE hosts (host TEXT PRIMARY KEY, place TEXT) WITH (connector = 'feed', path = '${DATA}/hosts.ndjson', format = 'upsert');
CREATE SOURCE prices (hour TIMESTAMP NOT NULL, place TEXT, price DOUBLE) WITH (connector = 'feed', path = '${DATA}/prices.ndjson');

CREATE MATERIALIZED VIEW hours WITH (revise_until = '7 days', revise_by = 'hour') AS
SELECT t.hour, h.place, count(*) AS n, max(t.latency_ms) AS slowest FROM telemetry t JOIN hosts h ON h.host = t.host
GROUP BY t.hour, h.place;
CREATE MATERIALIZED VIEW days WITH (revise_until = '7 days', revise_by = 'hour') AS
SELECT date_trunc('day', hour) AS day, sum(n) AS n FROM hours GROUP BY date_trunc('day', hour);
CREATE MATERIALIZED VIEW priced WITH (revise_until = '7 days', revise_by = 'hour') AS
SELECT h.hour, h.place, h.n * p.price AS cost FROM hours h LEFT JOIN prices p ON p.hour = h.hour AND p.place = h.place;
CREATE MATERIALIZED VIEW last_price WITH (revise_until = '7 days', revise_by = 'hour') AS
SELECT h.hour, h.place, h.n * p.price AS cost FROM hours h LEFT ASOF JOIN prices p ON p.place = h.place AND p.hour <= h.hour;
CREATE MATERIALIZED VIEW slots WITH (revise_until = '1 day', revise_by = 'slot', revise_clock = 'telemetry') AS
SELECT slot, place, max(price) AS price
FROM (SELECT date_bin(INTERVAL '15 minutes', hour) AS slot, place, price FROM prices) GROUP BY slot, place;
CREATE MATERIALIZED VIEW first WITH (revise_until = '1 day', revise_by = 'hour', state_ttl = '1 hour') AS
SELECT hour, host, service FROM telemetry QUALIFY ROW_NUMBER() OVER (PARTITION BY hour ORDER BY latency_ms) <= 3;
CREATE MATERIALIZED VIEW shares WITH (revise_until = '1 day', revise_by = 'hour') AS
SELECT hour, host, latency_ms / sum(latency_ms) OVER (PARTITION BY hour) AS share FROM telemetry;
CREATE MATERIALIZED VIEW all_of_them WITH (revise_until = '1 day', revise_by = 'hour') AS SELECT host, count(*) AS n FROM telemetry GROUP BY host;
CREATE MATERIALIZED VIEW recent WITH (retain = '2 days', retain_by = 'hour') AS SELECT hour, place, n FROM hours;
