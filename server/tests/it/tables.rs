//! Tables that INSERT feeds: seen when the statement is answered, there after a crash, replaced, changed and removed by key.

use crate::binary::{SERVE, Serving, serve, serve_as, thalweg};
use crate::http::rows;
use futures::SinkExt;
use std::net::SocketAddr;
use tokio_postgres::{Client, NoTls};

const PIPELINE: &str = "
CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL, age INT);
CREATE TABLE visits (ts TIMESTAMP NOT NULL, id BIGINT, WATERMARK FOR ts AS ts);
CREATE MATERIALIZED VIEW by_name AS SELECT name, count(*) AS n FROM people GROUP BY name;
CREATE MATERIALIZED VIEW per_minute AS
  SELECT window_start, count(*) AS n FROM TUMBLE(visits, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
";

fn with_client<F: Future<Output = ()>>(pg: SocketAddr, test: impl FnOnce(Client) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = format!("host=127.0.0.1 port={} user=test dbname=thalweg", pg.port());
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await.unwrap();
        tokio::spawn(connection);
        test(client).await;
    });
}

fn people(serving: &Serving) -> String {
    rows(serving, "SELECT id, name, age FROM people ORDER BY id")
}

#[test]
fn inserted_rows_are_seen_at_once_and_outlive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(folder.path(), PIPELINE);
    with_client(serving.pg, async |client| {
        let text = "INSERT INTO people VALUES (1, 'Ada', 36), (2, 'Bob', NULL)";
        assert_eq!(client.execute(text, &[]).await.unwrap(), 2);
        let one =
            client.query_one("SELECT count(*), sum(n)::bigint FROM people CROSS JOIN by_name", &[]).await.unwrap();
        assert_eq!((one.get::<_, i64>(0), one.get::<_, i64>(1)), (4, 4));
        let insert = client.prepare("INSERT INTO people (name, id) VALUES ($1, $2)").await.unwrap();
        assert_eq!(client.execute(&insert, &[&"Cyd", &3i64]).await.unwrap(), 1);
        // The row of the same key is replaced.
        client.batch_execute("INSERT INTO people SELECT id, 'Ben', 40 FROM people WHERE name = 'Bob'").await.unwrap();
    });
    assert_eq!(people(&serving), "1,Ada,36\n2,Ben,40\n3,Cyd,\n");
    drop(serving);
    let again = serve_as(folder.path(), PIPELINE, thalweg(folder.path(), &SERVE));
    assert_eq!(rows(&again, "INSERT INTO visits VALUES ('2026-01-01 00:00:05', 1), ('2026-01-01 00:01:00', 2)"), "2\n");
    assert_eq!(people(&again), "1,Ada,36\n2,Ben,40\n3,Cyd,\n");
    assert_eq!(rows(&again, "SELECT name, n FROM by_name ORDER BY name"), "Ada,1\nBen,1\nCyd,1\n");
    assert_eq!(rows(&again, "SELECT n FROM per_minute ORDER BY window_start"), "1\n1\n");
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn rows_are_changed_and_removed_by_a_condition_and_it_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(folder.path(), PIPELINE);
    with_client(serving.pg, async |client| {
        let text =
            "INSERT INTO people VALUES (1, 'Ada', 36), (2, 'Bob', NULL), (3, 'Cyd', 7), (4, 'Dan', 8), (5, 'Eve', 9)";
        client.batch_execute(text).await.unwrap();
        let older = "UPDATE people AS p SET age = p.age + 1, name = upper(name) WHERE p.age < 9";
        assert_eq!(client.execute(older, &[]).await.unwrap(), 2);
        let update = client.prepare("UPDATE people SET age = $1 WHERE name = $2").await.unwrap();
        assert_eq!(client.execute(&update, &[&21i32, &"Bob"]).await.unwrap(), 1);
        assert_eq!(client.execute("DELETE FROM people WHERE id = $1", &[&1i64]).await.unwrap(), 1);
        assert_eq!(client.execute("DELETE FROM people WHERE id > 90", &[]).await.unwrap(), 0);
        client.batch_execute("UPDATE people SET age = DEFAULT WHERE id IN (SELECT max(id) FROM people)").await.unwrap();
        // What two statements add at a time is added twice.
        let add = "UPDATE people SET age = age + 10 WHERE id = 2";
        let (first, second) = futures::join!(client.execute(add, &[]), async {
            let (other, connection) = tokio_postgres::connect(
                &format!("host=127.0.0.1 port={} user=test dbname=thalweg", serving.pg.port()),
                NoTls,
            )
            .await
            .unwrap();
            tokio::spawn(connection);
            other.execute(add, &[]).await
        });
        assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    });
    let left = "2,Bob,41\n3,CYD,8\n4,DAN,9\n5,Eve,\n";
    assert_eq!(people(&serving), left);
    assert_eq!(rows(&serving, "SELECT name, n FROM by_name ORDER BY name"), "Bob,1\nCYD,1\nDAN,1\nEve,1\n");
    drop(serving);
    let again = serve_as(folder.path(), PIPELINE, thalweg(folder.path(), &SERVE));
    assert_eq!(people(&again), left);
    assert_eq!(rows(&again, "DELETE FROM people"), "4\n");
    assert_eq!(people(&again), "");
    assert_eq!(rows(&again, "SELECT count(*) FROM by_name"), "0\n");
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn what_does_not_fit_a_table_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(folder.path(), PIPELINE);
    with_client(serving.pg, async |client| {
        for (text, code, told) in [
            ("INSERT INTO poeple VALUES (1)", "42P01", "table \"poeple\" does not exist"),
            ("INSERT INTO by_name VALUES ('x', 1)", "42809", "\"by_name\" is no table"),
            ("INSERT INTO people VALUES (1, 'x', 2, 3)", "42601", "more values than columns"),
            ("INSERT INTO people (id, nmae) VALUES (1, 'x')", "42703", "column \"nmae\" of table \"people\""),
            ("INSERT INTO people (id) VALUES (1)", "23502", "column \"name\" of table \"people\" is NOT NULL"),
            ("INSERT INTO people VALUES (1)", "23502", "column \"name\" of table \"people\" is NOT NULL"),
            ("INSERT INTO people VALUES (1, 'x', 1), (2, NULL, 2)", "23502", "row 2 has no value"),
            ("INSERT INTO people VALUES (1, 'x', 'old')", "22P02", "column \"age\""),
            ("INSERT INTO people VALUES (1, 'x') ON CONFLICT DO NOTHING", "42601", "ON CONFLICT is not supported"),
            ("UPDATE people SET id = 2", "0A000", "column \"id\" is of the PRIMARY KEY"),
            ("UPDATE people SET nmae = 'x'", "42703", "column \"nmae\" of table \"people\""),
            ("UPDATE people SET age = 1, age = 2", "42601", "column \"age\" is set twice"),
            ("UPDATE people SET age = 1 WHERE nmae = 'x'", "42703", "nmae"),
            ("UPDATE people SET age = 1 FROM visits", "42601", "UPDATE .. FROM is not supported"),
            ("DELETE FROM people RETURNING id", "42601", "RETURNING is not supported"),
            ("DELETE FROM visits", "0A000", "DELETE takes a table with a PRIMARY KEY"),
            ("DELETE FROM by_name", "42809", "\"by_name\" is no table"),
            ("DELETE people WHERE", "42601", "expected"),
        ] {
            let error = client.batch_execute(text).await.unwrap_err();
            let error = error.as_db_error().unwrap_or_else(|| panic!("{text}: {error:?}"));
            assert_eq!(error.code().code(), code, "{text}: {error:?}");
            assert!(error.message().contains(told), "{text}: {error:?}");
        }
        assert!(client.query("SELECT * FROM people", &[]).await.unwrap().is_empty());
        // A table is known by its own name, whatever takes its rows in.
        client.batch_execute("REPLAY DEAD LETTERS FROM people").await.unwrap();
        // Tables come and go like everything else.
        client.batch_execute("CREATE TABLE notes (note TEXT)").await.unwrap();
        client.batch_execute("INSERT INTO notes VALUES ('kept')").await.unwrap();
        // What is created over rows that are there shows them when it is answered.
        client.batch_execute("CREATE MATERIALIZED VIEW copy_of AS SELECT note FROM notes").await.unwrap();
        assert_eq!(client.query("SELECT note FROM copy_of", &[]).await.unwrap().len(), 1);
        assert_eq!(client.query("SELECT note FROM notes", &[]).await.unwrap().len(), 1);
        client.batch_execute("DROP TABLE notes CASCADE").await.unwrap();
        assert_eq!(client.query("SELECT * FROM notes", &[]).await.unwrap_err().code().unwrap().code(), "42P01");
    });
}

#[test]
fn what_is_left_out_has_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(
        folder.path(),
        "CREATE TABLE notes (id BIGINT DEFAULT 7, at TIMESTAMP NOT NULL DEFAULT now(), mood TEXT DEFAULT 'fine',
           tag TEXT NOT NULL DEFAULT upper('none'), raw BYTEA);",
    );
    with_client(serving.pg, async |client| {
        for text in [
            "INSERT INTO notes (raw) VALUES ('\\x00ff')",
            "INSERT INTO notes (id, mood) VALUES (1, DEFAULT), (DEFAULT, 'bad')",
            "INSERT INTO notes DEFAULT VALUES",
            "INSERT INTO notes VALUES (2, '2026-01-01')",
        ] {
            client.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
        let error = client.batch_execute("INSERT INTO notes (tag) VALUES (NULL)").await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "23502", "{error:?}");
        let bytes = client.query_one("SELECT raw, '\\x01'::bytea FROM notes WHERE raw IS NOT NULL", &[]).await.unwrap();
        assert_eq!((bytes.get::<_, Vec<u8>>(0), bytes.get::<_, Vec<u8>>(1)), (vec![0, 255], vec![1]));
    });
    let told = "SELECT id, mood, tag, count(*) FROM notes WHERE at >= '2026-01-01' GROUP BY 1, 2, 3 ORDER BY 1, 2";
    assert_eq!(rows(&serving, told), "1,fine,NONE,1\n2,fine,NONE,1\n7,bad,NONE,1\n7,fine,NONE,2\n");
}

#[test]
fn rows_are_copied_in_all_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(folder.path(), PIPELINE);
    with_client(serving.pg, async |client| {
        let copy = async |statement: &str, data: &'static str| {
            let sink = client.copy_in::<_, bytes::Bytes>(statement).await?;
            let mut sink = std::pin::pin!(sink);
            sink.as_mut().send(bytes::Bytes::from(data)).await?;
            sink.finish().await
        };
        assert_eq!(copy("COPY people FROM STDIN", "1\tAda\t36\n2\tBob\t\\N\n").await.unwrap(), 2);
        let csv = "COPY people (name, id) FROM STDIN WITH (FORMAT csv, HEADER)";
        assert_eq!(copy(csv, "name,id\n\"Cyd, the third\",3\n").await.unwrap(), 1);
        for (data, code, told) in [
            ("4\tDan\n", "22P04", "COPY line 1 is missing data for column \"age\""),
            ("4\tDan\t1\t1\n", "22P04", "COPY line 1 has data after the last column"),
            ("4\tDan\t1\nx\tEve\t2\n", "22P02", "column \"id\""),
            ("4\t\\N\t1\n", "23502", "row 1 has no value"),
        ] {
            let error = copy("COPY people FROM STDIN", data).await.unwrap_err();
            let error = error.as_db_error().unwrap_or_else(|| panic!("{data}: {error:?}"));
            assert_eq!(error.code().code(), code, "{data}: {error:?}");
            assert!(error.message().contains(told), "{data}: {error:?}");
        }
        let error = client.copy_in::<_, bytes::Bytes>("COPY by_name FROM STDIN").await.err().unwrap();
        assert_eq!(error.code().unwrap().code(), "42809", "{error:?}");
    });
    assert_eq!(people(&serving), "1,Ada,36\n2,Bob,\n3,\"Cyd, the third\",\n");
}
