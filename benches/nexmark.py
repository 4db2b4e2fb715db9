#!/usr/bin/env python3
"""Nexmark: whole runs of the release binary over one NDJSON file of events and from the generator; prints a table.

    cargo build --release --workspace && benches/nexmark.py [--events N] [--rounds N] [QUERY...]

The queries are those of nexmark/queries.sql, each in a pipeline of its own into a blackhole. Wall time is that of the
whole process, from start to exit; memory is the peak of its resident set. Data are kept in ~/.cache/thalweg-bench
(or $THALWEG_BENCH_CACHE).
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import time

from run import CACHE, HERE, TARGET, measure

GENERATED = """
CREATE SOURCE nexmark WITH (connector = 'generator', kind = 'nexmark', rows = '{events}', seed = '1', interval = '100us');
"""
FROM_FILE = """
CREATE SOURCE nexmark (
  date_time TIMESTAMP NOT NULL, event_type INT NOT NULL,
  person STRUCT<id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT, date_time TIMESTAMP, extra TEXT>,
  auction STRUCT<id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP,
                 expires TIMESTAMP, seller BIGINT, category BIGINT, extra TEXT>,
  bid STRUCT<auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP, extra TEXT>,
  WATERMARK FOR date_time AS date_time
) WITH (connector = 'file', path = '{path}', format = 'json');
"""
# What q14 calls.
FUNCTIONS = """
CREATE FUNCTION count_char(text TEXT, c TEXT) RETURNS BIGINT RETURN length(text) - length(replace(text, c, ''));
"""
RELATIONS = ("person", "auction", "bid")


def texts():
    """The relations and queries by name."""
    parts = (HERE / "nexmark" / "queries.sql").read_text().split("\n\n-- ")[1:]
    return dict((part.split("\n", 1)[0], part.split("\n", 1)[1].strip()) for part in parts)


def windows(query):
    """The query with its windows as they are written in SQL."""
    seconds = "INTERVAL '{} seconds'".format
    query = re.sub(r"\{tumble (\w+) (\d+)\}", lambda m: f"TUMBLE({m[1]}, date_time, {seconds(m[2])})", query)
    query = re.sub(r"\{hop (\w+) (\d+) (\d+)\}",
                   lambda m: f"HOP({m[1]}, date_time, {seconds(m[2])}, {seconds(m[3])})", query)
    return re.sub(r"\{session (\d+)\}",
                  lambda m: f"SESSION(bid, date_time, {seconds(m[1])}, PARTITION BY bidder)", query)


def command(pipeline, workers):
    shutil.rmtree(CACHE / "state", ignore_errors=True)
    addresses = ["--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    return [TARGET / "thalweg", "run", pipeline, "--workers", str(workers), "--data", CACHE / "state", *addresses]


def events(count):
    """The events as a file, made once."""
    path = CACHE / f"nexmark-{count}.ndjson"
    if not path.exists():
        partial, pipeline = path.with_suffix(".partial.ndjson"), CACHE / "nexmark-events.sql"
        partial.unlink(missing_ok=True)
        pipeline.write_text(GENERATED.format(events=count) + "CREATE SINK events FROM nexmark WITH (connector = 'file', "
                            f"path = '{partial}', format = 'json');")
        measure(command(pipeline, 1))
        partial.rename(path)
    return path


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=2_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("queries", nargs="*", metavar="QUERY", help="q0 to q22; default: all")
    arguments = arguments.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    path, known = events(arguments.events), texts()
    relations = "".join(f"CREATE VIEW {name} AS {known[name]};\n" for name in RELATIONS)
    sources = {"file": FROM_FILE.format(path=path), "generator": GENERATED.format(events=arguments.events)}
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores {platform.machine()}, {arguments.events:,} events, "
          f"median of {arguments.rounds}; million events/s and peak MB\n")
    print("| query | file, 1 worker | file, 2 | MB | generator, 1 | generator, 2 | MB |\n|---|--:|--:|--:|--:|--:|--:|")
    for query in arguments.queries or [name for name in known if name not in RELATIONS]:
        cells = []
        for source in sources.values():
            pipeline = CACHE / f"nexmark-{query}.sql"
            pipeline.write_text(f"{source}{FUNCTIONS}{relations}CREATE MATERIALIZED VIEW {query} AS {windows(known[query])};\n"
                                f"CREATE SINK results FROM {query} WITH (connector = 'blackhole');")
            peak = 0
            for workers in (1, 2):
                runs = [measure(command(pipeline, workers)) for _ in range(arguments.rounds)]
                cells.append(f"{arguments.events / statistics.median(s for s, _ in runs) / 1e6:.2f}")
                peak = max([peak, *(megabytes for _, megabytes in runs)])
            cells.append(f"{peak:.0f}")
        print(f"| {query} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
