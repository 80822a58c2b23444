//! The echo server of the asyncore documentation: `class EchoHandler(asyncore.dispatcher_with_send)`,
//! one for each connection, and `class EchoServer(asyncore.dispatcher)`, which makes them.
//!
//! ```text
//! cargo run --example echo_server -- --port 8007
//! ```
//!
//! Ends with Ctrl-C. `RUST_LOG=info` shows the connections.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use asyncore::socket2::{Domain, Type};
use asyncore::{
    Address, BaseClass, Dispatcher, DispatcherBase, DispatcherWithSend, DispatcherWithSendBase,
    Error, Result, Socket,
};
use clap::Parser;
use examples::{Listen, program};

struct EchoHandler {
    base: DispatcherWithSendBase,
    /// What all handlers receive into, one after another.
    buffer: Rc<Cell<Vec<u8>>>,
}

impl Dispatcher for EchoHandler {
    type Base = DispatcherWithSendBase;
    fn base(&self) -> &DispatcherWithSendBase {
        &self.base
    }

    // Not in the original: the next data is read once the last has gone. Memory stays bounded when a
    // client does not read, and one that shuts down its side still gets all of its echo.
    fn readable(&self) -> bool {
        self.base.out_buffer_len() == 0
    }

    fn handle_read(&self) -> Result {
        // data = self.recv(8192), without making a new object of it. Taken, since `recv_into` may call
        // `handle_close`, and that anything.
        let mut buffer = self.buffer.take();
        let echoed = self.echo(&mut buffer);
        self.buffer.set(buffer);
        echoed
    }
}

impl DispatcherWithSend for EchoHandler {}

impl EchoHandler {
    fn echo(&self, buffer: &mut [u8]) -> Result {
        let received = self.recv_into(buffer)?;
        if received == 0 {
            return Ok(()); // `recv_into` has called `handle_close`.
        }
        // asyncore.dispatcher.send(self, data): only what the system does not take now, nothing most
        // often, needs the buffer of dispatcher_with_send.
        let sent = self.root().send(self, &buffer[..received])?;
        if sent < received && self.connected() {
            self.send(&buffer[sent..received])?;
        }
        Ok(())
    }
}

struct EchoServer {
    base: DispatcherBase,
    buffer: Rc<Cell<Vec<u8>>>,
}

impl EchoServer {
    fn new(host: &str, port: u16) -> Result<Rc<EchoServer>> {
        let server = EchoServer::init(|base| EchoServer {
            base,
            // The original's 8192 bytes would cost a long message several passes of the loop.
            buffer: Rc::new(Cell::new(vec![0; 65536])),
        });
        server.create_socket(Domain::IPV4, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.bind((host, port))?;
        // The original's 5 leaves most of a crowd that comes at once to the system's retries.
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
        // Not in the original: Nagle's algorithm would hold back the end of every longer message.
        socket.socket2()?.set_tcp_nodelay(true)?;
        // Nor this: an urgent byte that nobody reads would be reported in every pass.
        socket.socket2()?.set_out_of_band_inline(true)?;
        let buffer = Rc::clone(&self.buffer);
        EchoHandler::init_with(socket, |base| EchoHandler { base, buffer })?;
        Ok(())
    }

    // Not in the original, which closes its listener: accept(2) fails for the troubles of one connection,
    // too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Sends back whatever it is sent.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8007>,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let server = EchoServer::new(&args.listen.host, args.listen.port)?;
        args.listen.serve(&*server)
    })
}
