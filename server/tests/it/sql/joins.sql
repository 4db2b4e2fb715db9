-- Customers change and go, purchases and payments only come.
CREATE SOURCE customers (id BIGINT, name TEXT, city TEXT, PRIMARY KEY (id))
WITH (connector = 'file', path = '${DATA}/customers.ndjson', format = 'upsert');
CREATE SOURCE purchases (ts TIMESTAMP NOT NULL, customer BIGINT, sku TEXT, n BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '1 hour')
WITH (connector = 'file', path = '${DATA}/purchases.ndjson', format = 'json');
CREATE SOURCE payments (ts TIMESTAMP NOT NULL, customer BIGINT, amount BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '1 hour')
WITH (connector = 'file', path = '${DATA}/payments.ndjson', format = 'json');

-- Regular joins.
CREATE MATERIALIZED VIEW named AS
SELECT p.sku, p.n, c.name, c.city FROM purchases p JOIN customers c ON c.id = p.customer;
CREATE MATERIALIZED VIEW with_names AS
SELECT p.sku, p.n, p.customer, c.name FROM purchases p LEFT JOIN customers c ON c.id = p.customer;
CREATE MATERIALIZED VIEW of_customers AS
SELECT p.sku, c.name FROM purchases p RIGHT JOIN customers c ON c.id = p.customer AND p.n > 1;
CREATE MATERIALIZED VIEW everything AS
SELECT p.sku, p.customer, c.id, c.name FROM purchases p FULL JOIN customers c ON c.id = p.customer;
CREATE MATERIALIZED VIEW neighbours AS
SELECT a.name AS a, b.name AS b, a.city FROM customers a JOIN customers b ON a.city = b.city AND a.name < b.name;
CREATE MATERIALIZED VIEW same_goods AS
SELECT a.customer AS a, b.customer AS b, a.sku FROM purchases a JOIN purchases b USING (sku) WHERE a.customer < b.customer;
CREATE MATERIALIZED VIEW dearer AS
SELECT p.n, x.amount FROM purchases p JOIN payments x ON p.n > x.amount;
CREATE MATERIALIZED VIEW pairs AS
SELECT a.name AS a, b.name AS b FROM customers a CROSS JOIN customers b;
CREATE MATERIALIZED VIEW three AS
SELECT c.name, p.sku, x.amount
FROM customers c JOIN purchases p ON p.customer = c.id JOIN payments x ON x.customer = c.id AND x.amount > 4;

-- A join of what others come to.
CREATE MATERIALIZED VIEW bought AS SELECT customer, count(*) AS times, sum(n) AS n FROM purchases GROUP BY customer;
CREATE MATERIALIZED VIEW paid AS SELECT customer, sum(amount) AS amount FROM payments GROUP BY customer;
CREATE MATERIALIZED VIEW accounts AS
SELECT coalesce(b.customer, p.customer) AS customer, b.n, p.amount FROM bought b FULL JOIN paid p ON b.customer = p.customer;
CREATE MATERIALIZED VIEW cities AS
SELECT c.city, sum(b.n) AS n, count(*) AS customers FROM customers c LEFT JOIN bought b ON b.customer = c.id GROUP BY c.city;

-- Windows on both sides.
CREATE MATERIALIZED VIEW windowed AS
SELECT p.window_start, p.customer, p.n, x.amount
FROM TUMBLE(purchases, ts, INTERVAL '10 seconds') p
JOIN TUMBLE(payments, ts, INTERVAL '10 seconds') x
  ON p.window_start = x.window_start AND p.window_end = x.window_end AND p.customer = x.customer;
CREATE MATERIALIZED VIEW windowed_full AS
SELECT p.window_start, p.customer, p.n, x.window_start AS paid_start, x.customer AS payer, x.amount
FROM TUMBLE(purchases, ts, INTERVAL '10 seconds') p
FULL JOIN TUMBLE(payments, ts, INTERVAL '10 seconds') x ON p.window_start = x.window_start AND p.customer = x.customer
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW sums AS
SELECT p.window_start, p.n, x.amount
FROM (SELECT window_start, window_end, sum(n) AS n FROM TUMBLE(purchases, ts, INTERVAL '10 seconds') GROUP BY 1, 2) p
JOIN (SELECT window_start, window_end, sum(amount) AS amount FROM TUMBLE(payments, ts, INTERVAL '10 seconds') GROUP BY 1, 2) x
  ON p.window_start = x.window_start AND p.window_end = x.window_end;

-- Pairs that are not far apart.
CREATE MATERIALIZED VIEW soon AS
SELECT p.ts, p.customer, p.sku, x.ts AS paid, x.amount
FROM purchases p JOIN payments x ON x.customer = p.customer AND x.ts BETWEEN p.ts AND p.ts + INTERVAL '5 seconds';
CREATE MATERIALIZED VIEW soon_or_not AS
SELECT p.ts, p.customer, x.amount
FROM purchases p
LEFT JOIN payments x ON x.customer = p.customer AND x.ts >= p.ts AND x.ts < p.ts + INTERVAL '5 seconds';
CREATE MATERIALIZED VIEW final_or_not AS
SELECT p.ts, p.customer, x.amount
FROM purchases p
LEFT JOIN payments x ON x.customer = p.customer AND x.ts >= p.ts AND x.ts < p.ts + INTERVAL '5 seconds'
EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW soon_per_window AS
SELECT window_start, count(*) AS n, sum(amount) AS amount
FROM TUMBLE(soon, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end;
CREATE MATERIALIZED VIEW unpaid_per_window AS
SELECT window_start, count(*) AS n
FROM TUMBLE((SELECT p.ts, p.sku FROM purchases p WHERE NOT EXISTS (
    SELECT 1 FROM payments x WHERE x.customer = p.customer AND x.ts BETWEEN p.ts AND p.ts + INTERVAL '5 seconds')),
  ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end;

-- Subqueries.
CREATE MATERIALIZED VIEW payers AS SELECT sku, n FROM purchases WHERE customer IN (SELECT customer FROM payments);
CREATE MATERIALIZED VIEW strangers AS SELECT sku, customer FROM purchases WHERE customer NOT IN (SELECT id FROM customers);
CREATE MATERIALIZED VIEW never AS SELECT sku FROM purchases WHERE customer NOT IN (SELECT customer FROM payments);
CREATE MATERIALIZED VIEW idle AS
SELECT name FROM customers c WHERE NOT EXISTS (SELECT 1 FROM purchases p WHERE p.customer = c.id AND p.n > 1);
CREATE MATERIALIZED VIEW active AS
SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM purchases p WHERE p.customer = c.id);
CREATE MATERIALIZED VIEW either AS
SELECT sku, n FROM purchases WHERE n > 4 OR customer IN (SELECT customer FROM payments WHERE amount > 20);
CREATE MATERIALIZED VIEW above AS SELECT sku, n FROM purchases WHERE n > (SELECT avg(n) FROM purchases);
CREATE MATERIALIZED VIEW largest AS
SELECT sku, customer, n FROM purchases p WHERE n = (SELECT max(n) FROM purchases q WHERE q.sku = p.sku);
CREATE MATERIALIZED VIEW counted AS
SELECT name, (SELECT count(*) FROM purchases p WHERE p.customer = c.id) AS purchases FROM customers c;
CREATE MATERIALIZED VIEW shares AS
SELECT sku, sum(n) AS n, (SELECT sum(n) AS n_of_all FROM purchases) AS total FROM purchases GROUP BY sku;

-- The price that was valid.
CREATE SOURCE prices (sku TEXT, valid_from TIMESTAMP, price BIGINT, PRIMARY KEY (sku, valid_from))
WITH (connector = 'file', path = '${DATA}/prices.ndjson', format = 'upsert');
CREATE MATERIALIZED VIEW priced AS
SELECT p.ts, p.sku, p.n * x.price AS amount FROM purchases p ASOF JOIN prices x ON x.sku = p.sku AND x.valid_from <= p.ts;
CREATE MATERIALIZED VIEW priced_or_not AS
SELECT p.ts, p.sku, x.valid_from, x.price
FROM purchases p LEFT ASOF JOIN prices x MATCH_CONDITION (p.ts > x.valid_from) ON x.sku = p.sku;
CREATE MATERIALIZED VIEW next_price AS
SELECT p.ts, p.sku, x.valid_from FROM purchases p ASOF LEFT JOIN prices x ON p.sku = x.sku AND p.ts <= x.valid_from;
CREATE MATERIALIZED VIEW dear AS
SELECT p.ts, x.price FROM purchases p ASOF JOIN prices x ON x.sku = p.sku AND x.valid_from <= p.ts WHERE x.price > 11;
CREATE MATERIALIZED VIEW turnover AS SELECT sku, sum(amount) AS amount FROM priced GROUP BY sku;
