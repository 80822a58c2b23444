//! The HTTP client of the asyncore documentation: `class HTTPClient(asyncore.dispatcher)`.
//!
//! ```text
//! cargo run --example http_client -- www.python.org /
//! ```
//!
//! Prints what comes, headers and body, until the server closes the connection.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;

use asyncore::socket2::{Domain, Type};
use asyncore::{Dispatcher, DispatcherBase, Error, Loop, Result};
use clap::Parser;
use examples::program;

struct HttpClient {
    base: DispatcherBase,
    server: String,
    buffer: RefCell<Vec<u8>>,
    answered: Cell<bool>,
}

impl HttpClient {
    fn new(host: &str, port: u16, path: &str) -> Result<Rc<HttpClient>> {
        let server = format!("{host}:{port}");
        let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n");
        let client = HttpClient::init(|base| HttpClient {
            base,
            server,
            buffer: RefCell::new(request.into_bytes()),
            answered: Cell::new(false),
        });
        client.create_socket(Domain::IPV4, Type::STREAM)?;
        client.connect((host, port))?;
        Ok(client)
    }
}

impl Dispatcher for HttpClient {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_connect(&self) -> Result {
        Ok(())
    }

    fn handle_close(&self) -> Result {
        self.close()?;
        // Not in the original, as all about `answered`.
        if !self.answered.get() {
            return Err(Error::msg(format!(
                "{} closed the connection before any response",
                self.server
            )));
        }
        Ok(())
    }

    fn handle_read(&self) -> Result {
        let data = self.recv(8192)?;
        if !data.is_empty() {
            self.answered.set(true);
        }
        let mut stdout = io::stdout();
        stdout.write_all(&data)?;
        Ok(stdout.flush()?)
    }

    fn writable(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    fn handle_write(&self) -> Result {
        // Taken rather than borrowed: `send` may call `handle_close`, which may look at it.
        let buffer = self.buffer.take();
        let sent = self.send(&buffer)?;
        self.buffer.replace(buffer[sent..].to_vec());
        Ok(())
    }

    // Not in the original, which logs the error: with nothing else to do, it ends the loop.
    fn handle_error(&self, error: Error) -> Result {
        Err(error)
    }
}

/// Fetches a page over HTTP and prints the whole response.
#[derive(Parser)]
struct Args {
    /// The server's name or IPv4 address
    #[arg(value_name = "URL_HOST")]
    host: String,

    /// What to ask for, as in `/index.html`
    path: String,

    /// The server's port
    #[arg(long, default_value_t = 80)]
    port: u16,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let _client = HttpClient::new(&args.host, args.port, &args.path)?;
        Loop::new().run()
    })
}
