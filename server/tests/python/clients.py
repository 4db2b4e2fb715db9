"""Python's clients against a running engine: psycopg, SQLAlchemy's inspector. Arguments: the port.

Run by `cargo test` where python3 has psycopg and sqlalchemy; says "ok" at the end.
"""

import sys

import psycopg
import sqlalchemy

port = int(sys.argv[1])

with psycopg.connect(f"host=127.0.0.1 port={port} dbname=thalweg user=test") as connection:
    cursor = connection.cursor()
    cursor.execute("SELECT item, orders, revenue FROM per_item WHERE item = %s", ("tea",))
    assert cursor.fetchall() == [("tea", 3, 10.0)]
    cursor.execute("SELECT count(*) FROM sold WHERE price > %s AND n >= %s", (3.0, 1))
    assert cursor.fetchone() == (2,)
    binary = connection.cursor(binary=True)
    binary.execute("SELECT ts, price, n FROM sold WHERE item = %s", ("cake",))
    assert str(binary.fetchone()[0]) == "2026-01-01 00:00:02"
    try:
        cursor.execute("SELECT itm FROM per_item")
    except psycopg.errors.UndefinedColumn as error:
        assert error.diag.message_hint == 'Did you mean "item"?'
        assert error.diag.statement_position == "8"
    else:
        raise AssertionError("a column that is not there was found")
    connection.rollback()
    with connection.cursor(name="rows") as cursor:
        cursor.itersize = 1
        cursor.execute("SELECT item FROM per_item ORDER BY item")
        assert [row[0] for row in cursor] == ["cake", "tea"]
    with connection.cursor(name="changes") as cursor:
        cursor.execute("SUBSCRIBE TO sold WITH (snapshot = true)")
        assert [row[1] for row in cursor.fetchmany(3)] == [1, 1, 1]

engine = sqlalchemy.create_engine(f"postgresql+psycopg://test@127.0.0.1:{port}/thalweg")
inspector = sqlalchemy.inspect(engine)
assert inspector.get_table_names() == [], inspector.get_table_names()
kept = sorted(inspector.get_materialized_view_names())
assert kept == ["per_item", "sold"], kept
assert inspector.get_view_names() == ["dear"], inspector.get_view_names()
assert inspector.has_table("sold") and not inspector.has_table("nothing")
columns = {column["name"]: str(column["type"]) for column in inspector.get_columns("sold")}
assert columns == {"ts": "TIMESTAMP", "item": "TEXT", "price": "DOUBLE PRECISION", "n": "INTEGER"}, columns
with engine.connect() as connection:
    sold = sqlalchemy.Table("sold", sqlalchemy.MetaData(), autoload_with=engine)
    query = sqlalchemy.select(sold.c.item, sqlalchemy.func.count()).group_by(sold.c.item).order_by(sold.c.item)
    assert connection.execute(query).fetchall() == [("cake", 1), ("tea", 2)]

print("ok")
