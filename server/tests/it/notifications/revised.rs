//! Late rows change windows that alerts were judged by: what fires and what is over are corrected, and the receiver hears
//! of each correction once, with the values before and after, across a process that is killed.

use super::{append, example, serve};
use crate::http::wait_for;
use crate::receiver::Receiver;
use serde_json::{Value, json};

/// The page's example of corrections, and the source before it, whose own alert tells nobody.
fn pipeline() -> String {
    let page = example(0).replace("\nNOTIFY ops", "");
    format!("{page}{}", example(3))
}

/// Of each alert of each message what was corrected.
fn told(receiver: &Receiver, messages: usize) -> Vec<Value> {
    let of = |alert: &Value| {
        json!([
            alert["key"]["service"],
            alert["kind"],
            alert["state"],
            alert["revision"],
            alert["previous_values"],
            alert["values"]
        ])
    };
    let alerts = |message: &Value| message["data"]["alerts"].as_array().unwrap().iter().map(of).collect::<Vec<_>>();
    receiver.wait(messages).iter().flat_map(|message| alerts(&message.json())).collect()
}

fn max(ms: f64) -> Value {
    json!({ "max_ms": ms })
}

#[test]
fn a_late_row_is_told_with_the_values_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(0);
    let serving = serve(folder.path(), &pipeline(), &receiver);
    append(folder.path(), &[("00:00:01", "api", 300.0), ("00:00:11", "web", 1.0)]);
    let mut expected = vec![json!(["api", "firing", "firing", 0, null, max(300.0)])];
    assert_eq!(told(&receiver, 1), expected);

    append(folder.path(), &[("00:00:05", "api", 400.0)]);
    expected.push(json!(["api", "revised", "firing", 1, max(300.0), max(400.0)]));
    assert_eq!(told(&receiver, 2), expected);

    append(folder.path(), &[("00:00:12", "api", 10.0), ("00:00:21", "web", 1.0)]);
    expected.push(json!(["api", "resolved", "resolved", 1, null, max(10.0)]));
    assert_eq!(told(&receiver, 3), expected);
    let deliveries = "SELECT count(*) FROM thalweg.deliveries WHERE outcome = 'delivered'";
    wait_for(&serving, deliveries, "3\n");

    // Killed with SIGKILL, and the row is there when it runs again.
    drop(serving);
    append(folder.path(), &[("00:00:06", "api", 500.0)]);
    let serving = serve(folder.path(), &pipeline(), &receiver);
    expected.push(json!(["api", "revised", "resolved", 2, max(400.0), max(500.0)]));
    assert_eq!(told(&receiver, 4), expected);
    wait_for(&serving, deliveries, "4\n");

    // Once more, without anything new: nothing is said again before the next alert.
    drop(serving);
    let serving = serve(folder.path(), &pipeline(), &receiver);
    append(folder.path(), &[("00:00:22", "db", 900.0), ("00:00:31", "web", 1.0)]);
    expected.push(json!(["db", "firing", "firing", 0, null, max(900.0)]));
    assert_eq!(told(&receiver, 5), expected);
    let events = "SELECT seq, kind, previous_values, \"values\" FROM thalweg.alert_events
                  WHERE alert = 'slow_then' AND kind = 'revised' ORDER BY seq";
    let revised = "2,revised,\"{\"\"max_ms\"\":300.0}\",\"{\"\"max_ms\"\":400.0}\"\n\
                   4,revised,\"{\"\"max_ms\"\":400.0}\",\"{\"\"max_ms\"\":500.0}\"\n";
    wait_for(&serving, events, revised);
    assert_eq!(serving.terminate(), Some(0));
    assert_eq!(receiver.changed(), [""; 0]);
}
