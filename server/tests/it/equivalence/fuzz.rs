//! Random queries: each is grown from the table by one step of SQL after another, so that what is a stream of rows in
//! one place is a stream of corrections in the next. The final state of its view must be DataFusion's answer.
//!
//! `THALWEG_FUZZ` says how many rounds there are (12), `THALWEG_SEED` where they begin (1).

use super::{Run, batch_context, difference, lines, queries};
use crate::equivalence::table::{Random, random_table};
use std::fmt::Write;

/// Queries of a round: they share one run.
const QUERIES: usize = 16;
/// Rows of a round's table.
const ROWS: usize = 120;
/// No query is grown over more rows than so many, as DataFusion counts them.
const ROWS_MAX: usize = 5_000;

#[test]
fn random_queries_have_datafusions_answer() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |n| n.parse().unwrap());
    let (rounds, first) = (number("THALWEG_FUZZ", 12), number("THALWEG_SEED", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut answered, mut refused, mut faults) = (0, Vec::new(), String::new());
    for seed in first..first + rounds {
        let rows = random_table(seed, ROWS);
        let context = batch_context(&rows);
        let mut random = Random::new(seed);
        // What DataFusion answers, and what `check` lets through.
        let mut asked: Vec<(String, Vec<String>)> = Vec::new();
        while asked.len() < QUERIES {
            let query = query(&mut random);
            let batch = runtime.block_on(async { context.sql(&queries::batch(&query)).await?.collect().await });
            let Ok(batch) = batch else { continue };
            let expected = lines(&batch);
            if expected.len() > ROWS_MAX || expected.is_empty() {
                continue;
            }
            match Run::compile("fuzz", std::slice::from_ref(&query), super::WATERMARK_SQL) {
                Ok(_) => asked.push((query, expected)),
                Err(why) => refused.push(format!("{query}\n{why}")),
            }
        }
        let texts: Vec<String> = asked.iter().map(|(query, _)| query.clone()).collect();
        // Without a watermark windows are refused.
        let has_windows = texts.iter().any(|text| text.contains('{'));
        let watermark = if has_windows || random.below(4) > 0 { super::WATERMARK_SQL } else { "" };
        let run = Run { name: format!("fuzz-{seed}"), seed, workers: [1, 2, 4][seed as usize % 3], watermark };
        let (engine, _relations) = run.stream(&rows, &texts);
        for ((query, expected), found) in asked.iter().zip(super::final_state(&engine, texts.len())) {
            answered += 1;
            let found = lines(&found);
            if found != *expected {
                let difference = difference(&found, expected);
                let _ = writeln!(faults, "seed {seed}, {} workers: {query}\n{difference}", run.workers);
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
    // A generator whose queries are refused proves nothing.
    assert!(refused.len() * 5 < answered, "{} of {answered} refused:\n{}", refused.len(), refused.join("\n"));
}

/// What a column holds. Texts and numbers are compared with their own kind only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// `INT` or `BIGINT`.
    Whole,
    Yes,
    Time,
}

/// A query with the names and kinds of its columns.
#[derive(Clone)]
struct Relation {
    sql: String,
    columns: Vec<(String, Kind)>,
}

fn query(random: &mut Random) -> String {
    let mut relation = events();
    if random.below(3) == 0 {
        relation = windowed(random);
    }
    for _ in 0..1 + random.below(3) {
        relation = grow(relation, random);
    }
    relation.sql
}

/// The table, without its floating-point column: sums of those depend on their order, and what depends on them too.
fn events() -> Relation {
    let columns = [("ts", Kind::Time), ("k", Kind::Text), ("g", Kind::Whole), ("v", Kind::Whole), ("b", Kind::Yes)];
    Relation {
        sql: "SELECT ts, k, g, v, b FROM events".into(),
        columns: columns.map(|(name, kind)| (name.to_string(), kind)).to_vec(),
    }
}

fn windowed(random: &mut Random) -> Relation {
    let by = ["k", "g"][random.below(2)];
    let kind = if by == "k" { Kind::Text } else { Kind::Whole };
    let size = [10, 20, 30][random.below(3)];
    let window = match random.below(5) {
        0 => format!("{{tumble {size}}}"),
        1 => format!("{{hop {} {size}}}", size / 2),
        2 => format!("{{cumulate {} {size}}}", size / 5),
        3 => format!("{{marked {} {} {by}}}", ["both", "start", "end"][random.below(3)], 2 + random.below(8)),
        _ => format!("{{session {} {by}}}", 1 + random.below(5)),
    };
    let (aggregate, _) = aggregate(&events(), random);
    let filter = if random.below(3) == 0 { format!(" WHERE {}", predicate(&events(), random)) } else { String::new() };
    Relation {
        sql: format!(
            "SELECT window_start, window_end, {by}, {aggregate} AS x FROM {window}{filter} \
             GROUP BY window_start, window_end, {by}"
        ),
        columns: vec![
            ("window_start".into(), Kind::Time),
            ("window_end".into(), Kind::Time),
            (by.into(), kind),
            ("x".into(), Kind::Whole),
        ],
    }
}

/// One step more.
fn grow(relation: Relation, random: &mut Random) -> Relation {
    match random.below(10) {
        0 => filtered(&relation, random),
        1 => computed(&relation, random),
        2 | 3 => grouped(&relation, random),
        4 => Relation { sql: format!("SELECT DISTINCT * FROM ({})", relation.sql), ..relation },
        5 => first(&relation, random),
        6 => joined(&relation, random),
        7 => among(&relation, random),
        8 => together(&relation, random),
        _ => over(&relation, random),
    }
}

fn filtered(from: &Relation, random: &mut Random) -> Relation {
    let predicate = predicate(from, random);
    Relation { sql: format!("SELECT * FROM ({}) WHERE {predicate}", from.sql), columns: from.columns.clone() }
}

/// The columns, some of them computed from others.
fn computed(from: &Relation, random: &mut Random) -> Relation {
    let mut columns = Vec::new();
    let mut items = Vec::new();
    for (name, kind) in &from.columns {
        if random.below(4) == 0 && from.columns.len() > 2 {
            continue;
        }
        let item = match (kind, random.below(3)) {
            (Kind::Text, 0) => format!("coalesce({name}, 'none')"),
            (Kind::Text, 1) => format!("upper({name})"),
            (Kind::Whole, 0) => format!("{name} % 5"),
            (Kind::Whole, 1) => format!("CASE WHEN {name} > 0 THEN {name} ELSE 0 END"),
            (Kind::Yes, 0) => format!("NOT {name}"),
            // DataFusion's date_trunc overflows on what lies beneath a NULL, where a debug build looks.
            (Kind::Time, 0) => format!("{name} + INTERVAL '1 minute'"),
            _ => name.clone(),
        };
        items.push(format!("{item} AS {name}"));
        columns.push((name.clone(), *kind));
    }
    if items.is_empty() {
        return from.clone();
    }
    Relation { sql: format!("SELECT {} FROM ({})", items.join(", "), from.sql), columns }
}

fn grouped(from: &Relation, random: &mut Random) -> Relation {
    let mut keys: Vec<(String, Kind)> = from.columns.iter().filter(|_| random.below(3) == 0).cloned().collect();
    keys.truncate(2);
    let mut items: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
    let mut columns = keys.clone();
    for name in ["n1", "n2"].iter().take(1 + random.below(2)) {
        let (aggregate, kind) = aggregate(from, random);
        items.push(format!("{aggregate} AS {name}"));
        columns.push((name.to_string(), kind));
    }
    let mut sql = format!("SELECT {} FROM ({})", items.join(", "), from.sql);
    if !keys.is_empty() {
        let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        let _ = match random.below(6) {
            0 => write!(sql, " GROUP BY ROLLUP ({})", names.join(", ")),
            _ => write!(sql, " GROUP BY {}", names.join(", ")),
        };
        if random.below(4) == 0 {
            let _ = write!(sql, " HAVING count(*) > {}", random.below(4));
        }
    }
    Relation { sql, columns }
}

/// An aggregate that has one right answer, whatever the order of the rows.
fn aggregate(from: &Relation, random: &mut Random) -> (String, Kind) {
    let (name, kind) = &from.columns[random.below(from.columns.len())];
    let filter =
        if random.below(5) == 0 { format!(" FILTER (WHERE {})", predicate(from, random)) } else { String::new() };
    let (call, kind) = match (random.below(6), kind) {
        (0, _) => ("count(*)".to_string(), Kind::Whole),
        (1, _) => (format!("count({name})"), Kind::Whole),
        (2, _) => (format!("count(DISTINCT {name})"), Kind::Whole),
        (3, Kind::Whole) => (format!("sum({name})"), Kind::Whole),
        (4, Kind::Whole | Kind::Text | Kind::Time) => (format!("max({name})"), *kind),
        (5, Kind::Whole | Kind::Text | Kind::Time) => (format!("min({name})"), *kind),
        (_, Kind::Yes) => (format!("bool_or({name})"), Kind::Yes),
        _ => ("count(*)".to_string(), Kind::Whole),
    };
    (format!("{call}{filter}"), kind)
}

/// All columns, so that no two rows that differ share a place.
fn order(from: &Relation, random: &mut Random) -> String {
    let mut terms: Vec<String> = Vec::new();
    let begin = random.below(from.columns.len());
    for at in 0..from.columns.len() {
        let (name, _) = &from.columns[(begin + at) % from.columns.len()];
        let way = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"][random.below(4)];
        terms.push(format!("{name}{way}"));
    }
    terms.join(", ")
}

fn partition(from: &Relation, random: &mut Random) -> String {
    if random.below(3) == 0 {
        return String::new();
    }
    format!("PARTITION BY {} ", from.columns[random.below(from.columns.len())].0)
}

fn first(from: &Relation, random: &mut Random) -> Relation {
    let (partition, order) = (partition(from, random), order(from, random));
    let names: Vec<&str> = from.columns.iter().map(|(name, _)| name.as_str()).collect();
    let most = 1 + random.below(4);
    let sql = match random.below(3) {
        0 => format!("SELECT * FROM ({}) ORDER BY {order} LIMIT {most}", from.sql),
        _ => format!(
            "SELECT {} FROM (SELECT *, row_number() OVER ({partition}ORDER BY {order}) AS place FROM ({})) WHERE place <= {most}",
            names.join(", "),
            from.sql
        ),
    };
    Relation { sql, columns: from.columns.clone() }
}

fn over(from: &Relation, random: &mut Random) -> Relation {
    let (partition, order) = (partition(from, random), order(from, random));
    let (name, kind) = &from.columns[random.below(from.columns.len())];
    let (call, kind) = match random.below(5) {
        0 => (format!("lag({name}) OVER ({partition}ORDER BY {order})"), *kind),
        1 => (format!("lead({name}, 2) OVER ({partition}ORDER BY {order})"), *kind),
        2 => (format!("count({name}) OVER ({partition}ORDER BY {order} ROWS 3 PRECEDING)"), Kind::Whole),
        3 => ("count(*) OVER ()".to_string(), Kind::Whole),
        _ => (format!("first_value({name}) OVER ({partition}ORDER BY {order})"), *kind),
    };
    let added = format!("w{}", from.columns.len());
    let mut columns = from.columns.clone();
    columns.push((added.clone(), kind));
    Relation { sql: format!("SELECT *, {call} AS {added} FROM ({})", from.sql), columns }
}

/// Another relation to meet: the table, or what it comes to by groups.
fn other(random: &mut Random) -> Relation {
    match random.below(3) {
        0 => filtered(&events(), random),
        1 => grouped(&events(), random),
        _ => grouped(&filtered(&events(), random), random),
    }
}

/// A column of each, of one kind.
fn pair(left: &Relation, right: &Relation, random: &mut Random) -> Option<(String, String)> {
    let pairs: Vec<(String, String)> = left
        .columns
        .iter()
        .flat_map(|(l, kind)| {
            right.columns.iter().filter(move |(_, k)| k == kind).map(move |(r, _)| (l.clone(), r.clone()))
        })
        .collect();
    if pairs.is_empty() { None } else { Some(pairs[random.below(pairs.len())].clone()) }
}

fn joined(left: &Relation, random: &mut Random) -> Relation {
    let right = other(random);
    let Some((l, r)) = pair(left, &right, random) else { return left.clone() };
    let how = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][random.below(4)];
    let more = match pair(left, &right, random) {
        Some((a, b)) if random.below(2) == 0 => format!(" AND x.{a} = y.{b}"),
        _ => String::new(),
    };
    let mut items = Vec::new();
    let mut columns = Vec::new();
    for (side, relation) in [("x", left), ("y", &right)] {
        for (name, kind) in &relation.columns {
            if random.below(2) == 0 {
                let named = format!("{side}_{name}");
                items.push(format!("{side}.{name} AS {named}"));
                columns.push((named, *kind));
            }
        }
    }
    if items.is_empty() {
        return left.clone();
    }
    let sql =
        format!("SELECT {} FROM ({}) x {how} ({}) y ON x.{l} = y.{r}{more}", items.join(", "), left.sql, right.sql);
    Relation { sql, columns }
}

/// Rows by whether another relation has something of theirs.
fn among(left: &Relation, random: &mut Random) -> Relation {
    let right = other(random);
    let Some((l, r)) = pair(left, &right, random) else { return left.clone() };
    let condition = match random.below(4) {
        0 => format!("x.{l} IN (SELECT {r} FROM ({}))", right.sql),
        1 => format!("x.{l} NOT IN (SELECT {r} FROM ({}) WHERE {r} IS NOT NULL)", right.sql),
        2 => format!("EXISTS (SELECT 1 FROM ({}) y WHERE y.{r} = x.{l})", right.sql),
        _ => format!("NOT EXISTS (SELECT 1 FROM ({}) y WHERE y.{r} = x.{l})", right.sql),
    };
    Relation { sql: format!("SELECT x.* FROM ({}) x WHERE {condition}", left.sql), columns: left.columns.clone() }
}

/// Two relations of one column each as one.
fn together(left: &Relation, random: &mut Random) -> Relation {
    let right = other(random);
    let Some((l, r)) = pair(left, &right, random) else { return left.clone() };
    let kind = left.columns.iter().find(|(name, _)| *name == l).map_or(Kind::Whole, |(_, kind)| *kind);
    let how = ["UNION ALL", "UNION", "EXCEPT", "INTERSECT"][random.below(4)];
    let item = |name: &str| match kind {
        // INT and BIGINT are of one kind here.
        Kind::Whole => format!("CAST({name} AS BIGINT)"),
        _ => name.to_string(),
    };
    Relation {
        sql: format!(
            "SELECT {} AS u FROM ({}) {how} SELECT {} AS u FROM ({})",
            item(&l),
            left.sql,
            item(&r),
            right.sql
        ),
        columns: vec![("u".into(), kind)],
    }
}

fn predicate(from: &Relation, random: &mut Random) -> String {
    let (name, kind) = &from.columns[random.below(from.columns.len())];
    match (kind, random.below(4)) {
        (_, 0) => format!("{name} IS NOT NULL"),
        (Kind::Text, 1) => format!("{name} LIKE '%{}'", random.below(6)),
        (Kind::Text, _) => format!("{name} <> 'key-{}'", random.below(6)),
        (Kind::Whole, 1) => format!("{name} % 2 = 0"),
        (Kind::Whole, _) => format!("{name} {} {}", ["<", ">", "<>"][random.below(3)], random.below(400) as i64 - 100),
        (Kind::Yes, _) => name.clone(),
        (Kind::Time, _) => format!("{name} < TIMESTAMP '2026-01-01T00:0{}:00'", 1 + random.below(3)),
    }
}
