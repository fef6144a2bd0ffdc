//! The metadata tree as IMDS serves it: leaves with text, directories that list their names.

use std::collections::BTreeMap;

/// A directory of the tree. Names sort as IMDS lists them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Leaf(String),
    Directory(Directory),
}

impl Directory {
    /// Puts a leaf at `path` (names joined by `/`), making the directories above it.
    ///
    /// A name is used once in this crate: a leaf where a directory is wanted is replaced by it.
    pub(crate) fn put(&mut self, path: &str, value: impl Into<String>) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.directory(above).entries.insert(name.to_owned(), Entry::Leaf(value.into()));
    }

    /// As [`Directory::put`] for a leaf that exists only with something in it: IMDS answers 404 for what is empty.
    pub(crate) fn put_lines<T: ToString>(&mut self, path: &str, lines: impl IntoIterator<Item = T>) {
        let lines: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
        if !lines.is_empty() {
            self.put(path, lines.join("\n"));
        }
    }

    /// Takes an entry of this directory away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// The directory at `path`, made if it is missing. The empty path is this directory.
    pub(crate) fn directory(&mut self, path: &str) -> &mut Directory {
        let mut here = self;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry =
                here.entries.entry(name.to_owned()).or_insert_with(|| Entry::Directory(Directory::default()));
            if let Entry::Leaf(_) = entry {
                *entry = Entry::Directory(Directory::default());
            }
            here = match entry {
                Entry::Directory(directory) => directory,
                Entry::Leaf(_) => unreachable!("a leaf was replaced above"),
            };
        }
        here
    }

    /// What IMDS answers at `path`: a leaf's text, or a directory's names, one on a line, directories with a closing
    /// slash. A closing slash in `path` changes nothing, as with IMDS. `None`: 404.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let mut here = self;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            match here.entries.get(name)? {
                Entry::Directory(below) => here = below,
                Entry::Leaf(text) => return names.peek().is_none().then(|| text.clone()),
            }
        }
        Some(here.listing())
    }

    fn listing(&self) -> String {
        let line = |(name, entry): (&String, &Entry)| match entry {
            Entry::Leaf(_) => name.clone(),
            Entry::Directory(_) => format!("{name}/"),
        };
        self.entries.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_directories_answer_with_and_without_slash() {
        let mut tree = Directory::default();
        tree.put("mac", "02:00");
        tree.put("network/interfaces/macs/02:00/device-number", "0");
        tree.put_lines("network/interfaces/macs/02:00/local-ipv4s", ["10.0.0.4", "10.0.0.5"]);
        tree.put_lines("network/interfaces/macs/02:00/ipv4-prefix", Vec::<String>::new());
        assert_eq!(tree.read("").unwrap(), "mac\nnetwork/");
        for macs in ["network/interfaces/macs", "network/interfaces/macs/"] {
            assert_eq!(tree.read(macs).unwrap(), "02:00/");
        }
        assert_eq!(tree.read("network/interfaces/macs/02:00").unwrap(), "device-number\nlocal-ipv4s");
        assert_eq!(tree.read("network/interfaces/macs/02:00/local-ipv4s/").unwrap(), "10.0.0.4\n10.0.0.5");
        assert_eq!(tree.read("network/interfaces/macs/02:00/ipv4-prefix"), None);
        assert_eq!(tree.read("mac/deeper"), None);
        assert_eq!(tree.read("no"), None);
    }
}
