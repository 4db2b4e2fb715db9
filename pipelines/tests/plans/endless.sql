-- Sources without a watermark: the windows over one that ends close then, those over one that does not never do.
CREATE SOURCE file (at TIMESTAMP, name TEXT) WITH (connector = 'feed', path = 'x');
CREATE SOURCE tail (at TIMESTAMP, name TEXT) WITH (connector = 'feed', path = 'x', mode = 'tail');
CREATE MATERIALIZED VIEW ends AS
SELECT window_start, count(*) AS n FROM TUMBLE(file, at, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW grows AS
SELECT window_start, count(*) AS n FROM TUMBLE(tail, at, INTERVAL '1 minute') GROUP BY window_start;
CREATE MATERIALIZED VIEW rows AS SELECT window_start, name FROM TUMBLE(tail, at, INTERVAL '1 minute');
