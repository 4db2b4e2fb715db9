CREATE SOURCE trips (
  id INT NOT NULL, ts TIMESTAMP NOT NULL, city TEXT, rider TEXT, km INT, price DOUBLE, paid BOOLEAN
) WITH (connector = 'file', path = '${DATA}/trips.ndjson', format = 'json');

CREATE SOURCE towns (city TEXT, country TEXT, people INT)
WITH (connector = 'file', path = '${DATA}/towns.ndjson', format = 'json');

CREATE MATERIALIZED VIEW live_trips AS SELECT * FROM trips;
CREATE MATERIALIZED VIEW live_towns AS SELECT * FROM towns;
