//! The templates of labels and annotations: those that show labels and the value.

use super::vector::column;

/// A text of ours, and whether formats were dropped on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translated {
    pub text: String,
    /// Functions that the value went through, such as `humanize`.
    pub dropped: Vec<String>,
}

/// `{{ $labels.service }}` as `{{service}}`, `{{ $value }}` as the column `value`; `Err`: what cannot be said.
///
/// A label that the alert does not have is empty, as it is in Prometheus.
pub(super) fn translate(template: &str, labels: &[String], value: &str) -> Result<Translated, String> {
    let (mut text, mut dropped) = (String::new(), Vec::new());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else { return Err("a \"{{\" that is not closed".into()) };
        text.push_str(before);
        let inside = inside.trim_matches('-').trim();
        let mut steps = inside.split('|').map(str::trim);
        let (mut shown, mut functions) = (steps.next().unwrap_or_default(), Vec::new());
        functions.extend(steps.map(str::to_string));
        // `{{ humanize $value }}` and `{{ printf "%.2f" $value }}` say the same from the other side.
        if let Some((function, argument)) = shown.rsplit_once(' ') {
            functions.push(function.trim().to_string());
            shown = argument;
        }
        let simple = functions
            .iter()
            .all(|f| f.starts_with("humanize") || f.starts_with("printf") || f == "toUpper" || f == "title");
        match shown.strip_prefix("$labels.").or(shown.strip_prefix(".Labels.")) {
            _ if !simple => return Err(format!("\"{{{{ {inside} }}}}\"")),
            Some(label) if labels.iter().any(|known| known == label) => {
                text.push_str(&format!("{{{{{}}}}}", column(label).trim_matches('"')));
            }
            Some(_) => {}
            None if shown == "$value" || shown == ".Value" => text.push_str(&format!("{{{{{value}}}}}")),
            None => return Err(format!("\"{{{{ {inside} }}}}\"")),
        }
        dropped.extend(functions);
        rest = behind;
    }
    text.push_str(rest);
    Ok(Translated { text, dropped })
}

/// The labels that a template shows.
pub(super) fn labels_in(template: &str) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["$labels.", ".Labels."] {
        for rest in template.split(prefix).skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            found.extend((!name.is_empty()).then_some(name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_values_are_shown_and_nothing_else() {
        let labels = ["service".to_string(), "name".to_string()];
        let of = |template: &str| translate(template, &labels, "value");
        let text = |template: &str| of(template).unwrap().text;
        assert_eq!(text("{{ $labels.service }} is at {{ $value }}%"), "{{service}} is at {{value}}%");
        assert_eq!(text("{{.Labels.name}}{{ $labels.other }}."), "{{exported_name}}.");
        let formatted = of("{{ $value | humanizePercentage }} {{ printf \"%.2f\" $value }}").unwrap();
        assert_eq!(formatted.text, "{{value}} {{value}}");
        assert_eq!(formatted.dropped, ["humanizePercentage", "printf \"%.2f\""]);
        assert_eq!(of("{{ with query \"up\" }}x{{ end }}").unwrap_err(), "\"{{ with query \"up\" }}\"");
        assert_eq!(of("{{ $externalLabels.cluster }}").unwrap_err(), "\"{{ $externalLabels.cluster }}\"");
        assert_eq!(labels_in("{{ $labels.a_b }} {{ .Labels.c }}"), ["a_b", "c"]);
    }
}
