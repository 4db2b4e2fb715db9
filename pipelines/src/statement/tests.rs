//! Ours are told from queries, and mistakes have a place and a hint.

use super::*;

#[test]
fn ours_are_told_from_queries() {
    let parse = |text: &str| parse_statement(text).unwrap();
    assert_eq!(parse("show sources;"), Statement::Show(Shown::Sources));
    assert_eq!(parse("SHOW TABLES"), Statement::Show(Shown::Tables));
    assert_eq!(parse("SHOW timezone"), Statement::Query("SHOW timezone".into()));
    let explain = |view: &str, analyze| Statement::ExplainView { view: view.into(), analyze };
    assert_eq!(parse("EXPLAIN latency"), explain("latency", false));
    assert_eq!(parse("explain public.\"Latency\""), explain("Latency", false));
    assert_eq!(parse("EXPLAIN ANALYZE public.latency;"), explain("latency", true));
    assert!(matches!(parse("EXPLAIN ANALYZE SELECT 1"), Statement::Query(_)));
    assert_eq!(parse("DESCRIBE latency"), Statement::Describe(None, "latency".into()));
    assert_eq!(parse("desc thalweg.views;"), Statement::Describe(Some("thalweg".into()), "views".into()));
    assert_eq!(parse("SHOW MATERIALIZED VIEWS"), Statement::Show(Shown::MaterializedViews));
    assert_eq!(parse("SHOW NOTIFIERS"), Statement::Show(Shown::Notifiers));
    assert_eq!(parse("DROP SILENCE Quiet;"), Statement::DropSilence("quiet".into()));
    assert!(matches!(parse("DROP SILENCE"), Statement::Query(_)));
    let silence = parse("CREATE SILENCE quiet WITH (matchers = 'team=core', duration = '1h')");
    assert!(
        matches!(&silence, Statement::CreateSilence(name, given) if name == "quiet" && given.len() == 2),
        "{silence:?}"
    );
    assert!(parse_statement("CREATE SILENCE quiet").is_err());
    let acknowledged = |author: &str, comment: &str| {
        let [incident, author, comment] = ["9f", author, comment].map(str::to_string);
        Statement::Acknowledge(Acknowledge { incident, author, comment })
    };
    assert_eq!(parse("acknowledge incident '9f'"), acknowledged("", ""));
    assert_eq!(parse("ACKNOWLEDGE INCIDENT '9f' BY 'ada' COMMENT 'on it';"), acknowledged("ada", "on it"));
    let error = parse_statement("ACKNOWLEDGE INCIDENT 9f").unwrap_err();
    assert_eq!(error.message, "expected the incident_id in quotes");
    assert!(parse_statement("ACKNOWLEDGE INCIDENT '9f' NOW").is_err());
    assert!(matches!(parse("EXPLAIN SELECT 1"), Statement::Query(_)));
    assert!(matches!(parse("SELECT 1; SELECT 2"), Statement::Query(_)));
    assert!(matches!(parse("SELECT 'open"), Statement::Query(_)));
    assert!(matches!(parse(""), Statement::Query(_)));
}

#[test]
fn what_runs_can_be_changed() {
    let change = |text: &str| match parse_statement(text).unwrap() {
        Statement::Change(change) => change,
        other => panic!("{text}: {other:?}"),
    };
    let drop = |names: &[&str], tag, if_exists, cascade| Change::Drop {
        names: names.iter().map(|name| name.to_string()).collect(),
        tag,
        if_exists,
        cascade,
    };
    assert_eq!(change("DROP VIEW v"), drop(&["v"], "DROP VIEW", false, false));
    assert_eq!(change("DROP TABLE t"), drop(&["t"], "DROP TABLE", false, false));
    assert_eq!(
        change("drop materialized view if exists public.A, \"B\" cascade;"),
        drop(&["a", "B"], "DROP MATERIALIZED VIEW", true, true)
    );
    let text = "CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1 FROM t";
    let create = |if_not_exists, text: &str| Change::Create {
        name: "v".into(),
        tag: "CREATE MATERIALIZED VIEW",
        if_not_exists,
        or_replace: false,
        text: text.into(),
    };
    assert_eq!(change(text), create(true, text));
    let text = "CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t";
    assert_eq!(change(text), create(false, text));
    let text = "create or replace view v AS SELECT 1 FROM t";
    let replaced = Change::Create {
        name: "v".into(),
        tag: "CREATE VIEW",
        if_not_exists: false,
        or_replace: true,
        text: text.into(),
    };
    assert_eq!(change(text), replaced);
    for wrong in ["DROP VIEW", "DROP SINK a b", "DROP SOURCE a,", "DROP VIEW a CASCADE x"] {
        let error = parse_statement(wrong).unwrap_err();
        assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
    }
    assert!(matches!(parse_statement("CREATE INDEX i ON t (a)").unwrap(), Statement::Query(_)));
    let rename =
        |name: &str, to: &str, tag, if_exists| Change::Rename { name: name.into(), to: to.into(), tag, if_exists };
    assert_eq!(change("ALTER VIEW v RENAME TO w;"), rename("v", "w", "ALTER VIEW", false));
    assert_eq!(
        change("alter materialized view if exists public.v rename to \"W\""),
        rename("v", "W", "ALTER MATERIALIZED VIEW", true)
    );
    for wrong in
        ["ALTER VIEW", "ALTER TABLE t ADD COLUMN a INT", "ALTER SOURCE s RENAME w", "ALTER VIEW v RENAME TO w x"]
    {
        let error = parse_statement(wrong).unwrap_err();
        assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
    }
}

#[test]
fn what_was_declared_is_shown_and_what_could_be_is_explained() {
    let parse = |text: &str| parse_statement(text).unwrap();
    let show = |kind, name: &str| Statement::ShowCreate { kind, name: name.into() };
    assert_eq!(parse("SHOW CREATE MATERIALIZED VIEW public.V;"), show(Some("MATERIALIZED VIEW"), "v"));
    assert_eq!(parse("show create \"Source\""), show(None, "Source"));
    assert_eq!(parse("SHOW CREATE SINK s"), show(Some("SINK"), "s"));
    assert_eq!(parse("SHOW COLUMNS FROM thalweg.views"), Statement::Describe(Some("thalweg".into()), "views".into()));
    for wrong in ["SHOW CREATE", "SHOW CREATE VIEW", "SHOW CREATE VIEW a b", "SHOW COLUMNS", "SHOW COLUMNS FROM a b"] {
        let error = parse_statement(wrong).unwrap_err();
        assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
    }
    let text = "        CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t";
    let explain = Statement::ExplainCreate { name: "v".into(), text: text.into() };
    assert_eq!(parse(&text.replacen("        ", "EXPLAIN ", 1)), explain);
}

#[test]
fn dead_letters_are_replayed_from_a_source() {
    let replay = |source: &str, filter: Option<&str>| {
        Statement::Replay(Replay { source: source.into(), filter: filter.map(str::to_string) })
    };
    let parse = |text: &str| parse_statement(text).unwrap();
    assert_eq!(parse("replay dead letters from Orders;"), replay("orders", None));
    let some = "REPLAY DEAD LETTERS FROM public.\"Orders\" WHERE reason LIKE '%price%' AND attempts < 3";
    assert_eq!(parse(some), replay("Orders", Some("reason LIKE '%price%' AND attempts < 3")));
    for wrong in [
        "REPLAY orders",
        "REPLAY DEAD LETTERS FROM",
        "REPLAY DEAD LETTERS FROM o IF",
        "REPLAY DEAD LETTERS FROM o WHERE",
    ] {
        let error = parse_statement(wrong).unwrap_err();
        assert!(error.position.is_some(), "{wrong}: {error}");
    }
}

#[test]
fn a_subscription_has_four_parts() {
    let all = "SUBSCRIBE TO public.latency WHERE region = 'eu' AND p99 > 5 AS OF 42 WITH (snapshot = true);";
    assert_eq!(
        parse_statement(all).unwrap(),
        Statement::Subscribe(Subscribe {
            view: "latency".into(),
            filter: Some("region = 'eu' AND p99 > 5".into()),
            as_of: Some(42),
            snapshot: true,
            progress: false,
        })
    );
    let plain = Subscribe { view: "v".into(), filter: None, as_of: None, snapshot: false, progress: false };
    assert_eq!(parse_statement("subscribe to V").unwrap(), Statement::Subscribe(plain.clone()));
    let both = "subscribe to v with (progress = 'true', snapshot = true)";
    let told = Subscribe { snapshot: true, progress: true, ..plain };
    assert_eq!(parse_statement(both).unwrap(), Statement::Subscribe(told));
    for wrong in [
        "SUBSCRIBE v",
        "SUBSCRIBE TO v AS OF then",
        "SUBSCRIBE TO v WITH (x = 1)",
        "SUBSCRIBE TO v WITH (progress = true snapshot = true)",
        "SUBSCRIBE TO v WITH (snapshot = true",
        "SUBSCRIBE TO v WITH ()",
        "SUBSCRIBE TO v v",
    ] {
        let error = parse_statement(wrong).unwrap_err();
        assert!(error.position.is_some() && error.hint.is_some(), "{wrong}: {error}");
    }
}
