CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = 'requests');
CREATE SLO availability FROM requests BY service WHERE status <> 404 GOOD WHEN status < 500
  OBJECTIVE 99.9% OVER INTERVAL '28 days' EVERY INTERVAL '5 minutes' KEEP FIRING FOR INTERVAL '10 minutes';
