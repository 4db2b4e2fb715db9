"""What others find in the Parquet sink's files: DuckDB and pyarrow. Arguments: the folder.

Run by `cargo test` where Python has duckdb and pyarrow, over the files of `tests/it/python.rs`: 3,000 rows of three
days and three regions, one of them NULL, partitioned by day and region, sorted by service, then falling latency.
"""

import pathlib
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

folder = pathlib.Path(sys.argv[1])
ROWS = 3_000
rows = [
    {
        "n": n,
        "day": n // 1_000 + 1,
        "region": [None, "eu/west", "us"][n % 3],
        "service": f"svc-{n % 7}",
        "latency": n * 0.25,
        "ok": None if n % 10 == 0 else n % 2 == 0,
    }
    for n in range(ROWS)
]

# Nothing but whole files, in the folders of their values.
files = sorted(folder.rglob("*"))
parquet = [path for path in files if path.is_file() and not path.name.startswith(".commit-")]
assert all(path.suffix == ".parquet" for path in parquet), parquet
regions = ["region=__HIVE_DEFAULT_PARTITION__", "region=eu%2Fwest", "region=us"]
expected = {f"ts_day=2026-01-0{day}/{region}" for day in (1, 2, 3) for region in regions}
assert {str(path.parent.relative_to(folder)) for path in parquet} == expected

# DuckDB: counts, sums and types, with the partitions as columns.
connection = duckdb.connect()
connection.execute(f"CREATE VIEW history AS SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)")
types = {name: kind for name, kind, *_ in connection.execute("DESCRIBE history").fetchall()}
assert types == {
    "ts": "TIMESTAMP_NS",
    "service": "VARCHAR",
    "n": "BIGINT",
    "latency": "DOUBLE",
    "ok": "BOOLEAN",
    "price": "DECIMAL(10,2)",
    "ts_day": "DATE",
    "region": "VARCHAR",
}, types
query = "SELECT count(*), sum(n), sum(latency), count(ok), count_if(ok), count(DISTINCT service), sum(price) FROM history"
found = connection.execute(query).fetchone()
told = sum(row["ok"] is not None for row in rows)
expected = (
    ROWS,
    sum(row["n"] for row in rows),
    sum(row["latency"] for row in rows),
    told,
    sum(row["ok"] is True for row in rows),
    7,
)
assert found[:6] == expected, (found, expected)
assert float(found[6]) == sum(row["n"] for row in rows) / 100, found
query = "SELECT day(ts_day), region, count(*), min(n), max(n) FROM history GROUP BY ALL ORDER BY ALL NULLS LAST"
for day, region, count, first, last in connection.execute(query).fetchall():
    numbers = [row["n"] for row in rows if (row["day"], row["region"]) == (day, region)]
    assert (count, first, last) == (len(numbers), numbers[0], numbers[-1]), (day, region)
assert connection.execute("SELECT count(*) FROM history WHERE ts_day <> ts::DATE").fetchone() == (0,)
query = "SELECT ts::VARCHAR FROM history WHERE n = 1234"
assert connection.execute(query).fetchone() == ("2026-01-02 00:03:54",), connection.execute(query).fetchone()

# pyarrow: the same rows, value by value.
table = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
assert table.num_rows == ROWS
schema = {field.name: field.type for field in table.schema}
assert schema["ts"] == pa.timestamp("ns") and schema["n"] == pa.int64() and schema["latency"] == pa.float64(), schema
assert schema["ok"] == pa.bool_() and schema["price"] == pa.decimal128(10, 2), schema
found = sorted(table.select(["n", "service", "region", "latency", "ok"]).to_pylist(), key=lambda row: row["n"])
assert found == [{key: row[key] for key in ("n", "service", "region", "latency", "ok")} for row in rows]

# Each file: compressed, its order said and kept, statistics that are those of its rows.
for path in parquet:
    file = pyarrow.parquet.ParquetFile(path)
    names = file.schema_arrow.names
    assert "region" not in names and "ts_day" not in names, names
    for number in range(file.metadata.num_row_groups):
        group, values = file.metadata.row_group(number), file.read_row_group(number)
        order = [(names[column.column_index], column.descending) for column in group.sorting_columns]
        assert order == [("service", False), ("latency", True)], order
        keys = [(row["service"], -row["latency"]) for row in values.select(["service", "latency"]).to_pylist()]
        assert keys == sorted(keys), path
        for index in range(group.num_columns):
            column = group.column(index)
            assert column.compression == "ZSTD", column.compression
            statistics, rows_of = column.statistics, values.column(index).to_pylist()
            known = [value for value in rows_of if value is not None]
            assert statistics.null_count == len(rows_of) - len(known), (path, names[index])
            if names[index] in ("n", "latency", "service"):
                assert (statistics.min, statistics.max) == (min(known), max(known)), (path, names[index])

print("ok")
