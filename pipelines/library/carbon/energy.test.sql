-- A clean grid at 0 g/kWh, a grid that nobody tells of, a counter that wraps, one that was reset, and a hole in a gauge.
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit, counter_range) VALUES
  ('2026-01-05 10:00:00', 'wraps', 'package-0', 'package', 'counter', 262113328850, 'uJ', 262143328850),
  ('2026-01-05 10:05:00', 'wraps', 'package-0', 'package', 'counter', 20000000, 'uJ', 262143328850),
  ('2026-01-05 10:00:00', 'wraps', 'core-0', 'core', 'counter', 1000000, 'uJ', 262143328850),
  ('2026-01-05 10:05:00', 'wraps', 'core-0', 'core', 'counter', 41000000, 'uJ', 262143328850),
  ('2026-01-05 10:00:00', 'wraps', 'dram-0', 'dram', 'counter', 0, 'uJ', 262143328850),
  ('2026-01-05 10:05:00', 'wraps', 'dram-0', 'dram', 'counter', 10000000, 'uJ', 262143328850),
  ('2026-01-05 10:00:00', 'resets', 'bmc', 'host', 'counter', 900, 'J', NULL),
  ('2026-01-05 10:05:00', 'resets', 'bmc', 'host', 'counter', 100, 'J', NULL),
  ('2026-01-05 10:10:00', 'resets', 'bmc', 'host', 'counter', 400, 'J', NULL),
  ('2026-01-05 10:00:00', 'gauge', 'psu', 'host', 'gauge', 100, 'W', NULL),
  ('2026-01-05 10:01:00', 'gauge', 'psu', 'host', 'gauge', 200, 'W', NULL),
  ('2026-01-05 10:15:00', 'gauge', 'psu', 'host', 'gauge', 100, 'W', NULL),
  ('2026-01-05 10:00:00', 'guessed', 'cpu', 'model', 'utilisation', 35, '%', NULL),
  ('2026-01-05 10:02:30', 'guessed', 'cpu', 'model', 'utilisation', 35, '%', NULL),
  ('2026-01-05 10:05:00', 'guessed', 'cpu', 'model', 'utilisation', 35, '%', NULL),
  -- A model that is said to be of the host, beside a meter of its memory; a counter that is silent, and that says less than
  -- nothing; a meter that nobody knows.
  ('2026-01-05 10:00:00', 'modelled', 'cpu', 'host', 'utilisation', 50, '%', NULL),
  ('2026-01-05 10:02:30', 'modelled', 'cpu', 'host', 'utilisation', 50, '%', NULL),
  ('2026-01-05 10:05:00', 'modelled', 'cpu', 'host', 'utilisation', 50, '%', NULL),
  ('2026-01-05 10:00:00', 'stammers', 'bmc', 'host', 'counter', 100, 'J', NULL),
  ('2026-01-05 10:02:00', 'stammers', 'bmc', 'host', 'counter', NULL, 'J', NULL),
  ('2026-01-05 10:05:00', 'stammers', 'bmc', 'host', 'counter', 3700, 'J', NULL),
  ('2026-01-05 10:07:00', 'stammers', 'bmc', 'host', 'counter', -1, 'J', NULL),
  ('2026-01-05 10:10:00', 'stammers', 'bmc', 'host', 'counter', 5000, 'J', NULL),
  ('2026-01-05 10:05:00', 'stammers', 'web', 'pod', 'counter', 5000, 'J', NULL),
  ('2026-01-05 10:05:00', 'nobodys', 'psu', 'host', 'gauge', 100, 'W', NULL),
  ('2026-01-05 10:05:00', 'astray', 'psu', 'host', 'gauge', 100, 'W', NULL);
INSERT INTO machines (machine, provider, region, vcpus, least_watts, most_watts, at_the_door) VALUES
  ('wraps', 'aws', 'eu-north-1', 4, NULL, NULL, false), ('resets', 'gcp', 'europe-west1', 4, NULL, NULL, true),
  ('guessed', 'aws', 'eu-north-1', 4, 0.74, 3.5, false), ('modelled', 'aws', 'eu-north-1', 4, 1, 3, false),
  ('stammers', 'aws', 'eu-north-1', 4, NULL, NULL, false), ('astray', 'aws', 'moon-1', 4, NULL, NULL, false);
INSERT INTO machines (machine, provider, region, vcpus, at_the_door, embodied_kg, share, provisioned_at, written_off_at) VALUES
  ('gauge', 'aws', 'eu-north-1', 4, true, 1000, 1, '2025-01-01 00:00:00', '2028-12-31 00:00:00');
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test', 'aws', 'eu-north-1', 'SE', 'SE', 1.1, 'disclosed', 'test', 'none', '2026-01-01'),
  ('test', 'gcp', 'europe-west1', 'BE', 'BE', 1.09, 'disclosed', 'test', 'none', '2026-01-01');
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'SE', 2025, 0, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'world', 'world', 2025, 470, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
FINISH;

-- The package's cores are inside it: 50 J and 10 J of memory, not 100 J.
EXPECT SELECT slot_start, joules, quality, coverage FROM machine_slots WHERE machine = 'wraps';
----
2026-01-05T10:00:00 | 60.0 | counter | 1.0

-- A zero is a factor: 0 g, not the world's mean.
EXPECT SELECT g_per_kwh, operational_g, intensity_kind FROM ledger WHERE machine = 'wraps';
----
0.0 | 0.0 | annual

-- What was used around a reset is not known: NULL, and no grams are made up for it.
EXPECT SELECT slot_start, joules, coverage, resets, quality FROM machine_slots WHERE machine = 'resets' ORDER BY slot_start;
----
2026-01-05T10:00:00 | NULL | 0.0 | 1 | missing
2026-01-05T10:05:00 | 300.0 | 1.0 | 0 | counter

EXPECT SELECT operational_g, intensity_kind FROM ledger WHERE machine = 'resets' ORDER BY slot_start;
----
NULL | world
0.03916666666666666 | world

-- 100 W for a minute, 200 W held for three minutes and no longer. Of the ten minutes after that nothing was heard: they have
-- rows, whose energy is NULL and not 0, and making the machine goes on to be accounted for.
EXPECT SELECT slot_start, joules, round(coverage, 9), quality FROM machine_slots WHERE machine = 'gauge' ORDER BY slot_start;
----
2026-01-05T10:00:00 | 42000.0 | 0.8 | gauge
2026-01-05T10:05:00 | NULL | 0.0 | missing
2026-01-05T10:10:00 | NULL | 0.0 | missing

EXPECT SELECT slot_start, energy_kwh, operational_g, coverage, embodied_g > 0 FROM ledger
  WHERE machine = 'gauge' AND energy_kwh IS NULL ORDER BY slot_start;
----
2026-01-05T10:05:00 | NULL | NULL | 0.0 | true
2026-01-05T10:10:00 | NULL | NULL | 0.0 | true

-- Four vCPUs at 35 %: 1.706 W each, marked as what it is.
EXPECT SELECT round(joules, 9), quality, coverage FROM machine_slots WHERE machine = 'guessed';
----
2047.2 | utilisation | 1.0

-- Four vCPUs at 50 %: 2 W each. A model is marked as one, whatever it says that it is of.
EXPECT SELECT joules, quality FROM machine_slots WHERE machine = 'modelled';
----
2400.0 | utilisation

-- What was counted between two readings is known, whatever the counter said in between.
EXPECT SELECT slot_start, joules, coverage, resets FROM machine_slots WHERE machine = 'stammers' ORDER BY slot_start;
----
2026-01-05T10:00:00 | 3600.0 | 1.0 | 0
2026-01-05T10:05:00 | 1300.0 | 1.0 | 0

-- What sends readings and is not in the ledger has a name.
EXPECT SELECT machine, why FROM unplaced ORDER BY machine, why;
----
astray | no zone is known for its region
nobodys | not among the machines
stammers | a counter of pod is no meter that is known
