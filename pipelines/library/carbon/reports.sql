-- What a report is made of: totals by day and zone, and by what they were made.

CREATE MATERIALIZED VIEW daily AS
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

-- Every factor set that the tables hold, with its source: the methodology of a report.
CREATE MATERIALIZED VIEW methodology AS
SELECT 'region, zone and PUE' AS subject, factor_set, source, licence, reviewed_at AS taken FROM factor_regions
UNION
SELECT 'intensity by the year' AS subject, factor_set, source, licence, taken FROM factor_intensity
UNION
SELECT 'uncertainty' AS subject, factor_set, source, licence, taken FROM factor_uncertainty;
