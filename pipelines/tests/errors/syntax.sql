-- Grammar, names twice, circles; the rest is still looked at.
CREATE SOURCE a (x INT,, y INT) WITH (connector = 'feed', path = 'x');
CREATE SOURCE b (x INT) WITH (connector 'feed');
CREATE VIEW c AS SELECT FROM WHERE;
CREATE SOURSE d (x INT) WITH (connector = 'feed');
SELECT 1;
CREATE SOURCE e (x INT) WITH (connector = 'feed', path = 'x');
CREATE VIEW e AS SELECT 1 AS one;
CREATE VIEW one AS SELECT * FROM two;
CREATE VIEW two AS SELECT * FROM three;
CREATE VIEW three AS SELECT * FROM one;
CREATE VIEW four AS SELECT * FROM three;
CREATE VIEW five AS SELECT y FROM e;
CREATE SINK six INTO five;
CREATE MATERIALIZED VIEW seven AS SELECT x FROM e EMIT SOMETIMES;
CREATE MATERIALIZED VIEW eight AS SELECT 'never closed FROM e;
