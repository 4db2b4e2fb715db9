//! librdkafka's queue of fetched messages, taken from in batches.
//!
//! The safe consumer of `rdkafka` hands over one message a call, wrapped in an event of its own: 0.6 microseconds of
//! processor time a message, measured with messages of 200 bytes, where the batch call of librdkafka costs 0.25. It
//! also says of an error neither partition nor offset. So this module, and no other, calls librdkafka itself.
#![allow(unsafe_code)] // the batch call has no safe form; every block says why it holds

use super::client::Consumer;
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;

/// How many messages one call of librdkafka hands over.
const BATCH: usize = 512;

/// A queue of its own for the messages of some partitions of one consumer.
pub(super) struct Queue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    batch: Vec<*mut sys::rd_kafka_message_t>,
    /// Keeps the consumer: a queue must not outlive it.
    consumer: Arc<Consumer>,
}

// SAFETY: librdkafka's queues may be used from any thread; the pointers in `batch` are dead between two calls.
unsafe impl Send for Queue {}

/// What librdkafka hands over: a message, or an error in place of one.
pub(super) struct Taken<'a> {
    message: &'a sys::rd_kafka_message_t,
}

impl Queue {
    /// A queue to which partitions can be [joined](Queue::join).
    pub fn new(consumer: &Arc<Consumer>) -> Option<Queue> {
        // SAFETY: the client lives at least as long as `consumer`.
        Queue::of(unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) }, consumer)
    }

    /// The queue of one partition, separate from all others. To be asked for before the partition is assigned.
    pub fn of_partition(consumer: &Arc<Consumer>, topic: &str, partition: i32) -> Option<Queue> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives, `topic` ends with a zero; the answer is a reference that we own, or null.
        let own =
            unsafe { sys::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let own = Queue::of(own, consumer)?;
        // SAFETY: `own.queue` is valid; forwarding to nothing keeps the messages where they are.
        unsafe { sys::rd_kafka_queue_forward(own.queue.as_ptr(), std::ptr::null_mut()) };
        Some(own)
    }

    /// The queue of what the consumer says of itself. [`take`](Queue::take) is not for this one.
    pub fn of_events(consumer: &Arc<Consumer>) -> Option<Queue> {
        // SAFETY: the client lives; the answer is a reference that we own, or null.
        Queue::of(unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) }, consumer)
    }

    /// How much waits in it.
    pub fn len(&self) -> usize {
        // SAFETY: the queue is valid.
        unsafe { sys::rd_kafka_queue_length(self.queue.as_ptr()) }
    }

    fn of(queue: *mut sys::rd_kafka_queue_t, consumer: &Arc<Consumer>) -> Option<Queue> {
        Some(Queue { queue: NonNull::new(queue)?, batch: Vec::new(), consumer: consumer.clone() })
    }

    /// Has the messages of a partition come here. To be called before the partition is assigned: librdkafka leaves an
    /// application's forwarding alone when it begins to fetch, so no message goes elsewhere.
    pub fn join(&self, topic: &str, partition: i32) -> Option<()> {
        let own = Queue::of_partition(&self.consumer, topic, partition)?;
        // SAFETY: both queues are valid references of the same client.
        unsafe { sys::rd_kafka_queue_forward(own.queue.as_ptr(), self.queue.as_ptr()) };
        Some(())
    }

    /// Hands what waits, at most one batch, to `each`; how many it were. Never waits itself.
    pub fn take(&mut self, mut each: impl FnMut(Taken<'_>)) -> usize {
        self.batch.resize(BATCH, std::ptr::null_mut());
        // SAFETY: the queue is valid and `batch` has room for as many pointers as it says.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.batch.as_mut_ptr(), self.batch.len())
        };
        let count = usize::try_from(count).unwrap_or_default();
        for message in &self.batch[..count] {
            // SAFETY: librdkafka wrote `count` valid messages, which are ours until they are destroyed below; `each`
            // cannot keep the borrow.
            each(Taken { message: unsafe { &**message } });
            // SAFETY: destroyed once, and not used again.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
        count
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: our reference, given back once; the client still lives.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Taken<'_> {
    /// The error that came instead of a message, and what librdkafka says about it.
    pub fn error(&self) -> Option<(RDKafkaErrorCode, String)> {
        if self.message.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let text = self.value().map(|text| String::from_utf8_lossy(text).into_owned());
        Some((self.message.err.into(), text.unwrap_or_default()))
    }

    /// A number that stands for the topic while the consumer lives: cheaper to compare than its name.
    pub fn topic_id(&self) -> usize {
        self.message.rkt as usize
    }

    /// The topic's name; empty for an error that is of no topic.
    pub fn topic(&self) -> &str {
        if self.message.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic lives as long as the message, and its name is text that ends with a zero.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.message.rkt)) }.to_str().unwrap_or_default()
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.message.partition
    }

    /// The message's offset; for an error, where it happened, or negative.
    pub fn offset(&self) -> i64 {
        self.message.offset
    }

    /// The message's key.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: pointer and length are of one buffer that lives as long as the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    /// The message's value.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Hands the message's headers to `each`, in order.
    pub fn headers(&self, mut each: impl FnMut(&str, &[u8])) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is valid; the headers stay its own.
        let found = unsafe { sys::rd_kafka_message_headers(self.message, &mut headers) };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: `headers` is valid and the three places are ours; beyond the last header an error is answered.
            let got = unsafe { sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut len) };
            if got != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: name and value live as long as the message; the name ends with a zero.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, len)) };
            each(&name.to_string_lossy(), value.unwrap_or_default());
        }
    }
}

/// The bytes at `at`; `None` for null, which says that there are none.
///
/// # Safety
///
/// `at` is null, or valid for `len` bytes for as long as the answer is used.
unsafe fn bytes<'a>(at: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) })
}
