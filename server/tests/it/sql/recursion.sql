-- Spans and calls are corrected: a later record takes the place of one with its key.
CREATE SOURCE spans (span TEXT, parent TEXT, trace TEXT, service TEXT, ms BIGINT, failed BOOLEAN, PRIMARY KEY (span))
WITH (connector = 'file', path = '${DATA}/spans.ndjson', format = 'upsert');
CREATE SOURCE calls (id BIGINT, caller TEXT, callee TEXT, share DOUBLE, PRIMARY KEY (id))
WITH (connector = 'file', path = '${DATA}/calls.ndjson', format = 'upsert');
-- The same records as they come, which only append.
CREATE SOURCE call_log (id BIGINT, caller TEXT, callee TEXT, share DOUBLE)
WITH (connector = 'file', path = '${DATA}/calls.ndjson', format = 'json');

-- Trace trees.
CREATE MATERIALIZED VIEW trees AS
WITH RECURSIVE tree AS (
  SELECT span, parent, span AS root, 0 AS depth FROM spans WHERE parent IS NULL
  UNION ALL
  SELECT s.span, s.parent, t.root, t.depth + 1 FROM spans s JOIN tree t ON s.parent = t.span
)
SELECT root, count(*) AS spans, max(depth) AS depth FROM tree GROUP BY root;
CREATE MATERIALIZED VIEW paths AS
WITH RECURSIVE tree(span, path, ms) AS (
  SELECT span, service, ms FROM spans WHERE parent IS NULL
  UNION ALL
  SELECT s.span, t.path || '/' || s.service, t.ms - s.ms FROM tree t JOIN spans s ON s.parent = t.span AND s.ms < t.ms
)
SELECT * FROM tree;
CREATE MATERIALIZED VIEW deepest AS
WITH RECURSIVE tree AS (
  SELECT span, trace, 0 AS depth FROM spans WHERE parent IS NULL
  UNION ALL
  SELECT s.span, s.trace, t.depth + 1 FROM spans s JOIN tree t ON s.parent = t.span
)
SELECT trace, span, depth FROM tree QUALIFY ROW_NUMBER() OVER (PARTITION BY trace ORDER BY depth DESC, span) = 1;

-- From failed roots down to where it began, and from each failed span up to its root.
CREATE MATERIALIZED VIEW causes AS
WITH RECURSIVE failed AS (
  SELECT span, span AS root, service FROM spans WHERE parent IS NULL AND failed
  UNION ALL
  SELECT s.span, f.root, s.service FROM spans s JOIN failed f ON s.parent = f.span WHERE s.failed
)
SELECT root, span, service FROM failed f
WHERE NOT EXISTS (SELECT 1 FROM spans s WHERE s.parent = f.span AND s.failed);
CREATE MATERIALIZED VIEW touched AS
WITH RECURSIVE up AS (
  SELECT span, parent, span AS began FROM spans WHERE failed
  UNION ALL
  SELECT s.span, s.parent, u.began FROM up u JOIN spans s ON s.span = u.parent
)
SELECT began, span FROM up WHERE parent IS NULL;

-- What is reached, with circles among the calls.
CREATE MATERIALIZED VIEW reached AS
WITH RECURSIVE r AS (
  SELECT DISTINCT caller AS service, callee AS needs FROM calls WHERE callee IS NOT NULL
  UNION
  SELECT r.service, c.callee FROM r JOIN calls c ON c.caller = r.needs
)
SELECT service, needs FROM r;
CREATE MATERIALIZED VIEW from_web AS
WITH RECURSIVE r AS (SELECT 'web' AS service FROM calls UNION SELECT c.callee FROM calls c JOIN r ON c.caller = r.service)
SELECT service FROM r;
CREATE MATERIALIZED VIEW ever_from_web AS
WITH RECURSIVE r AS (SELECT 'web' AS service FROM call_log UNION SELECT c.callee FROM call_log c JOIN r ON c.caller = r.service)
SELECT service FROM r;
-- A source that only brings rows joins one whose rows change.
CREATE MATERIALIZED VIEW mixed AS
WITH RECURSIVE r AS (
  SELECT caller AS service FROM call_log WHERE share > 0.6
  UNION
  SELECT c.callee FROM calls c JOIN r ON c.caller = r.service
)
SELECT service FROM r;

-- Other ways to go on.
CREATE MATERIALIZED VIEW both_ways AS
WITH RECURSIVE r AS (
  SELECT callee AS service FROM calls WHERE id = 6
  UNION
  (SELECT c.callee FROM calls c JOIN r ON c.caller = r.service
   UNION
   SELECT c.caller FROM calls c JOIN r ON c.callee = r.service)
)
SELECT service FROM r;
CREATE MATERIALIZED VIEW with_leaves AS
WITH RECURSIVE r AS (
  SELECT caller AS service, 0 AS depth FROM calls WHERE id = 1
  UNION ALL
  SELECT c.callee, r.depth + 1 FROM r LEFT JOIN calls c ON c.caller = r.service WHERE r.depth < 3
)
SELECT service, depth FROM r;
CREATE MATERIALIZED VIEW not_through_cart AS
WITH RECURSIVE r AS (
  SELECT caller AS service FROM calls
  UNION
  SELECT c.callee FROM r JOIN calls c ON c.caller = r.service
  WHERE r.service NOT IN (SELECT callee FROM calls WHERE share < 0.15 AND callee IS NOT NULL)
)
SELECT service FROM r;
CREATE MATERIALIZED VIEW counted AS
WITH RECURSIVE n AS (SELECT id AS n FROM calls WHERE id = 1 UNION ALL SELECT n.n + 1 FROM n WHERE n.n < 5)
SELECT count(*) AS rows_of_it, sum(n) AS total FROM n;

-- A recursion that does not end by itself, and one over a view of another.
CREATE MATERIALIZED VIEW endless WITH (recursion_limit = 20) AS
WITH RECURSIVE r AS (
  SELECT 'ldap' AS service, 0 AS depth FROM calls WHERE id = 8
  UNION
  SELECT c.callee, r.depth + 1 FROM calls c JOIN r ON c.caller = r.service
)
SELECT service, count(*) AS times, max(depth) AS depth FROM r GROUP BY service;
CREATE MATERIALIZED VIEW pairs AS
WITH RECURSIVE
  down AS (SELECT span FROM spans WHERE span = 'a2' UNION SELECT s.span FROM spans s JOIN down ON s.parent = down.span),
  hop AS (SELECT service FROM spans WHERE span = 'b1' UNION SELECT c.callee FROM calls c JOIN hop ON c.caller = hop.service)
SELECT d.span, s.service FROM down d JOIN spans s ON s.span = d.span WHERE s.service NOT IN (SELECT service FROM hop WHERE service IS NOT NULL);
CREATE MATERIALIZED VIEW rooted AS
WITH RECURSIVE up AS (
  SELECT began AS span, span AS root FROM touched UNION SELECT s.span, up.root FROM spans s JOIN up ON s.parent = up.span
)
SELECT root, count(*) AS below FROM up GROUP BY root;
