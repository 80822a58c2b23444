//! An FTP server of the shape of Medusa's `ftp_server`: `class ftp_server(asyncore.dispatcher)` makes a
//! `class ftp_channel(asynchat.async_chat)` for each client, and that one for its transfers a
//! `class passive_acceptor(asyncore.dispatcher)`, a `class xmit_channel(asynchat.async_chat)` and a
//! `class recv_channel(asyncore.dispatcher)`: three kinds of channel around one client, all in one map.
//!
//! ```text
//! cargo run --example ftp_server -- --port 2121 --root .
//! cargo run --example ftp_server -- --port 2121 --root /srv/inbox --user me --password secret --writable
//! ```
//!
//! Serves the files of a directory to `curl ftp://localhost:2121/`, anonymously and read-only unless told
//! otherwise. No path leads out of the directory. Clients open the data connections, from the address that
//! they log in from (PASV and EPSV; no PORT). An upload goes into the file itself: one that fails is told to
//! have failed, and leaves what came, to be resumed. Passwords and files travel in the clear.
//! Ends with Ctrl-C. `RUST_LOG=info` shows the commands.

mod file_producer;
mod filesys;
mod ftp_channel;
mod list_producer;
mod passive_acceptor;
mod recv_channel;
mod xmit_channel;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use asyncore::socket2::{Domain, Type};
use asyncore::{Address, Dispatcher, DispatcherBase, Error, Result, Socket};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use clap::Parser;
use examples::{Listen, program};

use ftp_channel::FtpChannel;

struct FtpServer {
    base: DispatcherBase,
    settings: Rc<Settings>,
}

/// What all clients of a server have in common.
struct Settings {
    root: Rc<Dir>,
    /// Who may log in, and with which password; anonymous ones if nobody is named.
    account: Option<(String, String)>,
    writable: bool,
}

impl FtpServer {
    fn new(host: &str, port: u16, settings: Settings) -> Result<Rc<FtpServer>> {
        let settings = Rc::new(settings);
        let server = FtpServer::init(|base| FtpServer { base, settings });
        server.create_socket(Domain::IPV4, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.bind((host, port))?;
        server.listen(1024)?;
        Ok(server)
    }
}

impl Dispatcher for FtpServer {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, addr: Address) -> Result {
        self.log_info(&format!("{addr} has connected"), "info");
        FtpChannel::open(socket, &self.settings)
    }

    // The default closes the listener, and accept(2) fails for the troubles of one connection, too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Serves the files of a directory over FTP.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<2121>,

    /// The directory to serve
    #[arg(long)]
    root: PathBuf,

    /// Who may log in; anybody may as "anonymous" if nobody is named
    #[arg(long, requires = "password")]
    user: Option<String>,

    /// The user's password
    #[arg(long, requires = "user")]
    password: Option<String>,

    /// Let the user store, rename and delete; not for anonymous ones
    #[arg(long, requires = "user")]
    writable: bool,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let settings = Settings {
            root: open_root(&args.root)?,
            account: args.user.clone().zip(args.password.clone()),
            writable: args.writable,
        };
        let server = FtpServer::new(&args.listen.host, args.listen.port, settings)?;
        args.listen.serve(&*server)
    })
}

fn open_root(path: &Path) -> Result<Rc<Dir>> {
    match Dir::open_ambient_dir(path, ambient_authority()) {
        Ok(root) => Ok(Rc::new(root)),
        Err(error) => Err(Error::msg(format!("{}: {error}", path.display()))),
    }
}
