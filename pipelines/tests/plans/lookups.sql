-- A stream looked up in tables: their keys, what they wait for, and what becomes of windows.
CREATE SOURCE t (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
WITH (connector = 'feed', path = 'x');
CREATE TABLE services (service TEXT, owner TEXT, tier INT, PRIMARY KEY (service)) WITH (connector = 'shelf', path = 's');
CREATE TABLE regions (region TEXT PRIMARY KEY, zone TEXT) WITH (connector = 'shelf', path = 'r');

CREATE MATERIALIZED VIEW owned AS
SELECT t.*, s.owner FROM t LEFT JOIN services FOR SYSTEM_TIME AS OF t.ts AS s ON s.service = t.service AND s.tier <= t.n;
CREATE MATERIALIZED VIEW both AS
SELECT a.n, s.owner, r.zone FROM t AS a
JOIN services FOR SYSTEM_TIME AS OF PROCTIME() s ON a.service = s.service
INNER JOIN regions FOR SYSTEM_TIME AS OF a.ts AS r ON r.region = a.region
WHERE s.tier = 1 AND a.n > 0;
CREATE MATERIALIZED VIEW per_owner AS
SELECT window_start, owner, count(*) AS n FROM TUMBLE(owned, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, owner;

-- Windows are looked up once they have closed.
CREATE MATERIALIZED VIEW closed AS
SELECT w.window_start, w.n, s.tier FROM per_owner AS w
JOIN services FOR SYSTEM_TIME AS OF w.window_start AS s ON s.owner = w.owner;

-- A view over a table, and a changelog.
CREATE MATERIALIZED VIEW tiers AS SELECT tier, count(*) AS services FROM services GROUP BY tier;
CREATE SOURCE limits (tier INT PRIMARY KEY, most BIGINT) WITH (connector = 'feed', path = 'l', format = 'upsert');
CREATE MATERIALIZED VIEW limited AS
SELECT t.n, c.services, l.most FROM t
LEFT JOIN tiers FOR SYSTEM_TIME AS OF t.ts AS c ON c.tier = t.n
LEFT JOIN limits FOR SYSTEM_TIME AS OF NOW() AS l ON l.tier = t.n;

CREATE MATERIALIZED VIEW corrected AS SELECT t.n, s.owner FROM t JOIN services s ON s.service = t.service;

-- A table that is asked for single rows, by its key in whatever order, under other names and with more conditions.
CREATE TABLE prices (region TEXT, item INT, price DOUBLE, PRIMARY KEY (region, item))
WITH (connector = 'shelf', path = 'p', cache = 'lru', cache_rows = '500', cache_ttl = '30s');
CREATE VIEW priced AS SELECT price AS cost, item, region AS place FROM prices;
CREATE MATERIALIZED VIEW costs AS
SELECT t.ts, t.n, p.cost FROM t LEFT JOIN priced FOR SYSTEM_TIME AS OF t.ts AS p
ON p.item = t.n::int AND p.cost > t.n AND t.region = p.place;

-- What takes rows back is looked up as well.
CREATE MATERIALIZED VIEW counted AS
SELECT c.service, c.rows, s.owner FROM (SELECT service, count(*) AS rows FROM t GROUP BY service) AS c
JOIN services FOR SYSTEM_TIME AS OF PROCTIME() AS s ON s.service = c.service;
CREATE MATERIALIZED VIEW counted_costs AS
SELECT c.region, c.rows, p.price FROM (SELECT region, count(*) AS rows FROM t GROUP BY region) AS c
LEFT JOIN prices FOR SYSTEM_TIME AS OF PROCTIME() AS p ON p.region = c.region AND p.item = c.rows::int;
