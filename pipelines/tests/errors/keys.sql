CREATE SOURCE a (id INT) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE b (id INT, PRIMARY KEY (ID, nme), name TEXT) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE c (id INT PRIMARY KEY, PRIMARY KEY (id)) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE d (id INT, PRIMARY KEY (id, id)) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE e (_offset BIGINT PRIMARY KEY) WITH (connector = 'feed', path = 'x', format = 'debezium');
CREATE SOURCE f (id INT PRIMARY KEY) WITH (connector = 'feed', path = 'x', format = 'json');
CREATE SOURCE g (id INT, PRIMARY KEY id) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE h (id INT, CONSTRAINT pk PRIMARY KEY (id)) WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SOURCE orders (id INT PRIMARY KEY, at TIMESTAMP, price DOUBLE, WATERMARK FOR at AS at)
WITH (connector = 'feed', path = 'x', format = 'upsert');
CREATE SINK kept FROM orders WITH (connector = 'store', path = 'x');
CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM TUMBLE(orders, at, INTERVAL '1 minute') GROUP BY window_start;
