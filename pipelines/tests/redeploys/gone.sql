CREATE SOURCE g WITH (connector = 'gauge');
CREATE MATERIALIZED VIEW a AS SELECT host, max(value) AS most FROM g GROUP BY host;
CREATE MATERIALIZED VIEW b AS SELECT host, value FROM g;
-- then
CREATE SOURCE g WITH (connector = 'gauge');
CREATE MATERIALIZED VIEW a AS SELECT host, min(value) AS least FROM g GROUP BY host;
CREATE MATERIALIZED VIEW c AS SELECT value FROM g;
