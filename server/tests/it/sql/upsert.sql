CREATE SOURCE stock (item TEXT PRIMARY KEY, shelf TEXT NOT NULL, n BIGINT)
WITH (connector = 'file', path = '${DATA}/stock.ndjson', format = 'upsert');

CREATE SOURCE orders (id BIGINT, item TEXT NOT NULL, price DOUBLE, PRIMARY KEY (id))
WITH (connector = 'file', path = '${DATA}/orders.debezium.json', format = 'debezium');

CREATE MATERIALIZED VIEW items AS SELECT item, shelf, n FROM stock;
CREATE MATERIALIZED VIEW shelves AS SELECT shelf, count(*) AS items, sum(n) AS n FROM stock GROUP BY shelf;
CREATE MATERIALIZED VIEW empty AS SELECT item FROM stock WHERE n = 0;
CREATE MATERIALIZED VIEW sold AS SELECT item, count(*) AS orders, max(price) AS dearest FROM orders GROUP BY item;
CREATE MATERIALIZED VIEW all_orders AS SELECT count(*) AS n, sum(price) AS revenue FROM orders;
