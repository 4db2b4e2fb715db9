CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN,
  WATERMARK FOR ts AS ts - INTERVAL '1 hour'
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE SOURCE towns (city TEXT, country TEXT, people INT)
WITH (connector = 'file', path = '${DATA}/towns.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v1 AS
SELECT window_start, window_end, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v2 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v3 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v4 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v5 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v6 AS
SELECT window_start, window_end, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v7 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v8 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v9 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v10 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v11 AS
SELECT window_start, window_end, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v12 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v13 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v14 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v15 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v16 AS
SELECT window_start, window_end, count(*) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v17 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v18 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v19 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v20 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v21 AS
SELECT window_start, window_end, count(*) AS n FROM HOP(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v22 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM HOP(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v23 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM HOP(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v24 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM HOP(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v25 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM HOP(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v26 AS
SELECT window_start, window_end, count(*) AS n FROM CUMULATE(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v27 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM CUMULATE(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v28 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM CUMULATE(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v29 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM CUMULATE(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v30 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM CUMULATE(trips, ts, INTERVAL '20 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v31 AS
SELECT window_start, window_end, count(*) AS n FROM CUMULATE(trips, ts, INTERVAL '30 minutes', INTERVAL '120 minutes') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW v32 AS
SELECT window_start, window_end, city, count(*) AS n, sum(km) AS km FROM CUMULATE(trips, ts, INTERVAL '30 minutes', INTERVAL '120 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v33 AS
SELECT window_start, window_end, rider, max(price) AS hi, min(price) AS lo FROM CUMULATE(trips, ts, INTERVAL '30 minutes', INTERVAL '120 minutes') GROUP BY window_start, window_end, rider;

CREATE MATERIALIZED VIEW v34 AS
SELECT window_start, window_end, paid, count(DISTINCT city) AS n FROM CUMULATE(trips, ts, INTERVAL '30 minutes', INTERVAL '120 minutes') GROUP BY window_start, window_end, paid;

CREATE MATERIALIZED VIEW v35 AS
SELECT window_start, window_end, city, avg(km) AS a, count(*) FILTER (WHERE paid) AS n FROM CUMULATE(trips, ts, INTERVAL '30 minutes', INTERVAL '120 minutes') GROUP BY window_start, window_end, city;

CREATE MATERIALIZED VIEW v36 AS
SELECT window_start, id, rider FROM TUMBLE(trips, ts, INTERVAL '60 minutes') WHERE km > 5;

CREATE MATERIALIZED VIEW v37 AS
SELECT window_start, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end HAVING count(*) > 3;

CREATE MATERIALIZED VIEW v38 AS
SELECT max(n) AS hi, count(*) AS windows FROM (SELECT window_start, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city);

CREATE MATERIALIZED VIEW v39 AS
SELECT window_start, city, n FROM (SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, city) AS r FROM (SELECT window_start, window_end, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city)) WHERE r = 1;

CREATE MATERIALIZED VIEW v40 AS
SELECT w.window_start, w.rider, c.country FROM (SELECT window_start, window_end, rider, max(city) AS city FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, rider) w JOIN towns c ON w.city = c.city;

CREATE MATERIALIZED VIEW v41 AS
SELECT window_start, id, rider FROM TUMBLE(trips, ts, INTERVAL '30 minutes') WHERE km > 5;

CREATE MATERIALIZED VIEW v42 AS
SELECT window_start, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end HAVING count(*) > 3;

CREATE MATERIALIZED VIEW v43 AS
SELECT max(n) AS hi, count(*) AS windows FROM (SELECT window_start, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, city);

CREATE MATERIALIZED VIEW v44 AS
SELECT window_start, city, n FROM (SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, city) AS r FROM (SELECT window_start, window_end, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, city)) WHERE r = 1;

CREATE MATERIALIZED VIEW v45 AS
SELECT w.window_start, w.rider, c.country FROM (SELECT window_start, window_end, rider, max(city) AS city FROM TUMBLE(trips, ts, INTERVAL '30 minutes') GROUP BY window_start, window_end, rider) w JOIN towns c ON w.city = c.city;

CREATE MATERIALIZED VIEW v46 AS
SELECT window_start, id, rider FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') WHERE km > 5;

CREATE MATERIALIZED VIEW v47 AS
SELECT window_start, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end HAVING count(*) > 3;

CREATE MATERIALIZED VIEW v48 AS
SELECT max(n) AS hi, count(*) AS windows FROM (SELECT window_start, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, city);

CREATE MATERIALIZED VIEW v49 AS
SELECT window_start, city, n FROM (SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, city) AS r FROM (SELECT window_start, window_end, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, city)) WHERE r = 1;

CREATE MATERIALIZED VIEW v50 AS
SELECT w.window_start, w.rider, c.country FROM (SELECT window_start, window_end, rider, max(city) AS city FROM TUMBLE(trips, ts, INTERVAL '20 minutes', INTERVAL '5 minutes') GROUP BY window_start, window_end, rider) w JOIN towns c ON w.city = c.city;

CREATE MATERIALIZED VIEW v51 AS
SELECT window_start, id, rider FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') WHERE km > 5;

CREATE MATERIALIZED VIEW v52 AS
SELECT window_start, count(*) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end HAVING count(*) > 3;

CREATE MATERIALIZED VIEW v53 AS
SELECT max(n) AS hi, count(*) AS windows FROM (SELECT window_start, city, count(*) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city);

CREATE MATERIALIZED VIEW v54 AS
SELECT window_start, city, n FROM (SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY n DESC, city) AS r FROM (SELECT window_start, window_end, city, count(*) AS n FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, city)) WHERE r = 1;

CREATE MATERIALIZED VIEW v55 AS
SELECT w.window_start, w.rider, c.country FROM (SELECT window_start, window_end, rider, max(city) AS city FROM HOP(trips, ts, INTERVAL '30 minutes', INTERVAL '60 minutes') GROUP BY window_start, window_end, rider) w JOIN towns c ON w.city = c.city;

CREATE MATERIALIZED VIEW v56 AS
SELECT a.id, b.id AS other FROM trips a JOIN trips b ON a.rider = b.rider AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id;

CREATE MATERIALIZED VIEW v57 AS
SELECT a.id, b.id AS other FROM trips a LEFT JOIN trips b ON a.rider = b.rider AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id;

CREATE MATERIALIZED VIEW v58 AS
SELECT a.id, b.id AS other FROM trips a RIGHT JOIN trips b ON a.rider = b.rider AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id;

CREATE MATERIALIZED VIEW v59 AS
SELECT a.id, b.id AS other FROM trips a FULL JOIN trips b ON a.rider = b.rider AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id;

CREATE MATERIALIZED VIEW v60 AS
SELECT id FROM trips a WHERE EXISTS (SELECT 1 FROM trips b WHERE a.rider = b.rider AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id);

CREATE MATERIALIZED VIEW v61 AS
SELECT id FROM trips a WHERE NOT EXISTS (SELECT 1 FROM trips b WHERE a.city = b.city AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '20 minutes' AND a.id <> b.id);

CREATE MATERIALIZED VIEW v62 AS
SELECT a.id, b.id AS other FROM trips a JOIN trips b ON a.rider = b.rider AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts;

CREATE MATERIALIZED VIEW v63 AS
SELECT a.id, b.id AS other FROM trips a LEFT JOIN trips b ON a.rider = b.rider AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts;

CREATE MATERIALIZED VIEW v64 AS
SELECT a.id, b.id AS other FROM trips a RIGHT JOIN trips b ON a.rider = b.rider AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts;

CREATE MATERIALIZED VIEW v65 AS
SELECT a.id, b.id AS other FROM trips a FULL JOIN trips b ON a.rider = b.rider AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts;

CREATE MATERIALIZED VIEW v66 AS
SELECT id FROM trips a WHERE EXISTS (SELECT 1 FROM trips b WHERE a.rider = b.rider AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts);

CREATE MATERIALIZED VIEW v67 AS
SELECT id FROM trips a WHERE NOT EXISTS (SELECT 1 FROM trips b WHERE a.city = b.city AND b.ts > a.ts - INTERVAL '10 minutes' AND b.ts < a.ts);

CREATE MATERIALIZED VIEW v68 AS
SELECT x.window_start, x.city, x.n FROM (SELECT window_start, window_end, city, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city) x JOIN (SELECT window_start, window_end, max(n) AS most FROM (SELECT window_start, window_end, count(*) AS n FROM TUMBLE(trips, ts, INTERVAL '60 minutes') GROUP BY window_start, window_end, city) c GROUP BY window_start, window_end) m ON x.window_start = m.window_start AND x.window_end = m.window_end AND x.n = m.most;
