//! Redeploys: what is decided where one program of `redeploys/x.sql` follows another stands in `redeploys/x.plan`.
//! `UPDATE=1` rewrites them. Programs are parted by lines `-- then`.

use crate::surroundings::{compiled, golden, text};
use std::fmt::Write;
use thalweg_operators::deployed::{Deployed, ObjectKind, Standing, StandingSource};
use thalweg_operators::plan::Plan;
use thalweg_pipelines::redeploy::{compare, dataflow_of};
use thalweg_pipelines::{Program, render_errors};

#[test]
fn what_becomes_of_the_state_is_decided_object_by_object() {
    golden("redeploys", "plan", |file, sql| {
        let (mut told, mut standing) = (String::new(), Standing::default());
        for program in sql.split("-- then\n") {
            let program = compile(file, program);
            let redeploy = compare(&program.dataflow, &standing);
            for decision in &redeploy.decisions {
                let _ = writeln!(told, "{decision}");
            }
            if let Err(error) = redeploy.check(&[]) {
                let _ = writeln!(told, "error: {error}\n  hint: {}", error.hint.as_deref().unwrap_or_default());
            }
            for (name, seeds) in &redeploy.seeds {
                let _ = writeln!(told, "  {name} begins with the rows of {seeds:?}");
            }
            let deployed = Deployed { objects: redeploy.objects, ..Deployed::default() };
            for view in dataflow_of(&program.dataflow, &deployed).views {
                let _ = writeln!(told, "  {} reads {}", view.name, reads(&view.plan).join(", "));
            }
            told.push('\n');
            standing = after(deployed);
        }
        told
    });
}

fn compile(file: &str, sql: &str) -> Program {
    let texts = [text(file, sql)];
    compiled(&texts).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)))
}

/// The state once each source has brought 1,000 rows and each view holds ten. A gauge cannot be read again.
fn after(deployed: Deployed) -> Standing {
    let of = |kind| deployed.objects.iter().filter(move |(_, object)| object.kind == kind);
    let source = StandingSource { begun: true, rows_in: 1_000, replayable: true };
    let sources = of(ObjectKind::Source)
        .map(|(name, object)| (name.clone(), StandingSource { replayable: object.connector != "gauge", ..source }));
    Standing {
        epoch: 7,
        sources: sources.collect(),
        view_rows: of(ObjectKind::View).map(|(name, _)| (name.clone(), 10)).collect(),
        deployed: deployed.clone(),
        ..Standing::default()
    }
}

/// What a plan reads, and by which sources it goes.
fn reads(plan: &Plan) -> Vec<String> {
    match plan {
        Plan::Source { name, .. } | Plan::View { name, .. } => vec![name.clone()],
        Plan::WindowAggregate(spec) => {
            let time: Vec<&str> = spec.time_origin.sources.iter().map(|(name, _)| name.as_str()).collect();
            let input = reads(&spec.input).join(", ");
            vec![format!("{input} by the time of {}", time.join(" and "))]
        }
        _ => plan.inputs().into_iter().flat_map(reads).collect(),
    }
}
