//! A schema registry as Confluent's API has it (also Karapace, Apicurio and Redpanda): its client, for connectors whose
//! messages carry numbers of schemas.
//!
//! What was found is kept for ever, since a number never changes its meaning; what was not found is asked for again after
//! a while. A registry that is away is an error of kind `Retry`: the source waits for it.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{RegisteredSchema, SchemaRegistry, SchemaType};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// Where the registry is.
pub(crate) const URL: OptionSpec = OptionSpec {
    name: "schema_registry",
    kind: OptionKind::Text,
    default: None,
    required: false,
    doc: "The address of a schema registry with Confluent's API, such as 'http://127.0.0.1:8081', for formats 'avro' and 'protobuf'.",
};

/// Who asks.
pub(crate) const AUTH: OptionSpec = OptionSpec {
    name: "schema_registry_auth",
    kind: OptionKind::Text,
    default: None,
    required: false,
    doc: "User and password for it, as 'user:password'.",
};

/// How long one question may take: it is asked on a worker's thread.
const TIMEOUT: Duration = Duration::from_secs(3);
/// After which time a schema that was not there is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How many schemas may lie behind one by references.
const REFERENCES_MAX: usize = 100;

/// The registry that the options name, if they do.
pub(crate) fn from_options(options: &Options) -> Result<Option<Arc<dyn SchemaRegistry>>> {
    let Some(url) = options.get(URL.name) else { return Ok(None) };
    Ok(Some(Arc::new(Client::new(url, options.get(AUTH.name))?)))
}

struct Client {
    agent: ureq::Agent,
    url: String,
    /// The header that says who asks.
    authorization: Option<String>,
    known: Mutex<BTreeMap<u32, Known>>,
    registered: Mutex<BTreeMap<(String, String), u32>>,
}

#[derive(Clone)]
enum Known {
    Schema(Arc<RegisteredSchema>),
    Missing(Error, Instant),
}

impl Client {
    fn new(url: &str, auth: Option<&str>) -> Result<Client> {
        let takes = |what: &str| Error::user(format!("option \"{}\" takes {what}", URL.name));
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(takes(&format!("an address such as 'http://127.0.0.1:8081', not '{url}'"))
                .with_hint("A registry that speaks TLS only needs a proxy on this machine."));
        };
        // User and password may stand in the address, too.
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Ok(Client {
            agent: ureq::Agent::new_with_config(config),
            url: format!("http://{}", host.trim_end_matches('/')),
            authorization: auth.or(user).map(|auth| format!("Basic {}", BASE64_STANDARD.encode(auth))),
            known: Mutex::default(),
            registered: Mutex::default(),
        })
    }

    /// Asks; a missing thing is an error of kind `Data`.
    fn ask(&self, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let away = |error: ureq::Error| Error::retry(format!("schema registry {url}: {error}"));
        const JSON: &str = "application/vnd.schemaregistry.v1+json";
        let answer = match body {
            None => {
                let request = self.agent.get(&url).header("accept", JSON);
                self.authorization.iter().fold(request, |r, auth| r.header("authorization", auth)).call()
            }
            Some(body) => {
                let request = self.agent.post(&url).header("accept", JSON).content_type(JSON);
                let request = self.authorization.iter().fold(request, |r, auth| r.header("authorization", auth));
                request.send(body.to_string())
            }
        };
        let mut answer = answer.map_err(away)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(away)?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = value["message"].as_str().unwrap_or(text.trim());
        match status {
            200..=299 => Ok(value),
            404 | 409 | 422 => Err(Error::data(format!("schema registry {url}: {said}"))),
            401 | 403 => Err(Error::outside(format!("schema registry {url} refuses access: {said}"))
                .with_hint("Check option \"schema_registry_auth\".")),
            _ => Err(Error::retry(format!("schema registry {url} answers {status}: {said}"))),
        }
    }

    fn fetch(&self, id: u32) -> Result<RegisteredSchema> {
        let answer = self.ask(&format!("/schemas/ids/{id}"), None)?;
        let mut references = Vec::new();
        self.references(&answer, &mut references)?;
        let text = answer["schema"].as_str().ok_or_else(|| Error::data(format!("schema {id} has no text")))?;
        let schema_type = match answer["schemaType"].as_str() {
            None | Some("AVRO") => SchemaType::Avro,
            Some("PROTOBUF") => SchemaType::Protobuf,
            Some("JSON") => SchemaType::Json,
            Some(other) => return Err(Error::data(format!("schema {id} has type '{other}', which is not known here"))),
        };
        Ok(RegisteredSchema { schema_type, text: text.to_string(), references })
    }

    /// Adds what `schema` refers to, and before each what that refers to.
    fn references(&self, schema: &Value, found: &mut Vec<(String, String)>) -> Result<()> {
        for reference in schema["references"].as_array().into_iter().flatten() {
            let (Some(name), Some(subject)) = (reference["name"].as_str(), reference["subject"].as_str()) else {
                return Err(Error::data("a schema's reference has no name or subject"));
            };
            if found.iter().any(|(known, _)| known == name) {
                continue;
            }
            if found.len() >= REFERENCES_MAX {
                return Err(Error::data(format!("a schema refers to more than {REFERENCES_MAX} others")));
            }
            let version = reference["version"].as_i64().unwrap_or(1);
            let answer = self.ask(&format!("/subjects/{}/versions/{version}", escaped(subject)), None)?;
            self.references(&answer, found)?;
            found.push((name.to_string(), answer["schema"].as_str().unwrap_or_default().to_string()));
        }
        Ok(())
    }
}

impl SchemaRegistry for Client {
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>> {
        match lock(&self.known).get(&id) {
            Some(Known::Schema(schema)) => return Ok(schema.clone()),
            Some(Known::Missing(error, since)) if since.elapsed() < ASK_AGAIN => return Err(error.clone()),
            _ => {}
        }
        let found = self.fetch(id).map(Arc::new);
        #[expect(clippy::disallowed_methods, reason = "a registry is asked in real time")]
        let now = Instant::now();
        match &found {
            Ok(schema) => drop(lock(&self.known).insert(id, Known::Schema(schema.clone()))),
            Err(error) if error.kind == thalweg_schemas::error::ErrorKind::Data => {
                lock(&self.known).insert(id, Known::Missing(error.clone(), now));
            }
            Err(_) => {}
        }
        found
    }

    fn register(&self, subject: &str, schema: &RegisteredSchema) -> Result<u32> {
        let key = (subject.to_string(), schema.text.clone());
        if let Some(id) = lock(&self.registered).get(&key) {
            return Ok(*id);
        }
        let schema_type = match schema.schema_type {
            SchemaType::Avro => "AVRO",
            SchemaType::Protobuf => "PROTOBUF",
            SchemaType::Json => "JSON",
        };
        let body = json!({ "schema": schema.text, "schemaType": schema_type });
        let answer = self.ask(&format!("/subjects/{}/versions", escaped(subject)), Some(body))?;
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| Error::retry(format!("schema registry {}: the answer names no id", self.url)))?;
        lock(&self.registered).insert(key, id);
        Ok(id)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of a path.
fn escaped(part: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    part.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    /// A registry that answers each path with a status and a text, and tells what it was asked.
    fn serve(answers: &'static [(&'static str, u16, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut first = String::new();
                stream.read_line(&mut first).unwrap();
                let (mut length, mut auth) = (0, String::new());
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let lower = line.to_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if lower.starts_with("authorization:") {
                        auth = format!(" {}", line["authorization:".len()..].trim());
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let path = first.split(' ').nth(1).unwrap();
                told.lock().unwrap().push(format!("{path}{auth}{}", String::from_utf8(body).unwrap()));
                let (_, status, text) = answers.iter().find(|(p, ..)| *p == path).unwrap_or(&("", 500, "what?"));
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
                stream.get_mut().write_all((head + text).as_bytes()).unwrap();
            }
        });
        (format!("http://{address}"), asked)
    }

    #[test]
    fn schemas_are_asked_for_once_with_what_they_refer_to() {
        let (url, asked) = serve(&[
            (
                "/schemas/ids/7",
                200,
                r#"{"schemaType":"PROTOBUF","schema":"a","references":[{"name":"b.proto","subject":"b/x","version":2}]}"#,
            ),
            (
                "/subjects/b%2Fx/versions/2",
                200,
                r#"{"schema":"b","references":[{"name":"c.proto","subject":"c","version":1}]}"#,
            ),
            ("/subjects/c/versions/1", 200, r#"{"schema":"c"}"#),
            ("/schemas/ids/8", 200, r#"{"schema":"\"int\""}"#),
            ("/schemas/ids/9", 404, r#"{"error_code":40403,"message":"Schema not found"}"#),
        ]);
        let client = Client::new(&url, Some("me:secret")).unwrap();
        let schema = client.schema(7).unwrap();
        assert_eq!((schema.schema_type, schema.text.as_str()), (SchemaType::Protobuf, "a"));
        let references: Vec<_> = schema.references.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(references, [("c.proto", "c"), ("b.proto", "b")]);
        client.schema(7).unwrap();
        assert_eq!(client.schema(8).unwrap().schema_type, SchemaType::Avro);
        for _ in 0..2 {
            let missing = client.schema(9).unwrap_err();
            assert_eq!(missing.message, format!("schema registry {url}/schemas/ids/9: Schema not found"));
        }
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 5, "{asked:?}");
        assert!(asked.iter().all(|line| line.ends_with(" Basic bWU6c2VjcmV0")), "{asked:?}");
    }

    #[test]
    fn a_schema_is_registered_once() {
        let (url, asked) = serve(&[("/subjects/orders-value/versions", 200, r#"{"id":12}"#)]);
        let client = Client::new(&url, None).unwrap();
        let text = "\"int\"".to_string();
        let schema = RegisteredSchema { schema_type: SchemaType::Avro, text, references: Vec::new() };
        assert_eq!(client.register("orders-value", &schema), Ok(12));
        assert_eq!(client.register("orders-value", &schema), Ok(12));
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        let (url, _) = serve(&[("/schemas/ids/1", 401, "who?")]);
        let client = Client::new(&url, None).unwrap();
        use thalweg_schemas::error::ErrorKind;
        assert_eq!(client.schema(1).unwrap_err().kind, ErrorKind::Outside);
        assert_eq!(client.schema(2).unwrap_err().kind, ErrorKind::Retry);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(Client::new(&format!("http://{free}"), None).unwrap().schema(1).unwrap_err().kind, ErrorKind::Retry);
        assert_eq!(Client::new("ftp://x", None).err().unwrap().kind, ErrorKind::User);
    }

    #[test]
    fn names_are_written_as_the_protocol_says() {
        assert_eq!(escaped("a/b c-1.x"), "a%2Fb%20c-1.x");
    }
}
