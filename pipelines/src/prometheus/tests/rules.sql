CREATE SOURCE metrics (
  ts TIMESTAMP NOT NULL,
  name TEXT NOT NULL,
  labels TEXT NOT NULL, -- a JSON object
  value DOUBLE,
  code TEXT AS (coalesce(json_text(labels, 'code'), '')),
  instance TEXT AS (coalesce(json_text(labels, 'instance'), '')),
  job TEXT AS (coalesce(json_text(labels, 'job'), '')),
  "service" TEXT AS (coalesce(json_text(labels, 'service'), '')),
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'file', path = 'metrics.ndjson');

-- rules.yml:6: sum by (service) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (service) (rate(http_requests_total[5m]))
CREATE MATERIALIZED VIEW "service:errors:ratio" AS
SELECT a.at AS at, a."service" AS "service", nullif(a.value / b.value, CAST('NaN' AS DOUBLE)) AS value
FROM (
  SELECT window_end AS at, "service", sum(step) / 300.0 AS value
  FROM HOP((
    SELECT ts, job, instance, "service", code, labels, CASE WHEN value < before THEN value ELSE value - before END AS step
    FROM (
      SELECT ts, job, instance, "service", code, labels, value, lag(value) OVER (PARTITION BY labels ORDER BY ts) AS before
      FROM metrics WHERE name = 'http_requests_total' AND code ~ '^(?:5..)$'
    )
  ), ts, INTERVAL '30 seconds', INTERVAL '5 minutes')
  GROUP BY window_start, window_end, "service"
) AS a LEFT JOIN (
  SELECT window_end AS at, "service", sum(step) / 300.0 AS value
  FROM HOP((
    SELECT ts, job, instance, "service", code, labels, CASE WHEN value < before THEN value ELSE value - before END AS step
    FROM (
      SELECT ts, job, instance, "service", code, labels, value, lag(value) OVER (PARTITION BY labels ORDER BY ts) AS before
      FROM metrics WHERE name = 'http_requests_total'
    )
  ), ts, INTERVAL '30 seconds', INTERVAL '5 minutes')
  GROUP BY window_start, window_end, "service"
) AS b ON a.at = b.at AND a."service" = b."service";

-- rules.yml:8: service:errors:ratio > 0.01
-- rules.yml:14: service:errors:ratio > 0.05
CREATE ALERT "HighErrorRate" FROM "service:errors:ratio" BY "service"
  WARNING WHEN coalesce(value > 0.01, false) FOR INTERVAL '5 minutes'
  CRITICAL WHEN coalesce(value > 0.05, false) FOR INTERVAL '2 minutes'
  LABELS (team = 'core')
  ANNOTATIONS (summary = '{{value | humanizePercentage}} of the requests of {{service}} fail');

-- rules.yml:25: up{job="node"} == 0
CREATE ALERT "InstanceDown" FROM metrics BY job, instance
  WHERE name = 'up' AND job = 'node'
  page WHEN value = 0.0 FOR INTERVAL '5 minutes'
  KEEP FIRING FOR INTERVAL '10 minutes'
  ANNOTATIONS (summary = '{{instance}} is down');

-- rules.yml:31: predict_linear(node_filesystem_avail_bytes[6h], 24 * 3600) < 0 and on (instance) up == 1
CREATE MATERIALIZED VIEW disk_full_value AS
SELECT a.at AS at, a.job AS job, a.instance AS instance, CASE WHEN b.value IS NOT NULL THEN a.value END AS value
FROM (
  SELECT window_end AS at, job, instance, CASE WHEN avg(value) + regr_slope(value, extract(epoch FROM ts)) * (extract(epoch FROM window_end) + 24.0 * 3600.0 - avg(extract(epoch FROM ts))) < 0.0 THEN avg(value) + regr_slope(value, extract(epoch FROM ts)) * (extract(epoch FROM window_end) + 24.0 * 3600.0 - avg(extract(epoch FROM ts))) END AS value
  FROM HOP((
    SELECT * FROM metrics WHERE name = 'node_filesystem_avail_bytes'
  ), ts, INTERVAL '1 minute', INTERVAL '6 hours')
  GROUP BY window_start, window_end, job, instance, labels
) AS a LEFT JOIN (
  SELECT window_start AS at, instance, max(value) AS value
  FROM TUMBLE((
    SELECT window_end AS at, job, instance, CASE WHEN last_value(value ORDER BY ts) = 1.0 THEN last_value(value ORDER BY ts) END AS value
    FROM HOP((
      SELECT * FROM metrics WHERE name = 'up'
    ), ts, INTERVAL '1 minute', INTERVAL '5 minutes')
    GROUP BY window_start, window_end, job, instance, labels
  ), at, INTERVAL '1 millisecond')
  GROUP BY window_start, window_end, instance
) AS b ON a.at = b.at AND a.instance = b.instance;
CREATE ALERT "DiskFull" FROM disk_full_value BY job, instance
  WARNING WHEN value IS NOT NULL FOR INTERVAL '1 hour';

-- rules.yml:34: absent(up{job="node"})
CREATE ALERT "NoNodes" FROM metrics BY job
  WHERE name = 'up' AND job = 'node'
  WARNING WHEN false
  ABSENT FOR INTERVAL '10 minutes';
