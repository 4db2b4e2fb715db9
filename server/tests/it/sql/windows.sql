-- No watermark: the windows close when the file ends.
CREATE SOURCE early (ts TIMESTAMP, name TEXT, v BIGINT)
WITH (connector = 'file', path = '${DATA}/early.ndjson', format = 'json');

CREATE MATERIALIZED VIEW rows AS SELECT ts, name, v FROM early;

CREATE MATERIALIZED VIEW live AS
SELECT window_start, window_end, name, count(*) AS n, sum(v) AS s
FROM TUMBLE(early, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, name;

CREATE MATERIALIZED VIEW closed AS
SELECT window_start, window_end, name, count(*) AS n, sum(v) AS s
FROM TUMBLE(early, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, name
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, sum(v) AS s
FROM HOP(early, ts, INTERVAL '5 seconds', INTERVAL '10 seconds', INTERVAL '1 second')
GROUP BY window_start, window_end;

-- Windows over windows without a watermark close together.
CREATE MATERIALIZED VIEW minutes AS
SELECT window_start, sum(n) AS n FROM TUMBLE(live, window_start, INTERVAL '1 minute') GROUP BY window_start;

-- A plain view with a window in it is asked ad hoc, and read by a materialized one.
CREATE VIEW tens AS
SELECT window_start, window_end, name, v FROM TUMBLE(rows, ts, INTERVAL '10 seconds');
CREATE VIEW source_tens AS
SELECT window_start, window_end, name, v FROM TUMBLE(early, ts, INTERVAL '10 seconds');
CREATE MATERIALIZED VIEW over_plain AS
SELECT window_start, count(*) AS n FROM source_tens GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW assigned AS SELECT window_start, name, v FROM source_tens WHERE v > 1;
CREATE VIEW tens_grouped AS
SELECT window_start, window_end, count(*) AS n FROM TUMBLE(early, ts, INTERVAL '10 seconds') GROUP BY 1, 2;
CREATE MATERIALIZED VIEW over_grouped AS
SELECT window_start, max(n) AS most FROM TUMBLE(tens_grouped, window_start, INTERVAL '1 minute') GROUP BY window_start;

-- A view that groups for ever can be cut into windows by a query, though not by a view.
CREATE MATERIALIZED VIEW latest AS SELECT name, max(ts) AS ts FROM early GROUP BY name;

-- The tables of WITH are named in the window's input, each by those behind it.
CREATE MATERIALIZED VIEW with_tables AS
WITH big AS (SELECT ts, v FROM early WHERE v > 1),
     cut AS (SELECT * FROM TUMBLE((WITH odd AS (SELECT * FROM big WHERE v % 2 = 1) SELECT ts, v FROM odd), ts, '1 minute'))
SELECT window_start, count(*) AS n FROM cut GROUP BY window_start, window_end;
