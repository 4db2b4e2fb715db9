//! The demo without a terminal: its own load raises the alert on this machine's processors, and its end resolves it. It says what
//! is usual for them.

use crate::binary::thalweg;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn the_demo_raises_an_alert_and_resolves_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--for", "60s", "--pg", "off", "--http", "off", "--workers", "1", "--epoch", "200ms"];
    let mut child = thalweg(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let own = format!("thalweg ({})", child.id());
    let (mut said, mut fired, mut over) = (String::new(), false, false);
    for line in lines {
        said = said + &line + "\n";
        fired |= line.contains(&own) && line.contains(" firing: ");
        over = fired && line.contains(&own) && line.contains(" resolved: ");
        if over {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(over, "it ended before the alert had fired and was over:\n{said}");
    assert!(said.contains("learning what is usual") || said.contains(" is usual, score "), "{said}");
}
