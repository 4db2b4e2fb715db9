-- Whose carbon it is. The shares of a machine's slot and of '__unallocated__' add up to the ledger's row, always.

-- A reading counts once, however often it is delivered: it is known by its time, machine, workload and tenant, and of two with
-- different figures the larger counts. It is about the time before it: one at 10:05:00 belongs to the slot that ends then.
CREATE MATERIALIZED VIEW workload_slots
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'ts, slot_start',
  revise_clock = 'energy_samples', retain = '${CARBON_RETAIN:-46 days}', retain_by = 'slot_start') AS
SELECT slot_start, machine, workload, tenant, sum(cpu_seconds) AS cpu_seconds, max(cpu_request) AS cpu_request
FROM (SELECT date_bin(INTERVAL '5 minutes', ts - INTERVAL '1 microsecond') AS slot_start, machine, workload, tenant,
             max(cpu_seconds) AS cpu_seconds, max(cpu_request) AS cpu_request
      FROM workload_usage GROUP BY ts, machine, workload, tenant)
GROUP BY slot_start, machine, workload, tenant;

-- Idle energy goes where ${CARBON_IDLE_POLICY} says: node_only, by_usage, by_request or equal. Embodied carbon goes by what
-- was reserved.
CREATE MATERIALIZED VIEW shares
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start',
  retain = '${CARBON_RETAIN:-46 days}', retain_by = 'slot_start') AS
SELECT w.slot_start, w.machine, w.workload, w.tenant,
       workload_energy('${CARBON_IDLE_POLICY:-by_request}', n.active, 1.0 - n.active, w.cpu_seconds, n.cpu_seconds,
                       coalesce(w.cpu_request, 0.0), n.cpu_request, n.vcpus, n.workloads) AS energy_share,
       coalesce(w.cpu_request, 0.0) / greatest(n.vcpus, n.cpu_request) AS embodied_share
FROM workload_slots w
JOIN (SELECT u.slot_start, u.machine, u.cpu_seconds, u.cpu_request, u.workloads, l.vcpus,
             least(1.0, u.cpu_seconds / (l.vcpus * 300.0 * l.coverage)) AS active
      FROM (SELECT slot_start, machine, sum(cpu_seconds) AS cpu_seconds, coalesce(sum(cpu_request), 0.0) AS cpu_request,
                   CAST(count(*) AS DOUBLE) AS workloads
            FROM workload_slots GROUP BY slot_start, machine) u
      JOIN ledger l ON l.slot_start = u.slot_start AND l.machine = u.machine) n
  ON n.slot_start = w.slot_start AND n.machine = w.machine;

CREATE MATERIALIZED VIEW tenant_ledger
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start') AS
SELECT l.slot_start, l.machine, l.zone, s.tenant, s.workload, l.energy_kwh * s.energy_share AS energy_kwh,
       l.operational_g * s.energy_share AS operational_g, l.operational_g_low * s.energy_share AS operational_g_low,
       l.operational_g_high * s.energy_share AS operational_g_high, l.embodied_g * s.embodied_share AS embodied_g,
       l.quality, l.coverage, l.intensity_kind, l.factor_set, l.revision
FROM shares s JOIN ledger l ON l.slot_start = s.slot_start AND l.machine = s.machine
UNION ALL
SELECT l.slot_start, l.machine, l.zone, '__unallocated__' AS tenant, '__unallocated__' AS workload,
       l.energy_kwh * (1.0 - coalesce(s.energy_share, 0.0)) AS energy_kwh,
       l.operational_g * (1.0 - coalesce(s.energy_share, 0.0)) AS operational_g,
       l.operational_g_low * (1.0 - coalesce(s.energy_share, 0.0)) AS operational_g_low,
       l.operational_g_high * (1.0 - coalesce(s.energy_share, 0.0)) AS operational_g_high,
       l.embodied_g * (1.0 - coalesce(s.embodied_share, 0.0)) AS embodied_g,
       l.quality, l.coverage, l.intensity_kind, l.factor_set, l.revision
FROM ledger l
LEFT JOIN (SELECT slot_start, machine, sum(energy_share) AS energy_share, sum(embodied_share) AS embodied_share
           FROM shares GROUP BY slot_start, machine) s
  ON s.slot_start = l.slot_start AND s.machine = l.machine;

-- The Software Carbon Intensity of each tenant by the hour: grams per functional unit. Without units there is none.
CREATE MATERIALIZED VIEW sci_hours
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start, ts') AS
SELECT c.hour, c.tenant, c.energy_kwh, c.operational_g, c.embodied_g, u.units,
       (c.operational_g + c.embodied_g) / nullif(u.units, 0.0) AS g_per_unit,
       (c.operational_g_low + c.embodied_g) / nullif(u.units, 0.0) AS g_per_unit_low,
       (c.operational_g_high + c.embodied_g) / nullif(u.units, 0.0) AS g_per_unit_high
FROM (SELECT date_bin(INTERVAL '1 hour', slot_start) AS hour, tenant, sum(energy_kwh) AS energy_kwh,
             sum(operational_g) AS operational_g, sum(operational_g_low) AS operational_g_low,
             sum(operational_g_high) AS operational_g_high, sum(embodied_g) AS embodied_g
      FROM tenant_ledger GROUP BY date_bin(INTERVAL '1 hour', slot_start), tenant) c
LEFT JOIN (SELECT date_bin(INTERVAL '1 hour', ts) AS hour, tenant, sum(units) AS units
           FROM functional_units GROUP BY date_bin(INTERVAL '1 hour', ts), tenant) u
  ON u.hour = c.hour AND u.tenant = c.tenant;

-- Each tenant's grams by slot: what a budget is made of, whose period is longer than an hour can be restated.
CREATE MATERIALIZED VIEW tenant_slots
WITH (revise_until = '${CARBON_REVISE_UNTIL:-45 days}', revise_by = 'slot_start') AS
SELECT slot_start, tenant, sum(coalesce(operational_g, 0.0) + coalesce(embodied_g, 0.0)) AS used_g,
       sum(coalesce(operational_g_low, 0.0) + coalesce(embodied_g, 0.0)) AS used_g_low,
       sum(coalesce(operational_g_high, 0.0) + coalesce(embodied_g, 0.0)) AS used_g_high,
       sum(operational_g) AS operational_g, sum(operational_g) FILTER (WHERE intensity_kind = 'actual') AS settled_g,
       sum(coverage) AS coverage, CAST(count(*) AS DOUBLE) AS rows
FROM tenant_ledger GROUP BY slot_start, tenant;

-- Budgets, as of the latest slot of the tenant: at a pace above 1 the budget is used up too early. `coverage` and `settled`
-- say how far that is to be believed: the share of the time that is known, and of the grams whose intensity was measured.
CREATE MATERIALIZED VIEW budget_status
WITH (revise_until = '${CARBON_BUDGET_UNTIL:-400 days}', revise_by = 'slot_start') AS
SELECT tenant, since, until, grams AS budget_g, used_g, used_g_low, used_g_high, as_of, coverage,
       settled_g / nullif(operational_g, 0.0) AS settled, budget_pace(used_g, grams, since, until, as_of) AS pace,
       budget_forecast(used_g, since, until, as_of) AS forecast_g
FROM (SELECT b.tenant, b.since, b.until, b.grams, sum(t.used_g) AS used_g, sum(t.used_g_low) AS used_g_low,
             sum(t.used_g_high) AS used_g_high, sum(t.operational_g) AS operational_g, sum(t.settled_g) AS settled_g,
             sum(t.coverage) / sum(t.rows) AS coverage, max(t.slot_start) + INTERVAL '5 minutes' AS as_of
      FROM (SELECT DISTINCT tenant, since, until, grams FROM budgets) b JOIN tenant_slots t ON t.tenant = b.tenant AND t.slot_start >= b.since AND t.slot_start < b.until
      GROUP BY b.tenant, b.since, b.until, b.grams);

-- What the answers of language models took elsewhere, by the method of EcoLogits: an estimate with its range, no part of the
-- ledger of your machines. Models whose size nobody knows are counted, not guessed. Grams are by the year's mean of the
-- country, or of the world where it is not told; the energy has the building's part in it.
CREATE MATERIALIZED VIEW llm_hours AS
SELECT date_bin(INTERVAL '1 hour', ts) AS hour, tenant, model, intensity_kind, count(*) AS answers, sum(tokens_out) AS tokens_out,
       sum(llm_energy_wh(model, tokens_out, seconds)) AS energy_wh,
       sum(llm_energy_wh_low(model, tokens_out, seconds)) AS energy_wh_low,
       sum(llm_energy_wh_high(model, tokens_out, seconds)) AS energy_wh_high,
       sum(carbon_grams(llm_energy_wh(model, tokens_out, seconds) / 1000.0, g_per_kwh)) AS operational_g,
       sum(carbon_grams(llm_energy_wh_low(model, tokens_out, seconds) / 1000.0, g_per_kwh)) AS operational_g_low,
       sum(carbon_grams(llm_energy_wh_high(model, tokens_out, seconds) / 1000.0, g_per_kwh)) AS operational_g_high,
       sum(llm_embodied_grams(model, tokens_out, seconds)) AS embodied_g,
       count(*) FILTER (WHERE llm_energy_wh(model, tokens_out) IS NULL) AS answers_unknown, 'ecologits-0.11.3' AS factor_set
FROM (
  SELECT c.ts, c.tenant, c.model, c.tokens_out, c.seconds, coalesce(n.g_per_kwh, w.g_per_kwh) AS g_per_kwh,
         CASE WHEN n.g_per_kwh IS NOT NULL THEN 'country' WHEN w.g_per_kwh IS NOT NULL THEN 'world' END AS intensity_kind
  FROM (SELECT *, CAST(date_part('year', ts) AS BIGINT) AS year, 'world' AS everywhere FROM llm_calls) c
  LEFT JOIN (SELECT * FROM yearly_in_force WHERE kind = 'country') n ON n.place = c.country AND n.year = c.year
  LEFT JOIN (SELECT * FROM yearly_in_force WHERE kind = 'world') w ON w.place = c.everywhere AND w.year = c.year)
GROUP BY date_bin(INTERVAL '1 hour', ts), tenant, model, intensity_kind;
