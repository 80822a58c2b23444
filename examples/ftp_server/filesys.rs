//! Class `os_filesystem`: a directory as the client sees it, with `/` for its root.
//!
//! `..` stops at the root, as everywhere. That a symbolic link does not lead out, not even one that changes
//! at the wrong moment, is cap-std's doing: it has the system resolve all paths beneath the open root.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cap_fs_ext::OpenOptionsSyncExt;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

pub(crate) struct OsFilesystem {
    root: Rc<Dir>,
    /// Where relative paths begin: `/`, or a path that begins with it and does not end so.
    wd: RefCell<String>,
}

/// A file or directory in a list.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) metadata: Metadata,
}

pub(crate) type Entries = Box<dyn Iterator<Item = Entry>>;

impl OsFilesystem {
    pub(crate) fn new(root: &Rc<Dir>) -> OsFilesystem {
        let wd = RefCell::new("/".to_owned());
        OsFilesystem {
            root: Rc::clone(root),
            wd,
        }
    }

    pub(crate) fn current_directory(&self) -> String {
        self.wd.borrow().clone()
    }

    pub(crate) fn cwd(&self, path: &str) -> io::Result<()> {
        let path = self.normalize(path);
        if !self.root.metadata(relative(&path))?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.wd.replace(path);
        Ok(())
    }

    /// The path from the root, without `.` and `..`.
    pub(crate) fn normalize(&self, path: &str) -> String {
        let wd = self.wd.borrow();
        let start = if path.starts_with('/') { "" } else { &wd };
        let mut components = Vec::new();
        for component in start.split('/').chain(path.split('/')) {
            match component {
                "" | "." => {}
                ".." => {
                    components.pop();
                }
                name => components.push(name),
            }
        }
        format!("/{}", components.join("/"))
    }

    /// Opens a file, and nothing but a file: a named pipe would keep the server waiting.
    pub(crate) fn open(&self, path: &str, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.translate(path);
        let file = self.root.open_with(path, options.nonblock(true))?;
        if !file.metadata()?.is_file() {
            return Err(not_a_file());
        }
        Ok(file)
    }

    /// What a path leads to. A link that leads nowhere is a link.
    pub(crate) fn stat(&self, path: &str) -> io::Result<Metadata> {
        stat(&self.root, &self.translate(path))
    }

    /// Like [`stat`](OsFilesystem::stat), of a file.
    pub(crate) fn stat_file(&self, path: &str) -> io::Result<Metadata> {
        let metadata = self.stat(path)?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        Ok(metadata)
    }

    /// What is in a directory, in the order in which it is there, or the file that is no directory.
    pub(crate) fn list(&self, path: &str) -> io::Result<Entries> {
        let (root, directory) = (Rc::clone(&self.root), self.translate(path));
        let metadata = stat(&root, &directory)?;
        if !metadata.is_dir() {
            let name = path.to_owned();
            return Ok(Box::new(std::iter::once(Entry { name, metadata })));
        }
        let entries = root.read_dir(&directory)?;
        Ok(Box::new(entries.filter_map(move |entry| {
            // Names that are no UTF-8, or no part of a line, could not be asked for.
            let name = entry.ok()?.file_name().into_string().ok()?;
            if name.contains(['\r', '\n']) {
                return None;
            }
            let metadata = stat(&root, &directory.join(&name)).ok()?;
            Some(Entry { name, metadata })
        })))
    }

    pub(crate) fn delete(&self, path: &str) -> io::Result<()> {
        self.root.remove_file(self.translate(path))
    }

    pub(crate) fn mkdir(&self, path: &str) -> io::Result<()> {
        self.root.create_dir(self.translate(path))
    }

    pub(crate) fn rmdir(&self, path: &str) -> io::Result<()> {
        self.root.remove_dir(self.translate(path))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.translate(from), self.translate(to));
        self.root.rename(from, &self.root, to)
    }

    fn translate(&self, path: &str) -> PathBuf {
        relative(&self.normalize(path)).to_owned()
    }
}

/// A normalized path as seen from the root.
fn relative(path: &str) -> &Path {
    match path.trim_start_matches('/') {
        "" => Path::new("."),
        path => Path::new(path),
    }
}

fn stat(root: &Dir, path: &Path) -> io::Result<Metadata> {
    root.metadata(path).or_else(|_| root.symlink_metadata(path))
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "Not a plain file")
}
