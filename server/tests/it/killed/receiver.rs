//! An HTTP server that outlives those who post to it, and does what the manual asks of a receiver: it remembers
//! `Idempotency-Key`s. It also notices a key that comes back with other rows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What came, by key.
#[derive(Default)]
struct Taken {
    bodies: BTreeMap<String, Vec<u8>>,
    /// Keys that came again.
    repeated: usize,
    /// Keys that came again with another body.
    changed: Vec<String>,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver { address: listener.local_addr().unwrap(), taken: Arc::default() };
        let server = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        receiver
    }

    /// Answers the requests of one connection until it breaks; a request that is cut off is none.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut key, mut length) = (None, 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    if line.trim_end().is_empty() {
                        break;
                    }
                    continue;
                };
                match name.to_ascii_lowercase().as_str() {
                    "idempotency-key" => key = Some(value.to_string()),
                    "content-length" => length = value.parse().ok()?,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            self.take(key?, body);
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
        }
    }

    fn take(&self, key: String, body: Vec<u8>) {
        let mut taken = self.taken.lock().unwrap();
        match taken.bodies.get(&key) {
            None => drop(taken.bodies.insert(key, body)),
            Some(before) => {
                let same = *before == body;
                taken.repeated += 1;
                if !same {
                    taken.changed.push(key);
                }
            }
        }
    }

    /// How many requests were new.
    pub fn requests(&self) -> usize {
        self.taken.lock().unwrap().bodies.len()
    }

    /// How many came again, and the keys that meant something else the second time.
    pub fn repeated(&self) -> (usize, Vec<String>) {
        let taken = self.taken.lock().unwrap();
        (taken.repeated, taken.changed.clone())
    }

    /// The lines of all requests.
    pub fn lines(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let lines = taken.bodies.values().flat_map(|body| std::str::from_utf8(body).unwrap().lines());
        lines.map(str::to_string).collect()
    }
}
