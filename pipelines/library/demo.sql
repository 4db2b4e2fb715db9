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

CREATE SINK core_history FROM core_load
WITH (connector = 'parquet', path = '${THALWEG_DATA:-./thalweg-data}/history/core_load', commit_interval = '10s');

CREATE SINK process_history FROM process_load
WITH (connector = 'parquet', path = '${THALWEG_DATA:-./thalweg-data}/history/process_load', commit_interval = '10s');
