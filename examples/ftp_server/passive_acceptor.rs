//! Class `passive_acceptor(asyncore.dispatcher)`: the listener for one data connection.

use std::cell::Cell;
use std::io;
use std::rc::{Rc, Weak};

use asyncore::socket2::{Domain, Type};
use asyncore::{Address, Dispatcher, DispatcherBase, Error, Result, Socket};

use crate::ftp_channel::FtpChannel;

pub(crate) struct PassiveAcceptor {
    base: DispatcherBase,
    control_channel: Weak<FtpChannel>,
    /// The data connection, until there is a transfer for it.
    pub(crate) ready: Cell<Option<Socket>>,
}

impl PassiveAcceptor {
    /// Listens on a port of its own, on the interface that the control connection came in by.
    pub(crate) fn open(control_channel: &FtpChannel) -> Result<Rc<PassiveAcceptor>> {
        let local = control_channel.local_ip()?;
        let control_channel = Rc::downgrade(&control_channel.this()?);
        let acceptor = PassiveAcceptor::init(|base| PassiveAcceptor {
            base,
            control_channel,
            ready: Cell::new(None),
        });
        acceptor.create_socket(Domain::IPV4, Type::STREAM)?;
        let listening = acceptor.bind((local, 0)).and_then(|()| acceptor.listen(5));
        if listening.is_err() {
            acceptor.close()?; // It is in the map already.
        }
        listening.map(|()| acceptor)
    }

    pub(crate) fn port(&self) -> Result<u16> {
        let port = self.socket()?.local_addr()?.port();
        port.ok_or_else(|| Error::msg("the socket has no port"))
    }
}

impl Dispatcher for PassiveAcceptor {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    // self.accept() would let the listener rest when there are no descriptors left, and the client wait
    // for others to give some up. It is told instead.
    fn handle_accept(&self) -> Result {
        match self.socket()?.accept() {
            Ok((socket, addr)) => self.handle_accepted(socket, addr),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
        let Some(control_channel) = self.control_channel.upgrade() else {
            return self.close();
        };
        if !control_channel.is_from(&addr) {
            self.log_info(&format!("{addr} wanted another's data connection"), "info");
            return socket.close().map_err(Error::from);
        }
        self.close()?;
        self.ready.set(Some(socket));
        control_channel.start_transfer()
    }

    fn handle_error(&self, error: Error) -> Result {
        self.close()?;
        match self.control_channel.upgrade() {
            Some(control_channel) => control_channel.no_data_connection(&error),
            None => Ok(()),
        }
    }
}
