//! `grid_intensity`: the carbon intensity of electricity grids, asked of a service again and again.
//!
//! A row is one publication: what a service says of one zone and one period at one time. It is given once; when the service
//! says something else of the same period, that is another row, and whoever reads them decides which is in force.

mod address;
mod ask;
mod shapes;
mod source;

use crate::header::header;
use address::Address;
use arrow::datatypes::{DataType, TimeUnit};
use ask::{Login, Question};
use source::Service;
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::connector::{BuiltinColumns, ConnectorSpec, SourceSpec};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use thalweg_schemas::source::{Source, SourceRequest};
use thalweg_schemas::table::{Column, Origin};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "grid_intensity",
    doc: "Asks a service for the carbon intensity of electricity grids: Electricity Maps, WattTime, or that of Great Britain.",
    source: Some(SourceSpec {
        options: OPTIONS,
        formats: &[],
        columns: Some(builtin),
        bounded: |_| false,
        check: Some(|request| open(request.clone()).map(drop)),
        open,
    }),
    table: None,
    sink: None,
};

const SERVICES: &[&str] = &["electricity_maps", "watttime", "uk"];

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "service",
        kind: OptionKind::OneOf(SERVICES),
        default: None,
        required: true,
        doc: "Whose answers they are: Electricity Maps v3, WattTime v3, or the Carbon Intensity API of Great Britain.",
    },
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "What is asked for, zone and all: https://host/path?query. `{now}`, `{now-24h}` or `{now+2d}` in it is the time of the request.",
    },
    OptionSpec {
        name: "auth",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "A header that goes along, as 'auth-token: ${EM_TOKEN}'.",
    },
    OptionSpec {
        name: "login",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "Where a token is fetched that then goes along, and another one when it has expired: https://api.watttime.org/login.",
    },
    OptionSpec { name: "user", kind: OptionKind::Text, default: None, required: false, doc: "Who logs in." },
    OptionSpec {
        name: "password",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The password of `user`, as '${WATTTIME_PASSWORD}'.",
    },
    OptionSpec {
        name: "interval",
        kind: OptionKind::Duration,
        default: Some("5m"),
        required: false,
        doc: "Time between two requests, at least 1s.",
    },
    OptionSpec {
        name: "timeout",
        kind: OptionKind::Duration,
        default: Some("10s"),
        required: false,
        doc: "How long an answer is waited for.",
    },
];

/// The columns by name, type and whether they may be NULL.
fn fields() -> [(&'static str, DataType, bool); 11] {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, None);
    [
        ("zone", DataType::Utf8, false),
        ("valid_from", time(), false),
        ("valid_to", time(), false),
        ("value", DataType::Float64, false),
        ("unit", DataType::Utf8, false),
        ("kind", DataType::Utf8, false),
        ("signal", DataType::Utf8, false),
        ("lifecycle", DataType::Utf8, false),
        ("source", DataType::Utf8, false),
        ("source_version", DataType::Utf8, true),
        ("published_at", time(), false),
    ]
}

fn builtin(_options: &Options) -> Result<BuiltinColumns> {
    let columns = fields().into_iter().map(|(name, data_type, nullable)| Column {
        name: name.into(),
        data_type,
        nullable,
        origin: Origin::Field,
    });
    Ok(BuiltinColumns { columns: columns.collect(), watermark: None })
}

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    const SHORTEST: Duration = Duration::from_secs(1);
    let options = &request.options;
    let address = address(&request, "url")?
        .ok_or_else(|| Error::bug("a source of intensities was let through that asks nobody"))?;
    let interval = options.duration("interval").unwrap_or(SHORTEST);
    if interval < SHORTEST {
        let given = options.get("interval").unwrap_or_default();
        return Err(Error::user(format!("option \"interval\" takes at least 1s, not '{given}'"))
            .with_detail("Services publish every five minutes at most, and count requests."));
    }
    let auth = header(&request, "auth", "auth-token: ${EM_TOKEN}")?;
    let login = login(&request)?;
    if auth.is_some() && login.is_some() {
        return Err(Error::user(format!("source \"{}\" has both \"auth\" and \"login\"", request.name))
            .with_hint("Leave \"auth\" out: the token that is fetched goes along instead."));
    }
    Ok(Arc::new(Service {
        shape: shapes::Shape::named(options.get("service").unwrap_or_default())
            .ok_or_else(|| Error::bug("a service was let through that has no shape"))?,
        question: Question {
            name: request.name.clone(),
            address,
            auth,
            login,
            interval,
            timeout: options.duration("timeout").unwrap_or(Duration::from_secs(10)),
        },
    }))
}

/// The address in an option, if it is given.
fn address(request: &SourceRequest, option: &str) -> Result<Option<Address>> {
    let Some(written) = request.options.get(option) else { return Ok(None) };
    let is_no = |what: &str| Error::user(format!("option \"{option}\" of source \"{}\" {what}", request.name));
    if !["http://", "https://"].iter().any(|scheme| written.starts_with(scheme)) {
        return Err(is_no("is not the address of a service").with_hint("Write it as 'https://host/path?query'."));
    }
    let wrong = |inside: String| {
        is_no(&format!("has {inside} in it, which is no time")).with_hint("Write {now}, {now-24h} or {now+2d}.")
    };
    Address::parse(written).map(Some).map_err(wrong)
}

fn login(request: &SourceRequest) -> Result<Option<Login>> {
    let given = |name: &str| request.options.get(name).map(str::to_string);
    match (address(request, "login")?, given("user"), given("password")) {
        (None, None, None) => Ok(None),
        (Some(address), Some(user), Some(password)) => Ok(Some(Login { address, user, password })),
        _ => Err(Error::user(format!("source \"{}\" lacks part of what it takes to log in", request.name))
            .with_hint("Give \"login\", \"user\" and \"password\" together.")),
    }
}

#[cfg(test)]
mod tests;
