-- WITH RECURSIVE: a trace tree, what is reached over calls that change, and several ways to go on.
CREATE SOURCE spans (ts TIMESTAMP NOT NULL, span TEXT, parent TEXT, service TEXT, failed BOOLEAN, tags TEXT[],
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (connector = 'feed', path = '${DATA}/*.ndjson');
CREATE SOURCE calls (id BIGINT, caller TEXT, callee TEXT, PRIMARY KEY (id))
WITH (connector = 'feed', path = '${DATA}/calls.ndjson', format = 'upsert');

CREATE MATERIALIZED VIEW trees AS
WITH RECURSIVE tree AS (
  SELECT span, parent, span AS root, 0 AS depth FROM spans WHERE parent IS NULL
  UNION ALL
  SELECT s.span, s.parent, t.root, t.depth + 1 FROM spans s JOIN tree t ON s.parent = t.span
)
SELECT root, count(*) AS spans, max(depth) AS depth FROM tree GROUP BY root;

CREATE MATERIALIZED VIEW reached WITH (recursion_limit = 100) AS
WITH RECURSIVE r AS (
  SELECT caller AS service, callee AS needs FROM calls
  UNION
  SELECT r.service, c.callee FROM r JOIN calls c ON c.caller = r.needs AND c.callee <> r.service
)
SELECT * FROM r;

CREATE MATERIALIZED VIEW around WITH (state_ttl = '1 hour') AS
WITH RECURSIVE r AS (
  SELECT DISTINCT caller AS service FROM calls
  UNION
  (SELECT c.callee FROM r LEFT JOIN calls c ON c.caller = r.service
   UNION
   SELECT s.service FROM spans s JOIN r ON s.parent = r.service WHERE NOT EXISTS (SELECT 1 FROM calls c WHERE c.callee = r.service))
)
SELECT service FROM r;
