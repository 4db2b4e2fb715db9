-- Which of all that was published for a zone and a time is in force. A better kind wins whenever it comes, a later
-- publication of the same kind wins, and a forecast that comes after the measurement changes nothing. `revision` is how
-- often what is in force had changed before, its value or its kind: what is only said again is no revision. The answer is the
-- same in whatever order publications arrive.

-- What is published twice in the same words is published once.
CREATE VIEW published AS
SELECT DISTINCT zone, valid_from, valid_to, grams_per_kwh(value, unit) AS g_per_kwh, kind, intensity_rank(kind) AS rank, lifecycle,
       source, source_version, published_at
FROM grid_intensity WHERE signal = 'average';

-- By slots of five minutes, each with what is in force when it begins: so a publisher of hours and one of half hours, or a
-- forecast by the hour and its measurement by the quarter, stand in each other's place for the time that they are about.
CREATE MATERIALIZED VIEW intensity_in_force
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start, valid_to',
  revise_clock = 'energy_samples', retain = '${CARBON_RETAIN:-46 days}', retain_by = 'slot_start') AS
SELECT zone, slot_start, valid_from, valid_to, g_per_kwh, kind, lifecycle, source, source_version, published_at, revision
FROM (
  SELECT *, row_number() OVER (PARTITION BY zone, slot_start
                               ORDER BY published_at DESC, rank, g_per_kwh DESC, valid_from DESC, valid_to) AS place,
         sum(changed) OVER (PARTITION BY zone, slot_start) - 1 AS revision
  FROM (
    SELECT *, CASE WHEN g_per_kwh = lag(g_per_kwh) OVER in_turn AND rank = lag(rank) OVER in_turn
                     AND lifecycle = lag(lifecycle) OVER in_turn THEN 0 ELSE 1 END AS changed
    FROM (
      SELECT *, min(rank) OVER (PARTITION BY zone, slot_start ORDER BY published_at, rank DESC, g_per_kwh
                                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS best_so_far
      FROM (
        SELECT zone, slot['slot_start'] AS slot_start, valid_from, valid_to, g_per_kwh, kind, rank, lifecycle, source,
               source_version, published_at
        FROM (SELECT *, unnest(time_slots(valid_from, valid_to, INTERVAL '5 minutes')) AS slot FROM published)
        WHERE slot['slot_start'] = date_bin(INTERVAL '5 minutes', slot['slot_start'])))
    WHERE rank = best_so_far
    WINDOW in_turn AS (PARTITION BY zone, slot_start ORDER BY published_at, rank DESC, g_per_kwh, valid_from, valid_to DESC)))
WHERE place = 1;

-- The knowledge of an earlier day: what was in force is whatever had been published by then. Ask it as
--   SELECT DISTINCT ON (zone, valid_from) * FROM intensity_history WHERE published_at <= '2026-03-01'
--   ORDER BY zone, valid_from, rank, published_at DESC;
CREATE MATERIALIZED VIEW intensity_history
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'valid_to', revise_clock = 'energy_samples') AS
SELECT zone, valid_from, valid_to, g_per_kwh, kind, rank, lifecycle, source, source_version, published_at FROM published;
