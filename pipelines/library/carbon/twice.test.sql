-- What is delivered twice counts once: a sample, a reading of use, a certificate; an intensity that is said again is none that
-- was revised. First all of it comes once.
INSERT INTO machines (machine, provider, region, vcpus, at_the_door) VALUES ('node', 'aws', 'eu-central-1', 4, true);
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test', 'aws', 'eu-central-1', 'DE', 'DE', 1.35, 'disclosed', 'test', 'none', '2026-01-01');
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'DE', 2025, 300, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 10:00:00', 'node', 'bmc', 'host', 'counter', 0, 'J'),
  ('2026-01-05 10:05:00', 'node', 'bmc', 'host', 'counter', 3600000, 'J');
-- The second reading is at the end of its slot, and about what lies before.
INSERT INTO workload_usage (ts, machine, workload, tenant, cpu_seconds, cpu_request) VALUES
  ('2026-01-05 10:02:00', 'node', 'a', 'shop', 100, 1), ('2026-01-05 10:05:00', 'node', 'a', 'shop', 200, 1),
  ('2026-01-05 10:05:00', 'node', 'b', 'search', 300, 1);
INSERT INTO certificates (certificate, hour, zone, kwh, g_per_kwh) VALUES
  ('GO-1', '2026-01-05 10:30:00', 'DE', 0.25, 0), ('GO-2', '2026-01-05 10:00:00', 'DE', 0.25, 0),
  (NULL, '2026-01-05 10:00:00', 'DE', 0.125, 0);
INSERT INTO residual_mix (zone, g_per_kwh, source) VALUES ('DE', 800, 'test');
INSERT INTO budgets (tenant, since, until, grams) VALUES ('shop', '2026-01-05 10:00:00', '2026-01-05 11:00:00', 1125);
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('FR', '2026-01-05 10:00:00', '2026-01-05 10:05:00', 50, 'g/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 10:10:00'),
  ('FR', '2026-01-05 10:05:00', '2026-01-05 10:10:00', 50, 'g/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 10:10:00');
-- Then some of it once more, in another order.
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('FR', '2026-01-05 10:00:00', '2026-01-05 10:05:00', 60, 'g/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 10:30:00'),
  ('FR', '2026-01-05 10:00:00', '2026-01-05 10:05:00', 0.05, 'kg/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 10:20:00'),
  ('FR', '2026-01-05 10:05:00', '2026-01-05 10:10:00', 50, 'g/kWh', 'actual', 'average', 'lifecycle', 'em', '2026-01-05 10:20:00'),
  ('FR', '2026-01-05 10:05:00', '2026-01-05 10:10:00', 50, 'g/kWh', 'actual', 'average', 'lifecycle', 'em', '2026-01-05 10:30:00');
INSERT INTO residual_mix (zone, g_per_kwh, source) VALUES ('DE', 700, 'test'), ('DE', 800, 'test');
INSERT INTO budgets (tenant, since, until, grams) VALUES ('shop', '2026-01-05 10:00:00', '2026-01-05 11:00:00', 1125);
INSERT INTO certificates (certificate, hour, zone, kwh, g_per_kwh) VALUES
  (NULL, '2026-01-05 10:00:00', 'DE', 0.125, 0), ('GO-2', '2026-01-05 10:00:00', 'DE', 0.25, 0);
INSERT INTO workload_usage (ts, machine, workload, tenant, cpu_seconds, cpu_request) VALUES
  ('2026-01-05 10:05:00', 'node', 'b', 'search', 300, 1), ('2026-01-05 10:02:00', 'node', 'a', 'shop', 100, 1);
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 10:05:00', 'node', 'bmc', 'host', 'counter', 3600000, 'J'),
  ('2026-01-05 10:00:00', 'node', 'bmc', 'host', 'counter', 0, 'J');
FINISH;

-- A kilowatt-hour in one slot. A reading that is there twice makes no slot in which nothing was used.
EXPECT SELECT slot_start, energy_kwh, operational_g, coverage FROM ledger;
----
2026-01-05T10:00:00 | 1.0 | 300.0 | 1.0

EXPECT SELECT slot_start, workload, cpu_seconds FROM workload_slots ORDER BY workload;
----
2026-01-05T10:00:00 | a | 300.0
2026-01-05T10:00:00 | b | 300.0

-- Half of the four processors' time is used; of the idle half a quarter is reserved by each.
EXPECT SELECT tenant, round(energy_kwh, 12) FROM tenant_ledger ORDER BY tenant;
----
__unallocated__ | 0.25
search | 0.375
shop | 0.375

-- 0.25 (of the second half hour), 0.25 and 0.125 kWh of certificates, and 0.375 kWh of the residual mix, of the greater of two.
EXPECT SELECT hour, facility_kwh, matched_kwh, market_g FROM zone_hours;
----
2026-01-05T10:00:00 | 1.0 | 0.625 | 300.0

-- The first was revised once, of 50 to 60 g/kWh, although it was published three times; the other when it became a measurement.
EXPECT SELECT slot_start, g_per_kwh, kind, revision, published_at FROM intensity_in_force ORDER BY slot_start;
----
2026-01-05T10:00:00 | 60.0 | estimated | 1 | 2026-01-05T10:30:00
2026-01-05T10:05:00 | 50.0 | actual | 1 | 2026-01-05T10:30:00

-- 0.375 kWh at 300 g: a tenth of the budget, in a twelfth of its time.
EXPECT SELECT tenant, budget_g, round(used_g, 9), round(pace, 9) FROM budget_status;
----
shop | 1125.0 | 112.5 | 1.2
