-- No watermark: sessions close when the file ends.
CREATE SOURCE clicks (ts TIMESTAMP, who TEXT, page TEXT, ms BIGINT)
WITH (connector = 'file', path = '${DATA}/clicks.ndjson', format = 'json');

CREATE MATERIALIZED VIEW rows AS SELECT ts, who, page, ms FROM clicks;

CREATE MATERIALIZED VIEW visits AS
SELECT who, window_start, window_end, count(*) AS pages, sum(ms) AS ms, count(DISTINCT page) AS distinct_pages,
       max(ms) FILTER (WHERE page = 'shop') AS slowest_shop, approx_median(ms) AS median
FROM SESSION(clicks, ts, INTERVAL '10 seconds', PARTITION BY who)
GROUP BY window_start, window_end, who;

CREATE MATERIALIZED VIEW closed AS
SELECT who, window_start, window_end, count(*) AS pages FROM TABLE(
  SESSION(TABLE clicks PARTITION BY who, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, who
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW by_page AS
SELECT who, page, window_start, count(*) AS n
FROM SESSION(clicks, ts, INTERVAL '10 seconds', PARTITION BY who)
GROUP BY window_start, window_end, who, page;

CREATE MATERIALIZED VIEW of_all AS
SELECT window_start, window_end, count(*) AS n FROM SESSION(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW assigned AS
SELECT * FROM SESSION(clicks, ts, INTERVAL '10 seconds', PARTITION BY who);

-- By less than their partition: sessions of several that begin and end together.
CREATE MATERIALIZED VIEW together AS
SELECT window_start, window_end, count(DISTINCT who) AS people
FROM SESSION(clicks, ts, INTERVAL '10 seconds', PARTITION BY who) GROUP BY window_start, window_end;

-- A window over sessions.
CREATE MATERIALIZED VIEW ended AS
SELECT window_start, count(*) AS visits FROM TUMBLE(visits, window_end, INTERVAL '1 minute') GROUP BY window_start;

-- Windows that grow.
CREATE MATERIALIZED VIEW so_far AS
SELECT window_start, window_end, count(*) AS n, sum(ms) AS ms
FROM CUMULATE(clicks, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW so_far_closed AS
SELECT window_start, window_end, count(*) AS n, sum(ms) AS ms
FROM CUMULATE(clicks, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_start, window_end
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW by_start AS
SELECT window_start, count(*) AS n FROM CUMULATE(clicks, ts, INTERVAL '10 seconds', INTERVAL '30 seconds')
GROUP BY window_start;

CREATE MATERIALIZED VIEW shifted AS
SELECT window_start, window_end, count(*) AS n
FROM CUMULATE(clicks, ts, INTERVAL '10 seconds', INTERVAL '30 seconds', INTERVAL '5 seconds')
GROUP BY window_start, window_end;

-- Sessions that rows begin and end. What is in none is kept with the late rows.
CREATE SOURCE doors (ts TIMESTAMP, who TEXT, event TEXT)
WITH (connector = 'file', path = '${DATA}/doors.ndjson', format = 'json');
CREATE MATERIALIZED VIEW door_rows AS SELECT ts, who, event FROM doors;
CREATE MATERIALIZED VIEW stays AS
SELECT who, window_start, window_end, count(*) AS events, max(event) FILTER (WHERE event NOT IN ('in', 'out')) AS last
FROM SESSION(doors, ts, INTERVAL '1 minute', PARTITION BY who START WHEN event = 'in' END WHEN event = 'out')
GROUP BY window_start, window_end, who;
CREATE MATERIALIZED VIEW entrances AS
SELECT who, window_start, window_end, count(*) AS events
FROM SESSION(doors, ts, INTERVAL '1 minute', PARTITION BY who START WHEN event = 'in')
GROUP BY window_start, window_end, who EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW exits AS
SELECT * FROM SESSION((SELECT ts, who, event FROM doors WHERE who = 'ann'), ts, '1 minute', END WHEN event = 'out');
