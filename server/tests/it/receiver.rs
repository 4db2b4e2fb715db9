//! An HTTP server that outlives those who post to it, and does what the manual asks of a receiver: it remembers
//! `Idempotency-Key`s, and keeps what it took in the order in which it came. It fails when it is told to, and notices a key
//! that comes back with another body.

use crate::process::pass;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A request that was answered with success.
#[derive(Clone, Debug)]
pub struct Message {
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Message {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What tells repetitions, if its sender says it.
    fn key(&self) -> Option<&String> {
        self.headers.get("idempotency-key")
    }
}

#[derive(Default)]
struct Taken {
    /// Each key once, in order.
    messages: Vec<Message>,
    /// Where in `messages` a key is.
    keys: BTreeMap<String, usize>,
    requests: usize,
    /// How many came again.
    repeated: usize,
    /// Keys that came again with another body.
    changed: Vec<String>,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    taken: Arc<(Mutex<Taken>, Condvar)>,
    /// Every so many requests one is answered with 500; 0: none.
    fails_every: Arc<AtomicUsize>,
    /// How many milliseconds it takes over each request.
    pause_ms: Arc<AtomicU64>,
}

impl Receiver {
    pub fn start(fails_every: usize) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, fails_every) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(fails_every)));
        let receiver = Receiver { address, taken: Arc::default(), fails_every, pause_ms: Arc::default() };
        let server = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        receiver
    }

    /// From now on it takes so long over each request.
    pub fn take_time(&self, pause: Duration) {
        self.pause_ms.store(pause.as_millis() as u64, Ordering::Relaxed);
    }

    /// From now on no request fails.
    pub fn recover(&self) {
        self.fails_every.store(0, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// Answers the requests of one connection until it breaks; a request that is cut off is none.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
                match line.trim_end().split_once(": ") {
                    Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_string())),
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
            stream.read_exact(&mut body).ok()?;
            pass(Duration::from_millis(self.pause_ms.load(Ordering::Relaxed)));
            let message = Message { headers, body: String::from_utf8(body).unwrap() };
            let status = if self.take(message) { "204 No Content" } else { "500 Not Now" };
            write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }

    fn take(&self, message: Message) -> bool {
        let mut taken = self.taken.0.lock().unwrap();
        taken.requests += 1;
        let fails_every = self.fails_every.load(Ordering::Relaxed);
        if fails_every > 0 && taken.requests.is_multiple_of(fails_every) {
            return false;
        }
        match message.key().and_then(|key| taken.keys.get(key)).map(|at| taken.messages[*at].body == message.body) {
            None => {
                let at = taken.messages.len();
                taken.keys.extend(message.key().map(|key| (key.clone(), at)));
                taken.messages.push(message);
            }
            Some(same) => {
                taken.repeated += 1;
                taken.changed.extend(message.key().filter(|_| !same).cloned());
            }
        }
        self.taken.1.notify_all();
        true
    }

    /// Waits until `count` different messages have come; what came by then.
    pub fn wait(&self, count: usize) -> Vec<Message> {
        let taken = self.taken.0.lock().unwrap();
        let wait = self.taken.1.wait_timeout_while(taken, Duration::from_secs(60), |t| t.messages.len() < count);
        let (taken, timeout) = wait.unwrap();
        assert!(!timeout.timed_out(), "{} of {count} messages came", taken.messages.len());
        taken.messages.clone()
    }

    /// How many different messages have come.
    pub fn count(&self) -> usize {
        self.taken.0.lock().unwrap().messages.len()
    }

    /// The lines of all messages.
    pub fn lines(&self) -> Vec<String> {
        let taken = self.taken.0.lock().unwrap();
        taken.messages.iter().flat_map(|message| message.body.lines()).map(str::to_string).collect()
    }

    /// How many messages came again.
    pub fn repeated(&self) -> usize {
        self.taken.0.lock().unwrap().repeated
    }

    /// The keys that came back with another body.
    pub fn changed(&self) -> Vec<String> {
        self.taken.0.lock().unwrap().changed.clone()
    }
}
