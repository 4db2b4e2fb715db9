//! Python's clients, where python3 has them.

use crate::binary::steady;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn psycopg_and_sqlalchemy_work() {
    let python = std::env::var("PYTHON").unwrap_or("python3".to_string());
    let has = Command::new(&python).args(["-c", "import psycopg, sqlalchemy"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        eprintln!("{python} has no psycopg and sqlalchemy: not tried");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/clients.py");
    let output = Command::new(&python).arg(script).arg(serving.pg.port().to_string()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
