//! Sources, views and sinks that come and go while the built binary runs.

use crate::binary::{ORDERS, SERVE, STEADY, serve, serve_as, steady, thalweg};
use crate::http::{rows, wait_for, wait_for_orders};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use tokio_postgres::{Client, NoTls};

async fn connect(pg: SocketAddr) -> Client {
    let settings = format!("host=127.0.0.1 port={} user=test dbname=thalweg", pg.port());
    let (client, connection) = tokio_postgres::connect(&settings, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn with_clients<F: Future<Output = ()>>(pg: SocketAddr, test: impl FnOnce(Client, Client) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let clients = (connect(pg).await, connect(pg).await);
        test(clients.0, clients.1).await;
    });
}

const ITEMS: &str = "SELECT item, count(*) AS n FROM sold GROUP BY item ORDER BY item";

#[test]
fn what_is_created_sees_everything_and_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    let heard = ureq::get(format!("http://{}/api/v1/subscribe?view=per_item", serving.http)).call().unwrap();
    let mut lines = BufReader::new(heard.into_body().into_reader()).lines();
    with_clients(serving.pg, async |creator, reader| {
        let prepared = reader.prepare("SELECT orders FROM per_item WHERE item = $1").await.unwrap();
        let orders = async || reader.query_one(&prepared, &[&"tea"]).await.unwrap().get::<_, i64>(0);
        assert_eq!(orders().await, 3);
        let create = "CREATE MATERIALIZED VIEW of_items AS SELECT item, sum(n) AS pieces FROM sold GROUP BY item";
        creator.batch_execute(create).await.unwrap();
        creator.batch_execute("CREATE VIEW few AS SELECT item FROM of_items WHERE pieces < 3").await.unwrap();
        creator
            .batch_execute(&format!("{} -- again", create.replace("VIEW of", "VIEW IF NOT EXISTS of")))
            .await
            .unwrap();
        assert_eq!(orders().await, 3, "a statement that was prepared before goes on");
        assert_eq!(reader.query("SELECT item FROM few", &[]).await.unwrap().len(), 1);
    });
    wait_for(&serving, "SELECT * FROM of_items ORDER BY item", "cake,2\ntea,4\n");

    // A subscription to what has not changed goes on.
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("orders.ndjson")).unwrap();
    writeln!(file, r#"{{"ts":"2026-01-01T00:00:05","item":"tea","price":1.0,"n":1}}"#).unwrap();
    let change = lines.find(|line| line.as_ref().unwrap().contains("\"orders\":4")).unwrap().unwrap();
    assert!(change.contains("\"_diff\":1") && change.contains("\"tea\""), "{change}");
    wait_for(&serving, "SELECT * FROM of_items ORDER BY item", "cake,2\ntea,5\n");
    drop((lines, serving));

    let again = serve_as(folder.path(), STEADY, thalweg(folder.path(), &SERVE));
    assert_eq!(rows(&again, "SELECT item FROM few"), "cake\n");
    wait_for(&again, "SELECT * FROM of_items ORDER BY item", "cake,2\ntea,5\n");
}

#[test]
fn what_an_operator_waits_for_does_not_put_the_clock_forward() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(
        folder.path(),
        "CREATE TABLE t (k TEXT);
         CREATE MATERIALIZED VIEW kept WITH (state_ttl = '1 hour') AS SELECT k, count(*) AS n FROM t GROUP BY k;",
    );
    // An epoch lasts 50 ms, and they are counted from 1970.
    let now = "SELECT abs(epoch * 0.05 - extract(epoch FROM now())) < 600 FROM thalweg.views WHERE name = 'kept'";
    with_clients(serving.pg, async |client, _| {
        client.batch_execute("INSERT INTO t VALUES ('a')").await.unwrap();
    });
    wait_for(&serving, "SELECT k FROM kept", "a\n");
    for round in 0..3 {
        with_clients(serving.pg, async |client, _| {
            let create = format!("CREATE MATERIALIZED VIEW v{round} AS SELECT count(*) AS n FROM t");
            client.batch_execute(&create).await.unwrap();
        });
        assert_eq!(rows(&serving, now), "true\n", "after {round} changes before");
    }
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_sink_that_is_down_can_be_dropped_and_until_then_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("orders.ndjson"), ORDERS).unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = format!("CREATE SINK down FROM sold WITH (connector = 'webhook', url = 'http://{nobody}/rows');");
    let serving = serve(folder.path(), &format!("{STEADY}{sink}"));
    wait_for(&serving, "SELECT last_error IS NOT NULL FROM thalweg.sinks WHERE name = 'down'", "true\n");
    with_clients(serving.pg, async |client, _| {
        let create = "CREATE MATERIALIZED VIEW later AS SELECT item FROM sold";
        let error = client.batch_execute(create).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(error.message().starts_with("nothing can be changed while sink \"down\" is tried again"), "{error:?}");
        assert!(error.hint().unwrap().ends_with("or DROP SINK down first."), "{error:?}");
        client.batch_execute("DROP SINK down").await.unwrap();
        client.batch_execute(create).await.unwrap();
    });
    wait_for(&serving, "SELECT count(*) FROM later", "3\n");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn what_is_read_is_not_dropped_and_what_is_dropped_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    with_clients(serving.pg, async |client, other| {
        for (text, code, told) in [
            ("CREATE MATERIALIZED VIEW sold AS SELECT item FROM orders", "42P07", "\"sold\" already exists"),
            ("CREATE VIEW x AS SELECT itme FROM sold", "42601", "\"itme\""),
            ("DROP MATERIALIZED VIEW sold", "2BP01", "\"sold\" cannot be dropped: it is read"),
            ("DROP VIEW sold", "42809", "\"sold\" is a materialized view"),
            ("DROP SINK slod", "42P01", "\"slod\" does not exist"),
        ] {
            let error = client.batch_execute(text).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), code, "{text}: {error:?}");
            assert!(error.message().contains(told), "{text}: {error:?}");
        }
        let read = client.batch_execute("DROP SOURCE orders").await.unwrap_err();
        let detail = read.as_db_error().unwrap().detail().unwrap().to_string();
        assert_eq!(detail, "It is read by \"sold\", \"per_item\", \"dear\".");
        client.batch_execute("DROP VIEW IF EXISTS nothing").await.unwrap();
        client.batch_execute("DROP MATERIALIZED VIEW sold CASCADE").await.unwrap();
        for gone in ["sold", "dear"] {
            let error = other.simple_query(&format!("SELECT * FROM {gone}")).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42P01", "{error:?}");
        }
        assert_eq!(other.query("SELECT item FROM per_item", &[]).await.unwrap().len(), 2);
    });
    assert_eq!(serving.terminate(), Some(0));
    std::fs::write(folder.path().join("orders.ndjson"), ORDERS).unwrap();
    let again = serve(folder.path(), STEADY);
    assert_eq!(rows(&again, "SELECT name FROM thalweg.views"), "per_item\n");
    wait_for_orders(&again);
    // The same name can be taken again, by another statement.
    rows(&again, "CREATE MATERIALIZED VIEW sold AS SELECT item FROM orders WHERE n > 2");
    wait_for(&again, ITEMS, "tea,1\n");
}

#[test]
fn what_is_renamed_keeps_its_state_and_its_readers() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    wait_for_orders(&serving);
    with_clients(serving.pg, async |client, _| {
        client
            .batch_execute("CREATE MATERIALIZED VIEW pieces AS SELECT item, sum(sold.n) AS n FROM sold GROUP BY item")
            .await
            .unwrap();
        client.batch_execute("CREATE MATERIALIZED VIEW odd AS SELECT item, n AS few FROM pieces").await.unwrap();
        client.batch_execute("CREATE VIEW few AS SELECT * FROM odd").await.unwrap();
        for (text, code, told) in [
            ("ALTER VIEW sold RENAME TO x", "42809", "\"sold\" is a materialized view"),
            ("ALTER VIEW slod RENAME TO x", "42P01", "\"slod\" does not exist"),
            ("ALTER VIEW few RENAME TO odd", "42P07", "\"odd\" already exists"),
            ("ALTER MATERIALIZED VIEW sold RENAME x", "42601", "expected TO"),
        ] {
            let error = client.batch_execute(text).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), code, "{text}: {error:?}");
            assert!(error.message().contains(told), "{text}: {error:?}");
        }
        client.batch_execute("ALTER VIEW IF EXISTS nothing RENAME TO x").await.unwrap();
        // What is dropped of the file is no longer there to be read again: the rows are those of the state.
        std::fs::write(folder.path().join("orders.ndjson"), "").unwrap();
        client.batch_execute("ALTER MATERIALIZED VIEW sold RENAME TO \"Sold\"").await.unwrap();
        client.batch_execute("ALTER SOURCE orders RENAME TO incoming").await.unwrap();
        client.batch_execute("ALTER VIEW few RENAME TO fewer").await.unwrap();
    });
    let sold = "SELECT item, count(*) AS n FROM \"Sold\" GROUP BY item ORDER BY item";
    assert_eq!(rows(&serving, sold), "cake,1\ntea,2\n");
    assert_eq!(rows(&serving, "SELECT item, few FROM fewer ORDER BY item"), "cake,2\ntea,4\n");
    assert_eq!(rows(&serving, "SELECT item FROM dear"), "cake\n");
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("orders.ndjson")).unwrap();
    writeln!(file, r#"{{"ts":"2026-01-01T00:00:05","item":"tea","price":1.0,"n":1}}"#).unwrap();
    wait_for(&serving, "SELECT item, few FROM fewer ORDER BY item", "cake,2\ntea,5\n");
    drop(serving);

    let again = serve_as(folder.path(), STEADY, thalweg(folder.path(), &SERVE));
    wait_for(&again, "SELECT item, few FROM fewer ORDER BY item", "cake,2\ntea,5\n");
    assert_eq!(rows(&again, sold), "cake,1\ntea,3\n");
    assert_eq!(rows(&again, "SELECT name FROM thalweg.sources"), "incoming\n");
}

#[test]
fn what_is_replaced_takes_its_place_and_what_is_renamed_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = format!(
        "{STEADY}
         CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT);
         CREATE ALERT expensive FROM per_item BY item WARNING WHEN revenue > 5;
         CREATE SOURCE calls (ts TIMESTAMP NOT NULL, ok BOOLEAN, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'calls*.ndjson', mode = 'tail');
         CREATE SLO served FROM calls GOOD WHEN ok OBJECTIVE 0.9;
         CREATE SINK written FROM sold WITH (connector = 'file', path = 'written.ndjson');"
    );
    std::fs::write(folder.path().join("orders.ndjson"), ORDERS).unwrap();
    let serving = serve(folder.path(), &pipeline);
    wait_for_orders(&serving);
    with_clients(serving.pg, async |client, _| {
        client.batch_execute("INSERT INTO people VALUES (1, 'Ada')").await.unwrap();
        client.batch_execute("CREATE OR REPLACE VIEW dear AS SELECT item FROM sold WHERE price > 3").await.unwrap();
        client.batch_execute("CREATE OR REPLACE MATERIALIZED VIEW late AS SELECT item FROM sold").await.unwrap();
        client
            .batch_execute("CREATE OR REPLACE MATERIALIZED VIEW late AS SELECT item FROM sold WHERE n > 1")
            .await
            .unwrap();
        // It reads its source by itself, from the beginning.
        client.batch_execute("CREATE MATERIALIZED VIEW again AS SELECT item FROM orders").await.unwrap();
        client.batch_execute("ALTER TABLE people RENAME TO folk").await.unwrap();
        client.batch_execute("INSERT INTO folk VALUES (2, 'Bob')").await.unwrap();
        client.batch_execute("ALTER SINK written RENAME TO put_down").await.unwrap();
        client.batch_execute("ALTER ALERT expensive RENAME TO costly").await.unwrap();
        client.batch_execute("ALTER SOURCE orders RENAME TO incoming").await.unwrap();
        for (text, code, told) in [
            ("CREATE OR REPLACE VIEW late AS SELECT item FROM sold", "42809", "\"late\" is a materialized view"),
            ("CREATE OR REPLACE TABLE folk (id BIGINT)", "42601", "CREATE OR REPLACE TABLE is not supported"),
            ("CREATE OR REPLACE VIEW dear AS SELECT itme FROM sold", "42601", "\"itme\""),
            ("DROP ALERT served", "42809", "\"served\" is an SLO"),
        ] {
            let error = client.batch_execute(text).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), code, "{text}: {error:?}");
            assert!(error.message().contains(told), "{text}: {error:?}");
        }
        client.batch_execute("DROP SLO served").await.unwrap();
    });
    assert_eq!(rows(&serving, "SELECT item FROM dear ORDER BY item"), "cake\ntea\n");
    wait_for(&serving, "SELECT item FROM late ORDER BY item", "cake\ntea\n");
    wait_for(&serving, "SELECT name FROM folk ORDER BY id", "Ada\nBob\n");
    let named = "SELECT name FROM thalweg.sources ORDER BY 1";
    assert_eq!(rows(&serving, named), "folk$rows\nincoming\nincoming#2\n");
    assert_eq!(rows(&serving, "SELECT name FROM thalweg.sinks"), "put_down\n");
    wait_for(&serving, "SELECT DISTINCT alert FROM thalweg.alerts", "costly\n");
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("orders.ndjson")).unwrap();
    writeln!(file, r#"{{"ts":"2026-01-01T00:00:05","item":"tea","price":1.0,"n":1}}"#).unwrap();
    wait_for(&serving, "SELECT rows FROM thalweg.sinks", "4\n");
    drop(serving);

    let again = serve_as(folder.path(), &pipeline, thalweg(folder.path(), &SERVE));
    wait_for(&again, "SELECT name FROM folk ORDER BY id", "Ada\nBob\n");
    wait_for(&again, "SELECT item FROM late ORDER BY item", "cake\ntea\n");
}

#[test]
fn a_dataflow_is_explained_before_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    let plan =
        rows(&serving, "EXPLAIN CREATE MATERIALIZED VIEW few AS SELECT item, sum(n) AS n FROM sold GROUP BY item");
    assert!(plan.contains("materialized view few: changelog") && plan.contains("Reduce over append"), "{plan}");
    assert_eq!(rows(&serving, "SELECT count(*) FROM thalweg.views WHERE name = 'few'"), "0\n");
    with_clients(serving.pg, async |client, _| {
        let text = "EXPLAIN CREATE MATERIALIZED VIEW few AS SELECT itme FROM sold";
        let error = client.simple_query(text).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        let place = text.find("itme").unwrap() as u32 + 1;
        assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(place)), "{error:?}");
    });
}
