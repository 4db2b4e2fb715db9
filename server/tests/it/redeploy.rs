//! A changed pipeline file, run again on the same data folder by the built binary.

use crate::binary::{ORDERS, run, serve, stderr, thalweg};
use std::net::SocketAddr;
use std::path::Path;

const SOURCE: &str = "
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, item TEXT, price DOUBLE, n INT)
WITH (connector = 'file', path = 'orders.ndjson', format = 'json', mode = 'tail');";
const PER_ITEM: &str =
    "CREATE MATERIALIZED VIEW per_item AS SELECT item, count(*) AS orders FROM orders GROUP BY item;";
const DEAR: &str = "CREATE MATERIALIZED VIEW dear AS SELECT item, price FROM orders WHERE price > 5;";
const CHEAP: &str = "CREATE MATERIALIZED VIEW dear AS SELECT item, price FROM orders WHERE price > 3;";

fn answer(folder: &Path, http: SocketAddr, query: &str) -> String {
    let output = thalweg(folder, &["sql", "--format", "csv", "--http", &http.to_string(), query]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until the answer is `expected`.
#[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
fn answers(folder: &Path, http: SocketAddr, query: &str, expected: &str) {
    let began = std::time::Instant::now();
    loop {
        let found = answer(folder, http, query);
        if found == expected {
            return;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{query}: {found}");
    }
}

fn planned(folder: &Path) -> String {
    let output = run(folder, &["plan", "pipeline.sql"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().skip(1).map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn a_changed_file_keeps_what_has_not_changed_and_loses_nothing_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("orders.ndjson"), ORDERS).unwrap();

    let first = serve(folder, &format!("{SOURCE}{PER_ITEM}{DEAR}"));
    answers(folder, first.http, "SELECT * FROM per_item ORDER BY item", "item,orders\ncake,1\ntea,3\n");
    assert_eq!(first.terminate(), Some(0));

    std::fs::write(folder.join("pipeline.sql"), format!("{SOURCE}{PER_ITEM}{CHEAP}")).unwrap();
    assert_eq!(planned(folder), "source orders reuse\nsource orders#2 new\nview per_item reuse\nview dear rebuild\n");
    let second = serve(folder, &format!("{SOURCE}{PER_ITEM}{CHEAP}"));
    answers(folder, second.http, "SELECT item FROM dear ORDER BY price", "item\ntea\ntea\ncake\n");
    assert_eq!(answer(folder, second.http, "SELECT * FROM per_item ORDER BY item"), "item,orders\ncake,1\ntea,3\n");
    let sources = "SELECT name, connector, rows_in FROM thalweg.sources ORDER BY name";
    answers(folder, second.http, sources, "name,connector,rows_in\norders,file,4\norders#2,file,4\n");
    assert_eq!(second.terminate(), Some(0));
    assert_eq!(planned(folder), "source orders reuse\nsource orders#2 reuse\nview per_item reuse\nview dear reuse\n");

    // Without a view: its rows are lost only if that is allowed.
    std::fs::write(folder.join("pipeline.sql"), format!("{SOURCE}{CHEAP}")).unwrap();
    let serving = ["run", "pipeline.sql", "--pg", "off", "--http", "off"];
    let refused = run(folder, &serving);
    let told = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    for expected in
        ["view   per_item", "would lose rows of \"per_item\"", "hint: Allow it with --allow-state-loss per_item"]
    {
        assert!(told.contains(expected), "no {expected} in:\n{told}");
    }
    let allowed =
        ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--allow-state-loss", "per_item"];
    let third = crate::binary::serve_as(folder, &format!("{SOURCE}{CHEAP}"), thalweg(folder, &allowed));
    assert_eq!(answer(folder, third.http, "SELECT item FROM dear ORDER BY price"), "item\ntea\ntea\ncake\n");
    assert_eq!(third.terminate(), Some(0));
    assert_eq!(planned(folder), "source orders#2 reuse\nview dear reuse\n");
}
