"""Workload W1 in DuckDB, as one process: tumbling windows of 10 s by service and region, written to a CSV file.

    python duckdb_w1.py FILE.ndjson|FILE.parquet THREADS OUT.csv
"""

import sys

import duckdb

path, threads, out = sys.argv[1:]
database = duckdb.connect(config={"threads": int(threads)})
if path.endswith(".parquet"):
    source = f"read_parquet('{path}')"
else:
    source = (
        f"read_json('{path}', format = 'newline_delimited', columns = {{ts: 'TIMESTAMP', host: 'VARCHAR', "
        "service: 'VARCHAR', region: 'VARCHAR', latency_ms: 'DOUBLE', status: 'INTEGER'})"
    )
database.execute(f"""
    COPY (
        SELECT time_bucket(INTERVAL '10 seconds', ts) AS window_start, service, region, count(*) AS requests,
               avg(latency_ms) AS avg_ms, max(latency_ms) AS max_ms, approx_quantile(latency_ms, 0.99) AS p99
        FROM {source} GROUP BY ALL
    ) TO '{out}' (HEADER)
""")
