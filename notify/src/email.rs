//! Notifications by mail: one connection for each message, over which it is handed to a server that sends it on.
//!
//! What went wrong before the message itself was on its way is known not to have arrived; from then on a connection that
//! breaks leaves that open, and the message comes again under the same `Message-ID`.

use crate::notification::{Notification, Outcome};
use crate::payload::email::Letter;
use lettre::Message;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use std::time::Duration;
use thalweg_connectors::webhook::call::CallOptions;
use thalweg_connectors::webhook::target::Target;
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::options::Options;

/// How a connection is kept secret.
enum Secrecy {
    /// From its beginning.
    Tls(TlsParameters),
    /// From when both have agreed; nothing is sent to a server that does not.
    StartTls(TlsParameters),
    /// Not at all.
    None,
}

/// What hands mail to a server.
pub(crate) struct Mailer {
    target: Target,
    secrecy: Secrecy,
    credentials: Option<Credentials>,
    hello: ClientId,
    timeout: Duration,
    letter: Letter,
}

/// Why a mail was not handed over.
enum Failure {
    /// The server said so, or could not be asked.
    Smtp(smtp::Error),
    /// The server could not be found, or may not be called.
    Target(Error),
}

impl From<smtp::Error> for Failure {
    fn from(error: smtp::Error) -> Failure {
        Failure::Smtp(error)
    }
}

impl Mailer {
    /// What hands over the mail of notifier `owner`.
    pub fn new(owner: &str, options: &Options) -> Result<Mailer> {
        let get = |option: &str| options.get(option).unwrap_or_default();
        let target = Target::host_and_port(owner, "smarthost", get("smarthost"), options.flag("allow_local"))?;
        let credentials = match (options.get("auth_username"), options.get("auth_password")) {
            (Some(user), Some(password)) => Some(Credentials::new(user.to_string(), password.to_string())),
            (None, None) => None,
            _ => {
                return Err(Error::user(format!("{owner} has one of auth_username and auth_password"))
                    .with_hint("Write both, or neither where the server asks for none."));
            }
        };
        let call = CallOptions::of(options);
        let secrecy = match get("tls") {
            "tls" => Secrecy::Tls(tls(owner, &target, &call)?),
            "none" if credentials.is_some() && !target.is_local() => {
                return Err(Error::user(format!("{owner} would send its password where everybody can read it"))
                    .with_hint("Say tls = 'starttls', or 'tls' for a server that speaks nothing else (port 465)."));
            }
            "none" => Secrecy::None,
            _ => Secrecy::StartTls(tls(owner, &target, &call)?),
        };
        let letter = Letter::read(owner, options)?;
        Ok(Mailer {
            target,
            secrecy,
            credentials,
            hello: ClientId::Domain(get("hello").to_string()),
            timeout: call.timeout,
            letter,
        })
    }

    /// Hands a message over, once.
    pub fn send(&self, notification: &Notification, external_url: &str) -> Result<Outcome> {
        let message = self.letter.message(notification, external_url)?;
        let mut connection = match self.connect() {
            Ok(connection) => connection,
            Err(failure) => return Ok(outcome(&failure, false)),
        };
        let outcome = match hand_over(&mut connection, &message) {
            Ok(code) => Outcome::Delivered { http_status: code },
            Err(error) => outcome(&Failure::Smtp(error), true),
        };
        // The message is there, or is not: how the server takes leave changes nothing.
        drop(connection.quit());
        Ok(outcome)
    }

    fn connect(&self) -> Result<SmtpConnection, Failure> {
        let addresses = self.target.addresses().map_err(Failure::Target)?;
        let immediate = match &self.secrecy {
            Secrecy::Tls(tls) => Some(tls),
            _ => None,
        };
        let mut connection = SmtpConnection::connect(&addresses[..], Some(self.timeout), &self.hello, immediate, None)?;
        if let Secrecy::StartTls(tls) = &self.secrecy {
            connection.starttls(tls, &self.hello)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials)?;
        }
        Ok(connection)
    }
}

/// Gives the server a message; what it answered.
fn hand_over(connection: &mut SmtpConnection, message: &Message) -> Result<u16, smtp::Error> {
    let answer = connection.send(message.envelope(), &message.formatted())?;
    Ok(number(&answer.code().to_string()))
}

fn number(code: &str) -> u16 {
    code.parse().unwrap_or_default()
}

fn tls(owner: &str, target: &Target, call: &CallOptions) -> Result<TlsParameters> {
    let wrong = |error: smtp::Error| Error::user(format!("the certificates of {owner} cannot be used: {error}"));
    let mut tls = TlsParameters::builder(target.name().to_string());
    tls = match &call.ca {
        None => tls.certificate_store(CertificateStore::WebpkiRoots),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| Error::io(path.display(), &error))?;
            let certificates = Certificate::from_pem(&pem).map_err(wrong)?;
            tls.certificate_store(CertificateStore::None).add_root_certificate(certificates)
        }
    };
    tls.build().map_err(wrong)
}

/// What a failure means. A server's 4xx is "not now", its 5xx "never" (RFC 5321, section 4.2.1).
fn outcome(failure: &Failure, on_its_way: bool) -> Outcome {
    let error = match failure {
        Failure::Target(error) if error.kind == ErrorKind::Retry => {
            let error = error.message.clone();
            return Outcome::Failed { http_status: None, error, pause_ns: None, ambiguous: false };
        }
        Failure::Target(error) => return Outcome::Refused { http_status: None, error: error.message.clone() },
        Failure::Smtp(error) => error,
    };
    let said = error.to_string();
    match error.status() {
        Some(code) if error.is_permanent() => {
            Outcome::Refused { http_status: Some(number(&code.to_string())), error: said }
        }
        Some(code) => Outcome::Failed {
            http_status: Some(number(&code.to_string())),
            error: said,
            pause_ns: None,
            ambiguous: false,
        },
        None => Outcome::Failed { http_status: None, error: said, pause_ns: None, ambiguous: on_its_way },
    }
}

#[cfg(test)]
mod tests;
