//! Where the frames of an archive lie: segments of a few megabytes, appended to, the oldest removed when there are too
//! many bytes. What other pipelines left in the same place is read and counted too: it is found by its source's name.

use super::letter::{Frame, Letter, LetterId};
use crate::durability::storage::{Log, Storage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// The longest and the shortest that a segment may be: it is read and removed as a whole.
const SEGMENT_BYTES: (u64, u64) = (8 << 20, 64 << 10);
/// There is room for so many segments at least, if they may be that short.
const SEGMENTS_MIN: u64 = 16;
/// Says what was removed for want of room.
const REMOVED: &str = "removed.json";

/// A pipeline's place in an archive.
#[derive(Clone)]
pub struct Place {
    /// Names the pipeline.
    pub lineage: Arc<str>,
    /// Its segments.
    pub storage: Arc<dyn Storage>,
}

/// The segments of an archive.
pub(crate) struct Shelf {
    /// What is kept there, for messages.
    what: &'static str,
    own: Place,
    others: Vec<Place>,
    bytes_max: u64,
    /// Counts how often the pipeline has begun anew.
    pub generation: u32,
    next_sequence: u64,
    log: Option<Box<dyn Log>>,
    loaded: bool,
    contents: Contents,
    removed: Removed,
}

/// What lies on a shelf, once it was looked through.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// The segments, oldest first; the one being written last.
    pub segments: Vec<Segment>,
    /// The letters that were taken in again, with the epoch of that; 0 if it was no epoch of this run.
    pub returned: Arc<BTreeMap<LetterId, u64>>,
}

/// One file of frames.
#[derive(Clone)]
pub(crate) struct Segment {
    pub place: Place,
    pub name: String,
    pub bytes: u64,
    last_epoch: u64,
}

/// What was removed for want of room.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Removed {
    /// How many letters, by origin.
    counts: BTreeMap<String, u64>,
    /// The segment that is counted and may be there still, with its pipeline.
    segments: Vec<String>,
}

impl Shelf {
    /// The archive of `own`, beside `others`; `anew`: the pipeline does not go on from an earlier run.
    pub fn open(what: &'static str, own: Place, others: Vec<Place>, bytes_max: u64, anew: bool) -> Result<Shelf> {
        let removed = match own.storage.list()?.iter().any(|name| name == REMOVED) {
            true => serde_json::from_slice(&own.storage.read(REMOVED)?).unwrap_or_default(),
            false => Removed::default(),
        };
        let mut shelf = Shelf {
            what,
            own,
            others,
            bytes_max,
            generation: 0,
            next_sequence: 0,
            log: None,
            loaded: false,
            contents: Contents::default(),
            removed,
        };
        if let Some(last) = shelf.frames_backwards().next() {
            let last = last?;
            shelf.next_sequence = last.sequence + 1;
            shelf.generation = last.generation + u32::from(anew);
        }
        Ok(shelf)
    }

    /// The pipeline whose archive it is.
    pub fn lineage(&self) -> Arc<str> {
        self.own.lineage.clone()
    }

    /// The last epoch of which everything is here, and what sinks refused after `checkpoint`, if this is no new beginning.
    pub fn position(&self, checkpoint: u64) -> Result<(u64, Vec<(u64, Letter)>)> {
        let (mut written, mut of_sinks) = (0, Vec::new());
        for frame in self.frames_backwards() {
            let frame = frame?;
            if frame.generation != self.generation || frame.epoch.max(frame.through) <= checkpoint {
                break;
            }
            written = written.max(frame.through);
            if frame.of_sink && frame.epoch > checkpoint {
                of_sinks.extend(frame.letters.into_iter().map(|letter| (frame.epoch, letter)));
            }
        }
        Ok((written, of_sinks))
    }

    /// The pipeline's own frames, the last one first.
    fn frames_backwards(&self) -> impl Iterator<Item = Result<Frame>> + use<> {
        let storage = self.own.storage.clone();
        let names = self.own.storage.list().map(|names| names.into_iter().rev().filter(|name| is_segment(name)));
        let names = names.map(Iterator::collect::<Vec<_>>);
        let (names, failed) = match names {
            Ok(names) => (names, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        let frames = names.into_iter().flat_map(move |name| match storage.read(&name) {
            Ok(bytes) => Frame::read_all(&bytes).0.into_iter().rev().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        failed.into_iter().chain(frames)
    }

    /// What lies here.
    pub fn contents(&mut self) -> Result<Contents> {
        self.load()?;
        Ok(self.contents.clone())
    }

    /// How many letters were removed for want of room, by origin.
    pub fn removed(&self) -> &BTreeMap<String, u64> {
        &self.removed.counts
    }

    /// How many bytes lie here, as far as they have been looked at.
    pub fn bytes(&self) -> u64 {
        self.contents.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Looks through all that earlier runs left, once.
    fn load(&mut self) -> Result<()> {
        if self.loaded {
            return Ok(());
        }
        let mut contents = Contents::default();
        let mut returned = BTreeMap::new();
        for place in std::iter::once(&self.own).chain(&self.others) {
            for name in place.storage.list()?.into_iter().filter(|name| is_segment(name)) {
                if self.removed.segments.contains(&format!("{}/{name}", place.lineage)) {
                    place.storage.remove(&name)?;
                    continue;
                }
                let bytes = place.storage.read(&name)?;
                let (frames, lost) = Frame::read_all(&bytes);
                if lost > 0 {
                    tracing::warn!("{}: {lost} bytes are no whole {}", place.storage.describe(&name), self.what);
                }
                let last_epoch = frames.iter().map(|frame| frame.epoch).max().unwrap_or_default();
                for frame in frames {
                    let own = place.lineage == self.own.lineage && frame.generation == self.generation;
                    let epoch = if own { frame.epoch } else { 0 };
                    returned.extend(frame.returned.into_iter().map(|id| (id, epoch)));
                }
                let (place, bytes) = (place.clone(), bytes.len() as u64);
                contents.segments.push(Segment { place, name, bytes, last_epoch });
            }
        }
        contents.segments.sort_by_key(|segment| segment.last_epoch);
        contents.returned = Arc::new(returned);
        (self.contents, self.loaded) = (contents, true);
        Ok(())
    }

    /// Appends frames, which get their numbers, durably. After an error none is there.
    pub fn append(&mut self, frames: &mut [Frame]) -> Result<()> {
        self.load()?;
        let mut bytes = Vec::new();
        for (frame, sequence) in frames.iter_mut().zip(self.next_sequence..) {
            (frame.sequence, frame.generation) = (sequence, self.generation);
            frame.write(&mut bytes)?;
        }
        if self.log.is_none() {
            let name = segment_name(self.next_sequence);
            self.log = Some(self.own.storage.create_log(&name)?);
            self.contents.segments.push(Segment { place: self.own.clone(), name, bytes: 0, last_epoch: 0 });
        }
        let (Some(log), Some(segment)) = (&mut self.log, self.contents.segments.last_mut()) else {
            return Err(Error::bug("an archive has no segment to write"));
        };
        log.append(&bytes)?;
        self.next_sequence += frames.len() as u64;
        segment.bytes += bytes.len() as u64;
        segment.last_epoch = frames.iter().map(|frame| frame.epoch).max().unwrap_or_default().max(segment.last_epoch);
        if frames.iter().any(|frame| !frame.returned.is_empty()) {
            let returned = Arc::make_mut(&mut self.contents.returned);
            for frame in &*frames {
                returned.extend(frame.returned.iter().map(|id| (id.clone(), frame.epoch)));
            }
        }
        if segment.bytes >= (self.bytes_max / SEGMENTS_MIN).clamp(SEGMENT_BYTES.1, SEGMENT_BYTES.0) {
            self.log = None;
        }
        Ok(())
    }

    /// Removes the oldest segments while there are too many bytes.
    pub fn make_room(&mut self) -> Result<()> {
        while self.bytes() > self.bytes_max && self.contents.segments.len() > 1 {
            let Segment { place, name, .. } = self.contents.segments[0].clone();
            let named = format!("{}/{name}", place.lineage);
            let counted = self.removed.segments.contains(&named);
            // Another process may have removed it.
            let bytes = place.storage.read(&name).unwrap_or_default();
            let mut gone: BTreeMap<String, u64> = BTreeMap::new();
            let mut ids = BTreeSet::new();
            for (id, letter) in Frame::read_all(&bytes).0.into_iter().flat_map(|f| f.into_letters(&place.lineage)) {
                if !self.contents.returned.contains_key(&id) {
                    *gone.entry(letter.origin).or_default() += 1;
                }
                ids.insert(id);
            }
            if !counted {
                self.note_removed(named, &gone)?;
            }
            place.storage.remove(&name)?;
            self.contents.segments.remove(0);
            let returned = Arc::make_mut(&mut self.contents.returned);
            returned.retain(|id, _| !ids.contains(id));
        }
        Ok(())
    }
}

impl Shelf {
    /// Counts letters as removed before they are, so that a crash in between neither forgets nor repeats it.
    fn note_removed(&mut self, segment: String, gone: &BTreeMap<String, u64>) -> Result<()> {
        let mut removed = self.removed.clone();
        removed.segments = vec![segment];
        for (origin, count) in gone {
            *removed.counts.entry(origin.clone()).or_default() += count;
        }
        let text = serde_json::to_vec(&removed);
        let text = text.map_err(|e| Error::bug(format!("what was removed cannot be written: {e}")))?;
        self.own.storage.write(REMOVED, &text)?;
        if self.removed.counts.is_empty() && !gone.is_empty() {
            let (what, max) = (self.what, self.bytes_max);
            tracing::warn!("{what} take more than {max} bytes: the oldest are removed, and counted");
        }
        self.removed = removed;
        Ok(())
    }
}

fn segment_name(sequence: u64) -> String {
    format!("letters-{sequence:020}.twdl")
}

fn is_segment(name: &str) -> bool {
    name.starts_with("letters-") && name.ends_with(".twdl")
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFolder;
    use super::*;

    fn place(lineage: &str) -> Place {
        Place { lineage: lineage.into(), storage: Arc::new(MemoryFolder::default()) }
    }

    fn frame(epoch: u64, raw: usize) -> Frame {
        let letter = Letter { origin: "s".into(), raw: vec![b'x'; raw], ..Letter::default() };
        Frame { epoch, through: epoch, letters: vec![letter], ..Frame::default() }
    }

    #[test]
    fn a_restart_goes_on_where_the_frames_end() {
        let own = place("a");
        let open = |anew| Shelf::open("letters", own.clone(), Vec::new(), 1 << 20, anew).unwrap();
        let mut shelf = open(true);
        assert_eq!(shelf.position(0).unwrap().0, 0);
        shelf.append(&mut [frame(3, 1), frame(5, 1)]).unwrap();
        let mut refused = [Frame { of_sink: true, ..frame(4, 2) }];
        refused[0].through = 5;
        shelf.append(&mut refused).unwrap();
        let (written, of_sinks) = open(false).position(2).unwrap();
        assert_eq!((written, of_sinks.len()), (5, 1));
        assert_eq!(open(false).position(4).unwrap().1.len(), 0);
        assert_eq!(open(true).position(0).unwrap(), (0, Vec::new()));
        let mut again = open(false);
        again.append(&mut [frame(6, 1)]).unwrap();
        assert_eq!(again.contents().unwrap().segments.len(), 2);
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let (own, other) = (place("a"), place("b"));
        Shelf::open("letters", other.clone(), Vec::new(), 1 << 30, true).unwrap().append(&mut [frame(1, 9)]).unwrap();
        let mut shelf = Shelf::open("letters", own, vec![other], 300 << 10, true).unwrap();
        for epoch in 2..12 {
            shelf.append(&mut [frame(epoch, 70 << 10)]).unwrap();
            shelf.make_room().unwrap();
        }
        let contents = shelf.contents().unwrap();
        assert!(shelf.bytes() <= 300 << 10);
        assert_eq!(contents.segments.len() + shelf.removed()["s"] as usize, 11);
        assert!(contents.segments.iter().all(|segment| &*segment.place.lineage == "a"));
    }
}
