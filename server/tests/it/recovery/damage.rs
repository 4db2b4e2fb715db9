//! What a restart finds is not always what was written: damage is told, and gone round where that is possible.

use super::outside::World;
use super::{Lives, lines, random_table, source, world};
use thalweg_schemas::error::Error;

const VIEWS: &str = "CREATE MATERIALIZED VIEW totals AS SELECT g, count(*) AS n, sum(v) AS s FROM events GROUP BY g;";

/// What is left of a run that died when there were at least `checkpoints` of them and something after.
fn left_behind(name: &str, checkpoints: usize) -> Lives {
    let rows = random_table(5, 400);
    let mut tries = (12..80).filter_map(|operations| {
        let mut world = world(&rows, 3, 4);
        world.quiet = 9;
        let lives = Lives::new(&format!("{name}-{operations}"), &(source() + VIEWS), world);
        lives.live(2, operations).is_none().then_some(lives)
    });
    // The first of them is written before anything is read, and the log reaches back to it.
    let enough = |lives: &Lives| {
        named(&lives.world, "checkpoint-").iter().filter(|name| !is_first(name)).count() >= checkpoints
            && logs(&lives.world).len() > 1
    };
    tries.find(enough).expect("a process that dies after enough checkpoints")
}

/// Whether it is the checkpoint of epoch 0.
fn is_first(name: &str) -> bool {
    name.trim_start_matches("checkpoint-").trim_start_matches('0') == ".json"
}

fn named(world: &World, prefix: &str) -> Vec<String> {
    world.files().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

fn logs(world: &World) -> Vec<String> {
    named(world, "log-0")
}

fn totals(lives: &Lives) -> Vec<String> {
    lines(&lives.live(2, i64::MAX).unwrap().snapshots(&["totals"]).unwrap().remove(0).batches)
}

fn straight() -> Vec<String> {
    let rows = random_table(5, 400);
    totals(&Lives::new("damage-straight", &(source() + VIEWS), world(&rows, 3, 9)))
}

fn refusal(lives: &Lives) -> Error {
    match lives.start(2, i64::MAX).0 {
        Ok(_) => panic!("it went on"),
        Err(error) => error,
    }
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_gone_on_from() {
    let expected = straight();
    for (name, prefix) in [("damaged-manifest", "checkpoint-"), ("damaged-state", "state-")] {
        let lives = left_behind(name, 2);
        let newest = named(&lives.world, prefix).pop().unwrap();
        lives.world.change_file(&newest, |bytes| *bytes.last_mut().unwrap() ^= 1);
        assert_eq!(totals(&lives), expected, "{name}");
    }
}

#[test]
fn where_no_checkpoint_is_whole_the_start_is_refused() {
    let lives = left_behind("no-checkpoint", 2);
    // As it is when the checkpoints have been there for longer.
    lives.world.remove_file(&logs(&lives.world).remove(0));
    for name in named(&lives.world, "checkpoint-") {
        lives.world.change_file(&name, |bytes| bytes.truncate(bytes.len() / 2));
    }
    let error = refusal(&lives);
    assert!(error.message.contains("no checkpoint is whole"), "{error:?}");
    assert!(error.detail.unwrap().contains("its checksum is wrong"));
    assert!(error.hint.unwrap().contains("--data"));
}

#[test]
fn a_damaged_middle_of_the_log_is_refused_with_the_file_and_the_place() {
    let lives = left_behind("damaged-log", 1);
    let first = logs(&lives.world).remove(0);
    lives.world.change_file(&first, |bytes| bytes[20] ^= 1);
    let error = refusal(&lives);
    assert!(error.message.contains("the epoch log is damaged"), "{error:?}");
    assert!(error.detail.unwrap().starts_with(&format!("{first}, byte 0")));
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_the_message_says_what_to_do() {
    let lives = left_behind("newer-checkpoint", 2);
    let newest = named(&lives.world, "checkpoint-").pop().unwrap();
    lives.world.change_file(&newest, |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        let json = text.split_once('\n').unwrap().1.replacen("\"version\":3", "\"version\":99,\"shape\":1", 1);
        *bytes = format!("thalweg checkpoint {:08x}\n{json}", crc32(json.as_bytes())).into_bytes();
    });
    let error = refusal(&lives);
    assert_eq!(
        error.message,
        format!("the state cannot be recovered: checkpoint {newest} was written by a newer Thalweg")
    );
    assert_eq!(error.detail.unwrap(), "It has version 99 of its format; this Thalweg reads versions up to 3.");
    assert!(error.hint.unwrap().starts_with("Run the newer Thalweg"));
}

/// CRC-32 as the formats have it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
