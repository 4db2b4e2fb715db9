//! A stream of numbered messages into a topic, at a steady rate for as long as somebody wants it.

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The event time of message 0, in milliseconds; each is a millisecond after the one before.
pub const BEGIN_MS: i64 = 1_767_225_600_000;
/// How many keys there are.
pub const KEYS: u64 = 7;
pub const PARTITIONS: i32 = 6;

/// The key of a message.
pub fn key(id: u64) -> u64 {
    id % KEYS
}

pub struct Load {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

/// Messages come in handfuls, so often.
const EVERY: Duration = Duration::from_millis(10);

impl Load {
    /// Begins to write `rate` messages a second.
    pub fn start(brokers: &str, topic: &'static str, rate: u64) -> Load {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", "300000")
            .create()
            .unwrap();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            #[allow(clippy::disallowed_methods, reason = "a rate is in real time")]
            let began = Instant::now();
            let mut id = 0;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                while id < due {
                    let at = BEGIN_MS + id as i64;
                    let value = format!("{{\"id\":{id},\"ts\":{at},\"k\":\"{}\"}}", key(id));
                    let record = BaseRecord::<(), _>::to(topic).partition((id % PARTITIONS as u64) as i32);
                    match producer.send(record.payload(&value)) {
                        Ok(()) => id += 1,
                        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                        Err((error, _)) => panic!("{error}"),
                    }
                }
                producer.poll(Duration::ZERO);
            }
            producer.flush(Duration::from_secs(120)).unwrap();
            id
        });
        Load { stop, thread }
    }

    /// Stops; how many messages there are.
    pub fn finish(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}
