-- The ledger: a row for every machine and slot, with all that an auditor needs to compute it again.

-- The factors in force. Of one that is there twice, in tables of two versions, the one that was looked at last counts: a second
-- table never doubles a row. A year's mean holds for its year and for those after it until the next one that is known.
CREATE MATERIALIZED VIEW regions_in_force AS
SELECT provider, region, country, zone, pue, pue_kind, factor_set FROM factor_regions
QUALIFY ROW_NUMBER() OVER (PARTITION BY provider, region ORDER BY reviewed_at DESC, factor_set DESC) = 1;

CREATE MATERIALIZED VIEW uncertainty_in_force AS
SELECT subject, relative_error FROM factor_uncertainty
QUALIFY ROW_NUMBER() OVER (PARTITION BY subject ORDER BY taken DESC, factor_set DESC) = 1;

CREATE MATERIALIZED VIEW yearly_in_force AS
SELECT kind, place, g_per_kwh, lifecycle, source,
       unnest(range(CASE WHEN year_before IS NULL THEN 1990 ELSE year END, coalesce(year_after, 2100))) AS year
FROM (
  SELECT kind, place, g_per_kwh, lifecycle, source, year,
         lag(year) OVER by_year AS year_before, lead(year) OVER by_year AS year_after
  FROM (SELECT kind, place, g_per_kwh, lifecycle, source, CAST(year AS BIGINT) AS year FROM factor_intensity
        QUALIFY ROW_NUMBER() OVER (PARTITION BY kind, place, year ORDER BY taken DESC, factor_set DESC) = 1)
  WINDOW by_year AS (PARTITION BY kind, place ORDER BY year));

-- Where each machine stands, and what its meters leave out.
CREATE VIEW sites AS
SELECT c.machine, r.zone, r.country, CASE WHEN c.at_the_door THEN 1.0 ELSE r.pue END AS pue,
       CASE WHEN c.at_the_door THEN 'metered' ELSE r.pue_kind END AS pue_kind, r.factor_set,
       c.vcpus, c.embodied_kg, c.share, c.provisioned_at, c.written_off_at, c.retired_at
FROM machines c JOIN regions_in_force r ON r.provider = c.provider AND r.region = c.region;

-- What there is for a zone where nobody publishes its intensity: the year's mean of the zone, of the country, of the world.
-- 'everywhere' is where the factors of last resort are.
CREATE MATERIALIZED VIEW fallbacks AS
SELECT p.zone, p.country, p.year, coalesce(z.g_per_kwh, n.g_per_kwh, w.g_per_kwh) AS g_per_kwh,
       CASE WHEN z.g_per_kwh IS NOT NULL THEN 'annual' WHEN n.g_per_kwh IS NOT NULL THEN 'country' ELSE 'world' END AS kind,
       coalesce(z.source, n.source, w.source) AS source, coalesce(z.lifecycle, n.lifecycle, w.lifecycle) AS lifecycle
FROM (SELECT r.zone, r.country, y.year, r.everywhere
      FROM (SELECT DISTINCT zone, country, 'world' AS everywhere FROM regions_in_force) r
      JOIN (SELECT DISTINCT year, 'world' AS everywhere FROM yearly_in_force) y ON y.everywhere = r.everywhere) p
LEFT JOIN (SELECT * FROM yearly_in_force WHERE kind = 'annual') z ON z.place = p.zone AND z.year = p.year
LEFT JOIN (SELECT * FROM yearly_in_force WHERE kind = 'country') n ON n.place = p.country AND n.year = p.year
LEFT JOIN (SELECT * FROM yearly_in_force WHERE kind = 'world') w ON w.place = p.everywhere AND w.year = p.year;

-- The error of a mass, by those of its energy and of its intensity, which are independent of each other.
CREATE MATERIALIZED VIEW errors AS
SELECT substr(e.subject, 8) AS quality, substr(i.subject, 11) AS intensity_kind,
       combined_error(e.relative_error, i.relative_error) AS relative_error
FROM (SELECT *, 'each' AS with_each FROM uncertainty_in_force WHERE starts_with(subject, 'energy:')) e
JOIN (SELECT *, 'each' AS with_each FROM uncertainty_in_force WHERE starts_with(subject, 'intensity:')) i
  ON i.with_each = e.with_each;

-- What a machine used in a slot, with its place, and what accrued of making it. Then the intensity in force when the slot
-- begins, or what there is instead where none is: which one was taken is on the row.
CREATE VIEW placed AS
SELECT m.slot_start, m.machine, kwh(m.joules) AS energy_kwh, m.quality, m.coverage, m.resets, s.zone, s.country, s.pue, s.pue_kind,
       s.factor_set, s.vcpus,
       embodied_accrued(s.embodied_kg, s.written_off_at - s.provisioned_at, s.share, s.provisioned_at, s.retired_at,
                        m.slot_start, m.slot_start + INTERVAL '5 minutes') AS embodied_g
FROM machine_slots m JOIN sites s ON s.machine = m.machine;

CREATE VIEW matched AS
SELECT p.*, i.g_per_kwh AS live_g, i.kind AS live_kind, i.source AS live_source, i.lifecycle AS live_lifecycle,
       i.revision AS live_revision, i.published_at AS live_published_at
FROM placed p LEFT JOIN intensity_in_force i ON i.zone = p.zone AND i.slot_start = p.slot_start;

CREATE VIEW rated AS
SELECT m.slot_start, m.machine, m.energy_kwh, m.quality, m.coverage, m.resets, m.zone, m.pue, m.pue_kind, m.vcpus, m.embodied_g,
       m.factor_set, coalesce(m.live_g, f.g_per_kwh) AS g_per_kwh,
       carbon_grams(m.energy_kwh, coalesce(m.live_g, f.g_per_kwh), m.pue) AS operational_g,
       CASE WHEN m.live_g IS NOT NULL THEN m.live_kind ELSE coalesce(f.kind, 'world') END AS intensity_kind,
       CASE WHEN m.live_g IS NOT NULL THEN m.live_source ELSE f.source END AS intensity_source,
       CASE WHEN m.live_g IS NOT NULL THEN m.live_lifecycle ELSE f.lifecycle END AS lifecycle,
       CASE WHEN m.live_g IS NOT NULL THEN m.live_revision ELSE 0 END AS revision,
       CASE WHEN m.live_g IS NOT NULL THEN m.live_published_at END AS published_at
-- Only a row without an intensity looks for another.
FROM matched m LEFT JOIN fallbacks f
  ON f.zone = CASE WHEN m.live_g IS NULL THEN m.zone END AND f.country = m.country
     AND f.year = CAST(date_part('year', m.slot_start) AS BIGINT);

-- Location-based: `energy_kwh` is what the machine used, `operational_g` includes the building's part by PUE. The errors of
-- energy and intensity are independent of each other; those of two slots are not, so add `operational_g_low` and `_high`.
CREATE MATERIALIZED VIEW ledger
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start') AS
SELECT r.slot_start, r.slot_start + INTERVAL '5 minutes' AS slot_end, r.machine, r.zone,
       r.energy_kwh, r.pue, r.pue_kind, r.g_per_kwh, r.operational_g,
       r.operational_g * greatest(0.0, 1.0 - e.relative_error) AS operational_g_low,
       r.operational_g * (1.0 + e.relative_error) AS operational_g_high, r.embodied_g,
       'location' AS method, 'average' AS signal, r.lifecycle, r.intensity_kind, r.intensity_source, r.published_at,
       r.quality, r.coverage, r.resets, r.factor_set, r.revision, r.vcpus
FROM rated r LEFT JOIN errors e ON e.quality = r.quality AND e.intensity_kind = r.intensity_kind;

-- A certificate counts once, however often it is delivered. One is known by its number, and without one by all that is said
-- of it. Of two records of one number the smaller claim counts. One of half an hour counts for its hour.
CREATE VIEW certificates_once AS
SELECT date_bin(INTERVAL '1 hour', hour) AS hour, zone, kwh, g_per_kwh FROM certificates
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY hour, zone, certificate, CASE WHEN certificate IS NULL THEN kwh END, CASE WHEN certificate IS NULL THEN g_per_kwh END
  ORDER BY kwh, g_per_kwh DESC) = 1;

-- Of two residual mixes of a zone the greater counts.
CREATE VIEW residual_mix_once AS
SELECT zone, g_per_kwh, source FROM residual_mix
QUALIFY ROW_NUMBER() OVER (PARTITION BY zone ORDER BY g_per_kwh DESC, source) = 1;

-- Location and market side by side, by hour and zone. They are two accounts of the same energy: never add them. Without a
-- residual mix there are market-based grams only where certificates cover all that was used.
CREATE MATERIALIZED VIEW zone_hours
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start, hour') AS
SELECT u.hour, u.zone, u.facility_kwh, u.location_g, u.location_g_low, u.location_g_high,
       matched_kwh(u.facility_kwh, coalesce(c.kwh, 0.0)) AS matched_kwh,
       market_grams(u.facility_kwh, coalesce(c.kwh, 0.0), coalesce(c.g_per_kwh, 0.0),
                    coalesce(x.g_per_kwh, CASE WHEN c.kwh >= u.facility_kwh THEN 0.0 END)) AS market_g,
       x.source AS residual_source
FROM (SELECT date_bin(INTERVAL '1 hour', slot_start) AS hour, zone, sum(energy_kwh * pue) AS facility_kwh,
             sum(operational_g) AS location_g, sum(operational_g_low) AS location_g_low, sum(operational_g_high) AS location_g_high
      FROM ledger GROUP BY date_bin(INTERVAL '1 hour', slot_start), zone) u
LEFT JOIN (SELECT hour, zone, sum(kwh) AS kwh, sum(kwh * g_per_kwh) / nullif(sum(kwh), 0.0) AS g_per_kwh
           FROM certificates_once GROUP BY hour, zone) c ON c.hour = u.hour AND c.zone = u.zone
LEFT JOIN residual_mix_once x ON x.zone = u.zone;
