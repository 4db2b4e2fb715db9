CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = 'requests');
CREATE SLO no_relation FROM request GOOD WHEN status < 500 OBJECTIVE 0.999;
CREATE SLO no_column FROM requests GOOD WHEN statsu < 500 OBJECTIVE 0.999;
CREATE SLO no_key FROM requests BY servce GOOD WHEN status < 500 OBJECTIVE 0.999;
CREATE SLO no_time FROM requests TIME tss GOOD WHEN status < 500 OBJECTIVE 0.999;
CREATE SLO no_good FROM requests OBJECTIVE 0.999;
CREATE SLO no_total FROM requests GOOD status OBJECTIVE 0.999;
CREATE SLO no_objective FROM requests GOOD WHEN status < 500;
CREATE SLO too_good FROM requests GOOD WHEN status < 500 OBJECTIVE 99.9;
CREATE SLO short FROM requests GOOD WHEN status < 500 OBJECTIVE 0.999 OVER INTERVAL '1 day';
CREATE SLO odd_steps FROM requests GOOD WHEN status < 500 OBJECTIVE 0.999 EVERY INTERVAL '7 minutes';
CREATE SLO odd_clause FROM requests GOOD WHEN status < 500 OBJECTIVE 0.999 EACH INTERVAL '1 minute';
CREATE SLO no_notifier FROM requests GOOD WHEN status < 500 OBJECTIVE 0.999 NOTIFY nobody;
