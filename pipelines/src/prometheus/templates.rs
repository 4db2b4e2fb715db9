//! The templates of labels and annotations: those that show labels and the value.

use super::vector::column;
use thalweg_operators::alert::format::Format;

/// `{{ $labels.service }}` as `{{service}}`, `{{ $value | humanize }}` as the column `value` through the same format; `Err`: what
/// cannot be said.
///
/// A label that the alert does not have is empty, as it is in Prometheus.
pub(super) fn translate(template: &str, labels: &[String], value: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else { return Err("a \"{{\" that is not closed".into()) };
        text.push_str(before);
        let inside = inside.trim_matches('-').trim();
        let unknown = || format!("\"{{{{ {inside} }}}}\"");
        let mut steps: Vec<&str> = inside.split('|').map(str::trim).collect();
        let mut shown = steps.remove(0);
        // `{{ humanize $value }}` and `{{ printf "%.2f" $value }}` say the same from the other side.
        if let Some((function, argument)) = shown.rsplit_once(' ') {
            steps.insert(0, function.trim());
            shown = argument;
        }
        let formats: Vec<Format> = steps.into_iter().map(Format::parse).collect::<Option<_>>().ok_or_else(unknown)?;
        let formats: String = formats.iter().map(|format| format!(" | {format}")).collect();
        match shown.strip_prefix("$labels.").or(shown.strip_prefix(".Labels.")) {
            Some(label) if labels.iter().any(|known| known == label) => {
                text.push_str(&format!("{{{{{}{formats}}}}}", column(label).trim_matches('"')));
            }
            Some(_) => {}
            None if shown == "$value" || shown == ".Value" => text.push_str(&format!("{{{{{value}{formats}}}}}")),
            None => return Err(unknown()),
        }
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
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
        let text = |template: &str| of(template).unwrap();
        assert_eq!(text("{{ $labels.service }} is at {{ $value }}%"), "{{service}} is at {{value}}%");
        assert_eq!(text("{{.Labels.name}}{{ $labels.other }}."), "{{exported_name}}.");
        assert_eq!(text("{{ $value | humanizePercentage }}"), "{{value | humanizePercentage}}");
        assert_eq!(text("{{ printf \"%.2f\" $value | toUpper }}"), "{{value | printf \"%.2f\" | toUpper}}");
        assert_eq!(of("{{ $value | parseDuration }}").unwrap_err(), "\"{{ $value | parseDuration }}\"");
        assert_eq!(of("{{ with query \"up\" }}x{{ end }}").unwrap_err(), "\"{{ with query \"up\" }}\"");
        assert_eq!(of("{{ $externalLabels.cluster }}").unwrap_err(), "\"{{ $externalLabels.cluster }}\"");
        assert_eq!(labels_in("{{ $labels.a_b }} {{ .Labels.c }}"), ["a_b", "c"]);
    }
}
