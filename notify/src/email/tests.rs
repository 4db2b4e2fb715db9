//! Mail against a server of the tests' own that answers as it is told, and against a real one with TLS and a password.

use super::*;
use crate::payload::tests::notification;
use crate::statements::SPEC;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use thalweg_schemas::notification::NotificationKind;
use thalweg_schemas::options::GivenOption;

fn mailer(smarthost: &str, given: &[(&str, &str)]) -> Result<Mailer> {
    let own = [("type", "email"), ("smarthost", smarthost), ("from", "a@example.org"), ("to", "ops@example.org")];
    let given = own.iter().chain(given).map(|(name, value)| GivenOption {
        name: name.to_string(),
        value: value.to_string(),
        position: None,
    });
    let specs = (SPEC.options)(NotificationKind::Notifier, "email");
    let options = Options::check(&specs, &given.collect::<Vec<_>>(), "it").map_err(|mut errors| errors.remove(0))?;
    Mailer::new("notifier \"ops\"", &options)
}

/// A server that takes one mail, and answers the command that begins with `command` by `answer`; an empty answer hangs up.
fn server(command: &'static str, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || converse(&listener.accept().unwrap().0, command, answer));
    address
}

fn converse(stream: &TcpStream, command: &str, answer: &str) -> Option<()> {
    let (mut lines, mut out) = (BufReader::new(stream).lines(), stream);
    writeln!(out, "220 here\r").ok()?;
    let mut in_text = false;
    loop {
        let line = lines.next()?.ok()?;
        let said = if in_text { if line == "." { "." } else { continue } } else { line.as_str() };
        let usual = match said {
            "DATA" => "354 go on",
            _ => "250 ok",
        };
        let said = if said.starts_with(command) { answer } else { usual };
        if said.is_empty() {
            return None;
        }
        in_text = said.starts_with("354");
        writeln!(out, "{said}\r").ok()?;
    }
}

fn sent(command: &'static str, answer: &'static str) -> Outcome {
    let mailer = mailer(&server(command, answer).to_string(), &[("tls", "none")]).unwrap();
    mailer.send(&notification(true), "http://here").unwrap()
}

fn failed(outcome: &Outcome) -> (Option<u16>, bool) {
    match outcome {
        Outcome::Failed { http_status, ambiguous, .. } => (*http_status, *ambiguous),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_server_answers_is_what_becomes_of_the_mail() {
    assert_eq!(sent("?", ""), Outcome::Delivered { http_status: 250 });
    assert_eq!(failed(&sent("RCPT", "451 try later")), (Some(451), false));
    assert!(matches!(sent("RCPT", "550 nobody here"), Outcome::Refused { http_status: Some(550), .. }));
    assert_eq!(failed(&sent(".", "452 no room")), (Some(452), false));
    assert_eq!(failed(&sent("EHLO", "")), (None, false), "nothing was on its way");
    assert_eq!(failed(&sent(".", "")), (None, true), "it may be there");
}

#[test]
fn nobody_is_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = mailer(&free.to_string(), &[]).unwrap().send(&notification(true), "http://here").unwrap();
    assert_eq!(failed(&outcome), (None, false));
}

#[test]
fn nothing_is_told_to_a_server_that_keeps_no_secret() {
    let mailer = mailer(&server("?", "").to_string(), &[]).unwrap();
    let outcome = mailer.send(&notification(true), "http://here").unwrap();
    assert_eq!(failed(&outcome), (None, false), "it offers no STARTTLS: {outcome:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |smarthost: &str, given: &[(&str, &str)]| mailer(smarthost, given).err().unwrap().message;
    let password = [("auth_username", "ada"), ("auth_password", "secret"), ("tls", "none")];
    assert_eq!(
        refused("mail.example.org:25", &password),
        "notifier \"ops\" would send its password where everybody can read it"
    );
    assert!(mailer("localhost:25", &password).is_ok());
    assert_eq!(refused("x:25", &password[..1]), "notifier \"ops\" has one of auth_username and auth_password");
    assert_eq!(refused("example.org", &[]), "option \"smarthost\" of notifier \"ops\" is not the address of a server");
    assert!(refused("169.254.169.254:25", &[]).contains("may not call 169.254.169.254"));
}

/// aiosmtpd, by its port: it asks for a name and a password once the connection is secret, and prints what it takes.
const REAL: &str = r#"
import email, email.policy, ssl, sys, time
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
class Handler:
    async def handle_DATA(self, server, session, envelope):
        secret = server.transport.get_extra_info("ssl_object") is not None
        print(envelope.mail_from, envelope.rcpt_tos, secret, flush=True)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
        print(text.splitlines()[0], "<h2" in html, flush=True)
        return "250 taken"
def check(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"ada" and data.password == b"secret", handled=False)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
immediate = sys.argv[3] == "tls"
options = {"authenticator": check, "auth_required": True, "auth_require_tls": not immediate}
if not immediate:
    options.update(tls_context=context, require_starttls=True)
class Real(Controller):
    def factory(self):
        return SMTP(self.handler, **options)
server = Real(Handler(), hostname="127.0.0.1", port=int(sys.argv[4]), ssl_context=context if immediate else None)
server.start()
print("ready", flush=True)
time.sleep(600)
"#;

/// Ended when dropped.
struct Real(Child);

impl Drop for Real {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts it on a free port; what it prints, unless it cannot be had.
fn real(secrecy: &str, certificate: &str, key: &str) -> Option<(Real, u16, impl Iterator<Item = String> + use<>)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_string());
    let mut child = Command::new(python)
        .args(["-c", REAL, certificate, key, secrecy, &port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
    let mut real = Real(child);
    if lines.next().as_deref() == Some("ready") {
        return Some((real, port, lines));
    }
    let mut said = String::new();
    real.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("No module named 'aiosmtpd'"), "{said}");
    None
}

#[test]
fn a_real_server_takes_mail_over_tls_from_who_knows_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: there is no openssl");
        return;
    }
    for secrecy in ["starttls", "tls"] {
        let Some((_server, port, mut lines)) = real(secrecy, &certificate, &key) else {
            eprintln!("skipped: there is no aiosmtpd");
            return;
        };
        let smarthost = format!("localhost:{port}");
        let send = |password: &str, ca: &[(&str, &str)]| {
            let own = [("tls", secrecy), ("auth_username", "ada"), ("auth_password", password)];
            mailer(&smarthost, &[&own, ca].concat()).unwrap().send(&notification(true), "http://here").unwrap()
        };
        let ca = [("ca", certificate.as_str())];
        assert_eq!(send("secret", &ca), Outcome::Delivered { http_status: 250 }, "{secrecy}");
        assert_eq!(lines.next().unwrap(), "a@example.org ['ops@example.org'] True");
        assert_eq!(lines.next().unwrap(), "[FIRING:1] slow (critical) True");
        let wrong = send("guessed", &ca);
        assert!(matches!(wrong, Outcome::Refused { http_status: Some(535), .. }), "{wrong:?}");
        assert_eq!(failed(&send("secret", &[])), (None, false), "a certificate that nobody knows");
    }
}
