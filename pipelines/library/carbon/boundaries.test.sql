-- Where one thing ends and another begins: publishers of hours and of half hours in one zone, a machine that starts, hours that
-- certificates cover.
INSERT INTO machines (machine, provider, region, vcpus, at_the_door) VALUES
  ('mixed', 'aws', 'eu-west-2', 4, true), ('starts', 'aws', 'eu-north-1', 4, true), ('green', 'aws', 'eu-west-1', 4, false);
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test', 'aws', 'eu-west-2', 'GB', 'GB', 1.1, 'default', 'test', 'none', '2026-01-01'),
  ('test', 'aws', 'eu-north-1', 'SE', 'SE', 1.1, 'disclosed', 'test', 'none', '2026-01-01'),
  ('test', 'aws', 'eu-west-1', 'IE', 'IE', 1.25, 'disclosed', 'test', 'none', '2026-01-01');
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'GB', 2025, 999, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'annual', 'SE', 2025, 20, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'annual', 'IE', 2025, 300, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
-- A kilowatt for an hour. The forecast is of the hour, the measurement of its first half; a month's mean covers what both
-- leave.
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('GB', '2026-01-05 10:00:00', '2026-01-05 11:00:00', 400, 'gCO₂eq/kWh', 'forecast', 'average', 'lifecycle', 'neso', '2026-01-04 12:00:00'),
  ('GB', '2026-01-05 10:00:00', '2026-01-05 10:30:00', 100, 'gCO2/kWh', 'actual', 'average', 'lifecycle', 'neso', '2026-01-05 10:40:00'),
  ('GB', '2026-01-01 00:00:00', '2026-02-01 00:00:00', 240, 'g/kWh', 'profile', 'average', 'lifecycle', 'month', '2026-02-02 00:00:00');
-- A machine that was off from ten o'clock on and begins to count at 10:10: what it counted is of the two minutes since then,
-- and of the time before nothing is known. Four kilowatt-hours at a PUE of 1.25, in two hours; certificates for the first,
-- and no residual mix for the other.
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit, started_at) VALUES
  ('2026-01-05 10:00:00', 'mixed', 'bmc', 'host', 'counter', 0, 'J', NULL),
  ('2026-01-05 11:10:00', 'mixed', 'bmc', 'host', 'counter', 4200000, 'J', NULL),
  ('2026-01-05 10:00:00', 'starts', 'bmc', 'host', 'counter', 500, 'J', '2026-01-01 00:00:00'),
  ('2026-01-05 10:12:00', 'starts', 'bmc', 'host', 'counter', 600, 'J', '2026-01-05 10:10:00'),
  ('2026-01-05 10:00:00', 'green', 'bmc', 'host', 'counter', 0, 'kWh', NULL),
  ('2026-01-05 12:00:00', 'green', 'bmc', 'host', 'counter', 4, 'kWh', NULL);
INSERT INTO certificates (certificate, hour, zone, kwh, g_per_kwh) VALUES
  ('GO-1', '2026-01-05 10:00:00', 'IE', 3, 12), ('GO-2', '2026-01-05 11:00:00', 'IE', 1, 0),
  ('GO-3', '2026-01-05 12:00:00', 'IE', 0, 0);
FINISH;

-- 100 g in the first half hour, 400 in the second, and the month's 240 in the ten minutes behind: 0.5 * 100 + 0.5 * 400 +
-- 240 / 6.
EXPECT SELECT intensity_kind, count(*), round(sum(operational_g), 9), min(coverage) FROM ledger WHERE machine = 'mixed'
  GROUP BY intensity_kind ORDER BY intensity_kind;
----
actual | 6 | 50.0 | 1.0
forecast | 6 | 200.0 | 1.0
profile | 2 | 40.0 | 1.0

EXPECT SELECT slot_start, joules, round(coverage, 9), quality, resets FROM machine_slots WHERE machine = 'starts'
  ORDER BY slot_start;
----
2026-01-05T10:00:00 | NULL | 0.0 | missing | 0
2026-01-05T10:05:00 | NULL | 0.0 | missing | 0
2026-01-05T10:10:00 | 600.0 | 0.4 | counter | 1

-- 2.5 kWh of 3 that are certified at 12 g; of the other hour 1.5 kWh are of a mix that nobody knows.
EXPECT SELECT hour, round(facility_kwh, 9), round(location_g, 9), round(matched_kwh, 9), market_g FROM zone_hours
  WHERE zone = 'IE' ORDER BY hour;
----
2026-01-05T10:00:00 | 2.5 | 750.0 | 2.5 | 30.0
2026-01-05T11:00:00 | 2.5 | 750.0 | 1.0 | NULL
