//! Class `recv_channel(asyncore.dispatcher)`: a data connection whose data go into a file.

use std::cell::{Cell, RefCell};
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::{Rc, Weak};

use asyncore::{Dispatcher, DispatcherBase, Error, Result, Socket, strerror};
use cap_std::fs::File;

use crate::ftp_channel::{DataChannel, FtpChannel};

const PIECE_SIZE: usize = 64 * 1024;

pub(crate) struct RecvChannel {
    base: DispatcherBase,
    /// Whom to tell of the end; nobody once that is done.
    channel: RefCell<Weak<FtpChannel>>,
    file: File,
    placing: Placing,
    /// Whether CRLF becomes LF.
    ascii: bool,
    /// Whether the last byte was a CR, which may be the first half of a CRLF.
    after_cr: Cell<bool>,
}

/// Where in the file the data go.
#[derive(Clone, Copy)]
pub(crate) enum Placing {
    /// After all that is there: the file is open for appending.
    End,
    /// Here, and what was there is gone.
    At(u64),
}

impl RecvChannel {
    pub(crate) fn new(
        channel: &FtpChannel,
        file: File,
        placing: Placing,
        ascii: bool,
    ) -> Result<Rc<RecvChannel>> {
        let channel = RefCell::new(Rc::downgrade(&channel.this()?));
        Ok(RecvChannel::init(|base| RecvChannel {
            base,
            channel,
            file,
            placing,
            ascii,
            after_cr: Cell::new(false),
        }))
    }

    fn write(&self, data: &[u8]) -> io::Result<()> {
        if self.ascii {
            let data = self.without_cr(data);
            return (&self.file).write_all(&data);
        }
        (&self.file).write_all(data)
    }

    /// Makes every CRLF an LF, however they are cut.
    fn without_cr(&self, data: &[u8]) -> Vec<u8> {
        let mut local = Vec::with_capacity(data.len() + 1);
        for &byte in data {
            if self.after_cr.replace(byte == b'\r') && byte != b'\n' {
                local.push(b'\r');
            }
            if byte != b'\r' {
                local.push(byte);
            }
        }
        local
    }

    /// The client has closed the connection, having sent all.
    fn finish(&self) -> Result {
        if self.after_cr.take()
            && let Err(error) = (&self.file).write_all(b"\r")
        {
            return self.cannot_write(&error);
        }
        self.end("226 The transfer is complete.")
    }

    fn cannot_write(&self, error: &io::Error) -> Result {
        let reason = error.raw_os_error().map_or(error.to_string(), strerror);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.end(&format!("452 {reason}."))
            }
            _ => self.end(&format!("451 The file cannot be written: {reason}.")),
        }
    }
}

impl Dispatcher for RecvChannel {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn writable(&self) -> bool {
        false
    }

    // self.recv() would call handle_close for a lost connection as it does for the end of the data. Only one
    // of them is a complete transfer.
    fn handle_read(&self) -> Result {
        let mut buffer = vec![0; PIECE_SIZE];
        match self.socket()?.recv(&mut buffer) {
            Ok(0) => self.finish(),
            Ok(received) => match self.write(&buffer[..received]) {
                Ok(()) => Ok(()),
                Err(error) => self.cannot_write(&error),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => self.handle_close(),
        }
    }

    fn handle_close(&self) -> Result {
        self.end("426 The data connection is lost.")
    }

    fn handle_error(&self, error: Error) -> Result {
        self.end(&format!("451 The transfer has failed: {error}."))
    }

    // There is nothing urgent about a file.
    fn handle_expt(&self) -> Result {
        self.end("426 Urgent data has come.")
    }
}

impl DataChannel for RecvChannel {
    fn start(&self, socket: Socket) -> Result {
        if let Placing::At(offset) = self.placing
            && let Err(error) = self
                .file
                .set_len(offset)
                .and_then(|()| (&self.file).seek(SeekFrom::Start(offset)))
        {
            return self.cannot_write(&error);
        }
        match self.init_socket(socket) {
            Ok(()) if self.connected() => Ok(()),
            Ok(()) => self.handle_close(),
            Err(error) => self.handle_error(error),
        }
    }

    fn end(&self, reply: &str) -> Result {
        self.close()?;
        match self.channel.take().upgrade() {
            Some(channel) => channel.transfer_ended(reply),
            None => Ok(()),
        }
    }
}
