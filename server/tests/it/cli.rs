//! The command line: what is printed, and the exit codes.

use crate::binary::{run, stderr, steady, thalweg};
use std::process::Stdio;

const BOUNDED: &str = "
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, item TEXT, price DOUBLE, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'orders.ndjson', format = 'json');
CREATE MATERIALIZED VIEW per_item AS
SELECT window_start, window_end, item, count(*) AS orders, sum(price) AS revenue
FROM TUMBLE(orders, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, item;
CREATE SINK history FROM per_item WITH (connector = 'parquet', path = 'out');
";

#[test]
fn a_bounded_run_ends_by_itself_and_leaves_parquet() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orders.ndjson"), crate::binary::ORDERS).unwrap();
    std::fs::write(folder.path().join("p.sql"), BOUNDED).unwrap();
    let output = run(folder.path(), &["run", "p.sql", "--pg", "off", "--http", "off"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("done: 4 rows in") && told.contains("0 late, 0 dead"), "{told}");

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = datafusion::prelude::SessionContext::new();
    let out = folder.path().join("out").display().to_string();
    let batches = runtime.block_on(async {
        let options = datafusion::prelude::ParquetReadOptions::default();
        context.register_parquet("history", &out, options).await.unwrap();
        let query = "SELECT item, orders, revenue FROM history ORDER BY item";
        context.sql(query).await.unwrap().collect().await.unwrap()
    });
    let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    let rows: Vec<&str> = shown.lines().skip(3).take(2).collect();
    assert_eq!(rows, ["| cake | 1      | 7.5     |", "| tea  | 3      | 10.0    |"], "{shown}");
}

#[test]
fn a_changelog_goes_into_files_in_an_envelope_and_comes_back_from_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orders.ndjson"), crate::binary::ORDERS).unwrap();
    let writing = "
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, item TEXT, price DOUBLE) WITH (connector = 'file', path = 'orders.ndjson');
CREATE MATERIALIZED VIEW items (item, n) AS SELECT item, count(*) FROM orders GROUP BY item;
CREATE SINK a FROM items WITH (connector = 'file', path = 'upserts.ndjson') ENVELOPE upsert (item);
CREATE SINK b FROM items ENVELOPE debezium WITH (connector = 'file', path = 'changes.ndjson');
CREATE SINK c FROM items WITH (connector = 'parquet', path = 'out') ENVELOPE upsert;
";
    std::fs::write(folder.path().join("w.sql"), writing).unwrap();
    let reading = "
CREATE SOURCE upserts (item TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'file', path = 'upserts.ndjson', format = 'upsert');
CREATE SOURCE changes (item TEXT PRIMARY KEY, n BIGINT) WITH (connector = 'file', path = 'changes.ndjson', format = 'debezium');
CREATE MATERIALIZED VIEW alike AS SELECT u.item, u.n FROM upserts u JOIN changes c ON u.item = c.item AND u.n = c.n;
CREATE SINK shown FROM alike WITH (connector = 'file', path = 'alike.csv', format = 'csv') ENVELOPE upsert (item);
";
    std::fs::write(folder.path().join("r.sql"), reading).unwrap();
    for pipeline in ["w.sql", "r.sql"] {
        let output = run(folder.path(), &["run", pipeline, "--pg", "off", "--http", "off", "--workers", "2"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(
        read("upserts.ndjson").contains("{\"item\":\"tea\",\"n\":3,\"_deleted\":false}"),
        "{}",
        read("upserts.ndjson")
    );
    let changes = read("changes.ndjson");
    assert!(changes.contains("\"after\":{\"item\":\"tea\",\"n\":3}"), "{changes}");
    let mut lines: Vec<String> = read("alike.csv").lines().map(str::to_string).collect();
    lines.sort();
    assert_eq!(lines, ["cake,1,false", "item,n,_deleted", "tea,3,false"]);
}

#[test]
fn check_looks_at_what_a_connector_says_of_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "CREATE SOURCE g WITH (connector = 'generator', rows = '10');\n\
                    CREATE SINK a FROM g WITH (connector = 'parquet', path = 'out', partition_by = 'day(ts), regoin');\n\
                    CREATE SOURCE b (x INT) WITH (connector = 'file', path = 'x', format = 'parquet', mode = 'tail');\n\
                    CREATE SOURCE c (x INT) WITH (connector = 'kafka', brokers = 'h:1', topic = 't', start = 'soon');\n\
                    CREATE SOURCE d (x INT) WITH (connector = 'kafka', brokers = 'h:1', topic = 't', 'kafka.bites' = '1');\n\
                    CREATE SINK e FROM g WITH (connector = 'kafka', brokers = 'h:1', topic = 't', key = 'hots');\n";
    std::fs::write(folder.path().join("p.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["check", "p.sql"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for expected in [
        "p.sql:2:",
        "Did you mean \"region\"?",
        "p.sql:3:",
        "cannot be followed",
        "p.sql:4:",
        "p.sql:5:",
        "p.sql:6:",
        "Did you mean \"host\"?",
        "5 errors",
    ] {
        assert!(told.contains(expected), "no {expected} in:\n{told}");
    }
    assert!(!folder.path().join("out").exists(), "nothing is touched");
}

#[test]
fn check_reports_every_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "CREATE SOURCE orders (ts TIMESTAMP, item TEXT) WITH (connector = 'fil', path = 'x');\n\
                    CREATE SOURCE clicks (ts TIMESTAMP, page TEXT) WITH (connector = 'file', path = 'x.ndjson');\n\
                    CREATE MATERIALIZED VIEW pages AS SELECT pgae, count(*) AS n FROM clicks GROUP BY page;\n";
    std::fs::write(folder.path().join("p.sql"), pipeline).unwrap();
    let output = run(folder.path(), &["check", "p.sql"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for expected in
        ["p.sql:1:", "'fil'", "Did you mean 'file'?", "p.sql:3:", "\"pgae\"", "Did you mean \"page\"?", "2 errors"]
    {
        assert!(told.contains(expected), "no {expected} in:\n{told}");
    }
}

#[test]
fn mistakes_end_with_1_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), BOUNDED).unwrap();
    for (arguments, expected) in [
        (&["run", "nowhere.sql"][..], "pipeline \"nowhere.sql\""),
        (&["run", "p.sql", "--workers", "none"], "option \"workers\""),
        (&["run", "p.sql", "--epoch", "50"], "option \"epoch\""),
        (&["run"], "PIPELINE"),
        (&["fly"], "fly"),
        (&["sql", "--http", "127.0.0.1:1", "SELECT 1"], "no engine answers"),
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--version"][..], &["--help"], &["help"], &["run", "--help"], &["sql", "--help"]] {
        assert_eq!(run(folder.path(), arguments).status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), BOUNDED).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["run", "p.sql", "--pg", &address, "--http", "off"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("address {address} for --pg cannot be used")), "{}", stderr(&output));
}

#[test]
fn sigterm_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(steady(folder.path()).terminate(), Some(0));
}

#[test]
fn sql_prints_what_the_engine_answers() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    let http = serving.http.to_string();
    let ask = |format: &str, query: &str| {
        let output = run(folder.path(), &["sql", "--http", &http, "--format", format, query]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let query = "SELECT item, orders FROM per_item ORDER BY item";
    assert_eq!(ask("csv", query), "item,orders\ncake,1\ntea,3\n");
    assert_eq!(ask("json", query), "{\"item\":\"cake\",\"orders\":1}\n{\"item\":\"tea\",\"orders\":3}\n");
    assert!(ask("table", query).ends_with("(2 rows)\n"));
    let mistaken = run(folder.path(), &["sql", "--http", &http, "SELECT itm FROM per_item"]);
    assert_eq!(mistaken.status.code(), Some(1));
    assert_eq!(stderr(&mistaken), "error: 1:8: column \"itm\" does not exist\n  hint: Did you mean \"item\"?\n");
}

#[test]
fn tests_beside_a_pipeline_are_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), BOUNDED).unwrap();
    let test = |revenue: &str| {
        format!(
            "INSERT INTO orders (ts, item, price) VALUES ('2026-01-01 00:00:01', 'tea', 2), ('2026-01-01 00:00:02', 'tea', 3);\n\
             ADVANCE INTERVAL '1 minute';\n\
             EXPECT SELECT item, orders, revenue FROM per_item;\n----\ntea | 2 | {revenue}\n\n\
             FINISH;\n\
             EXPECT SELECT count(*) FROM thalweg.late_rows;\n----\n0\n"
        )
    };
    std::fs::write(folder.path().join("p.test.sql"), test("5.0")).unwrap();
    let output = thalweg(folder.path(), &["test", "p.sql"]).stdout(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("ok      ") && told.contains("1 test passed, 0 failed"), "{told}");

    std::fs::write(folder.path().join("p.test.sql"), test("6.0")).unwrap();
    let output = run(folder.path(), &["test", "p.sql"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("FAILED") && told.contains("tea | 2 | 5.0"), "{told}");
}
