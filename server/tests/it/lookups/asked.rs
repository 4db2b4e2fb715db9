//! A table that is asked for single rows, against the built binary: it is away, changes, and stumbles over a key; the
//! process is killed while rows wait.

use super::{looked_up, visit};
use crate::binary::{SERVE, Serving, run, serve, serve_as, stderr, thalweg};
use crate::http::{rows, wait_for};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A service that says the owner of a service, and was asked so often; out of order without any, and for the key `broken`.
#[derive(Clone, Default)]
struct Service {
    owners: Arc<Mutex<Option<BTreeMap<&'static str, &'static str>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_string();
                let key = path.strip_prefix("/services/").unwrap_or_default().to_string();
                service.asked.lock().unwrap().push(key.clone());
                let (status, body) = match &*service.owners.lock().unwrap() {
                    Some(_) if key == "broken" => ("500 Internal Server Error", "no".to_string()),
                    // It leaves out what it was asked for.
                    Some(owners) => match owners.get(key.as_str()) {
                        Some(owner) => ("200 OK", format!("{{\"owner\": \"{owner}\"}}")),
                        None => ("404 Not Found", "nobody".to_string()),
                    },
                    None => ("503 Service Unavailable", "come back later".to_string()),
                };
                let length = body.len();
                let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                drop((&stream).write_all(text.as_bytes()));
            }
        });
        format!("http://{address}/services/{{service}}")
    }

    fn say(&self, owners: &[(&'static str, &'static str)]) {
        *self.owners.lock().unwrap() = Some(owners.iter().copied().collect());
    }

    fn asked(&self, key: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == key).count()
    }
}

fn pipeline(url: &str, mode: &str, cache: &str) -> String {
    format!(
        "CREATE SOURCE visits (ts TIMESTAMP NOT NULL, service TEXT, n BIGINT, WATERMARK FOR ts AS ts)
             WITH (connector = 'file', path = 'visits.ndjson', format = 'json', mode = '{mode}');
         CREATE TABLE services (service TEXT PRIMARY KEY, owner TEXT)
             WITH (connector = 'http', url = '{url}', cache = 'lru'{cache});
         CREATE MATERIALIZED VIEW looked_up AS SELECT v.ts, v.n, s.owner FROM visits AS v
             LEFT JOIN services FOR SYSTEM_TIME AS OF v.ts AS s ON s.service = v.service;
         CREATE MATERIALIZED VIEW per_second WITH (lateness = '0s') AS SELECT window_start, count(*) AS n, count(owner) AS owned
             FROM TUMBLE(looked_up, ts, INTERVAL '1 second') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;
         CREATE MATERIALIZED VIEW per_service AS SELECT c.service, c.n, s.owner
             FROM (SELECT service, count(*) AS n FROM visits GROUP BY service) AS c
             LEFT JOIN services FOR SYSTEM_TIME AS OF PROCTIME() AS s ON s.service = c.service;"
    )
}

fn of_table(columns: &str) -> String {
    format!("SELECT {columns} FROM thalweg.sources WHERE name = 'services'")
}

/// How many seconds have closed, with how many visits, and how many of them have an owner.
fn seconds(serving: &Serving) -> String {
    rows(serving, "SELECT count(*), sum(n), sum(owned) FROM per_second")
}

#[test]
fn rows_wait_for_their_answers_and_are_found_again_after_a_crash() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::default());
    let text = pipeline(&service.start(), "tail", ", cache_ttl = '1 hour'");
    let arguments = [&SERVE[..], &["--checkpoint-interval", "1h"]].concat();
    let start = || serve_as(folder.path(), &text, thalweg(folder.path(), &arguments));
    visit(folder.path(), "api", 0..10);
    visit(folder.path(), "web", 10..20);
    let first = start();
    wait_for(&first, "SELECT rows_out FROM thalweg.sources WHERE name = 'visits'", "20\n");
    wait_for(&first, &of_table("refreshes_failed > 0 AND cache_hits = 0 AND last_error IS NOT NULL"), "true\n");
    assert!(rows(&first, &of_table("last_error")).contains("come back later"));
    assert_eq!((looked_up(&first).as_str(), seconds(&first).as_str()), ("", "0,,\n"));
    let waiting = "SELECT sum(state_rows) FROM thalweg.operators WHERE operator = 'LookupJoin' AND view = 'looked_up'";
    assert_eq!(rows(&first, waiting), "20\n");
    drop(first);

    // The process is killed while they wait: whoever waits asks again.
    let second = start();
    wait_for(&second, waiting, "20\n");
    service.say(&[("api", "ada")]);
    wait_for(&second, "SELECT count(*), count(owner) FROM looked_up", "20,10\n");
    // None of those that waited is late, though all have the same age.
    visit(folder.path(), "api", 20..21);
    wait_for(&second, "SELECT count(*), sum(n), sum(owned) FROM per_second", "20,20,10\n");
    assert_eq!(rows(&second, "SELECT sum(late) FROM thalweg.views"), "0\n");
    wait_for(&second, "SELECT service, n, owner FROM per_service ORDER BY service", "api,11,ada\nweb,10,\n");
    assert_eq!(rows(&second, &of_table("cache_hits > 0 AND cache_misses >= 20")), "true\n");

    // What is known is not asked for again, that there is no such row neither.
    let asked = (service.asked("api"), service.asked("web"));
    service.say(&[("api", "cyd"), ("web", "bob")]);
    visit(folder.path(), "web", 21..22);
    wait_for(&second, "SELECT count(*), count(owner) FROM looked_up", "22,11\n");
    assert_eq!((service.asked("api"), service.asked("web")), asked);

    // A key that the service stumbles over holds up itself, and the watermark; not others.
    visit(folder.path(), "broken", 22..23);
    visit(folder.path(), "new", 23..24);
    visit(folder.path(), "api", 24..26);
    wait_for(&second, "SELECT count(*) FROM looked_up", "25\n");
    assert_eq!(rows(&second, waiting), "4\n", "one waits, and three answers are known");
    let (found, closed) = (looked_up(&second), seconds(&second));
    assert_eq!(closed, "21,21,11\n", "time stands where it was when the one that waits came");
    drop(second);

    // What was found is found again, out of the log, though the service says something else by now.
    let third = start();
    wait_for(&third, "SELECT count(*) FROM looked_up", "25\n");
    assert_eq!((looked_up(&third), seconds(&third)), (found.clone(), closed));
    assert_eq!(third.terminate(), Some(0));

    // From the checkpoint it goes on as well, with another number of workers.
    let arguments = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "3"];
    let fourth = serve_as(folder.path(), &text, thalweg(folder.path(), &arguments));
    assert_eq!(looked_up(&fourth), found);
    visit(folder.path(), "api", 26..27);
    wait_for(&fourth, "SELECT owner FROM looked_up WHERE n = 26", "ada\n");
    assert_eq!(rows(&fourth, waiting), "4\n");
    assert_eq!(fourth.terminate(), Some(0));
}

#[test]
fn answers_go_when_they_are_old_or_too_many() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::default());
    let text = pipeline(&service.start(), "tail", ", cache_rows = '2', cache_ttl = '1 hour'");
    service.say(&[("a", "ada"), ("b", "bob")]);
    let serving =
        serve(folder.path(), &text.replace("CREATE MATERIALIZED VIEW per_service", "CREATE VIEW per_service"));
    let number = std::cell::Cell::new(0);
    let come = |key: &str| {
        let n = number.replace(number.get() + 1);
        visit(folder.path(), key, n..n + 1);
        wait_for(&serving, &format!("SELECT count(*) FROM looked_up WHERE n = {n}"), "1\n");
    };
    // Each of the two workers keeps one answer; keys that one owns push each other out.
    for key in ["a", "a", "b", "c", "d", "e", "a", "a"] {
        come(key);
    }
    wait_for(&serving, &of_table("cache_hits + cache_misses"), "8\n");
    let evicted = "SELECT sum(evicted) > 0 FROM thalweg.operators WHERE operator = 'LookupJoin'";
    wait_for(&serving, evicted, "true\n");
    assert!((2..=4).contains(&(service.asked("a") + service.asked("b"))));
    let held = "SELECT sum(state_rows) <= 2 FROM thalweg.operators WHERE operator = 'LookupJoin'";
    assert_eq!(rows(&serving, held), "true\n");
    assert_eq!(serving.terminate(), Some(0));

    let old = text.replace("cache_ttl = '1 hour'", "cache_ttl = '0s'");
    std::fs::remove_dir_all(folder.path().join("thalweg-data")).unwrap();
    let serving = serve(folder.path(), &old);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 7", "ada\n");
    service.say(&[("a", "cyd")]);
    visit(folder.path(), "a", 8..9);
    wait_for(&serving, "SELECT owner FROM looked_up WHERE n = 8", "cyd\n");
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_run_whose_sources_end_ends_when_the_last_row_has_its_answer() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::default());
    let sink = "CREATE SINK out FROM looked_up WITH (connector = 'file', path = 'out', format = 'csv');";
    let text = pipeline(&service.start(), "bounded", "") + sink;
    std::fs::write(folder.path().join("pipeline.sql"), text).unwrap();
    visit(folder.path(), "api", 0..200);
    visit(folder.path(), "web", 200..400);
    service.say(&[("api", "ada")]);
    let arguments = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "2"];
    let ended = run(folder.path(), &arguments);
    assert!(ended.status.success(), "{}", stderr(&ended));
    let out = std::fs::read_to_string(folder.path().join("out")).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    let owned = lines.iter().filter(|line| line.ends_with(",ada")).count();
    assert_eq!((lines.iter().filter(|line| line.starts_with("2026")).count(), owned), (400, 200));
    // Once for each join at most: what one has heard when the other needs it is in the cache.
    let asked = [service.asked("api"), service.asked("web")];
    assert!(asked.iter().all(|times| (1..=2).contains(times)), "{asked:?}");
}
