//! The worker's end of a table outside: a thread of its own asks the table, and what it heard is handed over here.

use crate::snapshot_changes::News;
use crate::snapshots::Table;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Fault, Outlook, Payload, Polled, Reader};

/// Tells the listener news; whether it has gone.
pub(crate) type Tell<'a> = &'a dyn Fn(Result<News>) -> bool;

/// Waits for so long; whether the listener has gone.
pub(crate) type IsOver<'a> = &'a dyn Fn(Duration) -> bool;

/// What is done on the thread, for as long as anybody listens.
type Work = dyn Fn(Tell<'_>, IsOver<'_>) + Send + Sync;

/// The thread: it ends when nobody listens any more.
struct Thread {
    news: Receiver<Result<News>>,
    /// Dropped, it ends the thread's pauses.
    _stop: Sender<()>,
}

/// Hands over what is heard of a table.
pub(crate) struct Listener {
    table: Arc<Table>,
    work: Arc<Work>,
    /// How many news may wait to be taken in.
    waiting_max: usize,
    /// Nothing before the first poll: by then all that an earlier run knows has been taken on.
    thread: Option<Thread>,
    waiting: VecDeque<Polled>,
    /// Whether all rows have been handed over once.
    loaded: bool,
    rows: u64,
}

impl Listener {
    /// To the thread of `table` that does `work`, of whose news so many may wait. Nothing is `loaded` before the first news of
    /// a table that is read whole.
    pub fn new(
        table: Arc<Table>,
        waiting_max: usize,
        loaded: bool,
        work: impl Fn(Tell<'_>, IsOver<'_>) + Send + Sync + 'static,
    ) -> Listener {
        let (work, waiting) = (Arc::new(work), VecDeque::new());
        Listener { table, work, waiting_max, thread: None, waiting, loaded, rows: 0 }
    }

    fn start(&self) -> Result<Thread> {
        let (told, news) = sync_channel(self.waiting_max);
        let (stop, stopped) = channel::<()>();
        let work = self.work.clone();
        let serve = move || {
            let is_over = |pause| stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            work(&|news| told.send(news).is_err(), &is_over);
        };
        let thread = std::thread::Builder::new().name(format!("table {}", self.table.name)).spawn(serve);
        thread.map_err(|error| Error::io("a thread to read a table", &error))?;
        Ok(Thread { news, _stop: stop })
    }

    fn hand_over(&mut self, news: News) {
        let partition = &self.table.partition;
        if let Some((rows, diffs)) = news.changes {
            let start = self.rows;
            self.rows += rows.num_rows() as u64;
            let payload = Payload::Changes { rows, diffs };
            let chunk = Chunk { partition: partition.clone(), start, end: self.rows, header: None, payload };
            self.waiting.push_back(Polled::Ready(chunk));
        }
        let fault = |reason| Polled::Fault(Fault { partition: partition.name.clone(), offset: self.rows, reason });
        self.waiting.extend(news.faults.into_iter().map(fault));
        self.loaded = true;
    }
}

impl Reader for Listener {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        if let Some(polled) = self.waiting.pop_front() {
            return Ok(polled);
        }
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        let news = thread.news.try_recv();
        self.thread = Some(thread);
        match news {
            Ok(news) => self.hand_over(news?),
            Err(TryRecvError::Empty) => return Ok(Polled::Pending),
            Err(TryRecvError::Disconnected) => {
                self.thread = None;
                return Err(Error::retry(format!("table \"{}\": the thread that reads it has ended", self.table.name)));
            }
        }
        Ok(self.waiting.pop_front().unwrap_or(Polled::Pending))
    }

    fn outlook(&self) -> Outlook {
        if self.loaded { Outlook::Open } else { Outlook::MoreToCome }
    }
}
