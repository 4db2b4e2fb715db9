CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW slow AS SELECT * FROM t WHERE ms > 100;
CREATE MATERIALIZED VIEW per_host AS SELECT host, count(*) AS n FROM slow GROUP BY host;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW slow AS SELECT * FROM t WHERE ms > 100;
CREATE MATERIALIZED VIEW per_host AS SELECT host, count(*) AS n FROM slow GROUP BY host;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE MATERIALIZED VIEW slow AS SELECT * FROM t WHERE ms > 200;
CREATE MATERIALIZED VIEW per_host AS SELECT host, count(*) AS n FROM slow GROUP BY host;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
