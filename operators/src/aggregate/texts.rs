//! A hash table of texts: what a grouping by text columns finds its groups with.
//!
//! Keys of telemetry are short texts, few or a million of them. So the first bytes of each are held in the slot itself: texts
//! that fit are compared as words, without a look at anything else. And with a million keys a look-up waits for memory.
//! A table that takes one row after the other waits for each in turn; here some hundred rows ask for their slots before
//! any is looked at, so that the processor has many requests under way.

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use datafusion_common::hash_utils::RandomState;
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_expr::EmitTo;
use datafusion_physical_plan::aggregates::group_values::GroupValues;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;

/// So many rows go through the steps together: what they touch stays in the processor's nearest caches.
const ROWS_AT_ONCE: usize = if cfg!(test) { 16 } else { 256 };
/// The least number of slots. Few in tests, so that they see the table grow.
const SLOTS_MIN: usize = if cfg!(test) { 8 } else { 1_024 };

/// Keys of `N` texts, each of which may be NULL, numbered from zero in the order in which they came.
pub(crate) struct TextKeys<const N: usize> {
    /// Open addressing with linear probing; whole cache lines of them, of which five in eight are taken at most, and once the
    /// table has grown two in five at least, or half where keys are there for long.
    slots: Vec<Slot<N>>,
    /// The texts by number, for each column; short ones are empty where nobody asks for them.
    columns: [StringBuilder; N],
    texts: Texts,
}

/// Who has the texts of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// The table, which tells them by number.
    Told,
    /// Those who use it: what it gives back in the end is of no use.
    Elsewhere,
}

/// A key and its number, or a key to be looked for, which has none. What is known of the key without looking elsewhere is all
/// there is of it, where no text is longer than its head. Aligned so that a slot lies in as few cache lines as it can: of a
/// key of one text two are in each line, of two texts one.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Slot<const N: usize> {
    /// Each text's first sixteen bytes, zeros behind its end.
    heads: [[u64; 2]; N],
    /// The texts' lengths.
    lens: [u32; N],
    hash: u32,
    number: u32,
}

const HEAD_BYTES: usize = 16;
const LINE_BYTES: usize = 64;
/// The length of NULL. No text is as long: Arrow counts to half of that.
const NULL: u32 = u32::MAX;
/// The number of no key.
const VACANT: u32 = u32::MAX;

/// For each length, what of a text's head belongs to it.
const MASKS: [u128; HEAD_BYTES + 1] = {
    let mut masks = [u128::MAX; HEAD_BYTES + 1];
    let mut len = 0;
    while len < HEAD_BYTES {
        masks[len] = (1 << (8 * len)) - 1;
        len += 1;
    }
    masks
};

/// The head and the length of the text of row `row`. What follows it in the array is read with it and blotted out: texts of
/// many lengths would have a processor guess each length wrong.
#[inline]
fn head_of(texts: &StringArray, row: usize) -> ([u64; 2], u32) {
    let offsets = texts.value_offsets();
    let (begin, len) = (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize);
    let head = match texts.value_data()[begin..].first_chunk::<HEAD_BYTES>() {
        Some(bytes) => u128::from_le_bytes(*bytes),
        None => {
            let mut bytes = [0; HEAD_BYTES];
            let shown = len.min(HEAD_BYTES);
            bytes[..shown].copy_from_slice(&texts.value_data()[begin..begin + shown]);
            u128::from_le_bytes(bytes)
        }
    };
    let head = head & MASKS[len.min(HEAD_BYTES)];
    ([head as u64, (head >> 64) as u64], len as u32)
}

fn is_long(len: u32) -> bool {
    len > HEAD_BYTES as u32 && len != NULL
}

impl<const N: usize> Slot<N> {
    const VACANT: Slot<N> = Slot { heads: [[0; 2]; N], lens: [NULL; N], hash: 0, number: VACANT };

    /// The keys of `rows` rows from row `first` on, into `keys`.
    fn of(columns: &[&StringArray; N], first: usize, keys: &mut [Slot<N>]) {
        for (column, texts) in columns.iter().enumerate() {
            for (row, key) in (first..).zip(keys.iter_mut()) {
                let (head, len) = if texts.is_valid(row) { head_of(texts, row) } else { ([0; 2], NULL) };
                (key.heads[column], key.lens[column]) = (head, len);
            }
        }
        for (row, key) in (first..).zip(keys) {
            let mut hash = 0;
            for ((head, len), texts) in key.heads.iter().zip(key.lens).zip(columns) {
                hash = folded_product(hash ^ head[0] ^ SEEDS[0], head[1] ^ u64::from(len) ^ SEEDS[1]);
                if is_long(len) {
                    hash ^= RandomState::default().hash_one(texts.value(row).as_bytes());
                }
            }
            key.hash = hash as u32;
        }
    }

    const IN_A_LINE: usize = if size_of::<Slot<N>>() < LINE_BYTES { LINE_BYTES / size_of::<Slot<N>>() } else { 1 };

    /// Where to look for the key first, of so many slots: a cache line's first slot, so that all others in the line are looked
    /// at before any other line is waited for. The hash is taken for a fraction of the lines (Lemire, "Fast random integer
    /// generation in an interval", 2019), so that there may be any number of them.
    #[inline]
    fn home(&self, slots: usize) -> usize {
        let lines = (slots / Self::IN_A_LINE) as u64;
        ((u64::from(self.hash) * lines) >> 32) as usize * Self::IN_A_LINE
    }

    #[inline]
    fn has_long_texts(&self) -> bool {
        self.lens.iter().any(|len| is_long(*len))
    }

    /// Whether the keys are the same, as far as is known here. Without a branch for each word: whether all words agree is
    /// mostly foreseen, which of them differs is not.
    #[inline]
    fn agrees(&self, other: &Slot<N>) -> bool {
        let mut differing = u64::from(self.hash ^ other.hash);
        for column in 0..N {
            let (a, b) = (self.heads[column], other.heads[column]);
            differing |= (a[0] ^ b[0]) | (a[1] ^ b[1]) | u64::from(self.lens[column] ^ other.lens[column]);
        }
        differing == 0
    }
}

/// Digits of pi after the point, in hexadecimal.
const SEEDS: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// Both halves of the product, folded: every bit of it depends on every bit of both numbers (as in wyhash and foldhash).
#[inline]
fn folded_product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl<const N: usize> TextKeys<N> {
    pub fn new(texts: Texts) -> TextKeys<N> {
        let columns = std::array::from_fn(|_| StringBuilder::new());
        TextKeys { slots: vec![Slot::VACANT; SLOTS_MIN], columns, texts }
    }

    /// The number of `key`, which stands in row `row` of `columns`; a new one if it is new.
    #[inline]
    fn find_or_insert(&mut self, key: &Slot<N>, columns: &[&StringArray; N], row: usize) -> Result<usize> {
        let mut at = key.home(self.slots.len());
        loop {
            let slot = &self.slots[at];
            if slot.number == VACANT {
                return self.insert(at, key, columns, row);
            }
            if slot.agrees(key) && (!key.has_long_texts() || self.holds(slot.number, key, columns, row)) {
                return Ok(slot.number as usize);
            }
            at = self.behind(at);
        }
    }

    /// The slot behind `at`.
    #[inline]
    fn behind(&self, at: usize) -> usize {
        if at + 1 < self.slots.len() { at + 1 } else { 0 }
    }

    /// Whether the long texts of key `number` are those of `key`, which stands in row `row`, where all that slots hold agrees.
    fn holds(&self, number: u32, key: &Slot<N>, columns: &[&StringArray; N], row: usize) -> bool {
        self.columns.iter().zip(columns).zip(key.lens).all(|((held, texts), len)| {
            let offsets = &held.offsets_slice()[number as usize..];
            let held = &held.values_slice()[offsets[0] as usize..offsets[1] as usize];
            !is_long(len) || *held == *texts.value(row).as_bytes()
        })
    }

    fn insert(&mut self, at: usize, key: &Slot<N>, columns: &[&StringArray; N], row: usize) -> Result<usize> {
        let number = self.len();
        for ((held, texts), len) in self.columns.iter_mut().zip(columns).zip(key.lens) {
            if self.texts == Texts::Elsewhere && !is_long(len) {
                held.append_value("");
                continue;
            }
            if texts.is_null(row) {
                held.append_null();
                continue;
            }
            let text = texts.value(row);
            if held.values_slice().len() + text.len() > i32::MAX as usize {
                let what = "the texts that a view groups by take more than 2 GiB on one worker: run more workers";
                return Err(exec_datafusion_err!("{what}"));
            }
            held.append_value(text);
        }
        self.slots[at] = Slot { number: number as u32, ..*key };
        Ok(number)
    }

    /// Makes room for so many keys more.
    fn reserve(&mut self, more: usize) {
        // Most of the keys that are looked for are known: that all of them are new is seen to as far as there must be room.
        let (slots, keys) = (self.slots.len(), self.len());
        if keys.div_ceil(5) * 8 <= slots && (keys + more).div_ceil(7) * 8 <= slots {
            return;
        }
        let grown = match self.texts {
            Texts::Told => slots / 2 * 3,
            // Keys that others know by number are there for long: what lies idle counts for more than what is moved.
            Texts::Elsewhere => slots / 4 * 5,
        };
        let wanted = ((keys + more).div_ceil(5) * 8).max(grown);
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Slot::VACANT; wanted.next_multiple_of(Slot::<N>::IN_A_LINE)];
        for slot in old.into_iter().filter(|slot| slot.number != VACANT) {
            let mut at = slot.home(self.slots.len());
            while self.slots[at].number != VACANT {
                at = self.behind(at);
            }
            self.slots[at] = slot;
        }
    }
}

impl<const N: usize> GroupValues for TextKeys<N> {
    fn intern(&mut self, columns: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        let rows = columns[0].len();
        let columns: [&StringArray; N] = std::array::from_fn(|column| columns[column].as_string());
        groups.clear();
        groups.reserve(rows);
        let mut keys = [Slot::VACANT; ROWS_AT_ONCE];
        for first in (0..rows).step_by(ROWS_AT_ONCE) {
            let keys = &mut keys[..ROWS_AT_ONCE.min(rows - first)];
            self.reserve(keys.len());
            Slot::of(&columns, first, keys);
            let slots = self.slots.len();
            black_box(keys.iter().fold(0, |seen, key| seen ^ self.slots[key.home(slots)].number));
            for (row, key) in (first..).zip(keys.iter()) {
                groups.push(self.find_or_insert(key, &columns, row)?);
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let texts = |held: &StringBuilder| held.values_slice().len() + size_of_val(held.offsets_slice());
        self.slots.capacity() * size_of::<Slot<N>>() + self.columns.iter().map(texts).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.columns[0].offsets_slice().len() - 1
    }

    fn emit(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut all = std::mem::replace(self, TextKeys::new(self.texts));
        let columns: Vec<ArrayRef> = all.columns.iter_mut().map(|held| Arc::new(held.finish()) as ArrayRef).collect();
        let first = match emit_to {
            EmitTo::All => return Ok(columns),
            EmitTo::First(first) => first,
        };
        let rest: Vec<ArrayRef> = columns.iter().map(|column| column.slice(first, column.len() - first)).collect();
        self.intern(&rest, &mut Vec::new())?;
        Ok(columns.iter().map(|column| column.slice(0, first)).collect())
    }

    fn clear_shrink(&mut self, _num_rows: usize) {
        *self = TextKeys::new(self.texts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Row = [Option<String>; 2];

    fn text() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(String::new())),
            // NUL is a character, and not the padding of a head.
            9 => "[a\0]{1,3}".prop_map(Some),
            9 => (0u32..200).prop_map(|n| Some(format!("host-{n}"))),
            9 => (0u32..20).prop_map(|n| Some(format!("a-host-of-a-long-{n}-name-of-one-beginning-and-end"))),
            3 => "[ab]{14,18}".prop_map(Some),
        ]
    }

    fn arrays(rows: &[Row]) -> Vec<ArrayRef> {
        let column = |i: usize| -> ArrayRef {
            // What lies under a NULL is to be of no account.
            let texts = StringArray::from_iter_values(rows.iter().map(|row| row[i].as_deref().unwrap_or("left over")));
            let (offsets, bytes, _) = texts.into_parts();
            let nulls = rows.iter().map(|row| row[i].is_some()).collect();
            Arc::new(StringArray::new(offsets, bytes, Some(nulls)))
        };
        vec![column(0), column(1)]
    }

    fn rows(columns: &[ArrayRef]) -> Vec<Row> {
        let text = |column: &ArrayRef, row: usize| {
            column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_string())
        };
        (0..columns[0].len()).map(|row| [text(&columns[0], row), text(&columns[1], row)]).collect()
    }

    proptest! {
        #[test]
        fn it_numbers_keys_by_when_they_came(
            batches in proptest::collection::vec(proptest::collection::vec([text(), text()], 0..100), 1..5),
            first in 0usize..60,
        ) {
            let (mut keys, mut groups) = (TextKeys::<2>::new(Texts::Told), Vec::new());
            let (mut of_numbers, mut again) = (TextKeys::<2>::new(Texts::Elsewhere), Vec::new());
            let (mut numbers, mut came): (BTreeMap<Row, usize>, Vec<Row>) = Default::default();
            for batch in &batches {
                let mut number = |row: &Row| *numbers.entry(row.clone()).or_insert_with(|| {
                    came.push(row.clone());
                    came.len() - 1
                });
                let expected: Vec<usize> = batch.iter().map(&mut number).collect();
                keys.intern(&arrays(batch), &mut groups).unwrap();
                prop_assert_eq!(&groups, &expected);
                of_numbers.intern(&arrays(batch), &mut again).unwrap();
                prop_assert_eq!(&again, &expected);
                prop_assert_eq!(keys.len(), came.len());
            }
            let first = first.min(keys.len());
            prop_assert_eq!(rows(&keys.emit(EmitTo::First(first)).unwrap()), &came[..first]);
            prop_assert_eq!(rows(&keys.emit(EmitTo::All).unwrap()), &came[first..]);
            prop_assert!(keys.is_empty());
        }
    }

    #[test]
    fn texts_of_one_head_and_hash_are_told_apart() {
        let texts =
            StringArray::from(vec!["of one beginning, and a", "of one beginning, and b", "of one beginning, and a"]);
        let mut keys = TextKeys::<1>::new(Texts::Told);
        let mut number = |row: usize| {
            let (head, len) = head_of(&texts, row);
            let key = Slot { heads: [head], lens: [len], hash: 7, number: VACANT };
            keys.find_or_insert(&key, &[&texts], row).unwrap()
        };
        assert_eq!([number(0), number(1), number(2)], [0, 1, 0]);
    }

    #[test]
    fn slots_fill_cache_lines() {
        assert_eq!(
            (size_of::<Slot<1>>(), size_of::<Slot<2>>(), size_of::<Slot<3>>(), size_of::<Slot<4>>()),
            (32, 64, 96, 96)
        );
    }

    #[test]
    fn names_that_count_up_are_spread_over_the_slots() {
        let texts: StringArray = (0..100_000).map(|n| Some(format!("host-{n:06}"))).collect();
        let mut keys = vec![Slot::<1>::VACANT; texts.len()];
        Slot::of(&[&texts], 0, &mut keys);
        let taken: std::collections::BTreeSet<usize> = keys.iter().map(|key| key.home(1 << 18)).collect();
        // Of as many lines of two slots. Thrown at random, 100,000 names take (1 - e^-0.763) of 131,072 lines: 69,950 (standard deviation 120).
        assert!((69_000..71_000).contains(&taken.len()), "{} lines", taken.len());
    }
}
