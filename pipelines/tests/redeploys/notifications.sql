CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE NOTIFIER ops WITH (type = 'webhook', url = 'http://127.0.0.1:9000');
CREATE ALERT slow FROM t BY host WARNING WHEN ms > 10 NOTIFY ops;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE NOTIFIER ops WITH (type = 'webhook', url = 'http://127.0.0.1:9001');
CREATE ALERT slow FROM t BY host WARNING WHEN ms > 10 NOTIFY ops;
CREATE ALERT slower FROM t BY host WARNING WHEN ms > 100 NOTIFY ops;
-- then
CREATE SOURCE t (ts TIMESTAMP NOT NULL, host TEXT, ms DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 s')
    WITH (connector = 'feed', path = 'x', format = 'json', mode = 'tail');
CREATE NOTIFIER ops WITH (type = 'webhook', url = 'http://127.0.0.1:9001');
CREATE ALERT slow FROM t BY host WARNING WHEN ms > 20 NOTIFY ops;
CREATE ALERT slower FROM t BY host WARNING WHEN ms > 100 ANNOTATIONS (summary = '{{host}}') NOTIFY ops;
