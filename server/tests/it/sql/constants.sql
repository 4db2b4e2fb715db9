CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN,
  WATERMARK FOR ts AS ts - INTERVAL '1 minute'
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v1 (city, country) AS VALUES ('bern', 'CH'), ('bonn', 'DE'), (NULL, upper('none'));

CREATE MATERIALIZED VIEW v2 AS SELECT 40 + 2 AS answer, 'x' || 'y' AS text, NULL AS nothing;

CREATE MATERIALIZED VIEW v3 AS SELECT t.city, c.country, count(*) AS n FROM trips t LEFT JOIN v1 c ON c.city = t.city GROUP BY 1, 2;

CREATE MATERIALIZED VIEW v4 AS
SELECT city, factor * km AS weight FROM trips JOIN (VALUES ('bern', 2), ('kiel', 3)) AS f (town, factor) ON town = city;

CREATE MATERIALIZED VIEW v5 AS SELECT city FROM trips WHERE city IN (VALUES ('bern'), ('ulm'));

CREATE MATERIALIZED VIEW v6 AS SELECT 'all' AS city, count(*) AS n FROM trips UNION ALL SELECT 'none', 0;

CREATE MATERIALIZED VIEW v7 AS SELECT 1 AS one WHERE 1 > 2;

CREATE MATERIALIZED VIEW v8 AS WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n * 2 FROM r WHERE n < 100) SELECT n FROM r;

CREATE MATERIALIZED VIEW v9 AS SELECT id, km FROM trips ORDER BY km DESC, id FETCH FIRST 3 ROWS ONLY;

CREATE MATERIALIZED VIEW v10 AS SELECT id, km FROM trips ORDER BY km DESC, id OFFSET 2 ROWS FETCH NEXT ROW ONLY;

CREATE MATERIALIZED VIEW v11 AS SELECT city, km FROM trips WHERE paid ORDER BY km;

CREATE MATERIALIZED VIEW v12 AS SELECT id, '\x00ff'::bytea AS raw, CAST('a\\b' AS BYTEA) AS text FROM trips WHERE id = 1;

CREATE MATERIALIZED VIEW v13 AS
SELECT window_start, window_end, window_time, count(*) AS n
FROM TABLE(TUMBLE(DATA => TABLE trips, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' HOUR, OFFSET => INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, window_time;

CREATE MATERIALIZED VIEW v14 AS
SELECT window_start, count(*) AS hours, sum(n) AS n FROM TUMBLE(v13, window_time, INTERVAL '1 day') GROUP BY window_start;

CREATE MATERIALIZED VIEW v15 AS
SELECT window_end, count(*) AS n
FROM HOP(SIZE => INTERVAL '2' HOURS, SLIDE => INTERVAL '1' HOUR, TIMECOL => ts, DATA => trips) GROUP BY window_end;

CREATE MATERIALIZED VIEW v16 AS
SELECT city, count(*) AS n FROM SESSION(trips, ts, INTERVAL '1 hour', INTERVAL '5 minutes', PARTITION BY city) GROUP BY window_start, city;

CREATE MATERIALIZED VIEW v17 AS
SELECT city, count(*) AS n FROM SESSION(trips, ts, INTERVAL '1 hour', PARTITION BY city) GROUP BY window_start, city;

CREATE SOURCE shapes (id INT, tags MAP<TEXT, INT>, at ROW<x DOUBLE, name TEXT>, parts ARRAY<ROW<n INT>>, groups MAP(TEXT, ARRAY<INT>))
WITH (connector = 'file', path = '${DATA}/shapes.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v18 AS
SELECT id, tags['a'] AS a, cardinality(tags) AS tags, at['name'] AS name, parts[1]['n'] AS part, groups['odd'][2] AS second FROM shapes;

CREATE MATERIALIZED VIEW v19 AS SELECT at['name'] AS name, sum(tags['a']) AS a FROM shapes GROUP BY 1;
