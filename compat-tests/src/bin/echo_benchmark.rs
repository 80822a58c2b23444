//! Compares the example `echo_server` with an echo server written by hand on `mio`: messages carried per
//! second of CPU time.
//!
//! ```text
//! cargo run --release -p compat-tests --bin echo_benchmark
//! ```
//!
//! Clients, in this process, send a message, wait for its echo, and send the next. Both servers run all
//! the time and take short turns at the load: what else the machine does falls on both alike. The CPU time
//! (user and system) of a turn is read from `/proc`; elapsed time would measure the machine's other work
//! and the clients, too. What is told of a configuration is the median over the pairs of turns, and the
//! interval in which it lies with 95 % confidence. Linux only.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match linux::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("echo_benchmark: reads CPU times from /proc, which only Linux has");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::fmt;
    use std::fs;
    use std::io::{self, BufRead, BufReader, Read, Write};
    use std::net::SocketAddr;
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::str::FromStr;
    use std::time::{Duration, Instant};

    use clap::{Parser, Subcommand};
    use mio::net::{TcpListener, TcpStream};
    use mio::{Events, Interest, Poll, Token};
    use rustix::process::{Pid, Resource, getrlimit, setrlimit};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

    /// Compares the example `echo_server` with one written by hand on mio, in messages per CPU-second.
    #[derive(Parser)]
    struct Args {
        /// How often both servers are started anew
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        starts: u32,

        /// Turns that each server has after each start
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        turns: u32,

        /// How long a turn is, in milliseconds
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        milliseconds: u64,

        /// What to measure, CONNECTIONSxBYTES, separated by commas
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "1x64,100x64,1000x64,100x16384"
        )]
        configurations: Vec<Configuration>,

        /// Arguments for `echo_server`, separated by spaces
        #[arg(long, default_value = "", allow_hyphen_values = true)]
        server_args: String,

        /// Let the mio server take a read that leaves room in the buffer for the last one, which saves
        /// a system call; epoll(7) allows it, mio's documentation does not
        #[arg(long)]
        mio_short_reads: bool,

        /// An executable to measure in place of the example
        #[arg(long)]
        server: Option<PathBuf>,

        #[command(subcommand)]
        command: Option<Role>,
    }

    #[derive(Subcommand)]
    enum Role {
        /// Be the mio server
        #[command(hide = true)]
        MioServer {
            #[arg(long)]
            short_reads: bool,
        },
    }

    #[derive(Clone, Copy)]
    struct Configuration {
        connections: usize,
        bytes: usize,
    }

    impl FromStr for Configuration {
        type Err = String;

        fn from_str(text: &str) -> Result<Configuration, String> {
            let parsed = text.split_once('x').and_then(|(connections, bytes)| {
                Some(Configuration {
                    connections: connections.parse().ok()?,
                    bytes: bytes.parse().ok()?,
                })
            });
            match parsed {
                Some(parsed) if parsed.connections > 0 && parsed.bytes > 0 => Ok(parsed),
                _ => Err("not of the form 100x64".to_owned()),
            }
        }
    }

    impl fmt::Display for Configuration {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} connections, {} bytes", self.connections, self.bytes)
        }
    }

    pub(super) fn main() -> Result {
        let args = Args::parse();
        match args.command {
            Some(Role::MioServer { short_reads }) => Ok(mio_server(short_reads)?),
            None => compare(&args),
        }
    }

    fn compare(args: &Args) -> Result {
        if cfg!(debug_assertions) {
            return Err("build it with --release, or the numbers mean nothing".into());
        }
        raise_descriptor_limit()?;
        let asyncore = || -> Result<Command> {
            let mut command = Command::new(args.server.as_ref().unwrap_or(&example_path()?));
            command.args(["--port", "0"]);
            command.args(args.server_args.split_whitespace());
            Ok(command)
        };
        let mio = || -> Result<Command> {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("mio-server");
            command.args(args.mio_short_reads.then_some("--short-reads"));
            Ok(command)
        };
        if args.server.is_none() {
            build_example()?;
        }
        let processor = set_processor_aside()?;

        println!("messages per CPU-second of the server");
        println!("                                asyncore        mio    ratio   95 % confidence");
        for &configuration in &args.configurations {
            let mut pairs: Vec<[f64; 2]> = Vec::new();
            for _ in 0..args.starts {
                let mut asyncore = Load::new(asyncore()?, processor, configuration)?;
                let mut mio = Load::new(mio()?, processor, configuration)?;
                let turn = Duration::from_millis(args.milliseconds);
                asyncore.turn(turn)?;
                mio.turn(turn)?;
                for number in 0..args.turns {
                    // First the one, then the other: no order is better.
                    pairs.push(if number % 2 == 0 {
                        let first = asyncore.turn(turn)?;
                        [first, mio.turn(turn)?]
                    } else {
                        let first = mio.turn(turn)?;
                        [asyncore.turn(turn)?, first]
                    });
                }
            }
            let [asyncore, mio, ratio] = [
                Median::of(pairs.iter().map(|pair| pair[0])),
                Median::of(pairs.iter().map(|pair| pair[1])),
                Median::of(pairs.iter().map(|pair| pair[0] / pair[1])),
            ];
            println!(
                "{:<30} {:>9.0}  {:>9.0}  {:>7.3}    {:.3} to {:.3}",
                configuration.to_string(),
                asyncore.value,
                mio.value,
                ratio.value,
                ratio.low,
                ratio.high,
            );
        }
        Ok(())
    }

    /// A median, and the interval in which that of all such values lies with 95 % confidence.
    struct Median {
        value: f64,
        low: f64,
        high: f64,
    }

    impl Median {
        fn of(values: impl Iterator<Item = f64>) -> Median {
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            // How many of n values lie below the median is binomial: n/2 give or take 1.96 of its
            // standard deviations, which are sqrt(n)/2.
            let middle = values.len() as f64 / 2.0;
            let margin = 1.96 * middle.sqrt() / std::f64::consts::SQRT_2;
            let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
            Median {
                value: at(middle),
                low: at((middle - margin).floor()),
                high: at((middle + margin).ceil()),
            }
        }
    }

    /// A server, and the clients that keep it busy in its turns.
    struct Load {
        server: Server,
        clients: Clients,
    }

    impl Load {
        fn new(
            command: Command,
            processor: Option<CpuSet>,
            configuration: Configuration,
        ) -> Result<Load> {
            let server = Server::start(command)?;
            if let Some(processor) = &processor {
                sched_setaffinity(Some(Pid::from_child(&server.process)), processor)?;
            }
            let clients = Clients::connect(server.addr, configuration)?;
            Ok(Load { server, clients })
        }

        /// Messages per CPU-second in a turn of this length.
        fn turn(&mut self, length: Duration) -> Result<f64> {
            let cpu = self.server.cpu_time()?;
            let messages = self.clients.play(length)?;
            let cpu = self.server.cpu_time()? - cpu;
            Ok(messages as f64 / cpu.as_secs_f64())
        }
    }

    struct Server {
        process: Child,
        addr: SocketAddr,
    }

    impl Server {
        /// Starts a server that tells its address on its first line.
        fn start(mut command: Command) -> Result<Server> {
            let name = command.get_program().to_owned();
            let mut process = command
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| format!("start {}: {error}", name.display()))?;
            let mut line = String::new();
            if let Some(stdout) = process.stdout.take() {
                BufReader::new(stdout).read_line(&mut line)?;
            }
            let addr = line.trim_end().strip_prefix("listening on ");
            match addr.and_then(|addr| addr.parse().ok()) {
                Some(addr) => Ok(Server { process, addr }),
                None => {
                    let _ = process.kill();
                    let _ = process.wait();
                    Err(
                        format!("{} does not say where it listens: {line:?}", name.display())
                            .into(),
                    )
                }
            }
        }

        /// What its threads have used so far. More exact than the ticks of `/proc/PID/stat`.
        fn cpu_time(&self) -> Result<Duration> {
            let mut nanoseconds = 0;
            for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
                let times = fs::read_to_string(thread?.path().join("schedstat"))?;
                let running = times.split_whitespace().next().unwrap_or_default();
                nanoseconds += running.parse::<u64>()?;
            }
            Ok(Duration::from_nanos(nanoseconds))
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Where this executable and the examples of the same build are.
    fn target_directory() -> Result<PathBuf> {
        let mut path = std::env::current_exe()?;
        path.pop();
        Ok(path)
    }

    fn example_path() -> Result<PathBuf> {
        Ok(target_directory()?.join("examples/echo_server"))
    }

    fn build_example() -> Result {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--release",
                "-p",
                "examples",
                "--example",
                "echo_server",
            ])
            .arg("--target-dir")
            .arg(target_directory()?.join(".."))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .map_err(|error| format!("build the example echo_server with cargo: {error}"))?;
        if !status.success() {
            return Err(format!("building the example echo_server failed: {status}").into());
        }
        match example_path()? {
            path if path.exists() => Ok(()),
            path => {
                Err(format!("the example was built, but there is no {}", path.display()).into())
            }
        }
    }

    /// Takes one processor from this process, for the servers. Where a server and its clients share one,
    /// how the system mixes them decides what is measured.
    fn set_processor_aside() -> Result<Option<CpuSet>> {
        let mut ours = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|&cpu| ours.is_set(cpu));
        let Some(last) = last.filter(|_| ours.count() > 1) else {
            return Ok(None);
        };
        ours.unset(last);
        sched_setaffinity(None, &ours)?;
        let mut aside = CpuSet::new();
        aside.set(last);
        Ok(Some(aside))
    }

    fn raise_descriptor_limit() -> Result {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        Ok(setrlimit(Resource::Nofile, limit)?)
    }

    // ---- the load

    /// Clients that play ping-pong, all on one thread.
    struct Clients {
        poll: Poll,
        clients: Vec<Client>,
        buffer: Vec<u8>,
    }

    struct Client {
        stream: TcpStream,
        message: Vec<u8>,
        sent: usize,
        received: usize,
    }

    impl Clients {
        /// Connects them one after another, and hears an echo on each: none is left in the backlog.
        fn connect(server: SocketAddr, configuration: Configuration) -> io::Result<Clients> {
            let poll = Poll::new()?;
            let mut clients = Vec::new();
            for number in 0..configuration.connections {
                let mut stream = std::net::TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                stream.write_all(b"!")?;
                stream.read_exact(&mut [0])?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(number), interest)?;
                let bytes = 0..configuration.bytes;
                clients.push(Client {
                    stream,
                    message: bytes.map(|at| (at * 31 + number * 7) as u8).collect(),
                    sent: 0,
                    received: 0,
                });
            }
            Ok(Clients {
                poll,
                clients,
                buffer: vec![0; configuration.bytes],
            })
        }

        /// Sends messages for so long, and tells how many echoes came. When it returns all have come: the
        /// server is at rest.
        fn play(&mut self, length: Duration) -> io::Result<u64> {
            const STALLED: Duration = Duration::from_secs(5);

            let end = Instant::now() + length;
            let mut events = Events::with_capacity(self.clients.len().max(64));
            let mut echoes = 0;
            let mut awaited = self.clients.len();
            for client in &mut self.clients {
                client.start()?;
            }
            while awaited > 0 {
                self.poll.poll(&mut events, Some(STALLED))?;
                if events.is_empty() {
                    return Err(io::Error::other("the server echoes nothing any more"));
                }
                for event in &events {
                    let client = &mut self.clients[event.token().0];
                    if !client.has_echo(&mut self.buffer)? {
                        continue;
                    }
                    echoes += 1;
                    if Instant::now() < end {
                        client.start()?;
                    } else {
                        awaited -= 1;
                    }
                }
            }
            Ok(echoes)
        }
    }

    impl Client {
        /// Begins to send the message anew.
        fn start(&mut self) -> io::Result<()> {
            (self.sent, self.received) = (0, 0);
            self.send()
        }

        /// Receives what has come. `true` when the echo becomes complete. It does not try to receive when
        /// nothing can have come: the clients are to be quicker than the servers.
        fn has_echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
            if self.received == self.message.len() {
                return Ok(false); // It may be told that it can write.
            }
            self.send()?;
            while self.received < self.message.len() {
                let missing = &self.message[self.received..];
                let received = match self.stream.read(&mut buffer[..missing.len()]) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                };
                if buffer[..received] != missing[..received] {
                    return Err(io::Error::other("the echo differs from what was sent"));
                }
                self.received += received;
            }
            Ok(true)
        }

        fn send(&mut self) -> io::Result<()> {
            while self.sent < self.message.len() {
                match self.stream.write(&self.message[self.sent..]) {
                    Ok(sent) => self.sent += sent,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    // ---- the other server

    const LISTENER: Token = Token(usize::MAX);

    /// The size of the asyncore server's.
    const BUFFER_SIZE: usize = 65536;

    struct Connection {
        stream: TcpStream,
        unsent: Vec<u8>,
        awaits_writable: bool,
    }

    fn mio_server(short_reads: bool) -> io::Result<()> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        println!("listening on {}", listener.local_addr()?);

        let mut poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1024);
        let mut connections: Vec<Option<Connection>> = Vec::new();
        let mut buffer = [0; BUFFER_SIZE];
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    accept(&listener, &poll, &mut connections)?;
                    continue;
                }
                let slot = &mut connections[event.token().0];
                let Some(connection) = slot else {
                    continue;
                };
                let goes_on = connection.echo(&poll, event.token(), &mut buffer, short_reads);
                if !goes_on.unwrap_or(false) {
                    *slot = None;
                }
            }
        }
    }

    fn accept(
        listener: &TcpListener,
        poll: &Poll,
        connections: &mut Vec<Option<Connection>>,
    ) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let free = connections.iter().position(Option::is_none);
            let token = free.unwrap_or(connections.len());
            stream.set_nodelay(true)?;
            poll.registry()
                .register(&mut stream, Token(token), Interest::READABLE)?;
            let connection = Some(Connection {
                stream,
                unsent: Vec::new(),
                awaits_writable: false,
            });
            match free {
                Some(free) => connections[free] = connection,
                None => connections.push(connection),
            }
        }
    }

    impl Connection {
        /// Echoes until the socket has no more, or takes no more. `false` when the peer has closed.
        fn echo(
            &mut self,
            poll: &Poll,
            token: Token,
            buffer: &mut [u8],
            short_reads: bool,
        ) -> io::Result<bool> {
            loop {
                if !self.unsent.is_empty() && !self.send_unsent(poll, token)? {
                    return Ok(true);
                }
                let received = match self.stream.read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                };
                let sent = match self.stream.write(&buffer[..received]) {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                self.unsent.extend_from_slice(&buffer[sent..received]);
                if short_reads && received < buffer.len() && self.unsent.is_empty() {
                    return Ok(true);
                }
            }
        }

        /// Sends what was left of the last read, and waits until more can be sent if some is still left.
        fn send_unsent(&mut self, poll: &Poll, token: Token) -> io::Result<bool> {
            while !self.unsent.is_empty() {
                match self.stream.write(&self.unsent) {
                    Ok(sent) => drop(self.unsent.drain(..sent)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            let wait = !self.unsent.is_empty();
            if wait != self.awaits_writable {
                let interest = match wait {
                    true => Interest::READABLE | Interest::WRITABLE,
                    false => Interest::READABLE,
                };
                poll.registry()
                    .reregister(&mut self.stream, token, interest)?;
                self.awaits_writable = wait;
            }
            Ok(!wait)
        }
    }
}
