-- This machine's own telemetry: `thalweg demo` runs this; `thalweg run pipelines/library/demo.sql` does the same
-- without the live table. History lands below ${THALWEG_DATA:-./thalweg-data}/history.

CREATE SOURCE machine WITH (connector = 'host', interval = '1s');

-- Each core, by windows of 10 seconds: live from the first reading, final ten seconds later.
CREATE MATERIALIZED VIEW core_load AS
SELECT window_start, window_end, host, label AS core, count(*) AS readings,
       avg(value) AS avg_percent, max(value) AS max_percent
FROM TUMBLE(machine, ts, INTERVAL '10 seconds')
WHERE metric = 'cpu_usage'
GROUP BY window_start, window_end, host, label;

-- The same over the last minute, every ten seconds.
CREATE MATERIALIZED VIEW core_load_minute AS
SELECT window_start, window_end, host, label AS core, avg(value) AS avg_percent,
       approx_percentile_cont(value, 0.95) AS p95_percent
FROM HOP(machine, ts, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE metric = 'cpu_usage'
GROUP BY window_start, window_end, host, label;

-- The busiest processes.
CREATE MATERIALIZED VIEW process_load AS
SELECT window_start, window_end, label AS process, pid, avg(value) AS avg_percent, max(value) AS max_percent
FROM TUMBLE(machine, ts, INTERVAL '10 seconds')
WHERE metric = 'process_cpu'
GROUP BY window_start, window_end, label, pid;

-- Memory, in megabytes.
CREATE MATERIALIZED VIEW memory AS
SELECT window_start, window_end, host,
       avg(value) FILTER (WHERE metric = 'memory_used') / 1048576 AS used_mb,
       max(value) FILTER (WHERE metric = 'memory_total') / 1048576 AS total_mb
FROM TUMBLE(machine, ts, INTERVAL '10 seconds')
WHERE metric IN ('memory_used', 'memory_total')
GROUP BY window_start, window_end, host;

-- Power: by the energy counters of the processors (RAPL) where they can be read, otherwise a model of the use of the
-- processors (Cloud Carbon Footprint's watts of a vCPU of unknown make). `meter` says which.
CREATE MATERIALIZED VIEW power AS
SELECT window_start, window_end, host, coalesce(metered_watts, modelled_watts) AS watts,
       CASE WHEN metered_watts IS NOT NULL THEN 'RAPL' ELSE 'model of use' END AS meter
FROM (
  SELECT window_start, window_end, host,
         without_overlap(NULL, sum(value) FILTER (WHERE metric = 'energy_uj' AND label = 'psys'),
           sum(value) FILTER (WHERE metric = 'energy_uj' AND label LIKE 'package-%' AND label NOT LIKE '%/%'),
           sum(value) FILTER (WHERE metric = 'energy_uj' AND label LIKE '%/core'),
           sum(value) FILTER (WHERE metric = 'energy_uj' AND label LIKE '%/uncore'),
           sum(value) FILTER (WHERE metric = 'energy_uj' AND (label = 'dram' OR label LIKE '%/dram')), NULL)
           / 1e6 / count(*) FILTER (WHERE metric = 'cpu_total') AS metered_watts,
         utilisation_watts(avg(value) FILTER (WHERE metric = 'cpu_total'), 0.74, 3.5)
           * count(DISTINCT label) FILTER (WHERE metric = 'cpu_usage') AS modelled_watts
  FROM TUMBLE(machine, ts, INTERVAL '10 seconds')
  WHERE metric IN ('energy_uj', 'cpu_total', 'cpu_usage')
  GROUP BY window_start, window_end, host);

-- A forecast of a grid by the hour of the day (UTC), to show what can be done with one: a sample, of no grid in particular.
CREATE VIEW sample_forecast AS
SELECT column1 AS hour, column2 AS g_per_kwh FROM (VALUES
  (0, 210.0), (1, 205.0), (2, 190.0), (3, 170.0), (4, 150.0), (5, 120.0), (6, 90.0), (7, 80.0), (8, 85.0), (9, 110.0), (10, 140.0),
  (11, 180.0), (12, 220.0), (13, 260.0), (14, 280.0), (15, 270.0), (16, 250.0), (17, 230.0), (18, 200.0), (19, 190.0), (20, 185.0),
  (21, 195.0), (22, 205.0), (23, 210.0));

-- Grams an hour at the power of each window, by the sample forecast.
CREATE VIEW carbon AS
SELECT p.window_start, p.window_end, p.host, p.watts, p.meter, f.g_per_kwh, carbon_grams(p.watts / 1000, f.g_per_kwh) AS grams_per_hour
FROM power p JOIN sample_forecast f ON f.hour = date_part('hour', p.window_start);

-- What is usual for the processors, reading by reading, and what is not: a demo has no time for more than ten readings before
-- it says so.
CREATE MATERIALIZED VIEW cpu_judged AS
SELECT ts, value AS percent, expected, lower, upper, score, is_anomaly, reason, learning
FROM DETECT_ANOMALIES((SELECT ts, value FROM machine WHERE metric = 'cpu_total'), time => ts, value => value, warm_up => 10,
                      lower_bound => 0, upper_bound => 100);

-- Memory in ten minutes, in megabytes, once thirty readings are known.
CREATE MATERIALIZED VIEW memory_ahead AS
SELECT ts, used_mb, forecast, lower, upper
FROM FORECAST((SELECT ts, value / 1048576 AS used_mb FROM machine WHERE metric = 'memory_used'), time => ts, value => used_mb,
              horizon => INTERVAL '10 minutes', lower_bound => 0);

-- What a process takes of a core, reading by reading, and an alert on it: one that takes more than half a core for two
-- seconds is told of until it takes less than a third. Who is no longer among the busiest has come to rest.
CREATE VIEW process_readings AS
SELECT ts, label AS process, pid, round(value) AS percent FROM machine WHERE metric = 'process_cpu';

CREATE ALERT busy_process FROM process_readings BY process, pid
  WARNING WHEN percent > 50 CLEAR WHEN percent < 33
  FOR INTERVAL '2 seconds' ABSENT FOR INTERVAL '3 seconds' THEN RESOLVE
  ANNOTATIONS (summary = '{{process}} ({{pid}}) takes {{percent}}% of a core');

CREATE SINK core_history FROM core_load
WITH (connector = 'parquet', path = '${THALWEG_DATA:-./thalweg-data}/history/core_load', commit_interval = '10s');

CREATE SINK process_history FROM process_load
WITH (connector = 'parquet', path = '${THALWEG_DATA:-./thalweg-data}/history/process_load', commit_interval = '10s');
