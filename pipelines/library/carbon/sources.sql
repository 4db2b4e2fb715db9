-- What comes in. Everything is a file below ${CARBON_DATA} until you put another connector in its place: the columns stay.
-- With CARBON_MODE=tail the files are followed, and the run goes on until it is stopped.

-- One reading of one meter. `kind` says what it is: 'counter' (energy so far), 'gauge' (power now) or 'utilisation' (percent
-- of the processors in use, where nothing is metered). `scope` says what it measures: host, psys, package, core, uncore,
-- dram, gpu; for a utilisation it does not matter.
CREATE SOURCE energy_samples (
  ts TIMESTAMP NOT NULL, machine TEXT NOT NULL, meter TEXT NOT NULL, scope TEXT NOT NULL, kind TEXT NOT NULL,
  value DOUBLE, unit TEXT NOT NULL,
  counter_range DOUBLE,      -- the counter begins at 0 again after this
  started_at TIMESTAMP,      -- since when the counter counts, if it says so: another one means that it was reset
  WATERMARK FOR ts AS ts - INTERVAL '30 seconds'
) WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/energy_samples*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- The machines: where they stand, what they can do, what making them emitted. A machine that is said again is the same one:
-- what is now said of it is what holds, for all that it ever used.
CREATE SOURCE machines (
  machine TEXT NOT NULL, provider TEXT NOT NULL, region TEXT NOT NULL, vcpus DOUBLE,
  least_watts DOUBLE, most_watts DOUBLE,   -- of a vCPU, from factors/cpu_watts.csv; only needed for 'utilisation'
  at_the_door BOOLEAN,                     -- metered where the building is: no PUE on top
  embodied_kg DOUBLE, share DOUBLE,        -- of the whole machine, and how much of it is yours
  provisioned_at TIMESTAMP, written_off_at TIMESTAMP, retired_at TIMESTAMP,
  PRIMARY KEY (machine)
) WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/machines*', format = 'upsert', mode = '${CARBON_MODE:-bounded}');

-- What workloads used since their reading before, and what they have reserved. The system's own use is a workload too. A
-- reading is known by its time, machine, workload and tenant.
CREATE SOURCE workload_usage (
  ts TIMESTAMP NOT NULL, machine TEXT NOT NULL, workload TEXT NOT NULL, tenant TEXT NOT NULL,
  cpu_seconds DOUBLE, cpu_request DOUBLE
) WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/workload_usage*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- The intensity of grids, as it is published: again and again for the same time, with better knowledge.
CREATE SOURCE grid_intensity (
  zone TEXT NOT NULL, valid_from TIMESTAMP NOT NULL, valid_to TIMESTAMP NOT NULL, value DOUBLE NOT NULL, unit TEXT NOT NULL,
  kind TEXT NOT NULL,        -- actual, estimated, forecast, profile
  signal TEXT NOT NULL,      -- average, marginal: the ledger takes 'average'
  lifecycle TEXT NOT NULL,   -- direct, lifecycle
  source TEXT NOT NULL, source_version TEXT, published_at TIMESTAMP NOT NULL
) WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/grid_intensity*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- Certificates of origin by the hour in which their energy was made, and the mix that is left where they are taken out.
-- `certificate` is its number in the registry: by it one that is delivered twice is known.
CREATE SOURCE certificates (
  certificate TEXT, hour TIMESTAMP NOT NULL, zone TEXT NOT NULL, kwh DOUBLE NOT NULL, g_per_kwh DOUBLE NOT NULL)
WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/certificates*', format = 'json', mode = '${CARBON_MODE:-bounded}');
CREATE SOURCE residual_mix (zone TEXT NOT NULL, g_per_kwh DOUBLE NOT NULL, source TEXT NOT NULL)
WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/residual_mix*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- What the carbon is for: requests, jobs, users.
CREATE SOURCE functional_units (ts TIMESTAMP NOT NULL, tenant TEXT NOT NULL, units DOUBLE NOT NULL)
WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/functional_units*', format = 'json', mode = '${CARBON_MODE:-bounded}');
CREATE SOURCE budgets (tenant TEXT NOT NULL, since TIMESTAMP NOT NULL, until TIMESTAMP NOT NULL, grams DOUBLE NOT NULL)
WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/budgets*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- Answers of language models that others run for you; `seconds` is how long an answer took, if it was measured, and
-- `country` where its servers stand ('US'), if you know it.
CREATE SOURCE llm_calls (
  ts TIMESTAMP NOT NULL, tenant TEXT NOT NULL, model TEXT NOT NULL, tokens_out DOUBLE, seconds DOUBLE, country TEXT)
WITH (connector = 'file', path = '${CARBON_DATA:-pipelines/library/carbon/sample}/llm_calls*', format = 'json', mode = '${CARBON_MODE:-bounded}');

-- The factors: tables with a version, a source, a licence and a date on every row.
CREATE SOURCE factor_regions (
  factor_set TEXT NOT NULL, provider TEXT NOT NULL, region TEXT NOT NULL, country TEXT NOT NULL, zone TEXT NOT NULL,
  pue DOUBLE NOT NULL, pue_kind TEXT NOT NULL, source TEXT NOT NULL, licence TEXT NOT NULL, reviewed_at DATE NOT NULL
) WITH (connector = 'file', path = '${CARBON_FACTORS:-pipelines/library/carbon/factors}/regions.csv', format = 'csv');
CREATE SOURCE factor_intensity (
  factor_set TEXT NOT NULL, kind TEXT NOT NULL, place TEXT NOT NULL, year INT, g_per_kwh DOUBLE NOT NULL,
  signal TEXT NOT NULL, lifecycle TEXT NOT NULL, source TEXT NOT NULL, licence TEXT NOT NULL, taken DATE NOT NULL
) WITH (connector = 'file', path = '${CARBON_FACTORS:-pipelines/library/carbon/factors}/intensity_annual.csv', format = 'csv');
CREATE SOURCE factor_uncertainty (
  factor_set TEXT NOT NULL, subject TEXT NOT NULL, relative_error DOUBLE NOT NULL,
  source TEXT NOT NULL, licence TEXT NOT NULL, taken DATE NOT NULL
) WITH (connector = 'file', path = '${CARBON_FACTORS:-pipelines/library/carbon/factors}/uncertainty.csv', format = 'csv');
