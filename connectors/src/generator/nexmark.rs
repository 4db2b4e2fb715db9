//! The Nexmark auction: of 50 events one is a person who signs up, three are auctions, and 46 are bids. After the
//! description of the benchmark (Tucker, Tufte, Papadimos, Maier: "NEXMark, a benchmark for queries over data streams",
//! 2008) and the proportions of Apache Beam's generator (<https://beam.apache.org/documentation/sdks/java/testing/nexmark/>):
//! half of the bids go to one hot auction of each hundred, three quarters come from one hot bidder of each hundred.
//!
//! Each block is made from a random generator of its own, so that a row depends on the seed and its number alone.

use super::source::{BLOCK_ROWS, Blocks};
use arrow::array::{ArrayRef, BooleanBufferBuilder, Int32Array, Int64Array, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, TimestampNanosecondType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;
use std::sync::Arc;

/// Events that make a round: a person, then auctions, then bids.
const ROUND: u64 = 50;
const AUCTIONS: u64 = 3;
const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// How many persons, of those that signed up last, still sell and bid; and how far behind the last one auctions are open.
const ACTIVE: u64 = 1_000;
const IN_FLIGHT: u64 = 100;
/// One of so many is hot.
const HOT_OF: u64 = 100;
const NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const SURNAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// What a column that is a record holds.
type Parts = &'static [(&'static str, DataType)];

const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);
const PERSON: Parts = &[
    ("id", DataType::Int64),
    ("name", DataType::Utf8),
    ("email_address", DataType::Utf8),
    ("credit_card", DataType::Utf8),
    ("city", DataType::Utf8),
    ("state", DataType::Utf8),
    ("date_time", TIME),
    ("extra", DataType::Utf8),
];
const AUCTION: Parts = &[
    ("id", DataType::Int64),
    ("item_name", DataType::Utf8),
    ("description", DataType::Utf8),
    ("initial_bid", DataType::Int64),
    ("reserve", DataType::Int64),
    ("date_time", TIME),
    ("expires", TIME),
    ("seller", DataType::Int64),
    ("category", DataType::Int64),
    ("extra", DataType::Utf8),
];
const BID: Parts = &[
    ("auction", DataType::Int64),
    ("bidder", DataType::Int64),
    ("price", DataType::Int64),
    ("channel", DataType::Utf8),
    ("url", DataType::Utf8),
    ("date_time", TIME),
    ("extra", DataType::Utf8),
];

fn fields(parts: Parts) -> Fields {
    parts.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect()
}

/// The columns: the time of the event, what it is (0 a person, 1 an auction, 2 a bid), and a record of each kind, of
/// which two are NULL.
pub(super) fn columns() -> Vec<(&'static str, DataType, bool)> {
    vec![
        ("date_time", TIME, false),
        ("event_type", DataType::Int32, false),
        ("person", DataType::Struct(fields(PERSON)), true),
        ("auction", DataType::Struct(fields(AUCTION)), true),
        ("bid", DataType::Struct(fields(BID)), true),
    ]
}

pub(super) struct Nexmark {
    seed: u64,
    start_ns: i64,
    interval_ns: i64,
    /// Random letters, that texts are pieces of.
    letters: String,
}

/// How many letters there are to take texts from.
const LETTERS: usize = 1 << 16;

impl Nexmark {
    /// Events of which the first is at `start_ns`, and each `interval_ns` after the one before.
    pub(super) fn new(seed: u64, start_ns: i64, interval_ns: i64) -> Nexmark {
        let mut rng = StdRng::seed_from_u64(seed);
        let letters = (0..LETTERS).map(|_| rng.random_range(b'a'..=b'z') as char).collect();
        Nexmark { seed, start_ns, interval_ns, letters }
    }

    fn events(&self, block: u64) -> Events<'_> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut events = Events::default();
        for (at, row) in (block * BLOCK_ROWS..(block + 1) * BLOCK_ROWS).enumerate() {
            let time = self.start_ns.wrapping_add((row as i64).wrapping_mul(self.interval_ns));
            match row % ROUND {
                0 => events.persons.push((at, self.person(row, time, &mut rng))),
                1..=AUCTIONS => events.auctions.push((at, self.auction(row, time, &mut rng))),
                _ => events.bids.push((at, self.bid(row, time, &mut rng))),
            }
        }
        events
    }

    /// Lower-case letters, `shortest` to twice as many.
    fn text(&self, shortest: usize, rng: &mut StdRng) -> &str {
        let length = rng.random_range(shortest..=2 * shortest);
        let begin = rng.random_range(0..LETTERS - length);
        &self.letters[begin..begin + length]
    }

    fn person(&self, row: u64, time: i64, rng: &mut StdRng) -> Person<'_> {
        Person {
            id: (FIRST_ID + last_person(row)) as i64,
            name: (NAMES[rng.random_range(0..NAMES.len())], SURNAMES[rng.random_range(0..SURNAMES.len())]),
            email: (self.text(5, rng), self.text(4, rng)),
            card: rng.random_range(0..10_000_000_000_000_000),
            city: CITIES[rng.random_range(0..CITIES.len())],
            state: STATES[rng.random_range(0..STATES.len())],
            time,
            extra: self.text(30, rng),
        }
    }

    fn auction(&self, row: u64, time: i64, rng: &mut StdRng) -> Auction<'_> {
        let initial_bid = price(rng);
        let reserve = initial_bid + price(rng);
        // As long as it takes until about IN_FLIGHT other auctions have begun, give or take.
        let rounds = IN_FLIGHT / AUCTIONS * ROUND;
        let length = self.interval_ns.saturating_mul(rng.random_range(1..=2 * rounds) as i64).max(1);
        let seller = match rng.random_range(0..4) {
            0 => some_person(row, rng),
            _ => last_person(row) / HOT_OF * HOT_OF,
        };
        Auction {
            id: (FIRST_ID + last_auction(row)) as i64,
            item: self.text(10, rng),
            description: self.text(40, rng),
            initial_bid,
            reserve,
            time,
            expires: time.saturating_add(length),
            seller: (FIRST_ID + seller) as i64,
            category: (FIRST_CATEGORY + rng.random_range(0..CATEGORIES)) as i64,
            extra: self.text(40, rng),
        }
    }

    fn bid(&self, row: u64, time: i64, rng: &mut StdRng) -> Bid<'_> {
        let auction = match rng.random_range(0..2) {
            0 => some_auction(row, rng),
            _ => last_auction(row) / HOT_OF * HOT_OF,
        };
        let bidder = match rng.random_range(0..4) {
            0 => some_person(row, rng),
            _ => (last_person(row) / HOT_OF * HOT_OF + 1).min(last_person(row)),
        };
        Bid {
            auction: (FIRST_ID + auction) as i64,
            bidder: (FIRST_ID + bidder) as i64,
            price: price(rng),
            channel: rng.random_range(0..10_000),
            hot: rng.random_range(0..2) == 1,
            path: [self.text(4, rng), self.text(4, rng), self.text(4, rng)],
            time,
            extra: self.text(25, rng),
        }
    }
}

/// The events of a block by kind, each with its place in the block.
#[derive(Default)]
struct Events<'a> {
    persons: Vec<(usize, Person<'a>)>,
    auctions: Vec<(usize, Auction<'a>)>,
    bids: Vec<(usize, Bid<'a>)>,
}

struct Person<'a> {
    id: i64,
    name: (&'static str, &'static str),
    email: (&'a str, &'a str),
    card: u64,
    city: &'static str,
    state: &'static str,
    time: i64,
    extra: &'a str,
}

struct Auction<'a> {
    id: i64,
    item: &'a str,
    description: &'a str,
    initial_bid: i64,
    reserve: i64,
    time: i64,
    expires: i64,
    seller: i64,
    category: i64,
    extra: &'a str,
}

struct Bid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    /// Its number; hot ones have names that everybody knows.
    channel: usize,
    hot: bool,
    path: [&'a str; 3],
    time: i64,
    extra: &'a str,
}

impl Bid<'_> {
    fn url(&self, out: &mut String) {
        out.push_str("https://www.nexmark.com/");
        for part in self.path {
            out.push_str(part);
            out.push('/');
        }
        out.push_str("item.htm?query=1");
        if !self.channel.is_multiple_of(10) {
            // Writing into a string cannot fail.
            let _ = write!(out, "&channel_id={}", self.channel);
        }
    }

    fn channel(&self, out: &mut String) {
        if self.hot {
            out.push_str(HOT_CHANNELS[self.channel % HOT_CHANNELS.len()]);
        } else {
            let _ = write!(out, "channel-{}", self.channel);
        }
    }
}

/// The number of the last person who has signed up by event `row`.
fn last_person(row: u64) -> u64 {
    row / ROUND
}

/// The number of the last auction that has begun by event `row`; 0 before the first.
fn last_auction(row: u64) -> u64 {
    (row / ROUND * AUCTIONS + (row % ROUND).min(AUCTIONS)).saturating_sub(1)
}

/// One of the persons who signed up last.
fn some_person(row: u64, rng: &mut StdRng) -> u64 {
    let last = last_person(row);
    last - rng.random_range(0..=last.min(ACTIVE - 1))
}

fn some_auction(row: u64, rng: &mut StdRng) -> u64 {
    let last = last_auction(row);
    last - rng.random_range(0..=last.min(IN_FLIGHT - 1))
}

/// Cents, evenly spread over orders of magnitude up to a million dollars.
fn price(rng: &mut StdRng) -> i64 {
    (10f64.powf(rng.random::<f64>() * 6.0) * 100.0).round() as i64
}

/// The column of a record that some rows of a block have.
struct Record<'a, E> {
    events: &'a [(usize, E)],
    there: NullBuffer,
    parts: Parts,
    columns: Vec<ArrayRef>,
}

impl<'a, E> Record<'a, E> {
    fn of(parts: Parts, events: &'a [(usize, E)]) -> Record<'a, E> {
        let mut there = BooleanBufferBuilder::new(BLOCK_ROWS as usize);
        there.append_n(BLOCK_ROWS as usize, false);
        events.iter().for_each(|(at, _)| there.set_bit(*at, true));
        Record { events, there: NullBuffer::new(there.finish()), parts, columns: Vec::new() }
    }

    /// The next part is this number.
    fn number(mut self, of: impl Fn(&E) -> i64) -> Self {
        let mut values = vec![0; BLOCK_ROWS as usize];
        self.events.iter().for_each(|(at, event)| values[*at] = of(event));
        let array = Int64Array::new(values.into(), Some(self.there.clone()));
        self.columns.push(match self.parts[self.columns.len()].1 {
            DataType::Int64 => Arc::new(array),
            _ => Arc::new(array.reinterpret_cast::<TimestampNanosecondType>()),
        });
        self
    }

    /// The next part is this text.
    fn text(self, of: impl Fn(&E) -> &str) -> Self {
        self.written(|event, out| out.push_str(of(event)))
    }

    /// The next part is the text that `write` appends.
    fn written(mut self, write: impl Fn(&E, &mut String)) -> Self {
        let mut text = String::new();
        let mut offsets = Vec::with_capacity(BLOCK_ROWS as usize + 1);
        for (at, event) in self.events {
            offsets.resize(at + 1, text.len() as i32);
            write(event, &mut text);
        }
        offsets.resize(BLOCK_ROWS as usize + 1, text.len() as i32);
        let offsets = OffsetBuffer::new(offsets.into());
        let array = StringArray::new(offsets, Buffer::from(text.into_bytes()), Some(self.there.clone()));
        self.columns.push(Arc::new(array));
        self
    }

    fn finish(self) -> ArrayRef {
        Arc::new(StructArray::new(fields(self.parts), self.columns, Some(self.there)))
    }
}

impl Events<'_> {
    fn persons(&self) -> ArrayRef {
        Record::of(PERSON, &self.persons)
            .number(|p| p.id)
            .written(|p, out| *out += &[p.name.0, " ", p.name.1].concat())
            .written(|p, out| *out += &[p.email.0, "@", p.email.1, ".com"].concat())
            .written(|p, out| {
                let part = |at: u32| p.card / 10_000u64.pow(at) % 10_000;
                let _ = write!(out, "{:04} {:04} {:04} {:04}", part(3), part(2), part(1), part(0));
            })
            .text(|p| p.city)
            .text(|p| p.state)
            .number(|p| p.time)
            .text(|p| p.extra)
            .finish()
    }

    fn auctions(&self) -> ArrayRef {
        Record::of(AUCTION, &self.auctions)
            .number(|a| a.id)
            .text(|a| a.item)
            .text(|a| a.description)
            .number(|a| a.initial_bid)
            .number(|a| a.reserve)
            .number(|a| a.time)
            .number(|a| a.expires)
            .number(|a| a.seller)
            .number(|a| a.category)
            .text(|a| a.extra)
            .finish()
    }

    fn bids(&self) -> ArrayRef {
        Record::of(BID, &self.bids)
            .number(|b| b.auction)
            .number(|b| b.bidder)
            .number(|b| b.price)
            .written(Bid::channel)
            .written(Bid::url)
            .number(|b| b.time)
            .text(|b| b.extra)
            .finish()
    }

    /// Which kind each row is of.
    fn types(&self) -> ArrayRef {
        let mut types = vec![2; BLOCK_ROWS as usize];
        self.persons.iter().for_each(|(at, _)| types[*at] = 0);
        self.auctions.iter().for_each(|(at, _)| types[*at] = 1);
        Arc::new(Int32Array::from(types))
    }
}

impl Blocks for Nexmark {
    fn columns(&self, block: u64, wanted: &[&str]) -> Vec<ArrayRef> {
        let events = self.events(block);
        let column = |name: &&str| match *name {
            "person" => events.persons(),
            "auction" => events.auctions(),
            "bid" => events.bids(),
            _ => events.types(),
        };
        wanted.iter().map(column).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;

    #[test]
    fn events_are_in_the_proportions_of_the_benchmark_and_speak_of_what_is_there() {
        let nexmark = Nexmark::new(7, 0, 100_000);
        let (mut persons, mut auctions) = (0, 0);
        for block in 0..3 {
            let columns = nexmark.columns(block, &["event_type", "bid"]);
            let (kinds, bid) = (&columns[0], &columns[1]);
            let bid = bid.as_struct();
            let number =
                |name: &str, row: usize| bid.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
            for row in 0..BLOCK_ROWS as usize {
                match kinds.as_primitive::<arrow::datatypes::Int32Type>().value(row) {
                    0 => persons += 1,
                    1 => auctions += 1,
                    _ => {
                        assert!(bid.is_valid(row) && number("price", row) >= 100);
                        assert!((1_000..1_000 + auctions.max(1)).contains(&number("auction", row)));
                        assert!((1_000..1_000 + persons).contains(&number("bidder", row)));
                    }
                }
            }
        }
        let all = 3 * BLOCK_ROWS as i64;
        assert_eq!((persons, auctions), ((all + 49) / 50, 3 * (all / 50) + (all % 50 - 1).clamp(0, 3)));
    }
}
