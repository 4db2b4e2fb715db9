-- How relations are cut into windows, and how not.
CREATE SOURCE telemetry (ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE MATERIALIZED VIEW a AS SELECT count(*) FROM CUMULATE(telemetry, ts, INTERVAL '7 s', INTERVAL '1 minute') GROUP BY window_end;
CREATE MATERIALIZED VIEW b AS SELECT count(*) FROM CUMULATE(telemetry, ts, INTERVAL '7 s') GROUP BY window_end;
CREATE MATERIALIZED VIEW c AS SELECT count(*) FROM SESSION(telemetry, ts) GROUP BY window_end;
CREATE MATERIALIZED VIEW d AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s', INTERVAL '5 s') GROUP BY window_end;
CREATE MATERIALIZED VIEW e AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s', PARTITION BY hots) GROUP BY window_end;
CREATE MATERIALIZED VIEW f AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s', PARTITION BY upper(host)) GROUP BY window_end;
CREATE MATERIALIZED VIEW g AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '0 s', PARTITION BY host) GROUP BY window_end;
CREATE MATERIALIZED VIEW h AS SELECT count(*) FROM SESSIONS(telemetry, ts, INTERVAL '5 s') GROUP BY window_end;
CREATE MATERIALIZED VIEW i AS SELECT host, count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s', PARTITION BY host, service) GROUP BY window_end, host EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW visits AS SELECT host, window_start FROM SESSION(telemetry, ts, INTERVAL '5 s', PARTITION BY host) GROUP BY host, window_start;
CREATE MATERIALIZED VIEW j AS SELECT count(*) FROM TUMBLE(visits, window_start, INTERVAL '1 hour') GROUP BY window_end;
CREATE MATERIALIZED VIEW k AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s', PARTITION BY host START WHEN service) GROUP BY window_end, host;
CREATE MATERIALIZED VIEW l AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s' END WHEN status = 1 END WHEN status = 2) GROUP BY window_end;
CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM SESSION(telemetry, ts, INTERVAL '5 s' START WHEN stats = 1) GROUP BY window_end;
CREATE MATERIALIZED VIEW n AS SELECT count(*) FROM TUMBLE(DATA => telemetry, TIMECOL => ts, LENGTH => INTERVAL '5 s') GROUP BY window_end;
CREATE MATERIALIZED VIEW o AS SELECT count(*) FROM HOP(DATA => telemetry, TIMECOL => ts, SIZE => INTERVAL '5 s') GROUP BY window_end;
CREATE MATERIALIZED VIEW p AS SELECT count(*) FROM TUMBLE(telemetry, TIMECOL => ts, SIZE => INTERVAL '5 s') GROUP BY window_end;
