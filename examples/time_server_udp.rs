//! `class AsyncoreServerUDP(asyncore.dispatcher)` as many have written it, around a socket of
//! `SOCK_DGRAM`; here it is a time server (RFC 868).
//!
//! ```text
//! cargo run --example time_server_udp -- --port 8037
//! ```
//!
//! Any datagram is answered with the seconds since 1900, four bytes in network order; with `--text`, in words
//! (RFC 867), which `echo | nc -u -w 1 localhost 8037` shows. Ends with Ctrl-C.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use asyncore::socket2::{Domain, Type};
use asyncore::{Address, Dispatcher, DispatcherBase, Error, Result};
use clap::Parser;
use examples::{Listen, program};

/// The seconds from 1900 to 1970.
const TIME_1970: u64 = 2_208_988_800;
/// How many answers may wait to be sent.
const MAX_WAITING: usize = 1000;

struct AsyncoreServerUdp {
    base: DispatcherBase,
    text: bool,
    /// Who is to be answered.
    clients: RefCell<VecDeque<Address>>,
}

impl AsyncoreServerUdp {
    fn new(host: &str, port: u16, text: bool) -> Result<Rc<AsyncoreServerUdp>> {
        let server = AsyncoreServerUdp::init(AsyncoreServerUdp::build(text));
        server.create_socket(Domain::IPV4, Type::DGRAM)?;
        server.bind((host, port))?;
        Ok(server)
    }

    fn build(text: bool) -> impl FnOnce(DispatcherBase) -> AsyncoreServerUdp {
        move |base| AsyncoreServerUdp {
            base,
            text,
            clients: RefCell::default(),
        }
    }

    /// Whether the sender may be answered. Another server would answer the answer, and so on for ever: this
    /// one, if a sender pretends to be it, or one of those with low ports.
    fn is_client(&self, sender: &Address) -> Result<bool> {
        let own = self.socket()?.local_addr()?.port();
        let is_client = |port| port >= 1024 && Some(port) != own;
        Ok(sender.port().is_none_or(is_client))
    }

    fn answer(&self) -> Result<Vec<u8>> {
        let now = SystemTime::now();
        if self.text {
            return Ok(format!("{}\r\n", httpdate::fmt_http_date(now)).into_bytes());
        }
        let time = TIME_1970 + now.duration_since(UNIX_EPOCH)?.as_secs();
        // Begins anew in 2036, as clients know.
        Ok((time as u32).to_be_bytes().to_vec())
    }
}

impl Dispatcher for AsyncoreServerUdp {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn readable(&self) -> bool {
        self.clients.borrow().len() < MAX_WAITING
    }

    fn handle_read(&self) -> Result {
        // Whatever it says; the system drops what there is no room for.
        let client = match self.socket()?.recv_from(&mut [0; 512]) {
            // A datagram that came damaged: it is reported, and not there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?.1,
        };
        if self.is_client(&client)? {
            self.clients.borrow_mut().push_back(client);
        }
        Ok(())
    }

    fn writable(&self) -> bool {
        !self.clients.borrow().is_empty()
    }

    fn handle_write(&self) -> Result {
        let client = self.clients.borrow_mut().pop_front();
        let Some(client) = client else {
            return Ok(());
        };
        match self.socket()?.send_to(&self.answer()?, &client) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clients.borrow_mut().push_front(client);
            }
            Err(error) => self.log_info(&format!("sendto {client}: {error}"), "info"),
            Ok(_) => self.log_info(&format!("{client} knows the time"), "info"),
        }
        Ok(())
    }

    // The default closes the socket, on which all clients depend.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Tells the time to whoever asks by UDP.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8037>,

    /// Tell it in words
    #[arg(long)]
    text: bool,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let server = AsyncoreServerUdp::new(&args.listen.host, args.listen.port, args.text)?;
        args.listen.serve(&*server)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Duration;

    use asyncore::Loop;

    use super::*;

    fn socket(name: &str) -> UnixDatagram {
        let name = format!("time_server_udp {name} {}", std::process::id());
        let addr = SocketAddr::from_abstract_name(name).expect("a short name");
        UnixDatagram::bind_addr(&addr).expect("nobody else has the name")
    }

    /// Datagrams of a Unix socket stand for those of UDP, which on one machine rather get lost than wait for
    /// a receiver.
    #[test]
    fn answers_that_the_system_does_not_take_are_sent_later() -> Result {
        let (socket, client) = (socket("server"), socket("client"));
        let addr = socket.local_addr()?;
        client.set_nonblocking(true)?;
        let build = AsyncoreServerUdp::build(false);
        let server = AsyncoreServerUdp::init_with(socket, build)?;
        let two_passes = || Loop::new().timeout(Duration::ZERO).count(2).run();

        let mut asked = 0;
        while client.send_to_addr(b"", &addr).is_ok() {
            asked += 1;
            two_passes()?;
            assert!(asked < 2 * MAX_WAITING, "there is no end to it");
        }
        assert_eq!(server.clients.borrow().len(), MAX_WAITING);

        let mut answer = [0; 8];
        for _ in 0..asked {
            two_passes()?;
            assert_eq!(client.recv(&mut answer)?, 4);
        }
        assert!(client.recv(&mut answer).is_err(), "one too many");
        assert!(!server.writable());
        Ok(())
    }
}
