-- One kilowatt from 10:20 to 12:05, split at the slots of 300, 200 and 100 g/kWh: 408.33 g, not 175 (the intensity at the
-- end) and not 350 (the mean of the slots). Then 11:00 is restated, and the ledger with it.
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 10:20:00', 'node-1', 'bmc', 'host', 'counter', 0, 'J'),
  ('2026-01-05 12:05:00', 'node-1', 'bmc', 'host', 'counter', 6300000, 'J');
INSERT INTO machines (machine, provider, region, vcpus, at_the_door, embodied_kg, share, provisioned_at, written_off_at) VALUES
  ('node-1', 'aws', 'eu-central-1', 4, true, 1000, 1, '2024-01-01 00:00:00', '2027-12-31 00:00:00');
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test', 'aws', 'eu-central-1', 'DE', 'DE', 1.35, 'disclosed', 'test', 'none', '2026-01-01'),
  ('test', 'aws', 'eu-north-1', 'SE', 'SE', 1.1, 'disclosed', 'test', 'none', '2026-01-01'),
  ('test', 'gcp', 'europe-west1', 'BE', 'BE', 1.09, 'disclosed', 'test', 'none', '2026-01-01');
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'SE', 2025, 0, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'world', 'world', 2025, 470, 'average', 'lifecycle', 'test', 'none', '2026-01-01');
INSERT INTO factor_uncertainty (factor_set, subject, relative_error, source, licence, taken) VALUES
  ('test', 'energy:counter', 0.10, 'test', 'none', '2026-01-01'),
  ('test', 'intensity:estimated', 0.08, 'test', 'none', '2026-01-01');
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('DE', '2026-01-05 10:00:00', '2026-01-05 11:00:00', 300, 'gCO2eq/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 10:10:00'),
  ('DE', '2026-01-05 11:00:00', '2026-01-05 12:00:00', 200, 'gCO2eq/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 11:10:00'),
  ('DE', '2026-01-05 12:00:00', '2026-01-05 13:00:00', 0.1, 'kg/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-05 12:10:00'),
  ('DE', '2026-01-05 11:00:00', '2026-01-05 12:00:00', 731, 'gCO2eq/kWh', 'actual', 'marginal', 'lifecycle', 'wt', '2026-01-05 11:10:00');
ADVANCE INTERVAL '10 minutes';
INSERT INTO energy_samples (ts, machine, meter, scope, kind, value, unit) VALUES
  ('2026-01-05 12:10:00', 'node-1', 'bmc', 'host', 'counter', 6300000, 'J');
ADVANCE INTERVAL '1 minute';

EXPECT SELECT round(sum(energy_kwh), 9), round(sum(operational_g), 9), max(revision), min(coverage), count(*) FROM ledger;
----
1.75 | 408.333333333 | 0 | 1.0 | 21

-- Errors of 10 and 8 percent are one of 12.806 percent, and do not average out over slots.
EXPECT SELECT round((sum(operational_g_high) / sum(operational_g) - 1) * 100, 9) FROM ledger;
----
12.806248475

-- A forecast that comes after the estimate changes nothing, however late it is.
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('DE', '2026-01-05 11:00:00', '2026-01-05 12:00:00', 999, 'gCO2eq/kWh', 'forecast', 'average', 'lifecycle', 'em', '2026-01-05 20:00:00');

EXPECT SELECT round(sum(operational_g), 9), max(revision) FROM ledger;
----
408.333333333 | 0

-- The hour is restated: +60 g, in that hour alone, at revision 1.
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('DE', '2026-01-05 11:00:00', '2026-01-05 12:00:00', 260, 'gCO2eq/kWh', 'estimated', 'average', 'lifecycle', 'em', '2026-01-06 09:00:00');

EXPECT SELECT round(sum(operational_g), 9) FROM ledger;
----
468.333333333

EXPECT SELECT date_bin(INTERVAL '1 hour', slot_start), revision, round(sum(operational_g), 9) FROM ledger GROUP BY 1, 2 ORDER BY 1;
----
2026-01-05T10:00:00 | 0 | 200.0
2026-01-05T11:00:00 | 1 | 260.0
2026-01-05T12:00:00 | 0 | 8.333333333

-- What was known on the fifth is still known.
EXPECT SELECT g_per_kwh FROM intensity_history WHERE valid_from = '2026-01-05T11:00:00' AND published_at < '2026-01-06T00:00:00'
  ORDER BY rank, published_at DESC LIMIT 1;
----
200.0

-- Market-based beside it: 0.4 kWh of wind at eleven, the residual mix for the rest.
INSERT INTO certificates (hour, zone, kwh, g_per_kwh) VALUES ('2026-01-05 11:00:00', 'DE', 0.4, 0);
INSERT INTO residual_mix (zone, g_per_kwh, source) VALUES ('DE', 700, 'test');

EXPECT SELECT hour, round(facility_kwh, 9), round(location_g, 9), round(matched_kwh, 9), round(market_g, 9) FROM zone_hours
  WHERE hour = '2026-01-05T11:00:00';
----
2026-01-05T11:00:00 | 1.0 | 260.0 | 0.4 | 420.0

-- An intensity that no grid has is put aside with its reason.
INSERT INTO grid_intensity (zone, valid_from, valid_to, value, unit, kind, signal, lifecycle, source, published_at) VALUES
  ('DE', '2026-01-05 10:00:00', '2026-01-05 11:00:00', 2805, 'gCO2eq/kWh', 'actual', 'average', 'lifecycle', 'em', '2026-01-06 09:00:00');

EXPECT SELECT round(sum(operational_g), 9) FROM ledger;
----
468.333333333

-- The region is in a second table, which was looked at later, and the machine is said again, now metered inside its building: each is
-- there once, and the PUE comes on top.
INSERT INTO factor_regions (factor_set, provider, region, country, zone, pue, pue_kind, source, licence, reviewed_at) VALUES
  ('test-2', 'aws', 'eu-central-1', 'DE', 'DE', 1.2, 'disclosed', 'test', 'none', '2026-02-01');
INSERT INTO machines (machine, provider, region, vcpus, at_the_door, embodied_kg, share, provisioned_at, written_off_at) VALUES
  ('node-1', 'aws', 'eu-central-1', 4, false, 1000, 1, '2024-01-01 00:00:00', '2027-12-31 00:00:00');

EXPECT SELECT factor_set, pue, count(*), round(sum(energy_kwh), 9), round(sum(operational_g), 9) FROM ledger GROUP BY factor_set, pue;
----
test-2 | 1.2 | 21 | 1.75 | 562.0

-- A year's mean holds for its year, and until the next that is known: 2026 has that of 2025, once.
INSERT INTO factor_intensity (factor_set, kind, place, year, g_per_kwh, signal, lifecycle, source, licence, taken) VALUES
  ('test', 'annual', 'DE', 2021, 439, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test', 'annual', 'DE', 2025, 342, 'average', 'lifecycle', 'test', 'none', '2026-01-01'),
  ('test-2', 'annual', 'DE', 2025, 340, 'average', 'lifecycle', 'test', 'none', '2026-02-01'),
  ('test', 'annual', 'DE', 2027, 300, 'average', 'lifecycle', 'test', 'none', '2026-01-01');

EXPECT SELECT year, g_per_kwh FROM yearly_in_force WHERE place = 'DE' AND year IN (2019, 2024, 2026, 2030) ORDER BY year;
----
2019 | 439.0
2024 | 439.0
2026 | 340.0
2030 | 300.0
