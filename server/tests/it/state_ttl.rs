//! `state_ttl` in virtual time: what `docs/sql/state-ttl.md` shows is so, and so it is for every kind of state.

use crate::documents::{block, holds};

#[test]
fn the_documents_example_goes_as_it_says() {
    let document = include_str!("../../../docs/sql/state-ttl.md");
    holds(block(document, "sql"), block(document, "test"));
}

const EVERY_KIND: &str = "
CREATE SOURCE clicks (who TEXT, page TEXT, ms BIGINT) WITH (connector = 'file', path = 'clicks.ndjson');
CREATE SOURCE users (who TEXT PRIMARY KEY, country TEXT) WITH (connector = 'file', path = 'users.ndjson', format = 'upsert');
CREATE MATERIALIZED VIEW pages WITH (state_ttl = '64 minutes') AS SELECT DISTINCT page FROM clicks;
CREATE MATERIALIZED VIEW slowest WITH (state_ttl = '64 minutes') AS
SELECT who, page FROM clicks QUALIFY ROW_NUMBER() OVER (PARTITION BY who ORDER BY ms DESC) = 1;
CREATE MATERIALIZED VIEW shares WITH (state_ttl = '64 minutes') AS
SELECT who, page, ms * 100 / sum(ms) OVER (PARTITION BY who) AS percent FROM clicks;
CREATE MATERIALIZED VIEW from_where WITH (state_ttl = '64 minutes') AS
SELECT c.who, c.page, u.country FROM clicks c LEFT JOIN users u ON u.who = c.who;
CREATE MATERIALIZED VIEW by_country WITH (state_ttl = '64 minutes') AS
SELECT country, count(*) AS users, min(who) AS first FROM users GROUP BY country;
";

#[test]
fn every_kind_of_state_goes_with_what_was_said_of_it() {
    holds(
        EVERY_KIND,
        "INSERT INTO users (who, country) VALUES ('ann', 'de'), ('bob', 'fr'), ('cid', 'de');
INSERT INTO clicks (who, page, ms) VALUES ('ann', 'home', 10), ('ann', 'shop', 30), ('bob', 'home', 5);
ADVANCE INTERVAL '40 minutes';
INSERT INTO clicks (who, page, ms) VALUES ('bob', 'home', 15);
EXPECT SELECT who, page, percent FROM shares;
----
ann | home | 25
ann | shop | 75
bob | home | 25
bob | home | 75

EXPECT SELECT who, page, country FROM from_where;
----
ann | home | de
ann | shop | de
bob | home | fr
bob | home | fr

EXPECT SELECT country, users, first FROM by_country;
----
de | 2 | ann
fr | 1 | bob

ADVANCE INTERVAL '26 minutes';
EXPECT SELECT page FROM pages;
----
home

EXPECT SELECT who, page FROM slowest;
----
bob | home

EXPECT SELECT who, page, percent FROM shares;
----
bob | home | 25
bob | home | 75

EXPECT SELECT who, page, country FROM from_where;
----
bob | home | fr
bob | home | fr

EXPECT SELECT country, users, first FROM by_country;
----

-- What is taken back of what is forgotten changes nothing; what comes instead is new.
INSERT INTO users (who, country) VALUES ('bob', 'de');
EXPECT SELECT country, users, first FROM by_country;
----
de | 1 | bob

EXPECT SELECT who, page, country FROM from_where;
----
bob | home | de
bob | home | de

ADVANCE INTERVAL '10 minutes';
INSERT INTO clicks (who, page, ms) VALUES ('ann', 'cart', 8);
EXPECT SELECT who, page, percent FROM shares WHERE who = 'ann';
----
ann | cart | 100

EXPECT SELECT page FROM pages;
----
cart
home

ADVANCE INTERVAL '70 minutes';
EXPECT SELECT (SELECT count(*) FROM pages) + (SELECT count(*) FROM slowest) + (SELECT count(*) FROM shares)
  + (SELECT count(*) FROM from_where) + (SELECT count(*) FROM by_country) AS kept;
----
0
",
    );
}
