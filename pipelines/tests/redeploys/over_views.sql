CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW each_row AS SELECT ts, host FROM t;
CREATE MATERIALIZED VIEW totals AS SELECT host, count(*) AS n FROM t GROUP BY host;
-- then
-- Rows that are all there is to know are handed over; results of closed windows are computed again.
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW each_row AS SELECT ts, host FROM t;
CREATE MATERIALIZED VIEW totals AS SELECT host, count(*) AS n FROM t GROUP BY host;
CREATE MATERIALIZED VIEW of_totals AS SELECT n, count(*) AS hosts FROM totals GROUP BY n;
CREATE MATERIALIZED VIEW of_rows AS SELECT window_start, count(*) AS n FROM TUMBLE(each_row, ts, INTERVAL '1 m') GROUP BY window_start;
CREATE MATERIALIZED VIEW of_windows AS SELECT host, max(n) AS most FROM w GROUP BY host;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW each_row AS SELECT ts, host FROM t;
CREATE MATERIALIZED VIEW totals AS SELECT host, count(*) AS n FROM t GROUP BY host;
CREATE MATERIALIZED VIEW of_windows AS SELECT host, max(n) AS most FROM w GROUP BY host;
CREATE MATERIALIZED VIEW both AS SELECT host FROM t UNION ALL SELECT host FROM each_row;
