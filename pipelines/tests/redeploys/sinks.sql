CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW each_row AS SELECT ts, host FROM t;
CREATE SINK s FROM each_row WITH (connector = 'page', path = 'a', format = 'json');
CREATE SINK q AS SELECT host FROM t WHERE ms > 1 WITH (connector = 'page', path = 'q', format = 'json');
CREATE SINK u AS SELECT unnest(string_to_array(host, '.')) AS part FROM t WHERE ms > 1
    WITH (connector = 'page', path = 'u', format = 'json');
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW each_row AS SELECT ts, host FROM t;
CREATE SINK s FROM each_row WITH (connector = 'page', path = 'b', format = 'json');
CREATE SINK q AS SELECT host FROM t WHERE ms > 2 WITH (connector = 'page', path = 'q', format = 'json');
CREATE SINK u AS SELECT unnest(string_to_array(host, '.')) AS part FROM t WHERE ms > 2
    WITH (connector = 'page', path = 'u', format = 'json');
CREATE SINK n FROM each_row WITH (connector = 'page', path = 'n', format = 'json');
