//! Files read several at once and handed over one after the other, in the order asked for: far away, in an object store,
//! a file takes its round trip, and a restart would wait for one after the other.

use super::manifest::SectionRef;
use super::storage::Storage;
use arrow::record_batch::RecordBatch;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::VecDeque;
use thalweg_schemas::error::{Error, Result};

/// How many files all readers of a process hold or wait for at once. They are of some 16 MB, and what is held counts
/// beside the state that is made of it.
const AT_ONCE: usize = 16;

/// What a thread reads, and for whom.
type Job = (String, Sender<Result<Vec<u8>>>);

/// The files that are on their way.
pub(crate) struct ReadAhead {
    jobs: Sender<Job>,
    /// What is to be read next.
    names: VecDeque<String>,
    /// What is being read, or has been, in order.
    coming: VecDeque<(String, Receiver<Result<Vec<u8>>>)>,
}

/// Has `with` read the files `names`, in that order, as one of `readers` that do so at the same time.
pub(crate) fn read_ahead<T>(
    storage: &dyn Storage,
    names: VecDeque<String>,
    readers: usize,
    with: impl FnOnce(&mut ReadAhead) -> Result<T>,
) -> Result<T> {
    let at_once = (AT_ONCE / readers.max(1)).max(1).min(names.len());
    let (jobs, todo) = unbounded::<Job>();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            let todo = todo.clone();
            let read = move || {
                // Nobody waits for an answer any more where another file could not be read.
                todo.into_iter().for_each(|(name, answer)| drop(answer.send(storage.read(&name))));
            };
            let thread = std::thread::Builder::new().name("read ahead".to_string()).spawn_scoped(scope, read);
            thread.map_err(|e| Error::io("starting a thread that reads a checkpoint", &e))?;
        }
        let mut ahead = ReadAhead { jobs, names, coming: VecDeque::new() };
        (0..at_once).for_each(|_| ahead.ask());
        // The threads end with `ahead`.
        with(&mut ahead)
    })
}

impl ReadAhead {
    /// Asks for one file more.
    fn ask(&mut self) {
        let Some(name) = self.names.pop_front() else { return };
        let (answer, answered) = bounded(1);
        // If no thread takes it, `next` says so.
        drop(self.jobs.send((name.clone(), answer)));
        self.coming.push_back((name, answered));
    }

    /// The next file, waited for; `None` behind the last.
    pub fn next(&mut self) -> Option<Result<(String, Vec<u8>)>> {
        let (name, answered) = self.coming.pop_front()?;
        let read = answered.recv().map_err(|_| Error::bug("a thread that reads a checkpoint has ended early"));
        self.ask();
        Some(read.and_then(|bytes| bytes).map(|bytes| (name, bytes)))
    }
}

/// The files of sections that are read in this order.
pub(crate) fn files_of<'a>(sections: impl Iterator<Item = &'a SectionRef>) -> VecDeque<String> {
    let mut names = VecDeque::<String>::new();
    for section in sections {
        if names.back() != Some(&section.file) {
            names.push_back(section.file.clone());
        }
    }
    names
}

/// Reads the rows of sections, in the order of [`files_of`] them.
pub(crate) struct SectionReader<'a> {
    ahead: &'a mut ReadAhead,
    /// The file that was read last.
    file: (String, Vec<u8>),
}

impl SectionReader<'_> {
    pub fn new(ahead: &mut ReadAhead) -> SectionReader<'_> {
        SectionReader { ahead, file: Default::default() }
    }

    /// The rows of the next section.
    pub fn rows(&mut self, section: &SectionRef) -> Result<RecordBatch> {
        if self.file.0 != section.file {
            // The old one goes before the next one is waited for.
            self.file = Default::default();
            self.file = self.ahead.next().ok_or_else(|| lost(section))??;
        }
        if self.file.0 != section.file {
            return Err(Error::bug(format!("sections of {} are read before those of {}", section.file, self.file.0)));
        }
        let part = self.file.1.get(section.at as usize..(section.at + section.length) as usize);
        let mut reader = arrow::ipc::reader::StreamReader::try_new(part.ok_or_else(|| lost(section))?, None)?;
        Ok(reader.next().ok_or_else(|| lost(section))??)
    }
}

fn lost(section: &SectionRef) -> Error {
    Error::outside(format!("{} is too short", section.file))
}

#[cfg(test)]
mod tests {
    use super::super::storage::Log;
    use super::*;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    /// Answers nobody before so many ask at once; of each file it gives the name.
    struct Crowd {
        least: usize,
        asking: Mutex<(usize, usize)>,
        came: Condvar,
    }

    impl Storage for Crowd {
        fn list(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn read(&self, name: &str) -> Result<Vec<u8>> {
            let mut asking = self.asking.lock().unwrap();
            asking.0 += 1;
            asking.1 = asking.1.max(asking.0);
            self.came.notify_all();
            let alone = |asking: &mut (usize, usize)| asking.1 < self.least;
            let (mut asking, waited) = self.came.wait_timeout_while(asking, Duration::from_secs(60), alone).unwrap();
            assert!(!waited.timed_out(), "one after the other");
            asking.0 -= 1;
            if name == "lost" { Err(Error::outside("lost")) } else { Ok(name.as_bytes().to_vec()) }
        }

        fn write(&self, _name: &str, _bytes: &[u8]) -> Result<()> {
            Ok(())
        }

        fn remove(&self, _name: &str) -> Result<()> {
            Ok(())
        }

        fn create_log(&self, name: &str) -> Result<Box<dyn Log>> {
            Err(Error::outside(name))
        }

        fn cut_log(&self, _name: &str, _length: u64) -> Result<()> {
            Ok(())
        }

        fn describe(&self, name: &str) -> String {
            name.to_string()
        }
    }

    fn crowd(least: usize) -> Crowd {
        Crowd { least, asking: Mutex::default(), came: Condvar::new() }
    }

    fn numbered(count: usize) -> VecDeque<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn files_come_in_order_though_several_are_read_at_once() {
        for (readers, files, least) in [(1, 100, AT_ONCE), (4, 100, AT_ONCE / 4), (100, 3, 1), (1, 2, 2), (1, 0, 0)] {
            let storage = crowd(least);
            let read = read_ahead(&storage, numbered(files), readers, |ahead| {
                let all = std::iter::from_fn(|| ahead.next());
                all.collect::<Result<Vec<_>>>()
            });
            let expected: Vec<_> = numbered(files).into_iter().map(|name| (name.clone(), name.into_bytes())).collect();
            assert_eq!(read.unwrap(), expected);
            assert_eq!(storage.asking.lock().unwrap().1, least, "no more at once");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_in_its_turn() {
        let names = ["a", "lost", "b"].map(str::to_string);
        let read = read_ahead(&crowd(1), names.into(), 1, |ahead| {
            assert_eq!(ahead.next().unwrap()?.0, "a");
            ahead.next().unwrap()
        });
        assert_eq!(read.unwrap_err().message, "lost");
    }
}
