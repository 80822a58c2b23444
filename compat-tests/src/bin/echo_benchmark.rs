//! Compares the example `echo_server` with an echo server written by hand on `mio`: messages carried per
//! second of CPU time.
//!
//! ```text
//! cargo run --release -p compat-tests --bin echo_benchmark
//! ```
//!
//! Clients, in this process, send a message, wait for its echo, and send the next. The two servers take
//! turns, each time in a fresh process, whose CPU time (user and system) is read from `/proc` before and
//! after: elapsed time would measure the machine's other work and the clients, too. Linux only.

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
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use clap::{Parser, Subcommand};
    use mio::net::{TcpListener, TcpStream};
    use mio::{Events, Interest, Poll, Token};
    use rustix::process::{Pid, Resource, getrlimit, setrlimit};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

    /// Compares the example `echo_server` with one written by hand on mio, in messages per CPU-second.
    #[derive(Parser)]
    struct Args {
        /// Turns that each server has in each configuration
        #[arg(long, default_value_t = 25)]
        rounds: usize,

        /// How long one turn is measured
        #[arg(long, default_value_t = 0.25)]
        seconds: f64,

        /// What to measure, CONNECTIONSxBYTES, separated by commas
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "1x64,100x64,1000x64,100x16384"
        )]
        configurations: Vec<Configuration>,

        /// Threads of clients
        #[arg(long, default_value_t = 1)]
        client_threads: usize,

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

        println!("messages per CPU-second of the server, and how busy it was");
        for &configuration in &args.configurations {
            println!("\n{configuration}");
            println!("  round       asyncore             mio      ratio");
            let mut rounds: Vec<[f64; 2]> = Vec::new();
            for round in 1..=args.rounds {
                let [asyncore, mio] = [
                    measure(asyncore()?, processor, configuration, args)?,
                    measure(mio()?, processor, configuration, args)?,
                ];
                let ratio = asyncore.efficiency() / mio.efficiency();
                println!("  {round:>5}  {asyncore}  {mio}  {ratio:>9.3}");
                rounds.push([asyncore.efficiency(), mio.efficiency()]);
            }
            summarize(&rounds);
        }
        Ok(())
    }

    /// Prints the medians, and between which values each lies.
    fn summarize(rounds: &[[f64; 2]]) {
        let of = |value: fn(&[f64; 2]) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            let median = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
            let spread = match &values[..] {
                [least, .., most] => (most - least) / median * 100.0,
                _ => f64::NAN,
            };
            (median, spread)
        };
        let (asyncore, asyncore_spread) = of(|round| round[0]);
        let (mio, mio_spread) = of(|round| round[1]);
        let (ratio, ratio_spread) = of(|round| round[0] / round[1]);
        println!("  median {asyncore:>9.0} {mio:>15.0} {ratio:>16.3}");
        println!("  spread {asyncore_spread:>8.1}% {mio_spread:>14.1}% {ratio_spread:>15.1}%");
    }

    // ---- one turn of one server

    struct Measured {
        messages: u64,
        cpu: Duration,
        elapsed: Duration,
    }

    impl Measured {
        fn efficiency(&self) -> f64 {
            self.messages as f64 / self.cpu.as_secs_f64()
        }
    }

    impl fmt::Display for Measured {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let busy = self.cpu.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0;
            write!(f, "{:>8.0} ({busy:>3.0}%)", self.efficiency())
        }
    }

    fn measure(
        command: Command,
        processor: Option<CpuSet>,
        configuration: Configuration,
        args: &Args,
    ) -> Result<Measured> {
        const WARM_UP: Duration = Duration::from_millis(50);

        let server = Server::start(command)?;
        if let Some(processor) = &processor {
            sched_setaffinity(Some(Pid::from_child(&server.process)), processor)?;
        }
        let threads = args.client_threads.clamp(1, configuration.connections);
        let (messages, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let connected = Barrier::new(threads + 1);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..threads)
                .map(|thread| {
                    let connections = (thread..configuration.connections).step_by(threads);
                    let (server, connected, messages, stop) =
                        (server.addr, &connected, &messages, &stop);
                    scope.spawn(move || -> io::Result<()> {
                        let clients = Clients::connect(server, connections, configuration.bytes);
                        connected.wait();
                        clients?.run(messages, stop)
                    })
                })
                .collect();
            connected.wait();
            thread::sleep(WARM_UP);
            let measured = Measured::during(&server, &messages, || {
                thread::sleep(Duration::from_secs_f64(args.seconds));
            });
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().expect("a client thread does not panic")?;
            }
            measured
        })
    }

    impl Measured {
        fn during(server: &Server, messages: &AtomicU64, wait: impl FnOnce()) -> Result<Measured> {
            let start = std::time::Instant::now();
            let (cpu, carried) = (server.cpu_time()?, messages.load(Ordering::Relaxed));
            wait();
            Ok(Measured {
                cpu: server.cpu_time()? - cpu,
                messages: messages.load(Ordering::Relaxed) - carried,
                elapsed: start.elapsed(),
            })
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
        fn connect(
            server: SocketAddr,
            numbers: impl Iterator<Item = usize>,
            bytes: usize,
        ) -> io::Result<Clients> {
            let poll = Poll::new()?;
            let mut clients = Vec::new();
            for number in numbers {
                let mut stream = std::net::TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                stream.write_all(b"!")?;
                stream.read_exact(&mut [0])?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(clients.len()), interest)?;
                clients.push(Client {
                    stream,
                    message: (0..bytes).map(|at| (at * 31 + number * 7) as u8).collect(),
                    sent: 0,
                    received: 0,
                });
            }
            Ok(Clients {
                poll,
                clients,
                buffer: vec![0; bytes],
            })
        }

        fn run(mut self, messages: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
            const STALLED: Duration = Duration::from_secs(5);

            let mut events = Events::with_capacity(self.clients.len().max(64));
            for client in &mut self.clients {
                client.send()?;
            }
            while !stop.load(Ordering::Relaxed) {
                self.poll.poll(&mut events, Some(STALLED))?;
                if events.is_empty() {
                    return Err(io::Error::other("the server echoes nothing any more"));
                }
                for event in &events {
                    if self.clients[event.token().0].play(&mut self.buffer)? {
                        messages.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            Ok(())
        }
    }

    impl Client {
        /// Receives what has come, and sends the next message when the echo of the last is complete, of
        /// which it tells. It does not try to receive when nothing can have come: the clients are to be
        /// quicker than the servers.
        fn play(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
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
            (self.sent, self.received) = (0, 0);
            self.send()?;
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
