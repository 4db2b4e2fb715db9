CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE SOURCE towns (city TEXT, country TEXT, people INT)
WITH (connector = 'file', path = '${DATA}/towns.ndjson', format = 'json');

CREATE MATERIALIZED VIEW v1 AS
SELECT t.id, c.country FROM trips t JOIN towns c ON t.city = c.city;

CREATE MATERIALIZED VIEW v2 AS
SELECT t.id, c.city, c.people FROM trips t JOIN towns c ON t.city = c.city AND t.km > 2;

CREATE MATERIALIZED VIEW v3 AS
SELECT a.id, b.id AS other FROM trips a JOIN trips b ON a.rider = b.rider AND a.km = b.km + 1;

CREATE MATERIALIZED VIEW v4 AS
SELECT g.city, g.n, c.people FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) g JOIN towns c ON g.city = c.city;

CREATE MATERIALIZED VIEW v5 AS
SELECT g.rider, h.city, h.n FROM (SELECT rider, max(km) AS hi FROM trips GROUP BY rider) g JOIN (SELECT city, count(*) AS n FROM trips GROUP BY city) h ON g.hi = h.n + 6;

CREATE MATERIALIZED VIEW v6 AS
SELECT c.country, count(t.id) AS n, sum(t.km) AS km FROM trips t JOIN towns c ON t.city = c.city GROUP BY c.country;

CREATE MATERIALIZED VIEW v7 AS
SELECT t.id, c.country FROM trips t LEFT JOIN towns c ON t.city = c.city;

CREATE MATERIALIZED VIEW v8 AS
SELECT t.id, c.city, c.people FROM trips t LEFT JOIN towns c ON t.city = c.city AND t.km > 2;

CREATE MATERIALIZED VIEW v9 AS
SELECT a.id, b.id AS other FROM trips a LEFT JOIN trips b ON a.rider = b.rider AND a.km = b.km + 1;

CREATE MATERIALIZED VIEW v10 AS
SELECT g.city, g.n, c.people FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) g LEFT JOIN towns c ON g.city = c.city;

CREATE MATERIALIZED VIEW v11 AS
SELECT g.rider, h.city, h.n FROM (SELECT rider, max(km) AS hi FROM trips GROUP BY rider) g LEFT JOIN (SELECT city, count(*) AS n FROM trips GROUP BY city) h ON g.hi = h.n + 6;

CREATE MATERIALIZED VIEW v12 AS
SELECT c.country, count(t.id) AS n, sum(t.km) AS km FROM trips t LEFT JOIN towns c ON t.city = c.city GROUP BY c.country;

CREATE MATERIALIZED VIEW v13 AS
SELECT t.id, c.country FROM trips t RIGHT JOIN towns c ON t.city = c.city;

CREATE MATERIALIZED VIEW v14 AS
SELECT t.id, c.city, c.people FROM trips t RIGHT JOIN towns c ON t.city = c.city AND t.km > 2;

CREATE MATERIALIZED VIEW v15 AS
SELECT a.id, b.id AS other FROM trips a RIGHT JOIN trips b ON a.rider = b.rider AND a.km = b.km + 1;

CREATE MATERIALIZED VIEW v16 AS
SELECT g.city, g.n, c.people FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) g RIGHT JOIN towns c ON g.city = c.city;

CREATE MATERIALIZED VIEW v17 AS
SELECT g.rider, h.city, h.n FROM (SELECT rider, max(km) AS hi FROM trips GROUP BY rider) g RIGHT JOIN (SELECT city, count(*) AS n FROM trips GROUP BY city) h ON g.hi = h.n + 6;

CREATE MATERIALIZED VIEW v18 AS
SELECT c.country, count(t.id) AS n, sum(t.km) AS km FROM trips t RIGHT JOIN towns c ON t.city = c.city GROUP BY c.country;

CREATE MATERIALIZED VIEW v19 AS
SELECT t.id, c.country FROM trips t FULL JOIN towns c ON t.city = c.city;

CREATE MATERIALIZED VIEW v20 AS
SELECT t.id, c.city, c.people FROM trips t FULL JOIN towns c ON t.city = c.city AND t.km > 2;

CREATE MATERIALIZED VIEW v21 AS
SELECT a.id, b.id AS other FROM trips a FULL JOIN trips b ON a.rider = b.rider AND a.km = b.km + 1;

CREATE MATERIALIZED VIEW v22 AS
SELECT g.city, g.n, c.people FROM (SELECT city, count(*) AS n FROM trips GROUP BY city) g FULL JOIN towns c ON g.city = c.city;

CREATE MATERIALIZED VIEW v23 AS
SELECT g.rider, h.city, h.n FROM (SELECT rider, max(km) AS hi FROM trips GROUP BY rider) g FULL JOIN (SELECT city, count(*) AS n FROM trips GROUP BY city) h ON g.hi = h.n + 6;

CREATE MATERIALIZED VIEW v24 AS
SELECT c.country, count(t.id) AS n, sum(t.km) AS km FROM trips t FULL JOIN towns c ON t.city = c.city GROUP BY c.country;

CREATE MATERIALIZED VIEW v25 AS
SELECT t.id, c.city FROM trips t CROSS JOIN towns c WHERE t.id < 4;

CREATE MATERIALIZED VIEW v26 AS
SELECT a.city, b.city AS other FROM towns a JOIN towns b ON a.people < b.people;

CREATE MATERIALIZED VIEW v27 AS
SELECT a.id, b.id AS other FROM trips a JOIN trips b ON a.km > b.km + 11;

CREATE MATERIALIZED VIEW v28 AS
SELECT t.id, c.country, d.people FROM trips t JOIN towns c ON t.city = c.city JOIN towns d ON c.country = d.country AND d.city <> c.city;

CREATE MATERIALIZED VIEW v29 AS
SELECT t.id FROM trips t JOIN towns c USING (city) WHERE c.people > 200;

CREATE MATERIALIZED VIEW v30 AS
SELECT t.rider, max(c.people) AS hi FROM trips t LEFT JOIN towns c ON t.city = c.city GROUP BY t.rider;

CREATE MATERIALIZED VIEW v31 AS
SELECT c.city, t.n FROM towns c LEFT JOIN (SELECT city, count(*) AS n FROM trips GROUP BY city HAVING count(*) > 6) t ON c.city = t.city;

CREATE MATERIALIZED VIEW v32 AS
SELECT id, city FROM trips WHERE city IN (SELECT city FROM towns);

CREATE MATERIALIZED VIEW v33 AS
SELECT rider, count(*) AS n FROM trips WHERE city IN (SELECT city FROM towns) GROUP BY rider;

CREATE MATERIALIZED VIEW v34 AS
SELECT id, city FROM trips WHERE city NOT IN (SELECT city FROM towns);

CREATE MATERIALIZED VIEW v35 AS
SELECT rider, count(*) AS n FROM trips WHERE city NOT IN (SELECT city FROM towns) GROUP BY rider;

CREATE MATERIALIZED VIEW v36 AS
SELECT id, city FROM trips WHERE km IN (SELECT max(km) FROM trips GROUP BY city);

CREATE MATERIALIZED VIEW v37 AS
SELECT rider, count(*) AS n FROM trips WHERE km IN (SELECT max(km) FROM trips GROUP BY city) GROUP BY rider;

CREATE MATERIALIZED VIEW v38 AS
SELECT id, city FROM trips WHERE km = (SELECT max(km) FROM trips);

CREATE MATERIALIZED VIEW v39 AS
SELECT rider, count(*) AS n FROM trips WHERE km = (SELECT max(km) FROM trips) GROUP BY rider;

CREATE MATERIALIZED VIEW v40 AS
SELECT id, city FROM trips WHERE price > (SELECT avg(price) FROM trips);

CREATE MATERIALIZED VIEW v41 AS
SELECT rider, count(*) AS n FROM trips WHERE price > (SELECT avg(price) FROM trips) GROUP BY rider;

CREATE MATERIALIZED VIEW v42 AS
SELECT id, city FROM trips WHERE EXISTS (SELECT 1 FROM towns c WHERE c.city = trips.city AND c.people > 200);

CREATE MATERIALIZED VIEW v43 AS
SELECT rider, count(*) AS n FROM trips WHERE EXISTS (SELECT 1 FROM towns c WHERE c.city = trips.city AND c.people > 200) GROUP BY rider;

CREATE MATERIALIZED VIEW v44 AS
SELECT id, city FROM trips WHERE NOT EXISTS (SELECT 1 FROM towns c WHERE c.city = trips.city);

CREATE MATERIALIZED VIEW v45 AS
SELECT rider, count(*) AS n FROM trips WHERE NOT EXISTS (SELECT 1 FROM towns c WHERE c.city = trips.city) GROUP BY rider;

CREATE MATERIALIZED VIEW v46 AS
SELECT id, city FROM trips WHERE NOT EXISTS (SELECT 1 FROM trips o WHERE o.rider = trips.rider AND o.km > trips.km);

CREATE MATERIALIZED VIEW v47 AS
SELECT rider, count(*) AS n FROM trips WHERE NOT EXISTS (SELECT 1 FROM trips o WHERE o.rider = trips.rider AND o.km > trips.km) GROUP BY rider;

CREATE MATERIALIZED VIEW v48 AS
SELECT id, city FROM trips WHERE km > (SELECT avg(o.km) FROM trips o WHERE o.city = trips.city);

CREATE MATERIALIZED VIEW v49 AS
SELECT rider, count(*) AS n FROM trips WHERE km > (SELECT avg(o.km) FROM trips o WHERE o.city = trips.city) GROUP BY rider;

CREATE MATERIALIZED VIEW v50 AS
SELECT id, city FROM trips WHERE id IN (SELECT min(id) FROM trips GROUP BY rider);

CREATE MATERIALIZED VIEW v51 AS
SELECT rider, count(*) AS n FROM trips WHERE id IN (SELECT min(id) FROM trips GROUP BY rider) GROUP BY rider;

CREATE MATERIALIZED VIEW v52 AS
SELECT id, city FROM trips WHERE rider IN (SELECT rider FROM trips GROUP BY rider HAVING count(*) > 7);

CREATE MATERIALIZED VIEW v53 AS
SELECT rider, count(*) AS n FROM trips WHERE rider IN (SELECT rider FROM trips GROUP BY rider HAVING count(*) > 7) GROUP BY rider;

CREATE MATERIALIZED VIEW v54 AS
SELECT id, city FROM trips WHERE paid AND city IN (SELECT city FROM towns WHERE country = 'de');

CREATE MATERIALIZED VIEW v55 AS
SELECT rider, count(*) AS n FROM trips WHERE paid AND city IN (SELECT city FROM towns WHERE country = 'de') GROUP BY rider;

CREATE MATERIALIZED VIEW v56 AS
SELECT id, (SELECT max(people) FROM towns) AS most FROM trips WHERE id < 5;

CREATE MATERIALIZED VIEW v57 AS
SELECT city, (SELECT count(*) FROM trips t WHERE t.city = towns.city) AS n FROM towns;
