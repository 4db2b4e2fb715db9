//! A real PostgreSQL as the table: a change, a removal, and the server away and back.

use super::{looked_up, pipeline, visit};
use crate::binary::serve;
use crate::http::{rows, wait_for};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio_postgres::NoTls;

/// A server, stopped when dropped, and when this process dies too: its script waits for the end of its input.
struct Database {
    script: Child,
    url: String,
    password: String,
    folder: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/postgres")
}

/// What the script says when the server serves.
fn told(script: &mut Child) -> BTreeMap<String, String> {
    let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.split_once([' ', '=']).map(|(a, b)| (a.to_string(), b.to_string()))).take(4).collect()
}

impl Database {
    /// `None`, said in the test's output, where PostgreSQL cannot be had.
    fn start() -> Option<Database> {
        let mut script = Command::new(script());
        let mut script = script.arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = told(&mut script);
        let mut take = |name: &str| said.remove(name);
        let (Some(url), Some(password), Some(folder)) = (take("PG_URL"), take("PG_PASSWORD"), take("dir")) else {
            println!("skipped: no PostgreSQL here");
            drop(script.wait());
            return None;
        };
        Some(Database { script, url, password, folder })
    }

    /// Stops the server, with what it holds.
    fn stop(&self) {
        assert!(Command::new(script()).args(["stop", &self.folder]).status().unwrap().success());
    }

    /// Starts it again, on the same port.
    fn start_again(&self) {
        let mut script = Command::new(script());
        let mut script = script.args(["start", &self.folder]).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(told(&mut script).get("PG_URL"), Some(&self.url));
        script.wait().unwrap();
    }

    fn execute(&self, statements: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config: tokio_postgres::Config = self.url.parse().unwrap();
            let (client, connection) = config.password(&self.password).connect(NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute(statements).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
        });
    }

    /// How a pipeline reads a table of it, over TLS with a certificate that is looked at, where the server has one.
    fn options(&self, table: &str) -> String {
        let root = Path::new(&self.folder).join("root.crt");
        let tls = if root.exists() {
            format!("sslmode = 'verify-full', sslrootcert = '{}'", root.display())
        } else {
            "sslmode = 'disable'".to_string()
        };
        format!(
            "connector = 'postgres', url = '{}', password = '{}', table = '{table}', {tls}",
            self.url, self.password
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}

#[test]
fn what_changes_in_postgres_is_found_from_then_on_and_what_was_found_stays() {
    let Some(database) = Database::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    database.execute(
        "CREATE SCHEMA crm; CREATE TABLE crm.services (service text PRIMARY KEY, owner text, tier int, secret bytea);
         INSERT INTO crm.services VALUES ('api', 'ada', 1, 'x'), ('web', 'Bób \"the\" \\ one', NULL, NULL)",
    );
    visit(folder.path(), "api", 0..10);
    let serving = serve(folder.path(), &pipeline(&database.options("crm.services")));
    wait_for(&serving, "SELECT count(*) FROM looked_up WHERE owner = 'ada'", "10\n");
    wait_for(&serving, "SELECT owner FROM owners WHERE service = 'web'", "\"Bób \"\"the\"\" \\ one\"\n");

    database.execute("UPDATE crm.services SET owner = 'cyd' WHERE service = 'api'");
    wait_for(&serving, "SELECT owner FROM owners WHERE service = 'api'", "cyd\n");
    visit(folder.path(), "api", 10..11);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 10", "cyd\n");
    wait_for(&serving, "SELECT count(*) FROM joined WHERE owner = 'cyd'", "11\n");

    database.execute("DELETE FROM crm.services WHERE service = 'web'");
    wait_for(&serving, "SELECT service FROM owners", "api\n");
    visit(folder.path(), "web", 11..12);
    wait_for(&serving, "SELECT count(*), count(owner) FROM looked_up", "12,11\n");

    let of_table = |columns: &str| format!("SELECT {columns} FROM thalweg.sources WHERE name = 'services'");
    assert_eq!(rows(&serving, &of_table("refreshes_failed")), "0\n");
    database.stop();
    wait_for(&serving, &of_table("refreshes_failed > 0"), "true\n");
    visit(folder.path(), "api", 12..13);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 12", "cyd\n");
    let told = rows(&serving, &of_table("last_error"));
    assert!(
        told.contains("was not read from 127.0.0.1:") && told.contains("/postgres, table crm.services: "),
        "{told}"
    );
    assert!(!told.contains(&database.password), "{told}");
    database.start_again();
    database.execute("UPDATE crm.services SET owner = 'eve'");
    wait_for(&serving, "SELECT owner FROM owners", "eve\n");
    visit(folder.path(), "api", 13..14);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 13", "eve\n");
    let all = looked_up(&serving);
    let expected = (0..10).map(|n| format!("{n},ada\n")).collect::<String>() + "10,cyd\n11,\n12,cyd\n13,eve\n";
    assert_eq!(all, expected);
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn postgres_is_asked_for_the_rows_of_keys_and_what_it_refuses_holds_up_only_itself() {
    let Some(database) = Database::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    database.execute(
        "CREATE TABLE owners (service text, n bigint, owner text, PRIMARY KEY (service, n));
         INSERT INTO owners SELECT 'o''neil \\ \"co\"', n, 'ada ' || n FROM generate_series(0, 999, 2) AS n;
         CREATE TABLE narrow (n smallint PRIMARY KEY, owner text); INSERT INTO narrow VALUES (1, 'eve')",
    );
    visit(folder.path(), "o'neil \\\\ \\\"co\\\"", 0..1000);
    let (pair, narrow) = (database.options("owners"), database.options("narrow"));
    let serving = serve(
        folder.path(),
        &format!(
            "CREATE SOURCE visits (ts TIMESTAMP NOT NULL, service TEXT, n BIGINT, WATERMARK FOR ts AS ts)
                 WITH (connector = 'file', path = 'visits.ndjson', format = 'json', mode = 'tail');
             CREATE TABLE owners (service TEXT, n BIGINT, owner TEXT, PRIMARY KEY (service, n)) WITH ({pair}, cache = 'lru');
             CREATE TABLE narrow (n BIGINT PRIMARY KEY, owner TEXT) WITH ({narrow}, cache = 'lru');
             CREATE MATERIALIZED VIEW looked_up AS SELECT v.n, s.owner FROM visits AS v
                 LEFT JOIN owners FOR SYSTEM_TIME AS OF v.ts AS s ON s.n = v.n AND s.service = v.service;
             CREATE MATERIALIZED VIEW narrowed AS SELECT v.n, s.owner FROM (SELECT * FROM visits WHERE n < 20) AS v
                 LEFT JOIN narrow FOR SYSTEM_TIME AS OF v.ts AS s ON s.n = v.n * v.n * 100 + 1;"
        ),
    );
    wait_for(&serving, "SELECT count(*), count(owner), max(owner) FROM looked_up", "1000,500,ada 998\n");
    // What is no SMALLINT there is refused, with the statement that asks for it.
    wait_for(&serving, "SELECT count(*), max(owner) FROM narrowed", "19,eve\n");
    let failed = "SELECT last_error FROM thalweg.sources WHERE name = 'narrow'";
    wait_for(&serving, &format!("SELECT count(*) FROM ({failed}) WHERE last_error IS NOT NULL"), "1\n");
    assert!(rows(&serving, failed).contains("out of range for type smallint"), "{}", rows(&serving, failed));
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn every_type_comes_as_it_was_declared_and_mistakes_are_told() {
    let Some(database) = Database::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    database.execute(
        "CREATE TABLE t (k bigint PRIMARY KEY, b bool, i smallint, f float8, d numeric(20, 4), s varchar, ts timestamp,
             tz timestamptz, day date, list int[], u uuid, j jsonb);
         INSERT INTO t VALUES (9007199254740993, true, -3, 0.1, 1234567890123456.7891, 'x', '2026-01-02 03:04:05.678901',
             '2026-01-02 03:04:05+02', '2026-01-02', '{1,2}', '6f1d0b8e-8f0a-4f0e-9c6e-000000000001', '{\"a\": [1]}'),
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    let table = |name: &str, columns: &str, of: &str| {
        let options = database.options(of);
        format!(
            "CREATE TABLE {name} ({columns}) WITH ({options}, refresh = '100ms');
                 CREATE MATERIALIZED VIEW of_{name} AS SELECT * FROM {name};"
        )
    };
    let columns =
        "k BIGINT PRIMARY KEY, b BOOLEAN, i SMALLINT, f DOUBLE, d DECIMAL(20, 4), s TEXT, ts TIMESTAMP, tz TIMESTAMP,
        day DATE, list INT[], u TEXT, j TEXT";
    let pipeline = [
        table("good", columns, "t"),
        table("absent", "k BIGINT PRIMARY KEY", "nowhere"),
        table("other", "k BIGINT PRIMARY KEY, nothing TEXT", "t"),
    ];
    let serving = serve(folder.path(), &pipeline.concat());
    let expected = "2,,,,,,,,,,,,\n9007199254740993,true,-3,0.1,1234567890123456.7891,x,2026-01-02T03:04:05.678901,\
                    2026-01-02T01:04:05,2026-01-02,1,2,6f1d0b8e-8f0a-4f0e-9c6e-000000000001,\"{\"\"a\"\": [1]}\"\n";
    wait_for(
        &serving,
        "SELECT k, b, i, f, d, s, ts, tz, day, list[1], list[2], u, j FROM of_good ORDER BY k",
        expected,
    );
    for (name, told) in [
        ("absent", "relation \"\"nowhere\"\" does not exist (42P01)"),
        ("other", "column \"\"nothing\"\" does not exist (42703)"),
    ] {
        let failed = format!("SELECT refreshes_failed > 0 FROM thalweg.sources WHERE name = '{name}'");
        wait_for(&serving, &failed, "true\n");
        let error = format!("SELECT last_error FROM thalweg.sources WHERE name = '{name}'");
        wait_for(&serving, &format!("SELECT count(*) FROM ({error}) WHERE last_error IS NOT NULL"), "1\n");
        assert!(rows(&serving, &error).contains(told), "{}", rows(&serving, &error));
    }
    assert_eq!(serving.terminate(), Some(0));
}
