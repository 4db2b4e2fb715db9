-- What a report is made of: totals by day and zone, and by what they were made.

CREATE MATERIALIZED VIEW daily
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start') AS
SELECT date_bin(INTERVAL '1 day', slot_start) AS day, zone, count(DISTINCT machine) AS machines, sum(energy_kwh) AS energy_kwh,
       sum(energy_kwh * pue) AS facility_kwh, sum(operational_g) AS operational_g, sum(operational_g_low) AS operational_g_low,
       sum(operational_g_high) AS operational_g_high, sum(embodied_g) AS embodied_g, avg(coverage) AS coverage,
       sum(operational_g) FILTER (WHERE intensity_kind IN ('annual', 'country', 'world')) AS fallback_g,
       sum(operational_g) FILTER (WHERE quality = 'utilisation') AS estimated_g,
       count(*) FILTER (WHERE energy_kwh IS NULL) AS slots_without_energy, max(revision) AS revision
FROM ledger GROUP BY date_bin(INTERVAL '1 day', slot_start), zone;

-- The grams by how well they are known: nothing hides in a total.
CREATE MATERIALIZED VIEW by_quality AS
SELECT quality, pue_kind, intensity_kind, lifecycle, intensity_source, factor_set, count(*) AS slots,
       sum(energy_kwh) AS energy_kwh, sum(operational_g) AS operational_g
FROM ledger GROUP BY quality, pue_kind, intensity_kind, lifecycle, intensity_source, factor_set;

-- Machines that send readings of which the ledger has nothing, and meters that it does not know: what is not accounted for has
-- a name.
CREATE MATERIALIZED VIEW unplaced AS
SELECT m.machine, CASE WHEN c.machine IS NULL THEN 'not among the machines' ELSE 'no zone is known for its region' END AS why
FROM (SELECT DISTINCT machine FROM energy_samples) m
LEFT JOIN machines c ON c.machine = m.machine
LEFT JOIN regions_in_force r ON r.provider = c.provider AND r.region = c.region
WHERE r.zone IS NULL
UNION
SELECT machine, 'a ' || kind || ' of ' || scope || ' is no meter that is known' AS why FROM energy_samples
WHERE kind <> 'utilisation'
  AND NOT (kind IN ('counter', 'gauge') AND scope IN ('host', 'psys', 'package', 'core', 'uncore', 'dram', 'gpu'));

-- Every factor set that the tables hold, with its source, and what this pipeline was told: the methodology of a report.
CREATE MATERIALIZED VIEW methodology AS
SELECT 'region, zone and PUE' AS subject, factor_set, source, licence, reviewed_at AS taken FROM factor_regions
UNION
SELECT 'intensity by the year' AS subject, factor_set, source, licence, taken FROM factor_intensity
UNION
SELECT 'uncertainty' AS subject, factor_set, source, licence, taken FROM factor_uncertainty
UNION
SELECT 'idle energy' AS subject, '${CARBON_IDLE_POLICY:-by_request}' AS factor_set, 'CARBON_IDLE_POLICY' AS source, '' AS licence,
       CAST(NULL AS DATE) AS taken FROM factor_regions
UNION
SELECT 'longest hold of a gauge' AS subject, '${CARBON_HOLD:-3 minutes}' AS factor_set, 'CARBON_HOLD' AS source, '' AS licence,
       CAST(NULL AS DATE) AS taken FROM factor_regions
UNION
SELECT 'how long an hour can be restated' AS subject, '${CARBON_REVISE_UNTIL:-45 days}' AS factor_set, 'CARBON_REVISE_UNTIL' AS source,
       '' AS licence, CAST(NULL AS DATE) AS taken FROM factor_regions
UNION
SELECT 'language models' AS subject, 'ecologits-0.11.3' AS factor_set, 'EcoLogits 0.11.3' AS source, 'MPL-2.0' AS licence,
       CAST(NULL AS DATE) AS taken FROM llm_calls;
