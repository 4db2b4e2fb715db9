//! The PostgreSQL wire protocol, against the built binary: a driver, and psql where there is one.

use crate::binary::{Serving, steady};
use futures::StreamExt;
use std::process::{Command, Stdio};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

fn with_client<F: Future<Output = ()>>(test: impl FnOnce(Client) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = format!("host=127.0.0.1 port={} user=test dbname=thalweg", serving.pg.port());
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await.unwrap();
        tokio::spawn(connection);
        test(client).await;
    });
    drop(serving);
}

#[test]
fn prepared_statements_take_parameters() {
    with_client(async |client| {
        // The short way and the long way, each twice.
        for query in [
            "SELECT item, orders, revenue FROM per_item WHERE item = $1",
            "SELECT item, orders, revenue FROM per_item WHERE item = $1 AND orders > 0",
        ] {
            let statement = client.prepare(query).await.unwrap();
            for (item, orders, revenue) in [("tea", 3_i64, 10.0_f64), ("cake", 1, 7.5)] {
                let row = client.query_one(&statement, &[&item]).await.unwrap();
                assert_eq!((row.get::<_, String>(0), row.get(1), row.get(2)), (item.to_string(), orders, revenue));
            }
            assert!(client.query(&statement, &[&"nothing"]).await.unwrap().is_empty());
        }
    });
}

/// The rows of a text in the simple protocol, cells parted by `|`.
async fn simple(client: &Client, text: &str) -> Vec<String> {
    let messages = client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    rows.collect()
}

#[test]
fn statements_are_prepared_by_name_in_sql() {
    with_client(async |client| {
        let prepare =
            "PREPARE of_item (text, int) AS SELECT item, orders FROM per_item WHERE item = $1 AND orders > $2";
        simple(&client, prepare).await;
        assert_eq!(simple(&client, "EXECUTE of_item('tea', 1 + 1); EXECUTE of_item('cake', 5)").await, ["tea|3"]);
        let row = client.query_one("EXECUTE of_item('cake', 0)", &[]).await.unwrap();
        assert_eq!((row.get::<_, String>(0), row.get::<_, i64>(1)), ("cake".to_string(), 1));
        for (text, code) in [
            (prepare, "42P05"),
            ("EXECUTE of_item('tea')", "42601"),
            ("EXECUTE of_item('tea', 'x')", "22023"),
            ("EXECUTE nothing", "26000"),
            ("PREPARE broken SELECT 1", "42601"),
        ] {
            let error = client.simple_query(text).await.unwrap_err();
            assert_eq!(error.code().map(|code| code.code()), Some(code), "{text}: {error:?}");
        }
        simple(&client, "DEALLOCATE PREPARE of_item; PREPARE one AS SELECT 1; DEALLOCATE ALL").await;
        assert!(client.simple_query("EXECUTE of_item('tea', 1)").await.is_err());
        assert!(client.simple_query("EXECUTE one").await.is_err());
    });
}

#[test]
fn relations_are_listed_described_and_explained() {
    with_client(async |client| {
        let described = ["item|TEXT|t", "orders|BIGINT|f", "revenue|DOUBLE|t"];
        assert_eq!(simple(&client, "DESCRIBE per_item").await, described);
        assert_eq!(simple(&client, "DESC public.per_item;").await, described);
        assert_eq!(simple(&client, "SHOW SOURCES").await.len(), 1);
        assert_eq!(simple(&client, "SHOW VIEWS").await.len(), 3);
        assert_eq!(simple(&client, "SHOW MATERIALIZED VIEWS").await.len(), 2);
        let created = simple(&client, "SHOW CREATE VIEW dear").await;
        assert_eq!(created, ["dear|CREATE VIEW dear AS SELECT item, price FROM sold WHERE price > 5"]);
        assert!(simple(&client, "SHOW CREATE SOURCE orders").await[0].starts_with("orders|CREATE SOURCE orders (ts"));
        assert_eq!(simple(&client, "SHOW COLUMNS FROM per_item").await, described);
        assert!(
            simple(&client, "SHOW ALL")
                .await
                .contains(&"timezone|UTC|Kept with the connection for PostgreSQL's clients.".to_string())
        );
        assert!(simple(&client, "SHOW NOTIFIERS").await.is_empty());
        let error = client.simple_query("SHOW CREATE SINK dear").await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().hint(), Some("Write SHOW CREATE VIEW dear."));
        assert!(simple(&client, "SHOW SINKS").await.is_empty() && simple(&client, "SHOW ALERTS").await.is_empty());
        assert!(simple(&client, "EXPLAIN per_item").await[0].starts_with("materialized view per_item: changelog"));
        let analyzed = simple(&client, "EXPLAIN ANALYZE per_item").await;
        assert!(analyzed.iter().any(|line| line.starts_with("  MergeReduce: ")), "{analyzed:?}");
        assert!(analyzed.last().unwrap().starts_with("  view: 2 rows in "), "{analyzed:?}");
        let error = client.simple_query("DESCRIBE per_itm").await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().hint(), Some("Did you mean \"per_item\"?"));
    });
}

#[test]
fn texts_stand_in_dollars_and_windows_in_queries() {
    with_client(async |client| {
        let text = "SELECT $$it's$$, interval $$1 day$$ = interval '24 hours', $tag$a;b$tag$";
        assert!(simple(&client, text).await[0].starts_with("it's|"));
        let windows = "SELECT window_end, count(*) FROM TUMBLE(sold, ts, interval $$2 seconds$$) GROUP BY 1 ORDER BY 1";
        assert_eq!(
            simple(&client, windows).await,
            ["2026-01-01 00:00:02.000000|1", "2026-01-01 00:00:04.000000|1", "2026-01-01 00:00:06.000000|1"]
        );
        let rows =
            client.query("SELECT item FROM TUMBLE(sold, ts, INTERVAL '1 minute') WHERE price > $1", &[&5.0]).await;
        assert_eq!(rows.unwrap().len(), 1);
    });
}

#[test]
fn errors_have_their_code_place_and_hint() {
    with_client(async |client| {
        let error = client.simple_query("SELECT 1; SELECT itm FROM per_item").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42703");
        assert_eq!(error.hint(), Some("Did you mean \"item\"?"));
        assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(18)));
        // The connection goes on.
        assert_eq!(client.query_one("SELECT 1::bigint", &[]).await.unwrap().get::<_, i64>(0), 1);
    });
}

#[test]
fn cursors_fetch_changes() {
    with_client(async |client| {
        client.batch_execute("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO sold WITH (snapshot = true)").await.unwrap();
        let rows = |messages: Vec<SimpleQueryMessage>| {
            let rows = messages.into_iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_)));
            rows.count()
        };
        assert_eq!(rows(client.simple_query("FETCH 2 FROM c").await.unwrap()), 2);
        assert_eq!(rows(client.simple_query("FETCH 5 FROM c").await.unwrap()), 1);
        client.batch_execute("COMMIT").await.unwrap();
        let error = client.simple_query("FETCH 1 FROM c").await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), "34000");
    });
}

#[test]
fn an_earlier_epoch_is_read_by_its_number() {
    with_client(async |client| {
        let epoch = simple(&client, "SELECT epoch FROM thalweg.views WHERE name = 'per_item'").await.remove(0);
        let query = "SELECT item, orders FROM per_item ORDER BY item";
        assert_eq!(simple(&client, &format!("{query} AS OF {epoch};")).await, simple(&client, query).await);
        for (text, code, message) in [
            ("SELECT * FROM per_item AS OF 99999999999", "22023", "epoch 99999999999 is not complete yet"),
            ("SELECT 1 AS OF 3", "0A000", "AS OF an epoch asks how a view was, and this query reads none"),
            ("SUBSCRIBE TO sold WITH (snapshots = true)", "42601", "expected snapshot or progress"),
        ] {
            let error = client.simple_query(text).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!((error.code().code(), error.message()), (code, message));
        }
    });
}

#[test]
fn a_subscription_tells_of_progress_and_goes_on_from_an_epoch() {
    with_client(async |client| {
        let declare = "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO sold WITH (snapshot = true, progress = true)";
        client.batch_execute(declare).await.unwrap();
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|row: &String| row.contains("|0|NULL")) {
            heard.extend(simple(&client, "FETCH 100 FROM c").await);
        }
        let changes = heard.iter().filter(|row| !row.contains("|0|NULL")).count();
        assert_eq!(changes, 3, "{heard:?}");
        let progress = heard.last().unwrap().split('|').next().unwrap().to_string();
        client.batch_execute("COMMIT").await.unwrap();
        // What was told need not be told again.
        let again = format!("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO sold AS OF {progress} WITH (progress = true)");
        client.batch_execute(&again).await.unwrap();
        let first = simple(&client, "FETCH 1 FROM c").await.remove(0);
        assert!(first.contains("|0|NULL"), "{first}");
        // Progress comes for ever: all that has come is handed over all the same.
        assert!(!simple(&client, "FETCH ALL FROM c").await.is_empty());
        client.batch_execute("COMMIT; BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO sold").await.unwrap();
        assert!(simple(&client, "FETCH ALL FROM c WITH (timeout = '10ms')").await.is_empty());
        client.batch_execute("COMMIT").await.unwrap();
        // Rows are sent at once, though what tells of progress follows without a pause.
        let copy = "COPY (SUBSCRIBE TO sold WITH (snapshot = true, progress = true)) TO STDOUT";
        let rows = client.copy_out(copy).await.unwrap();
        let first = std::pin::pin!(rows).next().await.unwrap().unwrap();
        assert!(!first.is_empty());
    });
}

#[test]
fn a_subscription_can_be_cancelled() {
    with_client(async |client| {
        let token = client.cancel_token();
        let subscription = client.simple_query("SUBSCRIBE TO sold");
        let cancel = async {
            // Until the statement runs there is nothing to cancel: asked again until it has ended.
            loop {
                token.cancel_query(NoTls).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::select! {
            outcome = subscription => outcome,
            () = cancel => unreachable!("it asks for ever"),
        };
        assert_eq!(outcome.unwrap_err().as_db_error().unwrap().code().code(), "57014");
    });
}

#[test]
fn a_query_that_sleeps_can_be_cancelled_and_times_out() {
    with_client(async |client| {
        let rows = client.query("SELECT pg_sleep(0), pg_sleep(NULL) IS NULL", &[]).await.unwrap();
        assert_eq!((rows[0].get::<_, String>(0), rows[0].get::<_, bool>(1)), (String::new(), true));
        client.simple_query("SET statement_timeout = '50ms'").await.unwrap();
        let error = client.simple_query("SELECT pg_sleep(3600)").await.map(drop).unwrap_err();
        assert_eq!(error.as_db_error().unwrap().message(), "canceling statement due to statement timeout");
        client.simple_query("SET statement_timeout = 0").await.unwrap();
        // The last of what is asked: a request to cancel may come when its statement has ended.
        let token = client.cancel_token();
        let cancel = async {
            loop {
                token.cancel_query(NoTls).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::select! {
            outcome = client.query("SELECT pg_sleep(3600)", &[]) => outcome.map(drop),
            () = cancel => unreachable!("it asks for ever"),
        };
        assert_eq!(outcome.unwrap_err().as_db_error().unwrap().code().code(), "57014");
    });
}

#[test]
fn a_query_that_never_ends_is_ended_by_its_timeout() {
    with_client(async |client| {
        client.simple_query("SET statement_timeout = '200ms'").await.unwrap();
        let endless = "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n % 5 + 1 FROM n) SELECT count(*) FROM n";
        for outcome in [client.simple_query(endless).await.map(drop), client.query(endless, &[]).await.map(drop)] {
            let error = outcome.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(
                (error.code().code(), error.message()),
                ("57014", "canceling statement due to statement timeout")
            );
        }
        // What takes no time is answered as ever, however late its rows are taken.
        assert_eq!(simple(&client, "SELECT count(*) > 0 FROM per_item").await, ["t"]);
    });
}

#[test]
fn clients_find_their_way_around() {
    with_client(async |client| {
        for query in [
            "SELECT current_database(), current_schema(), version()",
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
            "SHOW server_version",
            "SHOW VIEWS",
            "EXPLAIN per_item",
            "SET datestyle = 'ISO'",
            "SELECT typname FROM pg_type WHERE oid = 25",
        ] {
            client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        }
        let columns =
            "SELECT data_type FROM information_schema.columns WHERE table_name = 'sold' AND column_name = 'ts'";
        let row = client.query_one(columns, &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "timestamp without time zone");
    });
}

fn psql(serving: &Serving, command: &str) -> String {
    let port = serving.pg.port().to_string();
    let output = Command::new("psql")
        .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &port, "-d", "thalweg", "-c", command])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn psql_describes_relations() {
    if Command::new("psql").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: psql is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    assert!(psql(&serving, "\\d").contains("public|dear|view|"));
    assert!(psql(&serving, "\\dm").contains("public|per_item|materialized view|"));
    assert!(psql(&serving, "\\dv").contains("public|dear|view|"));
    assert!(psql(&serving, "\\sv dear").contains("SELECT item, price FROM sold WHERE price > 5"));
    assert!(psql(&serving, "\\d sold").contains("ts|timestamp without time zone|"));
    for command in ["\\dn", "\\dn+", "\\du", "\\l", "\\dT", "\\dt", "\\dt+", "\\dm+"] {
        psql(&serving, command);
    }
    assert_eq!(psql(&serving, "SELECT item, orders FROM per_item ORDER BY item"), "cake|1\ntea|3\n");
    assert_eq!(
        psql(&serving, "COPY (SELECT item, orders FROM per_item ORDER BY item) TO STDOUT WITH (FORMAT csv, HEADER)"),
        "item,orders\ncake,1\ntea,3\n"
    );
}
