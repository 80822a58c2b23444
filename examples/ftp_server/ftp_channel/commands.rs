//! The commands of the control channel: what `ftp_channel` does for each, a method `cmd_…` where it is more
//! than a reply. RFC 959, with what later ones have added: 2389 (FEAT, OPTS), 2428 (EPSV), 2640 (UTF-8) and
//! 3659 (MDTM, SIZE, REST, MLST).

use std::cell::RefCell;
use std::io::{self, Seek, SeekFrom};

use asyncore::{Dispatcher, Error, Result, strerror};
use cap_std::fs::{File, OpenOptions};

use super::FtpChannel;
use crate::file_producer::FileProducer;
use crate::filesys::Entry;
use crate::list_producer::{self, ListProducer};
use crate::passive_acceptor::PassiveAcceptor;
use crate::recv_channel::{Placing, RecvChannel};
use crate::xmit_channel::XmitChannel;

/// How many wrong passwords a connection may try.
const MAX_REFUSALS: u32 = 3;

const FEATURES: &str = "\
211-There is more than RFC 959:\r
 EPSV\r
 MDTM\r
 MLST type*;size*;modify*;\r
 REST STREAM\r
 SIZE\r
 UTF8\r
211 That is all.";

impl FtpChannel {
    pub(super) fn command(&self, line: &[u8]) -> Result {
        let Ok(line) = std::str::from_utf8(line) else {
            return self.respond("501 Names are in UTF-8 here.");
        };
        let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.to_ascii_uppercase();
        self.log_command(&name, argument);
        match &*name {
            "USER" => self.cmd_user(argument),
            "PASS" => self.cmd_pass(argument),
            "QUIT" => self.respond_and_close("221 Goodbye."),
            "NOOP" => self.respond("200 Nothing is done."),
            "SYST" => self.respond("215 UNIX Type: L8"),
            "FEAT" => self.respond(FEATURES),
            "OPTS" => self.cmd_opts(argument),
            // One that was running has been aborted when the line came.
            "ABOR" => self.respond("226 No transfer is running."),
            _ if !self.authorized.get() => self.respond("530 Log in first: USER and PASS."),

            "TYPE" => self.cmd_type(argument),
            "MODE" if argument.eq_ignore_ascii_case("S") => self.respond("200 It is the only one."),
            "STRU" if argument.eq_ignore_ascii_case("F") => self.respond("200 It is the only one."),
            "MODE" | "STRU" => self.respond("504 There are only stream mode and file structure."),
            "ALLO" => self.respond("202 There is no need to."),
            "PASV" => self.cmd_pasv(),
            "EPSV" => self.cmd_epsv(argument),
            "PORT" | "EPRT" => self.respond("502 Clients open the data connections: PASV or EPSV."),
            "REST" => self.cmd_rest(argument),
            "PWD" | "XPWD" => self.cmd_pwd(),
            "CDUP" | "XCUP" => self.cmd_cwd(".."),
            "LIST" => self.cmd_list(without_flags(argument), list_producer::unix_longify),
            "NLST" => self.cmd_list(without_flags(argument), list_producer::name),
            "MLSD" => self.cmd_mlsd(argument),
            "MLST" => self.cmd_mlst(argument),

            "CWD" | "XCWD" | "RETR" | "SIZE" | "MDTM" | "STOR" | "APPE" | "DELE" | "MKD"
            | "XMKD" | "RMD" | "XRMD" | "RNFR" | "RNTO"
                if argument.is_empty() =>
            {
                self.respond(&format!("501 {name} needs a name."))
            }
            "CWD" | "XCWD" => self.cmd_cwd(argument),
            "RETR" => self.cmd_retr(argument),
            "SIZE" => self.cmd_size(argument),
            "MDTM" => self.cmd_mdtm(argument),

            "STOR" | "APPE" | "DELE" | "MKD" | "XMKD" | "RMD" | "XRMD" | "RNFR" | "RNTO"
                if !self.settings.writable =>
            {
                self.respond("550 Nothing can be changed here.")
            }
            "STOR" => self.cmd_stor(argument),
            "APPE" => self.cmd_appe(argument),
            "DELE" => self.done("250 It is deleted.", self.filesystem.delete(argument)),
            "MKD" | "XMKD" => self.cmd_mkd(argument),
            "RMD" | "XRMD" => self.done("250 It is removed.", self.filesystem.rmdir(argument)),
            "RNFR" => self.cmd_rnfr(argument),
            "RNTO" => self.cmd_rnto(argument),
            _ => self.respond("500 There is no such command here."),
        }
    }

    fn log_command(&self, name: &str, argument: &str) {
        let client = self.addr().map(|client| client.to_string());
        let argument = match name {
            "PASS" => "…".into(),
            _ => argument.escape_debug().to_string(),
        };
        let (client, name) = (client.unwrap_or_default(), name.escape_debug());
        self.log_info(&format!("{client} {name} {argument}"), "info");
    }

    fn done(&self, reply: &str, done: io::Result<()>) -> Result {
        match done {
            Ok(()) => self.respond(reply),
            Err(error) => self.refuse(&error.into()),
        }
    }

    pub(super) fn refuse(&self, error: &Error) -> Result {
        use io::ErrorKind as Kind;

        let code = match error.io_kind() {
            Some(
                Kind::NotFound
                | Kind::PermissionDenied
                | Kind::AlreadyExists
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::DirectoryNotEmpty
                | Kind::ReadOnlyFilesystem
                | Kind::CrossesDevices
                | Kind::InvalidFilename
                | Kind::InvalidInput,
            ) => 550,
            // What may be otherwise at another time, as with descriptors that are exhausted.
            _ => 450,
        };
        let reason = error.errno().map_or(error.to_string(), strerror);
        self.respond(&format!("{code} {reason}."))
    }
}

// ---- who it is

impl FtpChannel {
    fn cmd_user(&self, name: &str) -> Result {
        self.authorized.set(false);
        self.user.replace(Some(name.to_owned()));
        self.respond("331 And the password?")
    }

    fn cmd_pass(&self, password: &str) -> Result {
        let Some(user) = self.user.take() else {
            return self.respond("503 USER comes first.");
        };
        let authorized = match &self.settings.account {
            Some((name, secret)) => user == *name && password == secret,
            None => ["anonymous", "ftp"].contains(&&*user.to_ascii_lowercase()),
        };
        self.authorized.set(authorized);
        if authorized {
            return self.respond("230 Welcome.");
        }
        self.refusals.set(self.refusals.get() + 1);
        if self.refusals.get() == MAX_REFUSALS {
            return self.respond_and_close("421 That is not right, either. Goodbye.");
        }
        match self.settings.account {
            Some(_) => self.respond("530 That is not right."),
            None => self.respond("530 Only anonymous may log in here."),
        }
    }
}

// ---- how data are sent

impl FtpChannel {
    fn cmd_opts(&self, argument: &str) -> Result {
        let (name, _) = argument.split_once(' ').unwrap_or((argument, ""));
        match &*name.to_ascii_uppercase() {
            "UTF8" => self.respond("200 It is always UTF-8."),
            "MLST" => self.respond("200 MLST OPTS type;size;modify;"),
            _ => self.respond("501 That has no options."),
        }
    }

    fn cmd_type(&self, argument: &str) -> Result {
        match &*argument.to_ascii_uppercase() {
            "A" | "A N" => self.ascii.set(true),
            "I" | "L 8" => self.ascii.set(false),
            _ => return self.respond("504 There are the types A and I."),
        }
        self.respond("200 The type is set.")
    }

    fn cmd_rest(&self, argument: &str) -> Result {
        match argument.parse() {
            Ok(_) if self.ascii.get() => self.respond("501 Bytes are counted in type I only."),
            Ok(offset) => {
                self.restart.set(offset);
                self.respond(&format!("350 The next transfer begins at {offset}."))
            }
            Err(_) => self.respond("501 REST needs a number."),
        }
    }

    fn cmd_pasv(&self) -> Result {
        match self.open_passive_acceptor() {
            Ok(port) => {
                let host = self.local_ip()?.to_string().replace('.', ",");
                let (high, low) = (port >> 8, port & 0xff);
                self.respond(&format!("227 Passive mode ({host},{high},{low})."))
            }
            Err(error) => self.respond(&format!("425 There is no port to listen on: {error}.")),
        }
    }

    fn cmd_epsv(&self, argument: &str) -> Result {
        if !["", "1"].contains(&argument) {
            return self.respond("522 There is only IPv4 here, (1).");
        }
        match self.open_passive_acceptor() {
            Ok(port) => self.respond(&format!("229 Extended passive mode (|||{port}|).")),
            Err(error) => self.respond(&format!("425 There is no port to listen on: {error}.")),
        }
    }

    fn open_passive_acceptor(&self) -> Result<u16> {
        self.close_passive_acceptor()?;
        let acceptor = PassiveAcceptor::open(self)?;
        let port = acceptor.port();
        self.passive_acceptor.replace(Some(acceptor));
        port
    }
}

// ---- transfers

impl FtpChannel {
    fn cmd_retr(&self, path: &str) -> Result {
        self.begin_transfer(|offset| {
            let mut file = self.filesystem.open(path, OpenOptions::new().read(true))?;
            check_offset(&file, offset)?;
            file.seek(SeekFrom::Start(offset))?;
            let ascii = self.ascii.get();
            XmitChannel::new(self, FileProducer { file, ascii })
        })
    }

    fn cmd_stor(&self, path: &str) -> Result {
        self.begin_transfer(|offset| {
            let mut options = OpenOptions::new();
            options.write(true).create(offset == 0);
            let file = self.filesystem.open(path, &mut options)?;
            check_offset(&file, offset)?;
            RecvChannel::new(self, file, Placing::At(offset), self.ascii.get())
        })
    }

    fn cmd_appe(&self, path: &str) -> Result {
        self.begin_transfer(|_| {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            let file = self.filesystem.open(path, &mut options)?;
            RecvChannel::new(self, file, Placing::End, self.ascii.get())
        })
    }

    fn cmd_list(&self, path: &str, line: fn(&Entry) -> String) -> Result {
        self.begin_transfer(|_| {
            let entries = RefCell::new(self.filesystem.list(path)?);
            XmitChannel::new(self, ListProducer { entries, line })
        })
    }

    fn cmd_mlsd(&self, path: &str) -> Result {
        match self.filesystem.stat(path) {
            Ok(metadata) if !metadata.is_dir() => self.respond("501 MLSD is for directories."),
            _ => self.cmd_list(path, list_producer::facts),
        }
    }
}

fn check_offset(file: &File, offset: u64) -> Result {
    let length = file.metadata()?.len();
    if offset > length {
        let reason = format!("The file ends at {length}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into());
    }
    Ok(())
}

/// Many clients ask as if they called `ls`.
fn without_flags(argument: &str) -> &str {
    let (first, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    match first {
        "-a" | "-l" | "-al" | "-la" => rest,
        _ => argument,
    }
}

// ---- files and directories

impl FtpChannel {
    fn cmd_pwd(&self) -> Result {
        let path = quoted(&self.filesystem.current_directory());
        self.respond(&format!("257 {path} is where you are."))
    }

    fn cmd_cwd(&self, path: &str) -> Result {
        self.done("250 There you are.", self.filesystem.cwd(path))
    }

    fn cmd_size(&self, path: &str) -> Result {
        if self.ascii.get() {
            return self.respond("550 Bytes are counted in type I only.");
        }
        match self.filesystem.stat_file(path) {
            Ok(metadata) => self.respond(&format!("213 {}", metadata.len())),
            Err(error) => self.refuse(&error.into()),
        }
    }

    fn cmd_mdtm(&self, path: &str) -> Result {
        match self.filesystem.stat_file(path) {
            Ok(metadata) => self.respond(&format!("213 {}", list_producer::time_val(&metadata))),
            Err(error) => self.refuse(&error.into()),
        }
    }

    fn cmd_mlst(&self, path: &str) -> Result {
        let name = self.filesystem.normalize(path);
        match self.filesystem.stat(path) {
            Ok(metadata) => {
                let facts = list_producer::facts(&Entry { name, metadata });
                self.respond(&format!("250-This is it:\r\n {facts}\r\n250 That is all."))
            }
            Err(error) => self.refuse(&error.into()),
        }
    }

    fn cmd_mkd(&self, path: &str) -> Result {
        let made = quoted(&self.filesystem.normalize(path));
        self.done(&format!("257 {made} is made."), self.filesystem.mkdir(path))
    }

    fn cmd_rnfr(&self, path: &str) -> Result {
        match self.filesystem.stat(path) {
            Ok(_) => {
                self.rename_from.replace(Some(path.to_owned()));
                self.respond("350 And the new name?")
            }
            Err(error) => self.refuse(&error.into()),
        }
    }

    fn cmd_rnto(&self, path: &str) -> Result {
        match self.rename_from.take() {
            Some(from) => self.done("250 It is renamed.", self.filesystem.rename(&from, path)),
            None => self.respond("503 RNFR comes first."),
        }
    }
}

/// A path between quotes, of which those inside are doubled: RFC 959, appendix II.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}
