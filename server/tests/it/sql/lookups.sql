-- Visits that only come, looked up in tables of files. The tables do not end, and the run does.
CREATE SOURCE visits (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
WITH (connector = 'file', path = '${DATA}/visits.ndjson', format = 'json');

CREATE TABLE services (service TEXT, owner TEXT, tier INT, PRIMARY KEY (service))
WITH (connector = 'file', path = '${DATA}/services.ndjson', cache = 'full', refresh = '1 minute');

CREATE TABLE regions (region TEXT PRIMARY KEY, zone TEXT NOT NULL, grams INT)
WITH (connector = 'parquet', path = '${DATA}/regions.parquet');

CREATE TABLE floors (tier INT PRIMARY KEY, least BIGINT)
WITH (connector = 'file', path = '${DATA}/floors.csv', format = 'csv');

CREATE MATERIALIZED VIEW owned AS
SELECT v.ts, v.service, v.n, s.owner, s.tier
FROM visits AS v LEFT JOIN services FOR SYSTEM_TIME AS OF v.ts AS s ON s.service = v.service;

CREATE MATERIALIZED VIEW known AS
SELECT v.service, v.n, s.owner FROM visits v JOIN services FOR SYSTEM_TIME AS OF PROCTIME() s ON v.service = s.service;

CREATE MATERIALIZED VIEW senior AS
SELECT v.n, s.owner FROM visits v LEFT OUTER JOIN services FOR SYSTEM_TIME AS OF NOW() AS s
ON s.service = v.service AND s.tier <= v.n;

-- Several tables, one looked up with what was found in another.
CREATE MATERIALIZED VIEW everything AS
SELECT v.n, s.owner, r.zone, v.n * r.grams AS grams, f.least FROM visits AS v
LEFT JOIN services FOR SYSTEM_TIME AS OF v.ts AS s ON s.service = v.service
INNER JOIN regions FOR SYSTEM_TIME AS OF v.ts AS r ON r.region = v.region
LEFT JOIN floors FOR SYSTEM_TIME AS OF v.ts AS f ON f.tier = s.tier;

-- Windows over what was looked up close as those over the stream do.
CREATE MATERIALIZED VIEW per_owner AS
SELECT window_start, owner, sum(n) AS n FROM TUMBLE(owned, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, owner EMIT ON WINDOW CLOSE;

-- A window is looked up when it has closed.
CREATE MATERIALIZED VIEW per_service AS
SELECT window_start, window_end, service, sum(n) AS n FROM TUMBLE(visits, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service;
CREATE MATERIALIZED VIEW closed AS
SELECT w.window_start, w.service, w.n, s.owner
FROM per_service AS w LEFT JOIN services FOR SYSTEM_TIME AS OF w.window_end AS s ON s.service = w.service;

-- A view over a table is looked up like a table.
CREATE MATERIALIZED VIEW first_tier AS SELECT owner, count(*) AS services FROM services WHERE tier = 1 GROUP BY owner;
CREATE MATERIALIZED VIEW of_first_tier AS
SELECT o.service, o.n, f.services FROM owned AS o JOIN first_tier FOR SYSTEM_TIME AS OF o.ts AS f ON f.owner = o.owner;

-- Without the clause it is a join like others.
CREATE MATERIALIZED VIEW joined AS SELECT v.n, s.owner FROM visits v JOIN services s ON s.service = v.service;
CREATE MATERIALIZED VIEW nobody AS SELECT service FROM services WHERE service NOT IN (SELECT service FROM visits WHERE service IS NOT NULL);
