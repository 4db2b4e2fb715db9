//! Recorded answers, and a service on this machine that gives them.

use super::shapes::{Publication, Shape};
use super::*;
use crate::tests::options;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Float64Type, Schema, TimestampNanosecondType};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::source::{Payload, Polled, Reader};

const LATEST: &str = r#"{"zone":"DE","carbonIntensity":241.0,"datetime":"2025-09-22T08:00:00.000Z",
    "updatedAt":"2025-09-22T07:55:51.863Z","createdAt":"2025-09-19T08:56:32.331Z","emissionFactorType":"lifecycle",
    "isEstimated":true,"estimationMethod":"FORECASTS_HIERARCHY","temporalGranularity":"hourly"}"#;
const FORECAST: &str = r#"{"zone":"DE","forecast":[{"carbonIntensity":0,"datetime":"2025-09-22T09:00:00.000Z"},
    {"carbonIntensity":null,"datetime":"2025-09-22T10:00:00.000Z"}],"updatedAt":"2025-09-22T07:55:51.863Z"}"#;
const WATTTIME: &str = r#"{"data":[{"point_time":"2024-05-01T00:00:00+00:00","value":713.976},
    {"point_time":"2024-05-01T00:05:00+00:00","value":0.0}],"meta":{"data_point_period_seconds":300,"region":"CAISO_NORTH",
    "warnings":[],"signal_type":"co2_moer","model":{"date":"2023-03-01"},"units":"lbs_co2_per_mwh",
    "generated_at_period_seconds":300,"generated_at":"2024-05-01T00:00:00+00:00"}}"#;
const GREAT_BRITAIN: &str = r#"{"data":[
    {"from":"2026-01-01T00:00Z","to":"2026-01-01T00:30Z","intensity":{"forecast":266,"actual":263,"index":"moderate"}},
    {"from":"2026-01-01T00:30Z","to":"2026-01-01T01:00Z","intensity":{"forecast":250,"actual":null,"index":"moderate"}}]}"#;

const RANGE: &str = r#"{"zone":"FR","data":[{"carbonIntensity":31,"datetime":"2025-09-22T09:00:00.000Z",
    "updatedAt":"2025-09-23T01:00:00.000Z","isEstimated":false,"emissionFactorType":"lifecycle"}],"temporalGranularity":"hourly"}"#;
const FORECASTS: &str = r#"{"data":[
    {"generated_at":"2024-05-01T00:00:00+00:00","forecast":[{"point_time":"2024-05-01T00:00:00+00:00","value":700.0}]},
    {"generated_at":"2024-05-01T00:05:00+00:00","forecast":[{"point_time":"2024-05-01T00:05:00+00:00","value":710.0}]}],
    "meta":{"data_point_period_seconds":300,"region":"CAISO_NORTH","signal_type":"co2_moer","units":"lbs_co2_per_mwh"}}"#;
const REGION: &str = r#"{"data":{"regionid":13,"dnoregion":"UKPN London","shortname":"London","data":[
    {"from":"2026-01-01T00:00Z","to":"2026-01-01T00:30Z","intensity":{"forecast":88,"index":"low"},"generationmix":[]}]}}"#;
const REGIONS: &str = r#"{"data":[{"from":"2026-01-01T00:00Z","to":"2026-01-01T00:30Z","regions":[
    {"regionid":1,"shortname":"North Scotland","intensity":{"forecast":0,"index":"very low"}},
    {"regionid":13,"shortname":"London","intensity":{"forecast":88,"index":"low"}}]}]}"#;

const SECOND: i64 = 1_000_000_000;

/// Zone, seconds from the start of the first period, length, value, kind.
fn brief(publications: &[Publication]) -> Vec<(&str, i64, i64, f64, &str)> {
    let first = publications[0].valid_from;
    let one = |p: &Publication| ((p.valid_from - first) / SECOND, (p.valid_to - p.valid_from) / SECOND);
    publications.iter().map(|p| (p.zone.as_str(), one(p).0, one(p).1, p.value, p.kind)).collect()
}

#[test]
fn electricity_maps_says_what_is_estimated() {
    let read = Shape::ElectricityMaps.read(LATEST).unwrap();
    assert_eq!(brief(&read), [("DE", 0, 3_600, 241.0, "estimated")]);
    // The current hour was published before it began: it will be restated.
    assert!(read[0].published_at.unwrap() < read[0].valid_from);
    assert_eq!(read[0].version.as_deref(), Some("FORECASTS_HIERARCHY"));
    let measured = LATEST.replace("true", "false").replace("lifecycle", "direct").replace("hourly", "15_minutes");
    let read = Shape::ElectricityMaps.read(&measured).unwrap();
    assert_eq!(brief(&read), [("DE", 0, 900, 241.0, "actual")]);
    assert_eq!(read[0].lifecycle, "direct");
    assert_eq!(brief(&Shape::ElectricityMaps.read(RANGE).unwrap()), [("FR", 0, 3_600, 31.0, "actual")]);
    // Zero is a value; an hour without one is not in the forecast.
    assert_eq!(brief(&Shape::ElectricityMaps.read(FORECAST).unwrap()), [("DE", 0, 3_600, 0.0, "forecast")]);
}

#[test]
fn watttime_is_marginal_and_in_pounds() {
    let read = Shape::WattTime.read(WATTTIME).unwrap();
    assert_eq!(
        brief(&read),
        [("CAISO_NORTH", 0, 300, 713.976, "forecast"), ("CAISO_NORTH", 300, 300, 0.0, "forecast")]
    );
    assert_eq!((read[0].signal, read[0].unit, read[0].version.as_deref()), ("marginal", "lbs/MWh", Some("2023-03-01")));
    let history = WATTTIME.replace("\"generated_at\":", "\"other\":").replace("co2_moer", "co2_aoer");
    let read = Shape::WattTime.read(&history).unwrap();
    assert_eq!((read[0].signal, read[0].kind), ("average", "actual"));
    // Forecasts of the past are each of their own time.
    let read = Shape::WattTime.read(FORECASTS).unwrap();
    assert_eq!(
        brief(&read),
        [("CAISO_NORTH", 0, 300, 700.0, "forecast"), ("CAISO_NORTH", 300, 300, 710.0, "forecast")]
    );
    assert_eq!(read[1].published_at.unwrap() - read[0].published_at.unwrap(), 300 * SECOND);
}

#[test]
fn great_britain_has_forecast_and_actual_beside_each_other() {
    let read = Shape::GreatBritain.read(GREAT_BRITAIN).unwrap();
    let expected = [
        ("GB", 0, 1_800, 266.0, "forecast"),
        ("GB", 0, 1_800, 263.0, "actual"),
        ("GB", 1_800, 1_800, 250.0, "forecast"),
    ];
    assert_eq!(brief(&read), expected);
    let london = ("GB-13", 0, 1_800, 88.0, "forecast");
    assert_eq!(brief(&Shape::GreatBritain.read(REGION).unwrap()), [london]);
    assert_eq!(brief(&Shape::GreatBritain.read(REGIONS).unwrap()), [("GB-1", 0, 1_800, 0.0, "forecast"), london]);
}

#[test]
fn answers_of_another_shape_say_what_is_wrong_with_them() {
    for (shape, body, reason) in [
        (Shape::ElectricityMaps, "<html>", "the answer is not JSON"),
        (Shape::ElectricityMaps, r#"{"error":"Zone not found"}"#, "the answer has no text \"zone\""),
        (Shape::ElectricityMaps, &LATEST.replace("hourly", "daily"), "\"temporalGranularity\" is \"daily\""),
        (Shape::ElectricityMaps, &LATEST.replace("241.0", "\"many\""), "\"carbonIntensity\" is \"many\", not a number"),
        (Shape::WattTime, &WATTTIME.replace("co2_moer", "health_damage"), "which is no intensity of carbon"),
        (Shape::WattTime, &WATTTIME.replace("lbs_co2_per_mwh", "kg"), "\"units\" is \"kg\""),
        (Shape::WattTime, &FORECASTS.replace("generated_at", "made_at"), "the answer has no text \"generated_at\""),
        (Shape::GreatBritain, &REGION.replace("regionid", "id"), "has no number \"regionid\""),
        (Shape::GreatBritain, "{}", "the answer has no list \"data\""),
        (Shape::GreatBritain, &GREAT_BRITAIN.replace("2026-01-01T00:00Z", "soon"), "\"soon\" is not an instant"),
    ] {
        let error = shape.read(body).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

/// A service that gives these answers, one a request, and asks for a header.
fn service(answers: Vec<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let known = head.iter().any(|line| line.eq_ignore_ascii_case("auth-token: secret"));
            let (status, body) = if known { ("200 OK", answer) } else { ("401 Unauthorized", "who are you?") };
            let length = body.len();
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            (&stream).write_all(text.as_bytes()).unwrap();
        }
    });
    format!("http://{address}/v3/carbon-intensity/latest?zone=DE")
}

fn opened(service: &str, given: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let fields: Vec<Field> = fields().map(|(name, data_type, null)| Field::new(name, data_type, null)).into();
    let given: Vec<(&str, &str)> = [("service", service)].into_iter().chain(given.iter().copied()).collect();
    open(SourceRequest {
        name: "grid".into(),
        options: options(OPTIONS, &given),
        format: None,
        format_options: Options::default(),
        wanted: vec![true; fields.len()],
        fields: Arc::new(Schema::new(fields)),
        key: Vec::new(),
        metadata: Vec::new(),
    })
}

/// A service that wants to be logged in to, and whose tokens are good for two requests.
fn service_with_login() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut logins, mut asked) = (0, 0);
        while let Ok((stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let says = |header: &str| head.iter().any(|line| line.eq_ignore_ascii_case(header));
            let (status, body) = if head[0].starts_with("GET /login ") && says("authorization: Basic YWRhOnNlY3JldA==")
            {
                (logins, asked) = (logins + 1, 0);
                ("200 OK", format!("{{\"token\":\"number-{logins}\"}}"))
            } else if asked < 2 && says(&format!("authorization: Bearer number-{logins}")) {
                asked += 1;
                ("200 OK", WATTTIME.replace("713.976", &format!("{logins}.{asked}")))
            } else {
                ("401 Unauthorized", "who are you?".to_string())
            };
            let length = body.len();
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            (&stream).write_all(text.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

/// Polls until it is something else than nothing.
fn next(reader: &mut dyn Reader) -> Result<Polled> {
    loop {
        match reader.poll(1) {
            Ok(Polled::Pending) => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn batch(polled: Polled) -> RecordBatch {
    let Polled::Ready(chunk) = polled else { panic!("{polled:?}") };
    let Payload::Rows(rows) = chunk.payload else { panic!("rows were expected") };
    assert_eq!(chunk.end - chunk.start, rows.num_rows() as u64);
    rows
}

#[test]
fn what_is_published_is_a_row_once_and_again_when_it_changes() {
    const RESTATED: &str = r#"{"zone":"DE","carbonIntensity":238.5,"datetime":"2025-09-22T08:00:00.000Z",
        "updatedAt":"2025-09-22T09:10:00.000Z","emissionFactorType":"lifecycle","isEstimated":true,
        "estimationMethod":"FORECASTS_HIERARCHY","temporalGranularity":"hourly"}"#;
    let url = service(vec![LATEST, LATEST, "out of order", RESTATED]);
    let given = [("url", url.as_str()), ("auth", "auth-token: secret"), ("interval", "1s")];
    let mut reader = opened("electricity_maps", &given).unwrap().reader(WorkerId { index: 0, peers: 2 }).unwrap();
    let first = batch(next(reader.as_mut()).unwrap());
    assert_eq!(first.column_by_name("value").unwrap().as_primitive::<Float64Type>().values(), &[241.0]);
    // The same answer brings nothing; one that cannot be read is a dead letter; then the hour is restated.
    let Polled::Fault(fault) = next(reader.as_mut()).unwrap() else { panic!("a fault was expected") };
    assert!(fault.reason.starts_with("the answer is not JSON"), "{}", fault.reason);
    assert!(!fault.partition.contains("zone=") && fault.partition.ends_with("/latest"), "{}", fault.partition);
    let second = batch(next(reader.as_mut()).unwrap());
    assert_eq!(second.column_by_name("value").unwrap().as_primitive::<Float64Type>().values(), &[238.5]);
    let published = |rows: &RecordBatch| {
        rows.column_by_name("published_at").unwrap().as_primitive::<TimestampNanosecondType>().value(0)
    };
    assert!(published(&second) > published(&first));
    let mut other = opened("electricity_maps", &given).unwrap().reader(WorkerId { index: 1, peers: 2 }).unwrap();
    assert!(matches!(other.poll(1).unwrap(), Polled::Ended));
}

#[test]
fn a_token_that_has_expired_is_fetched_again() {
    let service = service_with_login();
    let (url, login) = (format!("{service}/v3/forecast"), format!("{service}/login"));
    let given = [("url", url.as_str()), ("login", &login), ("user", "ada"), ("password", "secret"), ("interval", "1s")];
    let mut reader = opened("watttime", &given).unwrap().reader(WorkerId { index: 0, peers: 1 }).unwrap();
    for expected in [1.1, 1.2, 2.1] {
        let rows = batch(next(reader.as_mut()).unwrap());
        assert_eq!(rows.column_by_name("value").unwrap().as_primitive::<Float64Type>().value(0), expected);
    }
    let wrong = [("url", url.as_str()), ("login", &login), ("user", "ada"), ("password", "guess")];
    let mut reader = opened("watttime", &wrong).unwrap().reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let error = next(reader.as_mut()).unwrap_err();
    assert_eq!(error.kind, thalweg_schemas::error::ErrorKind::Retry);
    assert!(
        error.message.ends_with("/login: the service answered 401 Unauthorized: who are you?"),
        "{}",
        error.message
    );
}

#[test]
fn a_service_that_refuses_is_asked_again() {
    let url = service(vec![LATEST]);
    let mut reader =
        opened("electricity_maps", &[("url", &url)]).unwrap().reader(WorkerId { index: 0, peers: 1 }).unwrap();
    let error = next(reader.as_mut()).unwrap_err();
    assert_eq!(error.kind, thalweg_schemas::error::ErrorKind::Retry);
    assert!(error.message.contains("the service answered 401 Unauthorized: who are you?"), "{}", error.message);
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let url = ("url", "http://127.0.0.1:9/x");
    for (given, message) in [
        (
            vec![("url", "api.electricitymap.org/v3")],
            "option \"url\" of source \"grid\" is not the address of a service",
        ),
        (vec![("url", "https://host/{zone}")], "option \"url\" of source \"grid\" has {zone} in it, which is no time"),
        (vec![url, ("user", "ada")], "source \"grid\" lacks part of what it takes to log in"),
        (
            vec![url, ("login", "http://127.0.0.1:9/"), ("user", "ada"), ("password", "x"), ("auth", "a: b")],
            "source \"grid\" has both \"auth\" and \"login\"",
        ),
        (vec![url, ("interval", "1ms")], "option \"interval\" takes at least 1s, not '1ms'"),
        (vec![url, ("auth", "secret")], "option \"auth\" of source \"grid\" is not a header"),
    ] {
        assert_eq!(opened("uk", &given).err().unwrap().message, message);
    }
}
