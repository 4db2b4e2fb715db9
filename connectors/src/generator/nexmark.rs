//! The Nexmark auction: of 50 events one is a person who signs up, three are auctions, and 46 are bids. After the
//! description of the benchmark (Tucker, Tufte, Papadimos, Maier: "NEXMark, a benchmark for queries over data streams",
//! 2008) and the proportions of Apache Beam's generator (<https://beam.apache.org/documentation/sdks/java/testing/nexmark/>):
//! half of the bids go to one hot auction of each hundred, three quarters come from one hot bidder of each hundred.
//!
//! Each block is made from a random generator of its own, so that a row depends on the seed and its number alone.

use super::source::{BLOCK_ROWS, Blocks};
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, StructArray, TimestampNanosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The events of the block made last: its columns are asked for one after the other.
    last: Mutex<Option<(u64, Arc<Vec<Event>>)>>,
}

impl Nexmark {
    /// Events of which the first is at `start_ns`, and each `interval_ns` after the one before.
    pub(super) fn new(seed: u64, start_ns: i64, interval_ns: i64) -> Nexmark {
        Nexmark { seed, start_ns, interval_ns, last: Mutex::new(None) }
    }

    fn events(&self, block: u64) -> Arc<Vec<Event>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, events)) = &*last
            && *number == block
        {
            return events.clone();
        }
        let mut rng = StdRng::seed_from_u64(self.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let first = block * BLOCK_ROWS;
        let time = |row: u64| self.start_ns.wrapping_add((row as i64).wrapping_mul(self.interval_ns));
        let made = (first..first + BLOCK_ROWS).map(|row| event(row, time(row), self.interval_ns, &mut rng));
        let events = Arc::new(made.collect::<Vec<_>>());
        *last = Some((block, events.clone()));
        events
    }
}

enum Event {
    Person {
        id: u64,
        name: String,
        email: String,
        card: String,
        city: usize,
        state: usize,
        time: i64,
        extra: String,
    },
    Auction {
        id: u64,
        item: String,
        description: String,
        initial_bid: u64,
        reserve: u64,
        time: i64,
        expires: i64,
        seller: u64,
        category: u64,
        extra: String,
    },
    Bid {
        auction: u64,
        bidder: u64,
        price: u64,
        channel: String,
        url: String,
        time: i64,
        extra: String,
    },
}

fn event(row: u64, time: i64, interval_ns: i64, rng: &mut StdRng) -> Event {
    match row % ROUND {
        0 => person(row, time, rng),
        1..=AUCTIONS => auction(row, time, interval_ns, rng),
        _ => bid(row, time, rng),
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
fn price(rng: &mut StdRng) -> u64 {
    (10f64.powf(rng.random::<f64>() * 6.0) * 100.0).round() as u64
}

/// Lower-case letters, `shortest` to twice as many.
fn text(shortest: usize, rng: &mut StdRng) -> String {
    let length = rng.random_range(shortest..=2 * shortest);
    (0..length).map(|_| rng.random_range(b'a'..=b'z') as char).collect()
}

fn person(row: u64, time: i64, rng: &mut StdRng) -> Event {
    let part = |rng: &mut StdRng| rng.random_range(0..10_000);
    Event::Person {
        id: FIRST_ID + last_person(row),
        name: format!("{} {}", NAMES[rng.random_range(0..NAMES.len())], SURNAMES[rng.random_range(0..SURNAMES.len())]),
        email: format!("{}@{}.com", text(5, rng), text(4, rng)),
        card: format!("{:04} {:04} {:04} {:04}", part(rng), part(rng), part(rng), part(rng)),
        city: rng.random_range(0..CITIES.len()),
        state: rng.random_range(0..STATES.len()),
        time,
        extra: text(30, rng),
    }
}

fn auction(row: u64, time: i64, interval_ns: i64, rng: &mut StdRng) -> Event {
    let initial_bid = price(rng);
    let reserve = initial_bid + price(rng);
    // As long as it takes until about IN_FLIGHT other auctions have begun, give or take.
    let rounds = IN_FLIGHT / AUCTIONS * ROUND;
    let length = interval_ns.saturating_mul(rng.random_range(1..=2 * rounds) as i64).max(1);
    let seller = match rng.random_range(0..4) {
        0 => some_person(row, rng),
        _ => last_person(row) / HOT_OF * HOT_OF,
    };
    Event::Auction {
        id: FIRST_ID + last_auction(row),
        item: text(10, rng),
        description: text(40, rng),
        initial_bid,
        reserve,
        time,
        expires: time.saturating_add(length),
        seller: FIRST_ID + seller,
        category: FIRST_CATEGORY + rng.random_range(0..CATEGORIES),
        extra: text(40, rng),
    }
}

fn bid(row: u64, time: i64, rng: &mut StdRng) -> Event {
    let auction = match rng.random_range(0..2) {
        0 => some_auction(row, rng),
        _ => last_auction(row) / HOT_OF * HOT_OF,
    };
    let bidder = match rng.random_range(0..4) {
        0 => some_person(row, rng),
        _ => (last_person(row) / HOT_OF * HOT_OF + 1).min(last_person(row)),
    };
    let number = rng.random_range(0..10_000);
    let channel = match rng.random_range(0..2) {
        0 => format!("channel-{number}"),
        _ => HOT_CHANNELS[number % HOT_CHANNELS.len()].to_string(),
    };
    let query = if number % 10 == 0 { String::new() } else { format!("&channel_id={number}") };
    let path = format!("{}/{}/{}", text(4, rng), text(4, rng), text(4, rng));
    Event::Bid {
        auction: FIRST_ID + auction,
        bidder: FIRST_ID + bidder,
        price: price(rng),
        channel,
        url: format!("https://www.nexmark.com/{path}/item.htm?query=1{query}"),
        time,
        extra: text(25, rng),
    }
}

/// One column of a record: what `of` takes out of the events that are of its kind.
fn part<'a>(
    name: &str,
    data_type: &DataType,
    events: &'a [Event],
    of: fn(&'a Event, &str) -> Option<Value<'a>>,
) -> ArrayRef {
    let values = events.iter().map(|event| of(event, name));
    match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter(values.map(|value| match value {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }))),
        data_type => {
            let numbers = values.map(|value| match value {
                Some(Value::Number(number)) => Some(number),
                _ => None,
            });
            match data_type {
                DataType::Int64 => Arc::new(Int64Array::from_iter(numbers)),
                _ => Arc::new(TimestampNanosecondArray::from_iter(numbers)),
            }
        }
    }
}

enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

fn of_person<'a>(event: &'a Event, part: &str) -> Option<Value<'a>> {
    let Event::Person { id, name, email, card, city, state, time, extra } = event else { return None };
    Some(match part {
        "id" => Value::Number(*id as i64),
        "name" => Value::Text(name),
        "email_address" => Value::Text(email),
        "credit_card" => Value::Text(card),
        "city" => Value::Text(CITIES[*city]),
        "state" => Value::Text(STATES[*state]),
        "date_time" => Value::Number(*time),
        _ => Value::Text(extra),
    })
}

fn of_auction<'a>(event: &'a Event, part: &str) -> Option<Value<'a>> {
    let Event::Auction { id, item, description, initial_bid, reserve, time, expires, seller, category, extra } = event
    else {
        return None;
    };
    Some(match part {
        "id" => Value::Number(*id as i64),
        "item_name" => Value::Text(item),
        "description" => Value::Text(description),
        "initial_bid" => Value::Number(*initial_bid as i64),
        "reserve" => Value::Number(*reserve as i64),
        "date_time" => Value::Number(*time),
        "expires" => Value::Number(*expires),
        "seller" => Value::Number(*seller as i64),
        "category" => Value::Number(*category as i64),
        _ => Value::Text(extra),
    })
}

fn of_bid<'a>(event: &'a Event, part: &str) -> Option<Value<'a>> {
    let Event::Bid { auction, bidder, price, channel, url, time, extra } = event else { return None };
    Some(match part {
        "auction" => Value::Number(*auction as i64),
        "bidder" => Value::Number(*bidder as i64),
        "price" => Value::Number(*price as i64),
        "channel" => Value::Text(channel),
        "url" => Value::Text(url),
        "date_time" => Value::Number(*time),
        _ => Value::Text(extra),
    })
}

impl Event {
    fn kind(&self) -> i32 {
        match self {
            Event::Person { .. } => 0,
            Event::Auction { .. } => 1,
            Event::Bid { .. } => 2,
        }
    }
}

impl Blocks for Nexmark {
    fn column(&self, block: u64, column: &str) -> Option<ArrayRef> {
        let events = self.events(block);
        let record = |kind: i32, parts: Parts, of: for<'a> fn(&'a Event, &str) -> Option<Value<'a>>| -> ArrayRef {
            let columns = parts.iter().map(|(name, data_type)| part(name, data_type, &events, of)).collect();
            let there: NullBuffer = events.iter().map(|event| event.kind() == kind).collect();
            Arc::new(StructArray::new(fields(parts), columns, Some(there)))
        };
        Some(match column {
            "event_type" => Arc::new(Int32Array::from_iter_values(events.iter().map(Event::kind))),
            "person" => record(0, PERSON, of_person),
            "auction" => record(1, AUCTION, of_auction),
            "bid" => record(2, BID, of_bid),
            _ => return None,
        })
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
            let kinds = nexmark.column(block, "event_type").unwrap();
            let bid = nexmark.column(block, "bid").unwrap();
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
