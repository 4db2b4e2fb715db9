#!/usr/bin/env python3
"""Whole runs of the release binary beside DuckDB, turn by turn on the same file; prints the table of README.md.

    cargo build --release --workspace && benches/run.py [--rows N] [--rounds N] [CASE...]

Needs Python 3.9 and, for DuckDB, PyPI; data and DuckDB are kept in ~/.cache/thalweg-bench (or $THALWEG_BENCH_CACHE).
Wall time is that of the whole process, from start to exit; memory is the peak of its resident set.
"""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = pathlib.Path(os.environ.get("THALWEG_BENCH_CACHE", pathlib.Path.home() / ".cache" / "thalweg-bench"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"

SOURCE = """
CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '1 second'
) WITH (connector = 'file', path = '{path}', format = '{format}');
"""
GENERATOR = """
CREATE SOURCE telemetry (WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'generator', kind = 'telemetry', rows = '{rows}', seed = '1');
"""
VIEW = """
CREATE MATERIALIZED VIEW w1 AS
SELECT window_start, window_end, {keys}, count(*) AS requests, avg(latency_ms) AS avg_ms, max(latency_ms) AS max_ms{more}
FROM {window}
GROUP BY window_start, window_end, {keys}
EMIT ON WINDOW CLOSE;
CREATE SINK results FROM w1 WITH ({sink});
"""
P99 = ",\n       approx_percentile_cont(latency_ms, 0.99) AS p99"
TUMBLE = "TUMBLE(telemetry, ts, INTERVAL '10 seconds')"
HOP = "HOP(telemetry, ts, INTERVAL '1 second', INTERVAL '60 seconds')"
TO_FILE = "connector = 'file', path = '{out}', format = 'csv'"
TO_NOWHERE = "connector = 'blackhole'"

# name: (format, hosts, keys, window, more columns, sink, beside DuckDB)
CASES = {
    "w1": ("ndjson", 100, "service, region", TUMBLE, P99, TO_FILE, True),
    "w1-parquet": ("parquet", 100, "service, region", TUMBLE, P99, TO_FILE, True),
    "w1-hop": ("ndjson", 100, "service, region", HOP, P99, TO_FILE, False),
    "generator": ("generator", 0, "service, region", TUMBLE, "", TO_NOWHERE, False),
    "keys-10k": ("parquet", 10_000, "host", TUMBLE.replace("10 sec", "600 sec"), "", TO_NOWHERE, False),
    "keys-1m": ("parquet", 1_000_000, "host", TUMBLE.replace("10 sec", "600 sec"), "", TO_NOWHERE, False),
}


def data(rows, file_format, hosts):
    """The workload's file, made once."""
    path = CACHE / f"w1-{rows}-{hosts}.{file_format}"
    if file_format != "generator" and not path.exists():
        partial = path.with_suffix(".partial")
        command = [TARGET / "thalweg-bench", "generate", "--rows", str(rows), "--keys", str(hosts)]
        subprocess.run([*command, "--format", file_format, "--out", partial], check=True)
        partial.rename(path)
    return path


def duckdb_python():
    """The interpreter of a virtual environment that has DuckDB."""
    python = CACHE / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "duckdb>=2.0"], check=True)
    return python


def measure(command):
    """Wall seconds and peak megabytes of a process; its output is shown only if it fails."""
    log = CACHE / "last.log"
    with open(log, "wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=CACHE)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed:\n{log.read_text()[-4000:]}")
    return seconds, usage.ru_maxrss / 1024


def thalweg(case, rows, path, workers):
    file_format, _, keys, window, more, sink, _ = CASES[case]
    out = CACHE / "out.csv"
    out.unlink(missing_ok=True)
    shutil.rmtree(CACHE / "state", ignore_errors=True)
    pipeline = CACHE / f"{case}.sql"
    declared = "json" if file_format == "ndjson" else file_format
    sql = GENERATOR.format(rows=rows) if file_format == "generator" else SOURCE.format(path=path, format=declared)
    sql += VIEW.format(keys=keys, window=window, more=more, sink=sink.format(out=out))
    pipeline.write_text(sql)
    addresses = ["--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    return [TARGET / "thalweg", "run", pipeline, "--workers", str(workers), "--data", CACHE / "state", *addresses]


def line(rows, who, threads, runs, rival=None):
    seconds = statistics.median(s for s, _ in runs)
    megabytes = max(m for _, m in runs)
    ratio = f"{rival / seconds:.2f}" if rival else ""
    return f"| {who} | {threads} | {seconds:.2f} | {rows / seconds / 1e6:.2f} | {ratio} | {megabytes:.0f} |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=4_000_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    arguments = arguments.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores {platform.machine()}, {arguments.rows:,} rows, "
          f"median of {arguments.rounds}\n")
    print("| case | threads | s | million rows/s | times DuckDB | peak MB |\n|---|--:|--:|--:|--:|--:|")
    for case in arguments.cases or CASES:
        file_format, hosts, *_, rival = CASES[case]
        # Made in memory, rows come so fast that as many as in a file are over before the process has warmed up.
        rows = arguments.rows * (10 if file_format == "generator" else 1)
        path = data(rows, file_format, hosts)
        for threads in (1, 2):
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(measure(thalweg(case, rows, path, threads)))
                if rival:
                    script = HERE / "rivals" / "duckdb_w1.py"
                    theirs.append(measure([duckdb_python(), script, path, str(threads), CACHE / "rival.csv"]))
            seconds = statistics.median(s for s, _ in theirs) if theirs else None
            print(line(rows, case, threads, ours, seconds), flush=True)
            if theirs:
                print(line(rows, f"{case}, DuckDB", threads, theirs), flush=True)


if __name__ == "__main__":
    main()
