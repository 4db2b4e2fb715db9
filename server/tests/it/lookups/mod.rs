//! Lookup joins against the built binary: tables that change, are away, and change while the process is down.

mod asked;
mod postgres;

use crate::binary::{SERVE, Serving, serve, serve_as, thalweg};
use crate::documents::{block, holds};
use crate::http::{rows, wait_for};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[test]
fn the_page_about_lookup_joins_holds() {
    let document = include_str!("../../../../docs/sql/lookup-joins.md");
    holds(block(document, "sql"), block(document, "test"));
}

/// Numbered visits of a service, appended to a file that the pipeline follows.
fn visit(folder: &Path, service: &str, numbers: std::ops::Range<usize>) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("visits.ndjson")).unwrap();
    for n in numbers {
        writeln!(file, "{{\"ts\":\"2026-01-01T00:00:{:02}\",\"service\":\"{service}\",\"n\":{n}}}", n % 60).unwrap();
    }
}

/// The visits, what is found for each in `services`, and the table itself.
fn pipeline(services: &str) -> String {
    format!(
        "CREATE SOURCE visits (ts TIMESTAMP NOT NULL, service TEXT, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 minute')
             WITH (connector = 'file', path = 'visits.ndjson', format = 'json', mode = 'tail');
         CREATE TABLE services (service TEXT PRIMARY KEY, owner TEXT, tier INT) WITH ({services}, refresh = '100ms');
         CREATE MATERIALIZED VIEW owners AS SELECT service, owner, tier FROM services;
         CREATE MATERIALIZED VIEW looked_up AS SELECT v.ts, v.n, s.owner FROM visits AS v
             LEFT JOIN services FOR SYSTEM_TIME AS OF v.ts AS s ON s.service = v.service;
         CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, count(*) AS n, count(owner) AS owned
             FROM TUMBLE(looked_up, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
         CREATE MATERIALIZED VIEW joined AS SELECT v.n, s.owner FROM visits AS v JOIN services AS s ON s.service = v.service;"
    )
}

/// What is known of each visit.
fn looked_up(serving: &Serving) -> String {
    rows(serving, "SELECT n, owner FROM looked_up ORDER BY n")
}

#[test]
fn a_process_that_is_killed_finds_again_what_it_found_though_the_table_changed() {
    let folder = tempfile::tempdir().unwrap();
    let say = |text: &str| {
        // Another file in its place: nobody reads a half of it.
        std::fs::write(folder.path().join("new"), text).unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("services.ndjson")).unwrap();
    };
    let services = pipeline("connector = 'file', path = 'services.ndjson'");
    // No checkpoint comes in between: all must be found in the log.
    let arguments = [&SERVE[..], &["--checkpoint-interval", "1h"]].concat();
    let start = || serve_as(folder.path(), &services, thalweg(folder.path(), &arguments));
    say("{\"service\":\"api\",\"owner\":\"ada\"}\n{\"service\":\"web\",\"owner\":\"bob\"}\n");
    visit(folder.path(), "api", 0..20);
    let first = start();
    wait_for(&first, "SELECT count(owner) FROM looked_up", "20\n");
    say("{\"service\":\"api\",\"owner\":\"cyd\"}\n{\"service\":\"web\",\"owner\":\"bob\"}\n");
    wait_for(&first, "SELECT owner FROM owners ORDER BY service", "cyd\nbob\n");
    visit(folder.path(), "api", 20..40);
    visit(folder.path(), "web", 40..50);
    wait_for(&first, "SELECT owner, count(*) FROM looked_up GROUP BY owner ORDER BY owner", "ada,20\nbob,10\ncyd,20\n");
    let (found, counted) = (looked_up(&first), rows(&first, "SELECT n, owned FROM per_minute"));
    assert_eq!(counted, "50,50\n");
    // The plain join corrects what it said.
    wait_for(&first, "SELECT owner, count(*) FROM joined GROUP BY owner ORDER BY owner", "bob,10\ncyd,40\n");
    drop(first);

    say("{\"service\":\"api\",\"owner\":\"eve\"}\n");
    let second = start();
    wait_for(&second, "SELECT service, owner FROM owners", "api,eve\n");
    wait_for(&second, "SELECT count(*) FROM looked_up", "50\n");
    assert_eq!((looked_up(&second), rows(&second, "SELECT n, owned FROM per_minute")), (found.clone(), counted));
    visit(folder.path(), "web", 50..51);
    visit(folder.path(), "api", 51..52);
    wait_for(&second, "SELECT count(*) FROM looked_up", "52\n");
    assert_eq!(looked_up(&second), format!("{found}50,\n51,eve\n"));
    wait_for(&second, "SELECT owner, count(*) FROM joined GROUP BY owner ORDER BY owner", "eve,41\n");
    assert_eq!(second.terminate(), Some(0));

    // From the checkpoint it goes on as well, with another number of workers.
    let arguments = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "3"];
    let third = serve_as(folder.path(), &services, thalweg(folder.path(), &arguments));
    assert_eq!(looked_up(&third), format!("{found}50,\n51,eve\n"));
    visit(folder.path(), "api", 52..53);
    wait_for(&third, "SELECT owner FROM looked_up WHERE n = 52", "eve\n");
    assert_eq!(third.terminate(), Some(0));
}

/// A service that gives a table to who bears a token; without one it is out of order.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Option<String>>>);

impl Service {
    fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
                let known = head.collect::<Vec<_>>().iter().any(|line| line.eq_ignore_ascii_case("x-key: s3cret"));
                let (status, body) = match (known, self.0.lock().unwrap().clone()) {
                    (true, Some(table)) => ("200 OK", table),
                    (true, None) => ("503 Service Unavailable", "come back later".to_string()),
                    (false, _) => ("401 Unauthorized", "who are you?".to_string()),
                };
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                drop((&stream).write_all(text.as_bytes()));
            }
        });
        format!("http://{address}/services?all=1")
    }

    fn say(&self, table: Option<&str>) {
        *self.0.lock().unwrap() = table.map(str::to_string);
    }
}

#[test]
fn rows_wait_for_a_table_that_is_away_and_none_of_them_is_late() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::default());
    let url = service.clone().start();
    let serving =
        serve(folder.path(), &pipeline(&format!("connector = 'http', url = '{url}', auth = 'x-key: s3cret'")));
    visit(folder.path(), "api", 0..30);
    wait_for(&serving, "SELECT rows_out FROM thalweg.sources WHERE name = 'visits'", "30\n");
    let of_table = |columns: &str| format!("SELECT {columns} FROM thalweg.sources WHERE name = 'services'");
    wait_for(&serving, &of_table("refreshes = 0 AND refreshes_failed > 1 AND refreshed_at IS NULL"), "true\n");
    let told = rows(&serving, &of_table("last_error"));
    assert!(told.contains("table \"\"services\"\" was not read from 127.0.0.1:"), "{told}");
    assert!(told.contains("the service answered 503 Service Unavailable: come back later"), "{told}");
    assert_eq!(looked_up(&serving), "");
    let waiting = "SELECT sum(state_rows) FROM thalweg.operators WHERE operator = 'LookupJoin'";
    wait_for(&serving, waiting, "30\n");

    service.say(Some(r#"[{"service": "api", "owner": "ada", "tier": 1}, {"service": "web", "tier": 2}]"#));
    wait_for(&serving, "SELECT count(owner) FROM looked_up", "30\n");
    wait_for(&serving, "SELECT n, owned FROM per_minute", "30,30\n");
    assert_eq!(rows(&serving, "SELECT sum(late) FROM thalweg.views"), "0\n");
    wait_for(&serving, &of_table("refreshes > 0 AND refreshed_at IS NOT NULL"), "true\n");

    // A list with a member that is no row: it is a dead letter, and the others count.
    service.say(Some("{\"service\":\"api\",\"owner\":\"bob\",\"tier\":1}\n{\"service\":\"web\",\"tier\":\"x\"}\n"));
    wait_for(&serving, "SELECT service, owner, tier FROM owners", "api,bob,1\n");
    let letter = "SELECT reason FROM thalweg.dead_letters WHERE origin = 'services'";
    wait_for(&serving, &format!("SELECT count(*) FROM ({letter})"), "1\n");
    assert!(rows(&serving, letter).contains("column \"\"tier\"\""), "{}", rows(&serving, letter));

    // What cannot be read leaves what was read, whole.
    let failures = || rows(&serving, &of_table("refreshes_failed")).trim().parse::<u64>().unwrap();
    for wrong in [None, Some("[{\"service\": \"api\"")] {
        let before = failures();
        service.say(wrong);
        wait_for(&serving, &of_table(&format!("refreshes_failed > {before}")), "true\n");
    }
    visit(folder.path(), "api", 30..31);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 30", "bob\n");
    assert_eq!(rows(&serving, "SELECT service, owner, tier FROM owners"), "api,bob,1\n");
    assert_eq!(serving.terminate(), Some(0));
}
