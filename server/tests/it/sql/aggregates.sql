CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE SOURCE towns (city TEXT, country TEXT, people INT)
WITH (connector = 'file', path = '${DATA}/towns.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v1 AS
SELECT count(*) AS x FROM trips;

CREATE MATERIALIZED VIEW v2 AS
SELECT city, count(*) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v3 AS
SELECT count(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v4 AS
SELECT city, count(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v5 AS
SELECT sum(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v6 AS
SELECT city, sum(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v7 AS
SELECT avg(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v8 AS
SELECT city, avg(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v9 AS
SELECT min(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v10 AS
SELECT city, min(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v11 AS
SELECT max(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v12 AS
SELECT city, max(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v13 AS
SELECT min(rider) AS x FROM trips;

CREATE MATERIALIZED VIEW v14 AS
SELECT city, min(rider) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v15 AS
SELECT max(ts) AS x FROM trips;

CREATE MATERIALIZED VIEW v16 AS
SELECT city, max(ts) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v17 AS
SELECT count(DISTINCT city) AS x FROM trips;

CREATE MATERIALIZED VIEW v18 AS
SELECT city, count(DISTINCT city) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v19 AS
SELECT count(DISTINCT km) AS x FROM trips;

CREATE MATERIALIZED VIEW v20 AS
SELECT city, count(DISTINCT km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v21 AS
SELECT sum(DISTINCT km) AS x FROM trips;

CREATE MATERIALIZED VIEW v22 AS
SELECT city, sum(DISTINCT km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v23 AS
SELECT bool_and(paid) AS x FROM trips;

CREATE MATERIALIZED VIEW v24 AS
SELECT city, bool_and(paid) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v25 AS
SELECT bool_or(paid) AS x FROM trips;

CREATE MATERIALIZED VIEW v26 AS
SELECT city, bool_or(paid) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v27 AS
SELECT avg(price) AS x FROM trips;

CREATE MATERIALIZED VIEW v28 AS
SELECT city, avg(price) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v29 AS
SELECT sum(price) AS x FROM trips;

CREATE MATERIALIZED VIEW v30 AS
SELECT city, sum(price) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v31 AS
SELECT min(price) AS x FROM trips;

CREATE MATERIALIZED VIEW v32 AS
SELECT city, min(price) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v33 AS
SELECT max(price) AS x FROM trips;

CREATE MATERIALIZED VIEW v34 AS
SELECT city, max(price) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v35 AS
SELECT median(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v36 AS
SELECT city, median(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v37 AS
SELECT bit_and(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v38 AS
SELECT city, bit_and(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v39 AS
SELECT bit_or(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v40 AS
SELECT city, bit_or(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v41 AS
SELECT bit_xor(km) AS x FROM trips;

CREATE MATERIALIZED VIEW v42 AS
SELECT city, bit_xor(km) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v43 AS
SELECT count(*) FILTER (WHERE paid) AS x FROM trips;

CREATE MATERIALIZED VIEW v44 AS
SELECT city, count(*) FILTER (WHERE paid) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v45 AS
SELECT sum(km) FILTER (WHERE price > 4) AS x FROM trips;

CREATE MATERIALIZED VIEW v46 AS
SELECT city, sum(km) FILTER (WHERE price > 4) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v47 AS
SELECT max(price) FILTER (WHERE km IS NOT NULL) AS x FROM trips;

CREATE MATERIALIZED VIEW v48 AS
SELECT city, max(price) FILTER (WHERE km IS NOT NULL) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v49 AS
SELECT count(DISTINCT rider) FILTER (WHERE city IS NOT NULL) AS x FROM trips;

CREATE MATERIALIZED VIEW v50 AS
SELECT city, count(DISTINCT rider) FILTER (WHERE city IS NOT NULL) AS x FROM trips GROUP BY city;

CREATE MATERIALIZED VIEW v51 AS
SELECT rider, paid, count(*) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v52 AS
SELECT rider, paid, sum(km) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v53 AS
SELECT rider, paid, min(km) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v54 AS
SELECT rider, paid, min(rider) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v55 AS
SELECT rider, paid, count(DISTINCT city) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v56 AS
SELECT rider, paid, sum(DISTINCT km) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v57 AS
SELECT rider, paid, bool_or(paid) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v58 AS
SELECT rider, paid, sum(price) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v59 AS
SELECT rider, paid, max(price) AS x FROM trips WHERE km > 1 GROUP BY rider, paid;

CREATE MATERIALIZED VIEW v60 AS
SELECT max(x) AS hi, min(x) AS lo, count(*) AS n FROM (SELECT city, rider, count(*) AS x FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v61 AS
SELECT x, count(*) AS n FROM (SELECT rider, count(*) AS x FROM trips GROUP BY rider, km) GROUP BY x;

CREATE MATERIALIZED VIEW v62 AS
SELECT max(x) AS hi, min(x) AS lo, count(*) AS n FROM (SELECT city, rider, sum(km) AS x FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v63 AS
SELECT x, count(*) AS n FROM (SELECT rider, sum(km) AS x FROM trips GROUP BY rider, km) GROUP BY x;

CREATE MATERIALIZED VIEW v64 AS
SELECT max(x) AS hi, min(x) AS lo, count(*) AS n FROM (SELECT city, rider, max(price) AS x FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v65 AS
SELECT x, count(*) AS n FROM (SELECT rider, max(price) AS x FROM trips GROUP BY rider, km) GROUP BY x;

CREATE MATERIALIZED VIEW v66 AS
SELECT max(x) AS hi, min(x) AS lo, count(*) AS n FROM (SELECT city, rider, min(id) AS x FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v67 AS
SELECT x, count(*) AS n FROM (SELECT rider, min(id) AS x FROM trips GROUP BY rider, km) GROUP BY x;

CREATE MATERIALIZED VIEW v68 AS
SELECT max(x) AS hi, min(x) AS lo, count(*) AS n FROM (SELECT city, rider, avg(km) AS x FROM trips GROUP BY city, rider);

CREATE MATERIALIZED VIEW v69 AS
SELECT x, count(*) AS n FROM (SELECT rider, avg(km) AS x FROM trips GROUP BY rider, km) GROUP BY x;

CREATE MATERIALIZED VIEW v70 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING count(*) > 5;

CREATE MATERIALIZED VIEW v71 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING sum(km) > 20;

CREATE MATERIALIZED VIEW v72 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING max(price) < 12;

CREATE MATERIALIZED VIEW v73 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING min(km) IS NULL;

CREATE MATERIALIZED VIEW v74 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING count(price) = count(*);

CREATE MATERIALIZED VIEW v75 AS
SELECT city, rider, count(*) AS n FROM trips GROUP BY city, rider HAVING avg(km) BETWEEN 3 AND 6;
