-- Kepler's node: 60 W, a third of it active; a pod with half a processor of four, one with one and a half, and the system.
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 10:00:00', 'node', 'bmc', 'host', 'counter', 0, 'J'),
  ('2026-01-05 10:05:00', 'node', 'bmc', 'host', 'counter', 18000, 'J');
INSERT INTO machines (machine, provider, region, vcpus, at_the_door, embodied_kg, share, provisioned_at, written_off_at) VALUES
  ('node', 'aws', 'eu-north-1', 4, true, 1000, 1, '2024-01-01 00:00:00', '2027-12-31 00:00:00');
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test', 'aws', 'eu-north-1', 'SE', 'SE', 1.1, 'disclosed', 'test', 'none', '2026-01-01');
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'SE', 2025, 400, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
INSERT INTO workload_usage (ts, machine, workload, tenant, cpu_seconds, cpu_request) VALUES
  ('2026-01-05 10:01:00', 'node', 'a', 'shop', 60, 0.5), ('2026-01-05 10:02:00', 'node', 'b', 'search', 140, 1.5),
  ('2026-01-05 10:03:00', 'node', 'kubelet', '__system__', 200, NULL);
INSERT INTO functional_units (ts, tenant, units) VALUES ('2026-01-05 10:04:00', 'shop', 10), ('2026-01-05 10:04:00', 'search', 0);
INSERT INTO llm_calls (ts, tenant, model, tokens_out, country) VALUES
  ('2026-01-05 10:04:00', 'shop', 'gpt-5', 400, 'US'), ('2026-01-05 10:04:01', 'shop', 'of-our-own', 100, NULL);
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'country', 'US', 2024, 400, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'world', 'world', 2024, 500, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
INSERT INTO budgets (tenant, since, until, grams) VALUES
  ('shop', '2026-01-01 00:00:00', '2026-02-01 00:00:00', 500), ('search', '2026-01-01 00:00:00', '2026-02-01 00:00:00', 0.4);
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 10:06:00', 'node', 'bmc', 'host', 'counter', 18000, 'J'),
  ('2026-01-05 10:06:00', 'nobodys', 'bmc', 'host', 'counter', 18000, 'J');
ADVANCE INTERVAL '40 minutes';

-- In watts, as the example has them: 8 and 22 with idle energy by request; the rest has a name, and nothing is lost.
EXPECT SELECT tenant, round(energy_kwh * 3600000 / 300, 9) AS watts FROM tenant_ledger ORDER BY tenant;
----
__system__ | 10.0
__unallocated__ | 20.0
search | 22.0
shop | 8.0

EXPECT SELECT round(sum(t.energy_kwh) - max(l.energy_kwh), 12), round(sum(t.operational_g) - max(l.operational_g), 12),
              round(sum(t.embodied_g) - max(l.embodied_g), 12)
  FROM tenant_ledger t JOIN ledger l ON l.machine = t.machine AND l.slot_start = t.slot_start;
----
0.0 | 0.0 | 0.0

-- No units, no rate.
EXPECT SELECT tenant, units, round(g_per_unit - (operational_g + embodied_g) / 10, 12) FROM sci_hours WHERE units IS NOT NULL
  ORDER BY tenant;
----
search | 0.0 | NULL
shop | 10.0 | 0.0

EXPECT SELECT tenant, pace < 0.01, forecast_g > used_g, used_g_low < used_g, coverage, settled FROM budget_status;
----
search | false | true | true | 1.0 | NULL
shop | true | true | true | 1.0 | NULL

-- Search will have used more than it may; the day rests on a yearly mean; and one machine is nobody's.
EXPECT SELECT alert, key, severity FROM thalweg.alerts WHERE state = 'firing' ORDER BY alert;
----
by_yearly_means | {"day":"2026-01-05T00:00:00","zone":"SE"} | warning
not_accounted | {"machine":"nobodys","why":"not among the machines"} | warning
over_budget | {"tenant":"search","since":"2026-01-01T00:00:00"} | critical

-- Four hundred tokens of a model whose size is a range; one that nobody knows is counted, and is not zero.
EXPECT SELECT model, round(energy_wh_low, 3), round(energy_wh_high, 3), answers_unknown FROM llm_hours ORDER BY model;
----
gpt-5 | 0.591 | 0.854 | 0
of-our-own | NULL | NULL | 1

EXPECT SELECT model, intensity_kind, round(operational_g - energy_wh * 0.4, 12), operational_g_low < operational_g FROM llm_hours
  ORDER BY model;
----
gpt-5 | country | 0.0 | true
of-our-own | world | NULL | NULL
