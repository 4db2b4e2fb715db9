//! PromQL's operators with two sides: arithmetic and comparison, and how the elements of two vectors find each other.

use super::sql::indented;
use super::vector::{Translator, Vector, column, over_moments, refused};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality, token};
use thalweg_schemas::error::{Error, Result};

impl Translator<'_> {
    /// The query of an operator with two sides, one of them a vector at least.
    pub(super) fn binary(&self, binary: &BinaryExpr) -> Result<Vector> {
        let op = binary.op.id();
        let returns_bool = binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool);
        let left_is_scalar = self.scalar(&binary.lhs, "at").is_some();
        let right_is_scalar = self.scalar(&binary.rhs, "at").is_some();
        match (left_is_scalar, right_is_scalar) {
            (true, true) => Err(Error::user("the expression selects no series")),
            (true, false) | (false, true) => {
                let vector = self.vector(if left_is_scalar { &binary.rhs } else { &binary.lhs })?;
                let scalar = self.scalar(if left_is_scalar { &binary.lhs } else { &binary.rhs }, &vector.at);
                let scalar = scalar.ok_or_else(|| Error::user("a scalar is expected here"))?;
                let own = vector.value.clone();
                let (left, right) = if left_is_scalar { (&scalar, &own) } else { (&own, &scalar) };
                let value = combined(op, left, right, &own, returns_bool)?;
                Ok(vector.with_value(value))
            }
            (false, false) => {
                let (left, right) = (self.vector(&binary.lhs)?, self.vector(&binary.rhs)?);
                match (op, &binary.modifier) {
                    (token::T_LOR, _) => Err(refused(
                        "\"or\" is translated only where it joins whole conditions of an alert",
                        "Write coalesce(a.value, b.value) over a FULL JOIN by hand.",
                    )),
                    (_, modifier) => joined(op, left, right, modifier.as_ref(), returns_bool),
                }
            }
        }
    }
}

/// A comparison, or arithmetic, over two values; what a comparison keeps is `kept`.
fn combined(op: token::TokenId, left: &str, right: &str, kept: &str, returns_bool: bool) -> Result<String> {
    if let Some(sign) = comparison(op) {
        let condition = format!("{left} {sign} {right}");
        return Ok(match returns_bool {
            true => format!("CASE WHEN {condition} THEN 1.0 WHEN NOT ({condition}) THEN 0.0 END"),
            false => format!("CASE WHEN {condition} THEN {kept} END"),
        });
    }
    arithmetic(op, left, right).ok_or_else(|| refused("atan2 is not translated", "Write the view by hand."))
}

/// Two vectors, matched by their labels.
fn joined(
    op: token::TokenId,
    left: Vector,
    right: Vector,
    modifier: Option<&BinModifier>,
    returns_bool: bool,
) -> Result<Vector> {
    if left.step_ms != right.step_ms {
        return Err(refused(
            "it matches series that are evaluated at different intervals",
            "Give the groups of these rules one interval.",
        ));
    }
    if modifier.is_some_and(|modifier| modifier.fill_values.lhs.or(modifier.fill_values.rhs).is_some()) {
        return Err(refused("fill values are not translated", "Write coalesce(b.value, 0) by hand."));
    }
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    let (of_left, of_right) = (left.labels(), right.labels());
    let on = match matching {
        Some(LabelModifier::Include(labels)) => labels.labels.clone(),
        Some(LabelModifier::Exclude(labels)) => {
            of_left.iter().filter(|label| !labels.labels.contains(label)).cloned().collect()
        }
        None => of_left.clone(),
    };
    let lacks = |side: &[String]| on.iter().find(|label| !side.contains(label)).cloned();
    let extra = |side: &[String]| match matching {
        Some(LabelModifier::Include(_)) => None,
        Some(LabelModifier::Exclude(ignored)) => {
            side.iter().find(|label| !on.contains(label) && !ignored.labels.contains(label)).cloned()
        }
        None => side.iter().find(|label| !on.contains(label)).cloned(),
    };
    if let Some(label) = lacks(&of_left).or(lacks(&of_right)).or(extra(&of_right)) {
        return Err(refused(
            format!("the two sides are matched by label \"{label}\", which only one of them has"),
            "Say by which labels: on(..) or ignoring(..).",
        ));
    }
    let card = modifier.map_or(&VectorMatchCardinality::OneToOne, |modifier| &modifier.card);
    // The side that has many elements for one of the other stands first, and its rows stay.
    let swapped = matches!(card, VectorMatchCardinality::OneToMany(_));
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let keeps_labels = op == token::T_LAND || op == token::T_LUNLESS || card.labels().is_some();
    let one =
        if op == token::T_LAND || op == token::T_LUNLESS { over_moments(&one, &on, "max(value)".into()) } else { one };
    let kept: Vec<String> = if keeps_labels { many.labels() } else { on.clone() };
    let mut labels: Vec<(String, String)> =
        kept.iter().map(|label| (label.clone(), format!("a.{}", column(label)))).collect();
    for label in card.labels().into_iter().flat_map(|labels| &labels.labels) {
        if one.labels().contains(label) {
            labels.retain(|(name, _)| name != label);
            labels.push((label.clone(), format!("b.{}", column(label))));
        }
    }
    let (left, right) = if swapped { ("b.value", "a.value") } else { ("a.value", "b.value") };
    let value = match op {
        token::T_LAND => "CASE WHEN b.value IS NOT NULL THEN a.value END".to_string(),
        token::T_LUNLESS => "CASE WHEN b.value IS NULL THEN a.value END".to_string(),
        _ => combined(op, left, right, left, returns_bool)?,
    };
    let equal: Vec<String> = on.iter().map(|label| format!(" AND a.{0} = b.{0}", column(label))).collect();
    let from = format!(
        "(\n{}\n) AS a LEFT JOIN (\n{}\n) AS b ON a.at = b.at{}",
        indented(&many.select()),
        indented(&one.select()),
        equal.concat()
    );
    let step_ms = many.step_ms;
    Ok(Vector { from, at: "a.at".to_string(), labels, value, group_by: None, sums: false, step_ms })
}

/// The sign of a comparison in SQL.
pub(super) fn comparison(op: token::TokenId) -> Option<&'static str> {
    Some(match op {
        token::T_EQLC => "=",
        token::T_NEQ => "<>",
        token::T_GTR => ">",
        token::T_GTE => ">=",
        token::T_LSS => "<",
        token::T_LTE => "<=",
        _ => return None,
    })
}

/// Arithmetic over two values; `None` for what is not translated.
pub(super) fn arithmetic(op: token::TokenId, left: &str, right: &str) -> Option<String> {
    let grouped = |side: &str| if side.contains(' ') { format!("({side})") } else { side.to_string() };
    let (left, right) = (grouped(left), grouped(right));
    Some(match op {
        token::T_ADD => format!("{left} + {right}"),
        token::T_SUB => format!("{left} - {right}"),
        token::T_MUL => format!("{left} * {right}"),
        // What is no number is in no comparison of Prometheus, and above all numbers in one of ours.
        token::T_DIV => format!("nullif({left} / {right}, CAST('NaN' AS DOUBLE))"),
        token::T_MOD => format!("nullif({left} % {right}, CAST('NaN' AS DOUBLE))"),
        token::T_POW => format!("power({left}, {right})"),
        _ => return None,
    })
}
