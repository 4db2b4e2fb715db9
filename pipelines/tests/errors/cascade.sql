-- The source's options are wrong and its columns are not: what reads it is checked all the same.
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, price DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
  WITH (connector = 'nowhere', path = 'orders.ndjson');
CREATE MATERIALIZED VIEW cheap AS SELECT ts, prize FROM orders;
CREATE MATERIALIZED VIEW per_minute AS
  SELECT window_start, avg(price) AS mean FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
