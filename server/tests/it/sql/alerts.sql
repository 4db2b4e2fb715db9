CREATE SOURCE latency (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, ms DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
WITH (connector = 'file', path = '${DATA}/alerts.ndjson', format = 'json');

CREATE MATERIALIZED VIEW service_latency AS
SELECT window_start, window_end, service, region, max(ms) AS p99, count(*) AS n
FROM TUMBLE(latency, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, service, region;

CREATE ALERT slow_service FROM service_latency BY service, region
  WARNING WHEN p99 > 250 CLEAR WHEN p99 < 200
  CRITICAL WHEN p99 > 500
  FOR INTERVAL '1 minute' KEEP FIRING FOR INTERVAL '2 minutes' ABSENT FOR INTERVAL '5 minutes'
  LABELS (team = 'core', page = '{{severity}}') ANNOTATIONS (summary = 'p99 of {{service}} is {{p99 | printf "%.2f"}} ms');

-- Rows as they come, of one region, each service by itself; severities in any order.
CREATE ALERT busy FROM latency BY (service) WHERE region = 'eu'
  CRITICAL WHEN ms > 600 WARNING WHEN ms >= 300
  WITH (flap_times = 2, flap_within = '10 minutes');

-- A changelog without event time: its key is its own, its time the clock.
CREATE MATERIALIZED VIEW worst AS SELECT region, max(ms) AS ms FROM latency GROUP BY region;
CREATE ALERT ever_slow FROM worst CRITICAL WHEN ms > 500;

CREATE ALERT never FROM worst WARNING WHEN ms > 10000;

-- An alert is a relation: its state can be read by views, its events by sinks.
CREATE MATERIALIZED VIEW open_by_severity AS
SELECT severity, count(*) AS n FROM slow_service WHERE state IN ('firing', 'recovering', 'no_data') GROUP BY severity;
CREATE SINK pages FROM slow_service WITH (connector = 'blackhole');
