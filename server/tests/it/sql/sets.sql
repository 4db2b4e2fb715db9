CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE SOURCE towns (city TEXT, country TEXT, people INT)
WITH (connector = 'file', path = '${DATA}/towns.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v1 AS
SELECT city FROM trips UNION SELECT city FROM towns;

CREATE MATERIALIZED VIEW v2 AS
SELECT city FROM trips WHERE paid UNION SELECT city FROM trips WHERE km > 2;

CREATE MATERIALIZED VIEW v3 AS
SELECT rider, km FROM trips WHERE price > 3 UNION SELECT rider, km FROM trips WHERE NOT paid;

CREATE MATERIALIZED VIEW v4 AS
SELECT n FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) UNION SELECT n FROM (SELECT rider, count(*) AS n FROM trips GROUP BY rider);

CREATE MATERIALIZED VIEW v5 AS
SELECT city FROM trips UNION ALL SELECT city FROM towns;

CREATE MATERIALIZED VIEW v6 AS
SELECT city FROM trips WHERE paid UNION ALL SELECT city FROM trips WHERE km > 2;

CREATE MATERIALIZED VIEW v7 AS
SELECT rider, km FROM trips WHERE price > 3 UNION ALL SELECT rider, km FROM trips WHERE NOT paid;

CREATE MATERIALIZED VIEW v8 AS
SELECT n FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) UNION ALL SELECT n FROM (SELECT rider, count(*) AS n FROM trips GROUP BY rider);

CREATE MATERIALIZED VIEW v9 AS
SELECT city FROM trips EXCEPT SELECT city FROM towns;

CREATE MATERIALIZED VIEW v10 AS
SELECT city FROM trips WHERE paid EXCEPT SELECT city FROM trips WHERE km > 2;

CREATE MATERIALIZED VIEW v11 AS
SELECT rider, km FROM trips WHERE price > 3 EXCEPT SELECT rider, km FROM trips WHERE NOT paid;

CREATE MATERIALIZED VIEW v12 AS
SELECT n FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) EXCEPT SELECT n FROM (SELECT rider, count(*) AS n FROM trips GROUP BY rider);

CREATE MATERIALIZED VIEW v13 AS
SELECT city FROM trips INTERSECT SELECT city FROM towns;

CREATE MATERIALIZED VIEW v14 AS
SELECT city FROM trips WHERE paid INTERSECT SELECT city FROM trips WHERE km > 2;

CREATE MATERIALIZED VIEW v15 AS
SELECT rider, km FROM trips WHERE price > 3 INTERSECT SELECT rider, km FROM trips WHERE NOT paid;

CREATE MATERIALIZED VIEW v16 AS
SELECT n FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) INTERSECT SELECT n FROM (SELECT rider, count(*) AS n FROM trips GROUP BY rider);

CREATE MATERIALIZED VIEW v17 AS
SELECT DISTINCT city FROM trips;

CREATE MATERIALIZED VIEW v18 AS
SELECT DISTINCT rider, paid FROM trips;

CREATE MATERIALIZED VIEW v19 AS
SELECT DISTINCT km % 3 AS m FROM trips;

CREATE MATERIALIZED VIEW v20 AS
SELECT DISTINCT n FROM (SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v21 AS
SELECT count(*) AS n FROM (SELECT DISTINCT city, rider FROM trips);

CREATE MATERIALIZED VIEW v22 AS
SELECT city FROM towns UNION SELECT rider FROM trips UNION SELECT country FROM towns;

CREATE MATERIALIZED VIEW v23 AS
SELECT DISTINCT upper(city) AS c FROM trips WHERE city IS NOT NULL;

CREATE MATERIALIZED VIEW v24 AS
SELECT city, count(*) AS n FROM trips GROUP BY ROLLUP (city);

CREATE MATERIALIZED VIEW v25 AS
SELECT city, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY ROLLUP (city);

CREATE MATERIALIZED VIEW v26 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY ROLLUP (city, rider);

CREATE MATERIALIZED VIEW v27 AS
SELECT city, rider, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY ROLLUP (city, rider);

CREATE MATERIALIZED VIEW v28 AS
SELECT city, paid, count(*) AS n FROM trips GROUP BY CUBE (city, paid);

CREATE MATERIALIZED VIEW v29 AS
SELECT city, paid, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY CUBE (city, paid);

CREATE MATERIALIZED VIEW v30 AS
SELECT rider, count(*) AS n FROM trips GROUP BY CUBE (rider);

CREATE MATERIALIZED VIEW v31 AS
SELECT rider, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY CUBE (rider);

CREATE MATERIALIZED VIEW v32 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY GROUPING SETS ((city), (rider));

CREATE MATERIALIZED VIEW v33 AS
SELECT city, rider, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY GROUPING SETS ((city), (rider));

CREATE MATERIALIZED VIEW v34 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY GROUPING SETS ((city, rider), (city), ());

CREATE MATERIALIZED VIEW v35 AS
SELECT city, rider, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY GROUPING SETS ((city, rider), (city), ());

CREATE MATERIALIZED VIEW v36 AS
SELECT paid, count(*) AS n FROM trips GROUP BY GROUPING SETS ((paid), ());

CREATE MATERIALIZED VIEW v37 AS
SELECT paid, sum(km) AS s, max(price) AS hi FROM trips WHERE id > 6 GROUP BY GROUPING SETS ((paid), ());
