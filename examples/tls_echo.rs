//! An echo server over TLS: `class ConnectionHandler(SSLConnection)`, one for each connection, and
//! `class EchoServer(asyncore.dispatcher)`, which makes them: the classes that CPython tested its module `ssl`
//! with. The mixin `SSLConnection`, in which all of TLS is, is `src/tls_dispatcher.rs`.
//!
//! ```text
//! cargo run --example tls_echo -- --port 8443
//! ```
//!
//! Try it with `openssl s_client -connect localhost:8443`. Without `--cert` and `--key` it makes itself a
//! certificate, and prints by which fingerprint it can be known. Ends with Ctrl-C; `RUST_LOG=info` shows the
//! connections.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use asyncore::socket2::{Domain, Type};
use asyncore::{Address, BaseClass, Dispatcher, DispatcherBase, Error, Result, Socket};
use clap::Parser;
use examples::tls_dispatcher::TlsDispatcher;
use examples::{Listen, program};
use ring::digest::{SHA256, digest};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

struct ConnectionHandler {
    base: TlsDispatcher<DispatcherBase>,
    /// What is still to be sent back.
    buffer: RefCell<Vec<u8>>,
}

impl Dispatcher for ConnectionHandler {
    type Base = TlsDispatcher<DispatcherBase>;
    fn base(&self) -> &TlsDispatcher<DispatcherBase> {
        &self.base
    }

    // The next data is read once the last has gone: memory stays bounded when a client does not read, and one
    // that ends its side still gets all of its echo.
    fn readable(&self) -> bool {
        self.buffer.borrow().is_empty() && self.base().readable(self)
    }

    fn handle_read(&self) -> Result {
        let data = self.recv(16384)?;
        if data.is_empty() {
            return Ok(()); // It is the end, or the beginning of a record.
        }
        self.buffer.borrow_mut().extend(data);
        self.handle_write()
    }

    fn writable(&self) -> bool {
        !self.buffer.borrow().is_empty() || self.base.wants_write(self)
    }

    fn handle_write(&self) -> Result {
        // Taken rather than borrowed: `send` may call `handle_close`.
        let mut buffer = self.buffer.take();
        let sent = self.send(&buffer)?;
        buffer.drain(..sent);
        self.buffer.replace(buffer);
        Ok(())
    }

    fn handle_close(&self) -> Result {
        if self.base.is_handshaking() {
            self.log_info(
                &format!("{}: left during the handshake", self.name()),
                "info",
            );
        } else if !self.base.was_ended() {
            self.log_info(&format!("{}: the input is cut off", self.name()), "info");
        }
        self.close()
    }

    // The default's message is for defects of the program. What clients do is none.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&format!("{}: {error}", self.name()), "info");
        self.close()
    }
}

impl ConnectionHandler {
    fn name(&self) -> String {
        self.addr()
            .map_or("nobody".to_owned(), |addr| addr.to_string())
    }
}

struct EchoServer {
    base: DispatcherBase,
    config: Arc<ServerConfig>,
}

impl EchoServer {
    fn new(host: &str, port: u16, config: ServerConfig) -> Result<Rc<EchoServer>> {
        let server = EchoServer::init(|base| EchoServer {
            base,
            config: Arc::new(config),
        });
        server.create_socket(Domain::IPV4, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.bind((host, port))?;
        server.listen(1024)?;
        Ok(server)
    }
}

impl Dispatcher for EchoServer {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
        self.log_info(&format!("Incoming connection from {addr}"), "info");
        // Nagle's algorithm would hold back the end of every longer message.
        socket.socket2()?.set_tcp_nodelay(true)?;
        // An urgent byte that nobody reads would be reported in every pass.
        socket.socket2()?.set_out_of_band_inline(true)?;
        let session = ServerConnection::new(Arc::clone(&self.config))?;
        let handler = ConnectionHandler::init_with(socket, |base| ConnectionHandler {
            base,
            buffer: RefCell::default(),
        })?;
        handler.base.secure_connection(session);
        Ok(())
    }

    // The default closes the listener, and accept(2) fails for the troubles of one connection, too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

// ---- the certificate

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(cert: &Path, key: &Path) -> Result<Identity> {
    let named = |path: &Path, error| Error::msg(format!("{}: {error}", path.display()));
    let certs: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| named(cert, error))?;
    if certs.is_empty() {
        return Err(named(cert, pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
    Ok((certs, key))
}

fn make_identity(host: &str) -> Result<Identity> {
    let names = ["localhost", "127.0.0.1", host].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(Error::msg)?;
    Ok((vec![made.cert.der().clone()], key))
}

/// As `openssl x509 -fingerprint -sha256` prints it.
fn fingerprint(cert: &CertificateDer) -> String {
    let digest = digest(&SHA256, cert);
    let bytes = digest.as_ref().iter();
    bytes
        .map(|it| format!("{it:02X}"))
        .collect::<Vec<_>>()
        .join(":")
}

/// Sends back whatever it is sent, over TLS.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8443>,

    /// The certificate, with those that it depends on, in PEM; made anew unless given
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let given = args.cert.as_deref().zip(args.key.as_deref());
        let (certs, key) = match given {
            Some((cert, key)) => read_identity(cert, key)?,
            None => make_identity(&args.listen.host)?,
        };
        let made = given.is_none().then(|| fingerprint(&certs[0]));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certs, key)?;

        let server = EchoServer::new(&args.listen.host, args.listen.port, config)?;
        args.listen.announce(&*server)?;
        if let Some(fingerprint) = made {
            writeln!(io::stdout(), "SHA-256 fingerprint {fingerprint}")?;
        }
        args.listen.run()
    })
}
