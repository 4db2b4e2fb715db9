//! The PostgreSQL wire protocol, against the built binary: a driver, and psql where there is one.

use crate::binary::{Serving, steady};
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
    assert!(psql(&serving, "\\dt").contains("public|per_item|table|"));
    assert!(psql(&serving, "\\d sold").contains("ts|timestamp without time zone|"));
    for command in ["\\dn", "\\du", "\\l", "\\dv"] {
        psql(&serving, command);
    }
    assert_eq!(psql(&serving, "SELECT item, orders FROM per_item ORDER BY item"), "cake|1\ntea|3\n");
    assert_eq!(
        psql(&serving, "COPY (SELECT item, orders FROM per_item ORDER BY item) TO STDOUT WITH (FORMAT csv, HEADER)"),
        "item,orders\ncake,1\ntea,3\n"
    );
}
