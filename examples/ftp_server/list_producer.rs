//! Class `list_producer`: a list of files, some lines at a time, as they are sent.

use std::cell::RefCell;

use asynchat::{Data, Producer};
use asyncore::Result;
use cap_std::fs::Metadata;
use jiff::{SignedDuration, Timestamp};

use crate::filesys::{Entries, Entry};

/// Looking up a directory's worth of files at once would keep all other clients waiting.
const PIECE_SIZE: usize = 16 * 1024;

pub(crate) struct ListProducer {
    pub(crate) entries: RefCell<Entries>,
    /// What is told of each.
    pub(crate) line: fn(&Entry) -> String,
}

impl Producer for ListProducer {
    fn more(&self) -> Result<Data> {
        let mut entries = self.entries.borrow_mut();
        let mut piece = String::new();
        while piece.len() < PIECE_SIZE
            && let Some(entry) = entries.next()
        {
            piece += &(self.line)(&entry);
            piece += "\r\n";
        }
        Ok(piece.into())
    }
}

/// A line of NLST.
pub(crate) fn name(entry: &Entry) -> String {
    entry.name.clone()
}

/// A line of LIST, as `ls -l` prints it, which is what clients expect.
pub(crate) fn unix_longify(entry: &Entry) -> String {
    let Entry { name, metadata } = entry;
    let (kind, size) = match metadata {
        it if it.is_dir() => ('d', 0),
        it if it.is_symlink() => ('l', it.len()),
        it => ('-', it.len()),
    };
    let permissions = permissions(metadata);
    let modified = modified(metadata);
    // `ls` shows the year instead of the time where that tells more.
    let half_a_year = SignedDuration::from_hours(24 * 183);
    let is_recent = Timestamp::now().duration_since(modified).abs() < half_a_year;
    let modified = modified.strftime(if is_recent {
        "%b %d %H:%M"
    } else {
        "%b %d  %Y"
    });
    format!("{kind}{permissions}   1 ftp      ftp      {size:>12} {modified} {name}")
}

/// A line of MLSD: RFC 3659, section 7.
pub(crate) fn facts(entry: &Entry) -> String {
    let Entry { name, metadata } = entry;
    let modify = time_val(metadata);
    match metadata {
        it if it.is_dir() => format!("type=dir;modify={modify}; {name}"),
        it if it.is_file() => format!("type=file;size={};modify={modify}; {name}", it.len()),
        _ => format!("type=OS.unix=special;modify={modify}; {name}"),
    }
}

/// The reply to MDTM, in UTC: RFC 3659, section 2.3.
pub(crate) fn time_val(metadata: &Metadata) -> String {
    modified(metadata).strftime("%Y%m%d%H%M%S").to_string()
}

fn modified(metadata: &Metadata) -> Timestamp {
    let modified = metadata.modified().map(|time| time.into_std()).ok();
    let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
    modified.unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(unix)]
fn permissions(metadata: &Metadata) -> String {
    use cap_std::fs::PermissionsExt;

    let mode = metadata.permissions().mode();
    let letters = "rwxrwxrwx".chars().enumerate();
    let shown = letters.map(|(at, letter)| {
        if mode & (0o400 >> at) == 0 {
            '-'
        } else {
            letter
        }
    });
    shown.collect()
}

#[cfg(not(unix))]
fn permissions(metadata: &Metadata) -> String {
    let shown = if metadata.is_dir() {
        "rwxr-xr-x"
    } else {
        "rw-r--r--"
    };
    shown.to_owned()
}
