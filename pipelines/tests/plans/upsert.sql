CREATE SOURCE orders (id BIGINT, item TEXT NOT NULL, price DOUBLE, at TIMESTAMP, PRIMARY KEY (id))
WITH (connector = 'feed', path = '${DATA}/orders.ndjson', format = 'debezium');
CREATE SOURCE items (item TEXT PRIMARY KEY NOT ENFORCED, name TEXT)
WITH (connector = 'feed', path = '${DATA}/items.ndjson', format = 'upsert');
CREATE MATERIALIZED VIEW dear AS SELECT id, price FROM orders WHERE price > 5;
CREATE MATERIALIZED VIEW per_item AS SELECT item, count(*) AS n, sum(price) AS revenue FROM orders GROUP BY item;
CREATE SINK shown FROM items WITH (connector = 'screen') ENVELOPE changelog;
