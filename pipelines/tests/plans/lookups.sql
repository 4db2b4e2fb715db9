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
