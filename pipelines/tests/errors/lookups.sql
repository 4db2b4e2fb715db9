-- Lookup joins that cannot be meant, and tables without what they need.
CREATE SOURCE t (ts TIMESTAMP NOT NULL, service TEXT, n BIGINT, WATERMARK FOR ts AS ts) WITH (connector = 'feed', path = 'x');
CREATE SOURCE versions (service TEXT, since TIMESTAMP, owner TEXT, PRIMARY KEY (service, since))
WITH (connector = 'feed', path = 'v', format = 'upsert');
CREATE TABLE services (service TEXT, owner TEXT, PRIMARY KEY (service)) WITH (connector = 'shelf', path = 's');
CREATE TABLE keyless (service TEXT, owner TEXT) WITH (connector = 'shelf', path = 's');
CREATE TABLE timely (service TEXT PRIMARY KEY, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (connector = 'shelf', path = 's');

CREATE MATERIALIZED VIEW a AS SELECT t.n FROM t RIGHT JOIN services FOR SYSTEM_TIME AS OF t.ts AS s ON s.service = t.service;
CREATE MATERIALIZED VIEW b AS SELECT t.n FROM t JOIN services FOR SYSTEM_TIME AS OF t.ts AS s USING (service);
CREATE MATERIALIZED VIEW c AS SELECT s.owner FROM services FOR SYSTEM_TIME AS OF t.ts AS s;
CREATE MATERIALIZED VIEW d AS SELECT t.n FROM t JOIN services FOR SYSTEM_TIME AS OF '2026-01-01' AS s ON s.service = t.service;
CREATE MATERIALIZED VIEW e AS SELECT t.n FROM t JOIN services FOR SYSTEM_TIME AS OF t.n AS s ON s.service = t.service;
CREATE MATERIALIZED VIEW f AS SELECT t.n FROM t JOIN services FOR SYSTEM_TIME AS OF t.ts AS s ON s.service > t.service;
CREATE MATERIALIZED VIEW g AS SELECT t.n FROM t JOIN versions FOR SYSTEM_TIME AS OF t.ts AS v ON v.service = t.service;

-- A table that is asked for single rows: by all of its key, and by nothing else.
CREATE TABLE prices (item INT, region TEXT, price DOUBLE, PRIMARY KEY (item, region)) WITH (connector = 'shelf', path = 'p', cache = 'lru');
CREATE TABLE fresh (item INT PRIMARY KEY) WITH (connector = 'shelf', path = 'p', cache = 'lru', refresh = '1 minute');
CREATE TABLE stale (item INT PRIMARY KEY) WITH (connector = 'shelf', path = 'p', cache_ttl = '1 minute');
CREATE MATERIALIZED VIEW h AS SELECT t.n, p.price FROM t JOIN prices FOR SYSTEM_TIME AS OF t.ts AS p ON p.region = t.service;
CREATE MATERIALIZED VIEW i AS SELECT t.n, p.price FROM t
JOIN prices FOR SYSTEM_TIME AS OF t.ts AS p ON p.region = t.service AND p.item = t.n;
CREATE MATERIALIZED VIEW j AS SELECT region, avg(price) AS price FROM prices GROUP BY region;
CREATE MATERIALIZED VIEW k AS SELECT t.n, p.price FROM t JOIN prices AS p ON p.region = t.service AND p.item = t.n::int;
