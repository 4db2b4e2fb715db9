//! The real Alertmanager: it takes what we post to its API, and what it tells a receiver is what we tell one for the same
//! alerts, field by field. Without `prometheus-alertmanager` (or `ALERTMANAGER`, its path) the test says that it is skipped.

use super::{append, serve};
use crate::process::wait;
use crate::receiver::Receiver;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed when dropped.
struct Alertmanager {
    child: Child,
    address: SocketAddr,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Alertmanager {
    /// Starts one that tells `receiver`, unless there is none here.
    fn start(folder: &Path, receiver: &Receiver) -> Option<Alertmanager> {
        let program = std::env::var("ALERTMANAGER").unwrap_or_else(|_| "prometheus-alertmanager".to_string());
        let config = format!(
            "route: {{ receiver: ops, group_by: [alertname, service], group_wait: 1s, group_interval: 1s }}\n\
             receivers: [ {{ name: ops, webhook_configs: [ {{ url: '{}', send_resolved: true }} ] }} ]\n",
            receiver.url()
        );
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let alertmanager = Alertmanager { child, address };
        wait("the Alertmanager is not ready", || ureq::get(alertmanager.url("/-/ready")).call().is_ok());
        Some(alertmanager)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A payload without what says who sent it; its alerts in an order of their own.
fn comparable(mut payload: Value) -> Value {
    assert!(payload["externalURL"].as_str().unwrap().starts_with("http://"));
    payload.as_object_mut().unwrap().remove("externalURL");
    let alerts = payload["alerts"].as_array_mut().unwrap();
    alerts.sort_by_key(|alert| alert["fingerprint"].to_string());
    payload
}

#[test]
fn alertmanager_takes_what_we_post_and_tells_what_we_tell() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Receiver::start(0), Receiver::start(0));
    let Some(alertmanager) = Alertmanager::start(folder.path(), &theirs) else {
        eprintln!("skipped: there is no Alertmanager");
        return;
    };
    let pipeline = format!(
        "CREATE SOURCE requests (ts TIMESTAMP NOT NULL, service TEXT, latency_ms DOUBLE, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'requests.ndjson', format = 'json', mode = 'tail');
         CREATE NOTIFIER ops WITH (type = 'webhook', url = '${{OPS_URL}}');
         CREATE NOTIFIER router WITH (type = 'alertmanager', url = '{}');
         CREATE ALERT slow FROM requests BY service WARNING WHEN latency_ms > 250 CRITICAL WHEN latency_ms > 500
         LABELS (team = 'core') ANNOTATIONS (summary = '{{{{service}}}} takes {{{{latency_ms}}}} ms') NOTIFY ops, router;",
        alertmanager.url("")
    );
    let serving = serve(folder.path(), &pipeline, &ours);
    let steps = [("00:01", 300.0, "firing"), ("00:02", 700.0, "firing"), ("00:03", 30.0, "resolved")];
    for (n, (time, latency, status)) in steps.into_iter().enumerate() {
        // A row is judged when no earlier one is expected.
        let (at, later) = (format!("{time}:00"), format!("{time}:30"));
        append(folder.path(), &[(&at, "api", latency), (&later, "web", 1.0)]);
        let told = [&ours, &theirs].map(|receiver| comparable(receiver.wait(n + 1)[n].json()));
        assert_eq!(told[0], told[1], "at {time}");
        assert_eq!(told[0]["status"], status);
        if n == 1 {
            assert_eq!(told[0]["alerts"].as_array().unwrap().len(), 2, "the milder one is over: {}", told[0]);
            let mut known = ureq::get(alertmanager.url("/api/v2/alerts?active=true")).call().unwrap();
            let known: Value = serde_json::from_str(&known.body_mut().read_to_string().unwrap()).unwrap();
            let known: Vec<&Value> = known.as_array().unwrap().iter().map(|alert| &alert["fingerprint"]).collect();
            let firing = told[0]["alerts"].as_array().unwrap().iter().find(|alert| alert["status"] == "firing");
            assert_eq!(known, [&firing.unwrap()["fingerprint"]]);
        }
    }
    drop(serving);
}
