//! Asking the service, on a thread of its own so that no worker waits.

use super::address::Address;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thalweg_schemas::error::{Error, Result};
use ureq::Agent;
use ureq::http::StatusCode;

/// How much of an answer is read; a forecast of three days at five minutes takes a twentieth of it.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How much of an answer that is refused is shown.
const ANSWER_CHARS: usize = 200;

/// What is asked, and how.
#[derive(Clone)]
pub(super) struct Question {
    /// The source, for messages.
    pub name: String,
    pub address: Address,
    /// A header that goes along.
    pub auth: Option<(String, String)>,
    pub login: Option<Login>,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Where a token is fetched that goes along until it is refused: WattTime's are good for half an hour.
#[derive(Clone)]
pub(super) struct Login {
    pub address: Address,
    pub user: String,
    pub password: String,
}

/// An answer, and when it came.
pub(super) type Answer = (Result<String>, i64);

/// The thread that asks: it ends when nobody listens any more.
pub(super) struct Asking {
    pub answers: Receiver<Answer>,
    /// Dropped, it ends the pause between two requests.
    _stop: Sender<()>,
}

impl Asking {
    /// Begins to ask.
    pub fn begin(question: Question) -> Result<Asking> {
        let (answered, answers) = channel();
        let (stop, stopped) = channel::<()>();
        let config = Agent::config_builder()
            .timeout_global(Some(question.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        let agent = config.new_agent();
        let asking = move || {
            let mut token = None;
            loop {
                let answer = question.ask(&agent, &mut token);
                let left = answered.send((answer, now_ns())).is_err();
                if left || stopped.recv_timeout(question.interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("grid_intensity".to_string())
            .spawn(asking)
            .map_err(|error| Error::io("a thread to ask for intensities", &error))?;
        Ok(Asking { answers, _stop: stop })
    }
}

impl Question {
    /// The body of one answer. A token that is refused has expired: another one is fetched, once.
    fn ask(&self, agent: &Agent, token: &mut Option<String>) -> Result<String> {
        let Some(login) = &self.login else {
            return self.taken(&self.address, self.get(agent, &self.address, self.auth.as_ref())?);
        };
        let held = token.is_some();
        let mut answer = self.get_with(agent, token, login)?;
        if answer.0 == StatusCode::UNAUTHORIZED && held {
            *token = None;
            answer = self.get_with(agent, token, login)?;
        }
        if answer.0 == StatusCode::UNAUTHORIZED {
            *token = None;
        }
        self.taken(&self.address, answer)
    }

    fn get_with(&self, agent: &Agent, token: &mut Option<String>, login: &Login) -> Result<(StatusCode, String)> {
        let held = match token.take() {
            Some(held) => held,
            None => self.log_in(agent, login)?,
        };
        let header = ("authorization".to_string(), format!("Bearer {held}"));
        *token = Some(held);
        self.get(agent, &self.address, Some(&header))
    }

    fn log_in(&self, agent: &Agent, login: &Login) -> Result<String> {
        let basic = BASE64_STANDARD.encode(format!("{}:{}", login.user, login.password));
        let header = ("authorization".to_string(), format!("Basic {basic}"));
        let body = self.taken(&login.address, self.get(agent, &login.address, Some(&header))?)?;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        answer["token"].as_str().map(str::to_string).ok_or_else(|| self.away(&login.address, "the answer has no token"))
    }

    fn get(&self, agent: &Agent, address: &Address, header: Option<&(String, String)>) -> Result<(StatusCode, String)> {
        let mut request = agent.get(address.at(now_ns()));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(|error| self.away(address, &error.to_string()))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        match body {
            Err(error) if status.is_success() => Err(self.away(address, &error.to_string())),
            body => Ok((status, body.unwrap_or_default())),
        }
    }

    /// The body of an answer that is none of a refusal.
    fn taken(&self, address: &Address, (status, body): (StatusCode, String)) -> Result<String> {
        if status.is_success() {
            return Ok(body);
        }
        let told: String = body.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS).collect();
        Err(self.away(address, &format!("the service answered {status}: {told}")))
    }

    fn away(&self, address: &Address, what: &str) -> Error {
        Error::retry(format!("source \"{}\" at {}: {what}", self.name, address.shown()))
    }
}

fn now_ns() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "services are asked from now on, and when an answer came is known where they do not say when they published"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
