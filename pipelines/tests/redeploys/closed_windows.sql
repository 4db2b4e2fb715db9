CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW closed AS SELECT window_start, window_end, max(ms) AS ms
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
-- then
-- Which rows of w are final is not written in them: w is computed a second time. All rows of closed are.
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW closed AS SELECT window_start, window_end, max(ms) AS ms
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW minutes AS SELECT window_start, max(n) AS n
    FROM TUMBLE(w, window_end, INTERVAL '1 m') GROUP BY window_start;
CREATE MATERIALIZED VIEW slowest AS SELECT window_start, max(ms) AS ms
    FROM TUMBLE(closed, window_end, INTERVAL '1 m') GROUP BY window_start;
