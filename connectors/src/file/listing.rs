//! Which files a path stands for: names, folders and patterns become files, sorted by name, each once.

use glob::MatchOptions;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thalweg_schemas::error::{Error, Result};

/// The files that `paths` stand for, sorted by name. None is a fine answer; a folder that cannot be read is an error.
pub(super) fn list(paths: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in paths {
        let literal = Path::new(path);
        match std::fs::metadata(literal) {
            Ok(meta) if meta.is_dir() => folder(literal, &mut files)?,
            Ok(_) => drop(files.insert(literal.to_path_buf())),
            // It may be there and must be read: opening it says what is wrong.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && !path.contains(['*', '?', '[']) => {
                files.insert(literal.to_path_buf());
            }
            Err(_) => pattern(path, &mut files)?,
        }
    }
    Ok(files.into_iter().collect())
}

/// The error for paths that stand for nothing.
pub(super) fn nothing(paths: &[String]) -> Error {
    let hint = match std::env::current_dir() {
        Ok(folder) => format!("Paths are relative to the current directory, {}.", folder.display()),
        Err(_) => "Paths are relative to the current directory.".to_string(),
    };
    Error::user(format!("no file matches path '{}'", paths.join(", "))).with_hint(hint)
}

fn folder(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("folder '{}'", folder.display()), &error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if hidden(&entry.path()) {
            continue;
        }
        // Symbolic links count as what they lead to, but only to files: a link to a folder may lead in a circle.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            self::folder(&entry.path(), files)?;
        } else if kind.is_file() || std::fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()) {
            files.insert(entry.path());
        }
    }
    Ok(())
}

fn pattern(text: &str, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let found = glob::glob_with(text, options).map_err(|error| not_a_pattern(text, &error))?;
    let wants_hidden = Path::new(text).file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
    for path in found {
        let path = path.map_err(|error| Error::io(format!("'{}'", error.path().display()), error.error()))?;
        if path.is_dir() || (hidden(&path) && !wants_hidden) {
            continue;
        }
        files.insert(path);
    }
    Ok(())
}

/// The error for a text that has the characters of a pattern and is none.
pub(super) fn not_a_pattern(text: &str, error: &glob::PatternError) -> Error {
    Error::user(format!("path '{text}' is not a pattern: {}", error.msg)).with_hint(
        "'*' stands for any part of a name, '**' for any folders, '?' for a character, '[ab]' for one of these.",
    )
}

/// Whether writers mark a file or folder by this name as not (yet) to be read.
pub(super) fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
}
