//! The files of the repository, as text.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Folders that hold no source, wherever they stand.
const SKIPPED: [&str; 3] = [".git", "target", "node_modules"];

/// Path of this crate; its sources quote what the rules forbid.
pub const OWN_FOLDER: &str = "tests/tidy/";

/// Every file by its path from the root, with `/` between the parts. A file that is not UTF-8 has
/// no text.
#[derive(Clone, Debug, Default)]
pub struct Repo {
    files: BTreeMap<String, String>,
}

impl Repo {
    /// Reads a checkout. What its `.gitignore` names at the root is left out.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let ignored = match std::fs::read_to_string(root.join(".gitignore")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut repo = Self::default();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = format!("{folder}{name}");
                let at_root = format!("/{path}");
                if SKIPPED.contains(&name.as_str())
                    || ignored
                        .lines()
                        .any(|line| line.trim_end_matches('/') == at_root)
                {
                    continue;
                }
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(format!("{path}/"));
                } else if kind.is_file() {
                    // Somebody's editor may remove its own file meanwhile.
                    let Ok(bytes) = std::fs::read(entry.path()) else {
                        continue;
                    };
                    repo.files
                        .insert(path, String::from_utf8(bytes).unwrap_or_default());
                }
            }
        }
        Ok(repo)
    }

    /// A made-up repository, to show that a rule fails.
    pub fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self {
            files: files.into(),
        }
    }

    /// All files, ascending by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust sources.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is such a file.
    pub fn has_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether there is such a folder, named with or without `/` at its end.
    pub fn has_folder(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files
            .range(folder.clone()..)
            .next()
            .is_some_and(|(found, _)| found.starts_with(&folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_files_only() {
        let repo = Repo::of([("crates/a/src/lib.rs", "")]);
        assert!(repo.has_folder("crates/a") && repo.has_folder("crates/a/src/"));
        assert!(!repo.has_folder("crates/a/sr") && !repo.has_folder("crates/b"));
    }
}
