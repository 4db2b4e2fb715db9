-- The first of each, window functions, several groupings at once, sets: over rows that come and rows that are taken back.
CREATE SOURCE clicks (ts TIMESTAMP, who TEXT, page TEXT, ms BIGINT)
WITH (connector = 'file', path = '${DATA}/clicks.ndjson', format = 'json');
CREATE SOURCE cities (id BIGINT, name TEXT, inhabitants BIGINT, PRIMARY KEY (id))
WITH (connector = 'file', path = '${DATA}/cities.ndjson', format = 'upsert');

CREATE MATERIALIZED VIEW slowest AS
SELECT who, page, ms, place FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY who ORDER BY ms DESC, ts) AS place FROM clicks) WHERE place <= 2;
CREATE MATERIALIZED VIEW latest AS
SELECT who, page FROM clicks WHERE ts IS NOT NULL QUALIFY ROW_NUMBER() OVER (PARTITION BY who ORDER BY ts DESC, page) = 1;
CREATE MATERIALIZED VIEW first_of_each AS SELECT DISTINCT ON (who) who, page FROM clicks ORDER BY who, ts, page;
CREATE MATERIALIZED VIEW ranked AS
SELECT page, r FROM (SELECT page, rank() OVER (ORDER BY page) AS r FROM clicks) WHERE r <= 5;
CREATE MATERIALIZED VIEW page_two AS SELECT page, ms FROM clicks ORDER BY ms LIMIT 2 OFFSET 1;

CREATE MATERIALIZED VIEW largest AS SELECT name, inhabitants FROM cities ORDER BY inhabitants DESC LIMIT 2;
CREATE MATERIALIZED VIEW standing AS
SELECT name, rank() OVER (ORDER BY inhabitants DESC) AS r, sum(inhabitants) OVER (ORDER BY inhabitants DESC) AS so_far FROM cities;

CREATE MATERIALIZED VIEW steps AS
SELECT who, ts, ms - lag(ms) OVER (PARTITION BY who ORDER BY ts) AS step FROM clicks WHERE who = 'ann';

CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, who, n FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY n DESC, who) AS place FROM (
    SELECT window_start, who, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '20 seconds') GROUP BY window_start, window_end, who))
WHERE place = 1
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW deduplicated AS
SELECT window_end, who, page FROM TUMBLE(clicks, ts, INTERVAL '20 seconds')
QUALIFY ROW_NUMBER() OVER (PARTITION BY window_start, window_end, who ORDER BY ts, page) = 1
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW shares AS
SELECT window_end, who, n * 100 / sum(n) OVER (PARTITION BY window_end) AS percent FROM (
  SELECT window_end, who, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '20 seconds') GROUP BY window_end, who)
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW per_minute AS
SELECT window_start, sum(n) AS n FROM TUMBLE(per_window, window_start, INTERVAL '1 minute') GROUP BY window_start;

CREATE MATERIALIZED VIEW rolled AS
SELECT who, page, count(*) AS n, grouping(page) AS whole FROM clicks GROUP BY ROLLUP (who, page);
CREATE MATERIALIZED VIEW window_sets AS
SELECT window_start, who, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
GROUP BY window_start, window_end, GROUPING SETS ((who), ()) EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW either AS SELECT who FROM clicks UNION SELECT page FROM clicks;
CREATE MATERIALIZED VIEW not_both AS SELECT page FROM clicks EXCEPT SELECT page FROM clicks WHERE who = 'bob';
CREATE MATERIALIZED VIEW both_of AS SELECT page FROM clicks WHERE who = 'ann' INTERSECT SELECT page FROM clicks WHERE who = 'bob';
CREATE MATERIALIZED VIEW left_over AS SELECT page FROM clicks WHERE who = 'bob' EXCEPT ALL SELECT page FROM clicks WHERE ms = 9;
CREATE MATERIALIZED VIEW paired AS SELECT page FROM clicks WHERE who = 'ann' INTERSECT ALL SELECT page FROM clicks WHERE who = 'bob';

-- Of a session only some rows are looked at: its bounds stay those of all.
CREATE MATERIALIZED VIEW shopping AS
SELECT who, window_start, window_end, count(*) AS n FROM SESSION(clicks, ts, INTERVAL '10 seconds', PARTITION BY who)
WHERE page = 'shop' GROUP BY window_start, window_end, who;
