//! Errors as a compiler prints them: file, line, column, the source line with a caret, and what to do.

use crate::program::SqlText;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::ops::Range;
use thalweg_schemas::error::{Error, Position};

/// Lays out `errors` over the `texts` that they are in, in the order given, without colours.
pub fn render_errors(errors: &[Error], texts: &[SqlText]) -> String {
    render(errors, texts, "error")
}

/// As [`render_errors`], for what is only worth a word.
pub fn render_warnings(warnings: &[Error], texts: &[SqlText]) -> String {
    render(warnings, texts, "warning")
}

fn render(errors: &[Error], texts: &[SqlText], level: &str) -> String {
    let mut out = String::new();
    for error in errors {
        out.push_str(&render_one(error, texts, level));
        out.push_str("\n\n");
    }
    out
}

fn render_one(error: &Error, texts: &[SqlText], level: &str) -> String {
    let level = if level == "error" { Level::ERROR } else { Level::WARNING };
    let mut group = level.primary_title(error.message.as_str()).elements(None::<annotate_snippets::Element<'_>>);
    let place = error.position.as_ref().and_then(|position| {
        let text = texts.iter().find(|t| t.file == position.file)?;
        Some((position, text, byte_range(&text.text, position)?))
    });
    if let Some((position, text, range)) = place {
        let mut snippet = Snippet::source(&*text.text).annotation(AnnotationKind::Primary.span(range));
        if !position.file.is_empty() {
            snippet = snippet.path(&*position.file);
        }
        group = group.element(snippet);
    }
    if let Some(detail) = &error.detail {
        group = group.element(Level::NOTE.message(detail.as_str()));
    }
    if let Some(hint) = &error.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    Renderer::plain().render(&[group]).to_string()
}

/// The bytes that `position` stands for; `None` where the text has no such place.
fn byte_range(text: &str, position: &Position) -> Option<Range<usize>> {
    let line_index = usize::try_from(position.line).ok()?.checked_sub(1)?;
    let start_of_line: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
    let line = text.get(start_of_line..)?.lines().next().unwrap_or_default();
    let column = usize::try_from(position.column).ok()?.saturating_sub(1);
    let width = usize::try_from(position.width).ok()?.max(1);
    let offset = |characters: usize| line.char_indices().nth(characters).map_or(line.len(), |(at, _)| at);
    Some(start_of_line + offset(column)..start_of_line + offset(column + width))
}
