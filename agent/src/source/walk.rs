//! Walks the files that a pattern matches, a step at a time.
//!
//! No list of them is ever made: a folder's entries are taken from the system as they are asked
//! for, so that 50,000 files cost no more memory than one.

use std::{
    fs::{self, DirEntry, ReadDir},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    pattern::{Part, Pattern},
    veto::Veto,
};
use crate::limits::PATTERN_DEPTH_MAX;

/// What a step found.
#[derive(Debug)]
pub(super) enum Step {
    /// A path that the pattern matches; links in it are followed.
    File(PathBuf),
    /// Nothing: go on.
    Nothing,
    /// A folder that cannot be read, for this reason.
    Unreadable(io::Error),
    /// There is nothing more.
    Done,
}

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    pattern: Arc<Pattern>,
    folders: Vec<Folder>,
}

/// A folder whose entries must be like the pattern's part of this number.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    part: usize,
    /// Its entries that were not looked at; absent before the first was asked for.
    entries: Option<ReadDir>,
}

impl Walk {
    pub(super) fn new(pattern: Arc<Pattern>) -> Self {
        let path = pattern.base().to_owned();
        Self { pattern, folders: vec![Folder { path, part: 0, entries: None }] }
    }

    /// Looks at one entry.
    pub(super) fn step(&mut self) -> Step {
        let Some(folder) = self.folders.last_mut() else { return Step::Done };
        let part = &self.pattern.parts()[folder.part];
        let entries = match (part, &mut folder.entries) {
            (Part::Literal(name), None) => {
                let (path, part) = (folder.path.join(name), folder.part);
                self.folders.pop();
                return self.found(path, part);
            }
            (_, Some(entries)) => entries,
            (_, entries @ None) => {
                let path =
                    if folder.path.as_os_str().is_empty() { Path::new(".") } else { &folder.path };
                let opened = fs::canonicalize(path).and_then(|path| {
                    folder.path = path;
                    fs::read_dir(&folder.path)
                });
                match opened {
                    Ok(opened) => entries.insert(opened),
                    Err(error) => {
                        self.folders.pop();
                        return match error.kind() {
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Step::Nothing,
                            _ => Step::Unreadable(error),
                        };
                    }
                }
            }
        };
        match entries.next() {
            Some(Ok(entry)) => self.look(&entry),
            Some(Err(error)) => {
                self.folders.pop();
                Step::Unreadable(error)
            }
            None => {
                self.folders.pop();
                Step::Nothing
            }
        }
    }

    /// Looks at an entry of the last folder.
    fn look(&mut self, entry: &DirEntry) -> Step {
        let Some(folder) = self.folders.last() else { return Step::Done };
        let (number, name) = (folder.part, entry.file_name());
        if self.pattern.parts()[number] != Part::AnyFolders {
            let is_like = self.pattern.parts()[number].matches(&name);
            return if is_like { self.found(entry.path(), number) } else { Step::Nothing };
        }
        // Any depth includes none: the entry may be like the next part, and be gone into as well.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let entered = if is_folder && self.pattern.parts()[number].matches(&name) {
            self.enter(entry.path(), number)
        } else {
            Step::Nothing
        };
        let next = number + 1;
        if self.pattern.parts()[next].matches(&name) {
            self.found(entry.path(), next)
        } else {
            entered
        }
    }

    /// Takes a path that is like the part of this number.
    fn found(&mut self, path: PathBuf, part: usize) -> Step {
        if part + 1 < self.pattern.parts().len() {
            return self.enter(path, part + 1);
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => match fs::canonicalize(path) {
                Ok(path) => Step::File(path),
                Err(_) => Step::Nothing,
            },
            Ok(metadata) if metadata.is_file() => Step::File(path),
            Ok(_) | Err(_) => Step::Nothing,
        }
    }

    fn enter(&mut self, path: PathBuf, part: usize) -> Step {
        if self.folders.len() == PATTERN_DEPTH_MAX {
            return Step::Unreadable(io::Error::other("folders lie too deep in one another"));
        }
        self.folders.push(Folder { path, part, entries: None });
        Step::Nothing
    }
}

/// What a look at a pattern's files found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// How many match.
    pub files: usize,
    /// One of them.
    pub example: Option<PathBuf>,
    /// Why one, or a folder, cannot be read.
    pub unreadable: Option<String>,
}

impl Pattern {
    /// Looks at the files that it matches, until there are more than `files_max`; tries to open the
    /// first, if `veto` lets it.
    #[must_use]
    pub fn look(&self, files_max: usize, veto: &Veto) -> Matches {
        let mut walk = Walk::new(Arc::new(self.clone()));
        let mut matches = Matches::default();
        while matches.files <= files_max {
            match walk.step() {
                Step::Nothing => {}
                Step::Unreadable(error) => matches.unreadable = Some(error.to_string()),
                Step::Done => break,
                Step::File(path) => {
                    if matches.example.is_none() {
                        let tried = veto.open(&path).err();
                        matches.unreadable =
                            tried.map(|error| format!("{}: {error}", path.display()));
                        matches.example = Some(path);
                    }
                    matches.files += 1;
                }
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(pattern: &Path) -> Vec<PathBuf> {
        let mut walk = Walk::new(Arc::new(Pattern::parse(pattern).unwrap()));
        let mut found = Vec::new();
        loop {
            match walk.step() {
                Step::File(path) => found.push(path),
                Step::Nothing => {}
                Step::Unreadable(error) => panic!("{error}"),
                Step::Done => break,
            }
        }
        found.sort();
        found
    }

    #[test]
    fn exactly_the_files_that_match_are_found_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for path in ["a/eve.json", "b/eve.json", "b/c/eve.json", "b/c/d/eve.json", ".h/eve.json"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        fs::create_dir_all(root.join("a/b/eve.json")).unwrap(); // a folder is no file
        let found = |pattern: &str| -> Vec<String> {
            let paths = walked(&root.join(pattern));
            let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            paths.iter().map(name).collect()
        };
        assert_eq!(found("*/eve.json"), ["a/eve.json", "b/eve.json"]);
        assert_eq!(found("[b]/*/eve.json"), ["b/c/eve.json"]);
        let all = ["a/eve.json", "b/c/d/eve.json", "b/c/eve.json", "b/eve.json"];
        assert_eq!(found("**/eve.json"), all);
        assert_eq!(found("**/*.json"), all);
        assert_eq!(found("*/none.json"), [""; 0]);
        assert_eq!(found("none/*.json"), [""; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn a_linked_file_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("days")).unwrap();
        fs::write(root.join("days/02.log"), "").unwrap();
        std::os::unix::fs::symlink("days/02.log", root.join("now.json")).unwrap();
        std::os::unix::fs::symlink("days", root.join("linked")).unwrap();
        assert_eq!(walked(&root.join("*.json")), [root.join("days/02.log")]);
        assert_eq!(walked(&root.join("linked*/*.log")), [root.join("days/02.log")]);
    }
}
