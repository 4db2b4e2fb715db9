-- Clauses of other systems, and of later versions: each is named.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT, tags TEXT[],
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE MATERIALIZED VIEW hosts AS SELECT host, max(ts) AS ts, count(*) AS n FROM telemetry GROUP BY host;

CREATE SOURCE a (id INT, PRIMARY KEY (id)) WITH (connector = 'feed', path = 'x');
CREATE SOURCE b (id INT, PRIMARY KEY (id) NOT ENFORCED) WITH (connector = 'feed', path = 'x');
CREATE SOURCE c (id INT) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE d (id INT) WITH (connector = 'feed', path = 'x') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE e (id INT, ts AS PROCTIME()) WITH (connector = 'feed', path = 'x');
CREATE SOURCE f (id INT DEFAULT 5) WITH (connector = 'feed', path = 'x');
CREATE SOURCE g (id INT CHECK (id > 0)) WITH (connector = 'feed', path = 'x');
CREATE SOURCE h (id INT, ts TIMESTAMP METADATA FROM 'timestamp') WITH (connector = 'feed', path = 'x');
CREATE SOURCE i (id SERIAL) WITH (connector = 'feed', path = 'x');
CREATE SOURCE j (id UUID) WITH (connector = 'feed', path = 'x');
CREATE SOURCE k (id INT, data JSONB) WITH (connector = 'feed', path = 'x');
CREATE SOURCE l (id INT);
CREATE SOURCE m (id INT) WITH ('connector' = 'kafka', 'topic' = 'x');
CREATE SOURCE n (ts TIMESTAMP, WATERMARK ts - INTERVAL '5 s') WITH (connector = 'feed', path = 'x');
CREATE SOURCE o (ts TIMESTAMP) WITH (connector = 'feed', path = 'x') WATERMARK FOR ts AS ts;
CREATE SOURCE p FROM KAFKA BROKER 'x' TOPIC 'y';
CREATE SINK q FROM hosts WITH (connector = 'page', path = 'x');
CREATE SINK r FROM hosts WITH (connector = 'screen') FORMAT UPSERT ENCODE JSON;
CREATE SINK s INTO telemetry FROM hosts;
CREATE SINK t FROM hosts;
CREATE SINK u FROM hosts WITH (connector = 'screen') ENVELOPE;
CREATE MATERIALIZED VIEW v WITH (state_ttl = '0s') AS SELECT DISTINCT host FROM telemetry;
CREATE MATERIALIZED VIEW w WITH (lateness = '10s') AS SELECT host FROM telemetry;
CREATE MATERIALIZED VIEW x WITH (late = '10s') AS SELECT window_start FROM TUMBLE(telemetry, ts, '1 s') GROUP BY 1;
CREATE MATERIALIZED VIEW y WITH (lateness = 'soon') AS SELECT window_start FROM TUMBLE(telemetry, ts, '1 s') GROUP BY 1;
CREATE MATERIALIZED VIEW z AS SELECT host FROM telemetry WITH NO DATA;
CREATE MATERIALIZED VIEW aa (h, n) AS SELECT host FROM telemetry;
CREATE VIEW ab AS SELECT host FROM telemetry EMIT ON WINDOW CLOSE;
CREATE VIEW ac WITH (lateness = '1s') AS SELECT host FROM telemetry;
CREATE MATERIALIZED VIEW ad AS SELECT window_start, count(*) FROM TUMBLE(telemetry, ts, '1 minute') GROUP BY 1 EMIT FINAL;
CREATE MATERIALIZED VIEW ae AS SELECT window_start, count(*) FROM TUMBLE(telemetry, ts, '1 minute') GROUP BY 1 EMIT AFTER WATERMARK;
CREATE MATERIALIZED VIEW other.af AS SELECT host FROM telemetry;
CREATE MATERIALIZED VIEW "Äg" AS SELECT hosst FROM telemetry;
