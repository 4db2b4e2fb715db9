CREATE SOURCE faults (ts TIMESTAMP, k TEXT, n BIGINT, d DECIMAL(38, 0), t TEXT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = '${DATA}/faults.ndjson', format = 'json');

CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS c, sum(n) AS n, sum(d) AS d FROM faults GROUP BY k;
CREATE MATERIALIZED VIEW distinct_totals AS SELECT k, sum(DISTINCT n) AS n FROM faults GROUP BY k;
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS c, sum(n) AS n FROM faults;
CREATE MATERIALIZED VIEW windows AS SELECT window_start, k, count(*) AS c, sum(n) AS n, avg(d) AS d FROM TUMBLE(faults, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW means AS SELECT k, count(*) AS c, avg(d) AS d FROM faults GROUP BY k;
CREATE MATERIALIZED VIEW means_of_groups AS SELECT count(*) AS c, avg(d) AS d FROM (SELECT k, max(d) AS d FROM faults GROUP BY k) g;
CREATE MATERIALIZED VIEW divided AS SELECT k, 10 / n AS q FROM faults;
CREATE MATERIALIZED VIEW divided_where AS SELECT k FROM faults WHERE 10 / n > 1;
CREATE MATERIALIZED VIEW plus AS SELECT n + 1 AS n FROM faults;
CREATE MATERIALIZED VIEW sum_of_plus AS SELECT count(*) AS c, sum(n + k_length) AS s FROM (SELECT n, length(k) AS k_length FROM faults) f;
CREATE MATERIALIZED VIEW cast_projected AS SELECT t::int AS t FROM faults;
CREATE MATERIALIZED VIEW cast_where AS SELECT k FROM faults WHERE t::int > 0;
CREATE MATERIALIZED VIEW cast_grouped AS SELECT t::int AS t, count(*) AS c FROM faults GROUP BY t::int;
CREATE MATERIALIZED VIEW cast_summed AS SELECT count(*) AS c, sum(t::int) AS s FROM faults;
CREATE MATERIALIZED VIEW cast_filtered AS SELECT count(*) AS c, count(*) FILTER (WHERE t::int > 1) AS f FROM faults;
CREATE MATERIALIZED VIEW guarded AS SELECT count(*) AS c, sum(t::int) FILTER (WHERE t <> 'x') AS s, sum(10 / n) FILTER (WHERE n <> 0) AS q FROM faults;
CREATE MATERIALIZED VIEW guarded_windows AS SELECT window_start, max(t::int) FILTER (WHERE t <> 'x') AS t FROM HOP(faults, ts, INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end;
