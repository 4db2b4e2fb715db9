-- Queries that a view cannot be kept by yet: each construct is named.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT, tags TEXT[],
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts AS SELECT host, max(ts) AS ts, count(*) AS n FROM telemetry GROUP BY host;

CREATE MATERIALIZED VIEW f AS SELECT t.host FROM telemetry AS t JOIN hosts FOR SYSTEM_TIME AS OF t.ts AS h ON t.host = h.host;
CREATE MATERIALIZED VIEW r AS SELECT host, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS s, count(*) FROM telemetry GROUP BY host, TUMBLE(ts, INTERVAL '1' MINUTE);
CREATE MATERIALIZED VIEW s AS SELECT host, count(*) FROM telemetry GROUP BY host, HOP(ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR);
CREATE MATERIALIZED VIEW t AS SELECT window_start, count(*) FROM TABLE(TUMBLE(TABLE hosts, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start;
CREATE MATERIALIZED VIEW u AS SELECT window_start, count(*) FROM TUMBLE((SELECT DISTINCT ts, host FROM telemetry), ts, INTERVAL '1 minute') GROUP BY window_start;
CREATE MATERIALIZED VIEW v AS SELECT host, tag FROM telemetry, unnest(tags) AS t(tag);
CREATE MATERIALIZED VIEW w AS SELECT host, tag FROM telemetry CROSS JOIN UNNEST(tags) AS t(tag);
CREATE MATERIALIZED VIEW x AS SELECT host, unnest(tags) AS tag, unnest([1, 2]) AS n FROM telemetry;
CREATE MATERIALIZED VIEW y AS WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r;
CREATE MATERIALIZED VIEW z AS SELECT * FROM telemetry TABLESAMPLE BERNOULLI (10);
CREATE MATERIALIZED VIEW aa AS SELECT * FROM telemetry MATCH_RECOGNIZE (PARTITION BY host ORDER BY ts MEASURES a.ts AS t PATTERN (a b) DEFINE b AS b.status > 1);
CREATE MATERIALIZED VIEW ab AS SELECT * FROM DETECT_ANOMALIES(hosts, time => ts, value => n, by => (host));
CREATE MATERIALIZED VIEW ac AS SELECT * FROM FORECAST(hosts, time => ts, value => n, horizon => INTERVAL '4 hours');
CREATE MATERIALIZED VIEW ad AS SELECT * FROM generate_series(1, 10);
CREATE MATERIALIZED VIEW ae AS VALUES (1), (2);
CREATE MATERIALIZED VIEW af AS SELECT host FROM telemetry FETCH FIRST 5 ROWS ONLY;
CREATE MATERIALIZED VIEW ah AS SELECT host, random() AS r FROM telemetry;
CREATE MATERIALIZED VIEW aj AS SELECT host FROM telemetry, LATERAL (SELECT n FROM hosts WHERE hosts.host = telemetry.host) h;
CREATE MATERIALIZED VIEW ak AS SELECT host FROM hosts FOR ALL TIME;
CREATE MATERIALIZED VIEW al AS SELECT host FROM telemetry FOR UPDATE;
CREATE MATERIALIZED VIEW am AS SELECT host FROM telemetry WHERE host = ANY (SELECT host FROM hosts);
CREATE MATERIALIZED VIEW an AS SELECT * FROM telemetry PIVOT (count(status) FOR region IN ('eu', 'us'));
CREATE MATERIALIZED VIEW ao AS SELECT host, count(*) AS n FROM telemetry GROUP BY ALL;
CREATE MATERIALIZED VIEW ap AS SELECT window_start, count(*) FROM TUMBLE(telemetry, ts, '1 minute') GROUP BY 1 EMIT ON CLOSE;
CREATE MATERIALIZED VIEW aq AS SELECT window_start, count(*) FROM TUMBLE(size => INTERVAL '1 minute', data => telemetry) GROUP BY 1;
CREATE MATERIALIZED VIEW ar AS SELECT window_start, count(*) FROM telemetry GROUP BY window_start;
CREATE MATERIALIZED VIEW literal_interval AS SELECT window_start FROM TUMBLE(telemetry, ts, INTERVAL 'soon') GROUP BY 1;
CREATE MATERIALIZED VIEW literal_number AS SELECT host FROM telemetry WHERE latency_ms > 'fast';
CREATE MATERIALIZED VIEW no_condition AS SELECT host FROM telemetry WHERE latency_ms;
