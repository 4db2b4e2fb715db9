CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, ms DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = 'requests', mode = 'tail');
CREATE MATERIALIZED VIEW latency AS
SELECT window_start, window_end, service, region, max(ms) AS p99
FROM TUMBLE(requests, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service, region;
CREATE ALERT slow FROM latency BY service
  WARNING WHEN p99 > 250 CLEAR WHEN p99 < 200 CRITICAL WHEN p99 > 500
  FOR INTERVAL '1 minute' KEEP FIRING FOR INTERVAL '5 minutes' ABSENT FOR INTERVAL '2 minutes' THEN critical
  WITH (ttl = '1d', flap_times = 5);
-- The key is the view's own, without its window.
CREATE ALERT own_key FROM latency WHERE region = 'eu' low WHEN p99 > 1 FOR INTERVAL '1 second' high WHEN p99 > 2;
-- Windows that are revised are looked at when they close.
CREATE MATERIALIZED VIEW revised WITH (on_late = 'revise', revise_until = '10 minutes') AS
SELECT window_end, service, count(*) AS n FROM TUMBLE(requests, ts, INTERVAL '1 minute')
GROUP BY window_start, window_end, service;
CREATE ALERT quiet FROM revised WARNING WHEN n < 3;
-- Rows as they come, and rows that are kept up to date.
CREATE ALERT slow_request FROM requests BY service WARNING WHEN ms > 1000 ABSENT FOR INTERVAL '1 hour' THEN RESOLVE;
CREATE MATERIALIZED VIEW totals AS SELECT service, count(*) AS n FROM requests GROUP BY service;
CREATE ALERT many FROM totals WARNING WHEN n > 1000000;
CREATE SINK pages FROM slow WITH (connector = 'store', path = 'out');
-- The rows behind a view over a view, and behind one side of a join; where the group cannot be told its own rows are shown.
CREATE MATERIALIZED VIEW doubled AS SELECT service, region, window_end, p99 * 2 AS twice FROM latency;
CREATE ALERT over_a_view FROM doubled BY service, region WARNING WHEN twice < 3 WITH (sample_rows = 2);
CREATE SOURCE teams (service TEXT PRIMARY KEY, team TEXT) WITH (connector = 'feed', path = 'teams', format = 'upsert');
CREATE MATERIALIZED VIEW owned AS
SELECT l.*, t.team FROM latency l JOIN teams t ON l.service = t.service;
CREATE ALERT over_a_join FROM owned BY service WARNING WHEN p99 > 1;
CREATE MATERIALIZED VIEW no_region AS SELECT service, window_end, p99 FROM latency;
CREATE ALERT of_no_group FROM no_region BY service WARNING WHEN p99 > 1;
CREATE ALERT without_rows FROM latency WARNING WHEN p99 > 1 WITH (sample_rows = 0);
