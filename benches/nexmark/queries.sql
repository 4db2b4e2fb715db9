-- Nexmark, after the queries that Flink's users run (https://github.com/nexmark/nexmark): the events by kind, then q0 to q22.
-- q12 is about processing time and q13 about a table outside, and are left out. {tumble r n} and {hop r slide size} stand for
-- windows over the event time of r, {session n} for those of bidders, all in seconds. The test of the server holds each to
-- DataFusion's answer over the same events; benches/nexmark.py measures them.

-- person
SELECT person.id AS id, person.name AS name, person.email_address AS email_address, person.city AS city,
  person.state AS state, date_time FROM nexmark WHERE event_type = 0

-- auction
SELECT auction.id AS id, auction.item_name AS item_name, auction.initial_bid AS initial_bid,
  auction.reserve AS reserve, date_time, auction.expires AS expires, auction.seller AS seller,
  auction.category AS category FROM nexmark WHERE event_type = 1

-- bid
SELECT bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, bid.channel AS channel, bid.url AS url,
  date_time, bid.extra AS extra FROM nexmark WHERE event_type = 2

-- q0
SELECT auction, bidder, price, date_time, extra FROM bid

-- q1
SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid

-- q2
SELECT auction, price FROM bid WHERE auction % 123 = 0

-- q3
SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
  WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')

-- q4
SELECT category, avg(final) AS average FROM (SELECT max(b.price) AS final, a.category FROM auction a, bid b
  WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category) q
  GROUP BY category

-- q5
SELECT x.auction, x.num, x.window_start FROM
  (SELECT auction, count(*) AS num, window_start, window_end FROM {hop bid 2 10} GROUP BY auction, window_start, window_end) x
  JOIN (SELECT max(num) AS most, window_start, window_end FROM
  (SELECT count(*) AS num, window_start, window_end FROM {hop bid 2 10} GROUP BY auction, window_start, window_end) c
  GROUP BY window_start, window_end) m
  ON x.window_start = m.window_start AND x.window_end = m.window_end AND x.num >= m.most

-- q6
SELECT seller, id, avg(price) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS average
  FROM (SELECT * FROM (SELECT a.id, a.seller, b.price, b.date_time,
  row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place FROM auction a JOIN bid b
  ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) w WHERE place <= 1) q

-- q7
SELECT b.auction, b.price, b.bidder, b.date_time FROM bid b JOIN
  (SELECT max(price) AS maxprice, window_end FROM {tumble bid 10} GROUP BY window_start, window_end) w
  ON b.price = w.maxprice AND b.date_time BETWEEN w.window_end - INTERVAL '10 seconds' AND w.window_end

-- q8
SELECT p.id, p.name, p.window_start FROM
  (SELECT id, name, window_start, window_end FROM {tumble person 10} GROUP BY id, name, window_start, window_end) p JOIN
  (SELECT seller, window_start, window_end FROM {tumble auction 10} GROUP BY seller, window_start, window_end) a
  ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end

-- q9
SELECT id, item_name, seller, category, auction, bidder, price, bid_time FROM (SELECT a.id, a.item_name, a.seller, a.category,
  b.auction, b.bidder, b.price, b.date_time AS bid_time,
  row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place FROM auction a JOIN bid b
  ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) w WHERE place <= 1

-- q10
SELECT auction, bidder, price, date_time, to_char(date_time, '%Y-%m-%d') AS day, to_char(date_time, '%H:%M') AS minute FROM bid

-- q11
SELECT bidder, count(*) AS bids, window_start, window_end FROM {session 1} GROUP BY bidder, window_start, window_end

-- q14
SELECT auction, bidder, 0.908 * price AS price, CASE WHEN date_part('hour', date_time) BETWEEN 8 AND 18 THEN 'day'
  WHEN date_part('hour', date_time) <= 6 OR date_part('hour', date_time) >= 20 THEN 'night' ELSE 'other' END AS bid_time,
  date_time, count_char(extra, 'c') AS cs FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000

-- q15
SELECT to_char(date_time, '%Y-%m-%d') AS day, count(*) AS bids, count(*) FILTER (WHERE price < 10000) AS low,
  count(*) FILTER (WHERE price >= 1000000) AS high, count(DISTINCT bidder) AS bidders,
  count(DISTINCT bidder) FILTER (WHERE price < 10000) AS low_bidders, count(DISTINCT auction) AS auctions
  FROM bid GROUP BY to_char(date_time, '%Y-%m-%d')

-- q16
SELECT channel, to_char(date_time, '%Y-%m-%d') AS day, max(to_char(date_time, '%H:%M')) AS minute, count(*) AS bids,
  count(*) FILTER (WHERE price >= 1000000) AS high, count(DISTINCT bidder) AS bidders,
  count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_auctions
  FROM bid GROUP BY channel, to_char(date_time, '%Y-%m-%d')

-- q17
SELECT auction, to_char(date_time, '%Y-%m-%d') AS day, count(*) AS bids, count(*) FILTER (WHERE price < 10000) AS low,
  min(price) AS least, max(price) AS most, avg(price) AS average, sum(price) AS total
  FROM bid GROUP BY auction, to_char(date_time, '%Y-%m-%d')

-- q18
SELECT auction, bidder, price, channel, date_time FROM (SELECT *, row_number() OVER
  (PARTITION BY bidder, auction ORDER BY date_time DESC) AS place FROM bid) b WHERE place <= 1

-- q19
SELECT auction, bidder, price, date_time, place FROM (SELECT *, row_number() OVER
  (PARTITION BY auction ORDER BY price DESC, date_time) AS place FROM bid) b WHERE place <= 10

-- q20
SELECT b.auction, b.bidder, b.price, b.channel, b.date_time, a.item_name, a.initial_bid, a.reserve, a.expires, a.seller
  FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10

-- q21
SELECT auction, bidder, price, channel, CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
  WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
  ELSE regexp_match(url, '(&|^)channel_id=([^&]*)')[2] END AS channel_id FROM bid
  WHERE regexp_match(url, '(&|^)channel_id=([^&]*)')[2] IS NOT NULL OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')

-- q22
SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2,
  split_part(url, '/', 6) AS dir3 FROM bid
