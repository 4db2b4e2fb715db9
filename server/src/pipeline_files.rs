//! Finding pipelines: a `.sql` file, or a folder of them.

use std::path::{Path, PathBuf};
use thalweg_schemas::error::{Error, Result};

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its path, as the user named it (below the folder that was named).
    pub file: String,
    /// Its text.
    pub text: String,
}

/// The pipeline files below `paths`, in order, without tests. It is an error when there are none.
pub fn read_pipelines(paths: &[PathBuf]) -> Result<Vec<SourceText>> {
    let mut texts = Vec::new();
    for path in paths {
        let files = sql_files(path)?;
        let pipelines: Vec<_> = files.into_iter().filter(|file| !is_test(file)).collect();
        if pipelines.is_empty() {
            return Err(Error::user(format!("folder \"{}\" holds no pipeline", path.display()))
                .with_hint("A pipeline is a file whose name ends in .sql (and not in .test.sql)."));
        }
        for file in pipelines {
            texts.push(read(&file)?);
        }
    }
    Ok(texts)
}

/// The `.test.sql` files that belong to `path`: those below a folder, or those beside a file that begin with its name.
pub fn read_tests(path: &Path) -> Result<Vec<SourceText>> {
    let mut files = sql_files(path)?;
    if path.is_file()
        && let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str()))
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let named =
            |file: &PathBuf| file.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(stem));
        files = entries(folder)?.into_iter().filter(|file| is_test(file) && named(file)).collect();
    }
    files.into_iter().filter(|file| is_test(file)).map(|file| read(&file)).collect()
}

fn is_test(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".test.sql")
}

fn read(path: &Path) -> Result<SourceText> {
    let text = std::fs::read_to_string(path).map_err(|error| as_users(path, &error))?;
    Ok(SourceText { file: path.display().to_string(), text })
}

fn sql_files(path: &Path) -> Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).map_err(|error| as_users(path, &error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in entries(path)? {
        if entry.is_dir() {
            files.extend(sql_files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "sql") {
            files.push(entry);
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).map_err(|error| as_users(folder, &error))?;
    let mut entries = Vec::new();
    for entry in read {
        entries.push(entry.map_err(|error| as_users(folder, &error))?.path());
    }
    entries.sort();
    Ok(entries)
}

/// A path on the command line that cannot be read is the user's to mend.
fn as_users(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("pipeline \"{}\": {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::user(message).with_hint("Name a .sql file or a folder that holds some."),
        _ => Error::user(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_without_tests() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for (file, text) in [("c.sql", "3"), ("a.sql", "1"), ("b/x.sql", "2"), ("a.test.sql", "t"), ("notes.md", "n")] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let texts = read_pipelines(&[folder.path().to_path_buf()]).unwrap();
        assert_eq!(texts.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(read_tests(folder.path()).unwrap().len(), 1);
        assert_eq!(read_tests(&folder.path().join("a.sql")).unwrap().len(), 1);
        assert_eq!(read_tests(&folder.path().join("c.sql")).unwrap().len(), 0);
    }

    #[test]
    fn a_path_that_is_not_there_is_the_users_mistake() {
        let error = read_pipelines(&[PathBuf::from("no/such.sql")]).unwrap_err();
        assert_eq!(error.kind, thalweg_schemas::error::ErrorKind::User);
        assert!(error.message.starts_with("pipeline \"no/such.sql\": "), "{error}");
    }
}
