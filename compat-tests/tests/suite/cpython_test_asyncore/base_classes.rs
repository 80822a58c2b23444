//! The classes that the tests are made of, beside those that they define themselves.

use std::rc::{Rc, Weak};

use asyncore::socket2::Type;
use asyncore::{Address, BaseClass, Dispatcher, DispatcherBase, Error, Result, Socket};

use super::base_test_api::TestApi;

/// `asyncore.dispatcher()`
pub(super) fn dispatcher() -> Rc<impl Dispatcher> {
    struct Plain {
        base: DispatcherBase,
    }

    impl Dispatcher for Plain {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }
    }

    Plain::init(|base| Plain { base })
}

/// A class that no event is to reach, except those that derived classes expect.
pub(super) struct BaseTestHandler {
    dispatcher: DispatcherBase,
}

impl BaseTestHandler {
    /// `BaseTestHandler(conn)`
    pub(super) fn handle(conn: Socket) -> Result<Rc<BaseTestHandler>> {
        BaseTestHandler::init_with(conn, |base| base)
    }
}

impl<T: Dispatcher> BaseClass<T> for BaseTestHandler {
    type Super = DispatcherBase;

    fn new(this: &Weak<T>) -> BaseTestHandler {
        BaseTestHandler {
            dispatcher: BaseClass::new(this),
        }
    }

    fn superclass(&self) -> &DispatcherBase {
        &self.dispatcher
    }

    fn handle_accept(&self, _this: &T) -> Result {
        Err(Error::msg("handle_accept is called"))
    }

    fn handle_accepted(&self, _this: &T, _socket: Socket, _addr: Address) -> Result {
        Err(Error::msg("handle_accepted is called"))
    }

    fn handle_connect(&self, _this: &T) -> Result {
        Err(Error::msg("handle_connect is called"))
    }

    fn handle_expt(&self, _this: &T) -> Result {
        Err(Error::msg("handle_expt is called"))
    }

    fn handle_close(&self, _this: &T) -> Result {
        Err(Error::msg("handle_close is called"))
    }

    fn handle_error(&self, _this: &T, error: Error) -> Result {
        Err(error)
    }
}

/// An object of the class itself, which is its own base.
impl Dispatcher for BaseTestHandler {
    type Base = BaseTestHandler;
    fn base(&self) -> &BaseTestHandler {
        self
    }
}

/// Accepts connections, and makes of each whatever `handler` makes of it.
pub(super) struct BaseServer {
    base: DispatcherBase,
    handler: Box<dyn Fn(Socket) -> Result>,
}

impl BaseServer {
    /// `BaseServer(family, addr, handler)`
    pub(super) fn new<H>(
        api: &TestApi,
        handler: impl Fn(Socket) -> Result<Rc<H>> + 'static,
    ) -> Result<Rc<BaseServer>> {
        let server = BaseServer::init(|base| BaseServer {
            base,
            handler: Box::new(move |conn| handler(conn).map(drop)),
        });
        server.create_socket(api.family, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.socket()?.bind(&api.addr)?;
        server.listen(5)?;
        Ok(server)
    }

    pub(super) fn address(&self) -> Result<Address> {
        Ok(self.socket()?.local_addr()?)
    }
}

impl Dispatcher for BaseServer {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
        (self.handler)(socket)
    }

    fn handle_error(&self, error: Error) -> Result {
        Err(error)
    }
}

/// A [`BaseTestHandler`] that expects to be connected.
pub(super) struct BaseClient {
    handler: BaseTestHandler,
}

impl<T: Dispatcher> BaseClass<T> for BaseClient {
    type Super = BaseTestHandler;

    fn new(this: &Weak<T>) -> BaseClient {
        BaseClient {
            handler: BaseClass::new(this),
        }
    }

    fn superclass(&self) -> &BaseTestHandler {
        &self.handler
    }

    fn handle_connect(&self, _this: &T) -> Result {
        Ok(())
    }
}

/// An object of the class itself, which is its own base.
impl Dispatcher for BaseClient {
    type Base = BaseClient;
    fn base(&self) -> &BaseClient {
        self
    }
}
