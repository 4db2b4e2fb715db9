//! `WITH RECURSIVE` in virtual time: what `docs/sql/recursion.md` shows is so.

use crate::documents::{block, holds};

#[test]
fn the_documents_example_goes_as_it_says() {
    let document = include_str!("../../../docs/sql/recursion.md");
    holds(block(document, "sql"), block(document, "test"));
}

const FORGETS: &str = "
CREATE SOURCE arrived (span TEXT, parent TEXT) WITH (connector = 'file', path = 'arrived.ndjson');
CREATE MATERIALIZED VIEW recent WITH (state_ttl = '64 minutes') AS
SELECT span, max(parent) AS parent FROM arrived GROUP BY span;
CREATE MATERIALIZED VIEW trees AS
WITH RECURSIVE tree AS (
  SELECT span, span AS root FROM recent WHERE parent IS NULL
  UNION ALL
  SELECT r.span, t.root FROM recent r JOIN tree t ON r.parent = t.span
)
SELECT * FROM tree;
";

#[test]
fn what_is_forgotten_below_a_recursion_goes_with_what_was_made_of_it() {
    holds(
        FORGETS,
        "INSERT INTO arrived (span, parent) VALUES ('a', NULL), ('b', 'a'), ('c', 'b');
ADVANCE INTERVAL '40 minutes';
INSERT INTO arrived (span, parent) VALUES ('a', NULL), ('c', 'b'), ('d', NULL);
EXPECT SELECT span, root FROM trees;
----
a | a
b | a
c | a
d | d

ADVANCE INTERVAL '26 minutes';
EXPECT SELECT span, root FROM trees;
----
a | a
d | d

EXPECT SELECT sum(state_rows) FROM thalweg.operators WHERE view = 'trees' AND operator = 'Recursion';
----
2
",
    );
}
