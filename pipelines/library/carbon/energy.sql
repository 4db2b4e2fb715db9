-- From readings to energy: of each meter by interval, then by machine and slot of five minutes.

-- How far back an hour can be restated is in the views that hold what it takes: `revise_until` after its slots, by the
-- watermark of the samples. What comes later than that is in thalweg.late_rows, and what was said stays. What only leads to
-- the ledger is shown for about as long: `retain`.

-- What happened between two readings of a meter. A counter's interval is known as a whole; one that says that it was reset
-- has counted since then. A gauge is held until the next reading, but no longer than ${CARBON_HOLD}. The rest of the
-- interval is silent: what no machine draws is no reading, and energy that nobody knows is NULL, never 0.
CREATE MATERIALIZED VIEW intervals
WITH (retain = '1 day', retain_by = 'until') AS
SELECT machine, meter, scope, kind,
       CASE WHEN kind = 'counter' AND started_at <> started_before THEN least(ts, greatest(since, started_at))
            ELSE since END AS since,
       CASE kind WHEN 'counter' THEN ts ELSE least(ts, since + INTERVAL '${CARBON_HOLD:-3 minutes}') END AS until,
       CASE kind WHEN 'counter' THEN since ELSE least(ts, since + INTERVAL '${CARBON_HOLD:-3 minutes}') END AS silent_since,
       CASE WHEN kind <> 'counter' THEN ts WHEN started_at <> started_before THEN least(ts, greatest(since, started_at))
            ELSE since END AS silent_until,
       CASE kind
         WHEN 'counter' THEN joules(CASE WHEN started_at <> started_before THEN value
                                         ELSE counter_delta(before, value, counter_range) END, unit)
         WHEN 'gauge' THEN held_joules(plausible_watts(watts(before, unit), 100000), since, ts, INTERVAL '${CARBON_HOLD:-3 minutes}')
       END AS joules,
       CASE kind WHEN 'utilisation' THEN before * held_seconds(since, ts, INTERVAL '${CARBON_HOLD:-3 minutes}') END AS percent_s,
       CASE WHEN kind <> 'counter' THEN 'held' WHEN started_at <> started_before THEN 'reset'
            ELSE counter_step(before, value, counter_range) END AS step
FROM (
  SELECT ts, machine, meter, scope, kind, value, unit, counter_range, started_at,
         lag(ts) OVER in_order AS since, lag(value) OVER in_order AS before, lag(started_at) OVER in_order AS started_before
  -- A counter that says nothing, or less than nothing, was not read: the next reading says what was counted.
  FROM energy_samples WHERE kind <> 'counter' OR value >= 0 WINDOW in_order AS (PARTITION BY machine, meter, scope, kind ORDER BY ts))
WHERE since IS NOT NULL
EMIT ON WINDOW CLOSE;

-- Split at the slots, then add up. Every publisher's intensity changes on the grid of five minutes. What is silent is known
-- as soon as the meter is heard again: slots without energy, which are not slots without a row. A reading that came twice
-- has used nothing and says nothing of the slot that it ends.
CREATE VIEW meter_slots AS
SELECT slot_start, machine, meter, scope, kind, sum(joules) AS joules, sum(percent_s) AS percent_s,
       sum(CASE WHEN joules IS NOT NULL OR percent_s IS NOT NULL THEN seconds END) AS covered_s,
       count(*) FILTER (WHERE step = 'reset') AS resets
FROM (
  SELECT date_bin(INTERVAL '5 minutes', slot['slot_start']) AS slot_start, machine, meter, scope, kind, step,
         joules * slot['share'] AS joules, percent_s * slot['share'] AS percent_s, seconds * slot['share'] AS seconds
  FROM (SELECT machine, meter, scope, kind, joules, percent_s, step, held_seconds(since, until, until - since) AS seconds,
               unnest(time_slots(since, until, INTERVAL '5 minutes')) AS slot
        FROM intervals WHERE since < until OR joules <> 0
        UNION ALL
        SELECT machine, meter, scope, kind, CAST(NULL AS DOUBLE) AS joules, CAST(NULL AS DOUBLE) AS percent_s, 'silent' AS step,
               CAST(NULL AS DOUBLE) AS seconds, unnest(time_slots(silent_since, silent_until, INTERVAL '5 minutes')) AS slot
        FROM intervals WHERE silent_since < silent_until))
GROUP BY slot_start, machine, meter, scope, kind;

-- Of each scope: what a counter says comes before what a gauge says. What use lets us guess is a scope of its own, whatever
-- it is said to be of: a guess is never taken for a measurement.
CREATE VIEW scope_slots AS
SELECT slot_start, machine, scope,
       coalesce(sum(joules) FILTER (WHERE kind = 'counter'), sum(joules) FILTER (WHERE kind = 'gauge'),
                sum(modelled_joules)) AS joules,
       CASE WHEN sum(joules) FILTER (WHERE kind = 'counter') IS NOT NULL THEN 'counter'
            WHEN sum(joules) FILTER (WHERE kind = 'gauge') IS NOT NULL THEN 'gauge'
            WHEN sum(modelled_joules) IS NOT NULL THEN 'utilisation' END AS quality,
       coalesce(min(covered_s) FILTER (WHERE kind = 'counter' AND joules IS NOT NULL),
                min(covered_s) FILTER (WHERE kind = 'gauge' AND joules IS NOT NULL), min(covered_s)) AS covered_s,
       sum(resets) AS resets
FROM (SELECT m.slot_start, m.machine, CASE WHEN m.kind = 'utilisation' THEN 'model' ELSE m.scope END AS scope, m.kind, m.joules, m.covered_s, m.resets,
             CASE WHEN m.kind = 'utilisation' THEN
               utilisation_watts(m.percent_s / m.covered_s, c.least_watts, c.most_watts) * c.vcpus * m.covered_s END AS modelled_joules
      -- Only use looks for its machine.
      FROM meter_slots m LEFT JOIN machines c ON c.machine = CASE WHEN m.kind = 'utilisation' THEN m.machine END
      WHERE m.kind <> 'utilisation' OR c.machine IS NOT NULL)
GROUP BY slot_start, machine, scope;

-- Of each machine: the outermost meters that there are, each joule once.
CREATE MATERIALIZED VIEW machine_slots
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start',
  retain = '${CARBON_RETAIN:-46 days}', retain_by = 'slot_start') AS
SELECT slot_start, machine, coalesce(measured_joules, modelled_joules) AS joules,
       CASE WHEN measured_joules IS NULL THEN CASE WHEN modelled_joules IS NOT NULL THEN 'utilisation' ELSE 'missing' END
            WHEN gauges > 0 THEN 'gauge' ELSE 'counter' END AS quality,
       least(1.0, coalesce(CASE WHEN measured_joules IS NULL THEN modelled_s ELSE measured_s END, 0.0) / 300.0) AS coverage,
       resets
FROM (
  SELECT slot_start, machine,
         without_overlap(
           sum(joules) FILTER (WHERE scope = 'host'), sum(joules) FILTER (WHERE scope = 'psys'),
           sum(joules) FILTER (WHERE scope = 'package'), sum(joules) FILTER (WHERE scope = 'core'),
           sum(joules) FILTER (WHERE scope = 'uncore'), sum(joules) FILTER (WHERE scope = 'dram'),
           sum(joules) FILTER (WHERE scope = 'gpu')) AS measured_joules,
         sum(joules) FILTER (WHERE scope = 'model') AS modelled_joules,
         count(joules) FILTER (WHERE quality = 'gauge') AS gauges,
         min(covered_s) FILTER (WHERE scope <> 'model' AND joules IS NOT NULL) AS measured_s,
         min(covered_s) FILTER (WHERE scope = 'model') AS modelled_s,
         sum(resets) AS resets
  FROM scope_slots GROUP BY slot_start, machine);
