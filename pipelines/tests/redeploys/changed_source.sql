CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE SINK s FROM w WITH (connector = 'screen');
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, more INT, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE SINK s FROM w WITH (connector = 'screen');
-- then
CREATE SOURCE t WITH (connector = 'gauge');
CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, host, count(*) AS n
    FROM TUMBLE(t, ts, INTERVAL '10 s') GROUP BY window_start, window_end, host;
CREATE SINK s FROM w WITH (connector = 'screen');
