//! Class `xmit_channel(asynchat.async_chat)`: a data connection that sends a producer's data.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use asynchat::{AsyncChat, AsyncChatBase, Producer};
use asyncore::{Dispatcher, Error, Result, Socket};

use crate::ftp_channel::{DataChannel, FtpChannel};

pub(crate) struct XmitChannel {
    base: AsyncChatBase,
    /// Whom to tell of the end; nobody once that is done.
    channel: RefCell<Weak<FtpChannel>>,
}

impl XmitChannel {
    /// It has no socket yet, so what is pushed waits for it.
    pub(crate) fn new(channel: &FtpChannel, producer: impl Producer) -> Result<Rc<XmitChannel>> {
        let channel = RefCell::new(Rc::downgrade(&channel.this()?));
        let xmit_channel = XmitChannel::init(|base| XmitChannel { base, channel });
        xmit_channel.push_with_producer(producer)?;
        xmit_channel.close_when_done()?;
        Ok(xmit_channel)
    }
}

impl Dispatcher for XmitChannel {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn readable(&self) -> bool {
        false
    }

    // Called when all has been sent, and when the connection is lost.
    fn handle_close(&self) -> Result {
        let all_sent = self.base.producer_fifo.is_empty();
        let error = self.socket().map(|socket| socket.take_error());
        if all_sent && matches!(error, Ok(Ok(None))) {
            self.end("226 The transfer is complete.")
        } else {
            self.end("426 The data connection is lost.")
        }
    }

    fn handle_error(&self, error: Error) -> Result {
        self.end(&format!("451 The transfer has failed: {error}."))
    }

    // Nothing should come. Urgent data that nobody reads would be told of in every pass.
    fn handle_expt(&self) -> Result {
        self.end("426 The data connection is for the other direction.")
    }
}

impl AsyncChat for XmitChannel {
    const AC_OUT_BUFFER_SIZE: usize = 64 * 1024;
}

impl DataChannel for XmitChannel {
    fn start(&self, socket: Socket) -> Result {
        match self.init_socket(socket) {
            Ok(()) if self.connected() => Ok(()),
            Ok(()) => self.end("426 The data connection is lost."),
            Err(error) => self.handle_error(error),
        }
    }

    fn end(&self, reply: &str) -> Result {
        self.discard_buffers();
        self.close()?;
        match self.channel.take().upgrade() {
            Some(channel) => channel.transfer_ended(reply),
            None => Ok(()),
        }
    }
}
