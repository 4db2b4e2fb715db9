-- Which of all that was published for a zone and a time is in force. A better kind wins whenever it comes, a later
-- publication of the same kind wins, and a forecast that comes after the measurement changes nothing. `revision` is how
-- often the value in force had changed before; the answer is the same in whatever order publications arrive.

-- What is published twice in the same words is published once.
CREATE VIEW published AS
SELECT DISTINCT zone, valid_from, valid_to, grams_per_kwh(value, unit) AS g_per_kwh, kind, intensity_rank(kind) AS rank, lifecycle,
       source, source_version, published_at
FROM grid_intensity WHERE signal = 'average';

CREATE MATERIALIZED VIEW intensity_in_force AS
SELECT zone, valid_from, valid_to, g_per_kwh, kind, lifecycle, source, source_version, published_at, revision
FROM (
  SELECT *, row_number() OVER (PARTITION BY zone, valid_from ORDER BY published_at DESC, rank, g_per_kwh DESC) AS place,
         count(*) OVER (PARTITION BY zone, valid_from) - 1 AS revision
  FROM (
    SELECT *, min(rank) OVER (PARTITION BY zone, valid_from ORDER BY published_at, rank DESC, g_per_kwh
                              ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS best_so_far
    FROM published)
  WHERE rank = best_so_far)
WHERE place = 1;

-- The knowledge of an earlier day: what was in force is whatever had been published by then. Ask it as
--   SELECT DISTINCT ON (zone, valid_from) * FROM intensity_history WHERE published_at <= '2026-03-01'
--   ORDER BY zone, valid_from, rank, published_at DESC;
CREATE MATERIALIZED VIEW intensity_history AS
SELECT zone, valid_from, valid_to, g_per_kwh, kind, rank, lifecycle, source, source_version, published_at FROM published;
