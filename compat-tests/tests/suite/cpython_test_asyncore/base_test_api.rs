//! `BaseTestAPI`: the tests that run over every kind of socket, under `poll` and `poll2`.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use asyncore::socket2::{self, Domain, Type};
use asyncore::{Address, Dispatcher, Error, Loop, Panic, Result, Socket, socket_map};
use compat_tests::{TearDown, until, until_by};

use super::base_classes::{BaseClient, BaseServer, BaseTestHandler, dispatcher};

pub(super) fn test_handle_connect(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_connect(&self) -> Result {
            self.flag.set(true);
            Ok(())
        }
    }

    let server = BaseServer::new(api, BaseTestHandler::handle)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

pub(super) fn test_handle_accept(api: &TestApi) -> Result {
    struct TestListener {
        base: BaseTestHandler,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestListener {
        type Base = BaseTestHandler;
        fn base(&self) -> &BaseTestHandler {
            &self.base
        }

        fn handle_accept(&self) -> Result {
            self.flag.set(true);
            Ok(())
        }
    }

    let (server, address) = api.listen(|base| TestListener {
        base,
        flag: Cell::new(false),
    })?;
    let _client = api.connect(address, |client: BaseClient| client)?;
    api.loop_waiting_for_flag(&server.flag)
}

pub(super) fn test_handle_accepted(api: &TestApi) -> Result {
    struct TestListener {
        base: BaseTestHandler,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestListener {
        type Base = BaseTestHandler;
        fn base(&self) -> &BaseTestHandler {
            &self.base
        }

        fn handle_accept(&self) -> Result {
            // Past the base class, which expects none: asyncore.dispatcher.handle_accept(self)
            asyncore::BaseClass::handle_accept(self.root(), self)
        }

        fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
            socket.close()?;
            self.flag.set(true);
            Ok(())
        }
    }

    let (server, address) = api.listen(|base| TestListener {
        base,
        flag: Cell::new(false),
    })?;
    let _client = api.connect(address, |client: BaseClient| client)?;
    api.loop_waiting_for_flag(&server.flag)
}

pub(super) fn test_handle_read(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_read(&self) -> Result {
            self.flag.set(true);
            Ok(())
        }
    }

    fn test_handler(conn: Socket) -> Result<Rc<BaseTestHandler>> {
        let handler = BaseTestHandler::handle(conn)?;
        handler.send(&[b'x'; 1024])?;
        Ok(handler)
    }

    let server = BaseServer::new(api, test_handler)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

pub(super) fn test_handle_write(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_write(&self) -> Result {
            self.flag.set(true);
            Ok(())
        }
    }

    let server = BaseServer::new(api, BaseTestHandler::handle)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

/// The peer closes.
pub(super) fn test_handle_close(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_read(&self) -> Result {
            // It is `recv` that finds out.
            self.recv(1024)?;
            Ok(())
        }

        fn handle_close(&self) -> Result {
            self.flag.set(true);
            self.close()
        }
    }

    fn test_handler(conn: Socket) -> Result<Rc<BaseTestHandler>> {
        let handler = BaseTestHandler::handle(conn)?;
        handler.close()?;
        Ok(handler)
    }

    let server = BaseServer::new(api, test_handler)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

/// The peer closes while it is being sent to (bpo-5661, bpo-11265).
pub(super) fn test_handle_close_after_conn_broken(api: &TestApi) -> Result {
    const DATA: [u8; 128] = [0; 128];

    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_write(&self) -> Result {
            self.send(&DATA)?;
            Ok(())
        }

        fn handle_close(&self) -> Result {
            self.flag.set(true);
            self.close()
        }

        fn handle_expt(&self) -> Result {
            self.flag.set(true);
            self.close()
        }
    }

    struct TestHandler {
        base: BaseTestHandler,
    }

    impl Dispatcher for TestHandler {
        type Base = BaseTestHandler;
        fn base(&self) -> &BaseTestHandler {
            &self.base
        }

        fn handle_read(&self) -> Result {
            self.recv(DATA.len())?;
            self.close()
        }

        fn writable(&self) -> bool {
            false
        }
    }

    let server = BaseServer::new(api, |conn| {
        TestHandler::init_with(conn, |base| TestHandler { base })
    })?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

/// Out-of-band data comes.
pub(super) fn test_handle_expt(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_expt(&self) -> Result {
            let mut data = [0; 1024];
            let received = self.socket()?.recv_out_of_band(&mut data)?;
            assert_eq!(data[..received], [244]);
            self.flag.set(true);
            Ok(())
        }
    }

    fn test_handler(conn: Socket) -> Result<Rc<BaseTestHandler>> {
        let handler = BaseTestHandler::handle(conn)?;
        handler.socket()?.socket2()?.send_out_of_band(&[244])?;
        Ok(handler)
    }

    if cfg!(target_os = "macos") && api.use_poll {
        return api.not_run("poll(2) of macOS may not tell of out-of-band data (bpo-28087)");
    }
    let server = BaseServer::new(api, test_handler)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

/// A handler panics, as one in Python raises.
pub(super) fn test_handle_error(api: &TestApi) -> Result {
    struct TestClient {
        base: BaseClient,
        flag: Cell<bool>,
    }

    impl Dispatcher for TestClient {
        type Base = BaseClient;
        fn base(&self) -> &BaseClient {
            &self.base
        }

        fn handle_write(&self) -> Result {
            black_box(1 / black_box(0));
            Ok(())
        }

        fn handle_error(&self, error: Error) -> Result {
            let is_division = error.is::<Panic>() && error.to_string().contains("divide by zero");
            self.flag.set(is_division);
            if is_division { Ok(()) } else { Err(error) }
        }
    }

    let server = BaseServer::new(api, BaseTestHandler::handle)?;
    let client = api.connect(server.address()?, |base| TestClient {
        base,
        flag: Cell::new(false),
    })?;
    api.loop_waiting_for_flag(&client.flag)
}

pub(super) fn test_connection_attributes(api: &TestApi) -> Result {
    let server = BaseServer::new(api, BaseTestHandler::handle)?;
    let client = api.connect(server.address()?, |client: BaseClient| client)?;

    // Whether the client is connected by now is up to the system.
    assert!(!server.connected());
    assert!(server.accepting());
    assert!(!client.accepting());

    let with_handler = 3;
    api.until(|| client.connected() && socket_map().len() == with_handler)?;
    assert!(!server.connected());
    assert!(server.accepting());
    assert!(client.connected());
    assert!(!client.accepting());

    client.close()?;
    assert!(!server.connected());
    assert!(server.accepting());
    assert!(!client.connected());
    assert!(!client.accepting());

    server.close()?;
    assert!(!server.connected());
    assert!(!server.accepting());
    Ok(())
}

pub(super) fn test_create_socket(api: &TestApi) -> Result {
    let s = dispatcher();
    s.create_socket(api.family, Type::STREAM)?;

    let socket = s.socket()?.socket2()?;
    assert_eq!(socket.r#type()?, Type::STREAM);
    assert_eq!(socket.local_addr()?.domain(), api.family);
    assert!(socket.nonblocking()?);
    let flags = rustix::io::fcntl_getfd(&*socket)?;
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    Ok(())
}

/// A second socket cannot bind to what the first one is bound to.
pub(super) fn test_bind(api: &TestApi) -> Result {
    let s1 = dispatcher();
    s1.create_socket(api.family, Type::STREAM)?;
    s1.bind(api.addr.clone())?;
    s1.listen(5)?;

    let s2 = dispatcher();
    s2.create_socket(api.family, Type::STREAM)?;
    let refused = s2.bind(s1.socket()?.local_addr()?).unwrap_err();
    assert_eq!(refused.io_kind(), Some(io::ErrorKind::AddrInUse));
    Ok(())
}

pub(super) fn test_set_reuse_addr(api: &TestApi) -> Result {
    let s = dispatcher();
    s.init_socket(Socket::open(api.family, Type::STREAM)?)?;
    assert!(!s.socket()?.socket2()?.reuse_address()?);

    s.socket()?.close()?;
    s.create_socket(api.family, Type::STREAM)?;
    s.set_reuse_addr()?;
    assert!(s.socket()?.socket2()?.reuse_address()?);
    Ok(())
}

/// A connection that is reset before it is accepted does not disturb the server (bpo-10340).
pub(super) fn test_quick_connect(api: &TestApi) -> Result {
    let server = BaseServer::new(api, BaseTestHandler::handle)?;

    let quick = socket2::Socket::new(api.family, Type::STREAM, None)?;
    quick.set_linger(Some(Duration::ZERO))?;
    quick.connect(&server.address()?.resolve(api.family)?)?;
    drop(quick);

    let with_handler = 2;
    // Not `api.until`: a hang-up would be a close under `poll2`, and Python has no `use_poll` here.
    until(|| socket_map().len() == with_handler)?;
    assert!(server.accepting());
    Ok(())
}

/// What a class derived from `BaseTestAPI` sets, and what is there for one test of it.
pub(super) struct TestApi {
    name: &'static str,
    pub(super) family: Domain,
    pub(super) addr: Address,
    use_poll: bool,
    _tear_down: TearDown,
    /// Where the Unix socket is.
    _folder: Option<tempfile::TempDir>,
}

/// What a class uses: `TestAPI_Use…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sockets {
    IPv4,
    IPv6,
    Unix,
}

impl TestApi {
    pub(super) fn run(
        name: &'static str,
        sockets: Sockets,
        use_poll: bool,
        test: fn(&TestApi) -> Result,
    ) -> Result {
        let (family, addr, folder) = match sockets {
            Sockets::IPv4 => (Domain::IPV4, Address::from(("localhost", 0)), None),
            Sockets::IPv6 => (Domain::IPV6, Address::from(("::1", 0)), None),
            Sockets::Unix => {
                let folder = tempfile::tempdir()?;
                let addr = Address::from(folder.path().join("socket"));
                (Domain::UNIX, addr, Some(folder))
            }
        };
        let api = TestApi {
            name,
            family,
            addr,
            use_poll,
            _tear_down: TearDown,
            _folder: folder,
        };
        if sockets == Sockets::IPv6
            && let Err(error) = TcpListener::bind("[::1]:0")
        {
            return api.not_run(&format!("this system has no IPv6 ({error})"));
        }
        test(&api)
    }

    /// Says so where it is seen: the output of a test that passes is not shown otherwise.
    fn not_run(&self, reason: &str) -> Result {
        writeln!(io::stderr(), "\n{} has NOT RUN: {reason}", self.name)?;
        Ok(())
    }

    /// An object that listens.
    fn listen<T: Dispatcher>(&self, build: impl FnOnce(T::Base) -> T) -> Result<(Rc<T>, Address)> {
        let listener = T::init(build);
        listener.create_socket(self.family, Type::STREAM)?;
        listener.socket()?.bind(&self.addr)?;
        listener.listen(5)?;
        let address = listener.socket()?.local_addr()?;
        Ok((listener, address))
    }

    /// An object of a class derived from `BaseClient`: `TestClient(family, address)`.
    fn connect<T: Dispatcher<Base = BaseClient>>(
        &self,
        address: Address,
        build: impl FnOnce(BaseClient) -> T,
    ) -> Result<Rc<T>> {
        let client = T::init(build);
        client.create_socket(self.family, Type::STREAM)?;
        client.connect(address)?;
        Ok(client)
    }

    #[track_caller]
    fn loop_waiting_for_flag(&self, flag: &Cell<bool>) -> Result {
        self.until(|| flag.get())
    }

    #[track_caller]
    fn until(&self, condition: impl FnMut() -> bool) -> Result {
        until_by(&Loop::new().use_poll(self.use_poll), condition)
    }
}
