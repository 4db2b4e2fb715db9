-- Of records only the fields that somebody looks at are read, through views, conditions, joins and aggregations.
CREATE SOURCE events (ts TIMESTAMP NOT NULL,
  bid STRUCT<bidder BIGINT, price BIGINT, url TEXT, place STRUCT<lat DOUBLE, town TEXT>>,
  person STRUCT<id BIGINT, name TEXT, mail TEXT>, click STRUCT<x INT, y INT>, other STRUCT<a INT>,
  WATERMARK FOR ts AS ts) WITH (connector = 'feed', path = '${DATA}/*.ndjson');

CREATE VIEW bids AS SELECT ts, bid['bidder'] AS bidder, bid['price'] AS price, bid['place'] AS place FROM events
WHERE bid IS NOT NULL;
CREATE MATERIALIZED VIEW towns AS SELECT place['town'] AS town, max(price) AS most FROM bids GROUP BY town;
CREATE MATERIALIZED VIEW bidders AS SELECT name, price FROM bids
JOIN (SELECT person['id'] AS id, person['name'] AS name, ts FROM events) p ON bidder = id
AND bids.ts BETWEEN p.ts AND p.ts + INTERVAL '1 minute';
CREATE MATERIALIZED VIEW clicks AS SELECT count(*) AS n FROM events WHERE click IS NOT NULL;
