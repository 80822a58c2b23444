//! A monitor of a subprocess, on three classes derived from `asyncore.file_dispatcher`: `class output` for what
//! it writes, one for its standard output and one for its standard error, `class input` for what it reads, and
//! `class commands` for the standard input of the monitor.
//!
//! ```text
//! cargo run --example pipe_monitor -- -- ping -c 3 localhost
//! ```
//!
//! Ends when the subprocess does, with its status. The command `help` tells the others; at their end the
//! subprocess's input ends, too. Ctrl-C asks it to end.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    unix::main()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("pipe_monitor: there is no file_dispatcher on this system");
    ExitCode::FAILURE
}

#[cfg(unix)]
mod unix {
    use std::cell::{Cell, RefCell};
    use std::ffi::OsString;
    use std::io::{self, Write};
    use std::mem;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
    use std::rc::Rc;

    use asyncore::{
        Dispatcher, DispatcherBase, Error, FileDispatcher, FileDispatcherBase, KeyboardInterrupt,
        Loop, Result, SystemExit, close_all,
    };
    use clap::Parser;
    use examples::{program, watch_signals};
    use rustix::process::{Pid, Signal, kill_process};
    use signal_hook::consts::SIGCHLD;
    use signal_hook::low_level::pipe;

    /// Longer lines are cut.
    const MAX_LINE: usize = 65536;
    /// How much may wait for the subprocess to read it, before no more commands are read.
    const MAX_INPUT: usize = 65536;
    /// The most that a pipe holds (fcntl(2), `F_SETPIPE_SZ`), unless the superuser has seen to it.
    const PIPE_SIZE: usize = 1024 * 1024;

    const HELP: &str = "\
status     tells how much has been written
send TEXT  writes a line to the subprocess
eof        ends its input
quit       asks it to end (SIGTERM)
kill       ends it (SIGKILL)";

    // ---- what the subprocess writes

    /// `class output`
    struct Output {
        base: FileDispatcherBase,
        name: &'static str,
        lines: Lines,
        count: Cell<u64>,
    }

    impl Output {
        fn open(pipe: Option<impl AsFd>, name: &'static str) -> Result<Rc<Output>> {
            let output = Output::init(|base| Output {
                base,
                name,
                lines: Lines::default(),
                count: Cell::new(0),
            });
            output.init_file(pipe.ok_or_else(|| Error::msg("no pipe"))?)?;
            Ok(output)
        }

        fn print(&self, line: &[u8]) -> Result {
            self.count.set(self.count.get() + 1);
            print(self.name, line)
        }

        /// Reads what is in the pipe, and no more: by now only what the subprocess has left behind can write.
        fn drain(&self) -> Result {
            const PIECE: usize = 65536;

            for _ in 0..PIPE_SIZE / PIECE {
                match self.read(PIECE) {
                    Err(error) if error.io_kind() == Some(io::ErrorKind::WouldBlock) => break,
                    read => read?,
                }
                if !self.connected() {
                    return Ok(());
                }
            }
            self.handle_close()
        }

        fn read(&self, size: usize) -> Result {
            let data = self.recv(size)?;
            let lines = self.lines.push(&data);
            lines.iter().try_for_each(|line| self.print(line))
        }
    }

    impl Dispatcher for Output {
        type Base = FileDispatcherBase;
        fn base(&self) -> &FileDispatcherBase {
            &self.base
        }

        fn writable(&self) -> bool {
            false
        }

        fn handle_read(&self) -> Result {
            self.read(8192)
        }

        fn handle_close(&self) -> Result {
            self.close()?;
            let rest = self.lines.rest();
            rest.iter().try_for_each(|line| self.print(line))
        }

        // The default closes the channel; but then nobody would see what the subprocess writes.
        fn handle_error(&self, error: Error) -> Result {
            Err(error)
        }
    }

    impl FileDispatcher for Output {}

    // ---- what it reads

    /// `class input`
    struct Input {
        base: FileDispatcherBase,
        out_buffer: RefCell<Vec<u8>>,
        /// Whether that is all.
        ends: Cell<bool>,
    }

    impl Input {
        fn open(pipe: Option<impl AsFd>) -> Result<Rc<Input>> {
            let input = Input::init(|base| Input {
                base,
                out_buffer: RefCell::default(),
                ends: Cell::new(false),
            });
            input.init_file(pipe.ok_or_else(|| Error::msg("no pipe"))?)?;
            Ok(input)
        }

        fn push_line(&self, line: &[u8]) -> Result {
            if self.ends.get() || !self.connected() {
                return report("the subprocess reads no more");
            }
            let mut out_buffer = self.out_buffer.borrow_mut();
            out_buffer.extend_from_slice(line);
            out_buffer.push(b'\n');
            Ok(())
        }
    }

    impl Dispatcher for Input {
        type Base = FileDispatcherBase;
        fn base(&self) -> &FileDispatcherBase {
            &self.base
        }

        fn readable(&self) -> bool {
            false
        }

        fn writable(&self) -> bool {
            self.ends.get() || !self.out_buffer.borrow().is_empty()
        }

        fn handle_write(&self) -> Result {
            let mut out_buffer = self.out_buffer.take();
            if !out_buffer.is_empty() {
                let sent = self.send(&out_buffer)?;
                if !self.connected() {
                    return Ok(()); // `send` has called `handle_close`.
                }
                out_buffer.drain(..sent);
            }
            if out_buffer.is_empty() && self.ends.get() {
                return self.close();
            }
            self.out_buffer.replace(out_buffer);
            Ok(())
        }
    }

    impl FileDispatcher for Input {}

    // ---- what is typed

    /// `class commands`
    struct Commands {
        base: FileDispatcherBase,
        lines: Lines,
        process: Rc<Process>,
    }

    impl Commands {
        fn open(process: &Rc<Process>) -> Result {
            let commands = Commands::init(|base| Commands {
                base,
                lines: Lines::default(),
                process: Rc::clone(process),
            });
            // Not init_file(), which sets O_NONBLOCK: of a terminal, for the shell and for our own standard
            // output, too. Reading where there is input does not block.
            commands.root().connected.set(true);
            commands.set_file(io::stdin().as_fd())
        }

        fn command(&self, line: &[u8]) -> Result {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let space = line.iter().position(|&byte| byte == b' ');
            let (name, text) = line.split_at(space.unwrap_or(line.len()));
            let process = &self.process;
            match name {
                b"status" => process.report_status(),
                b"send" => process.input.push_line(text.get(1..).unwrap_or_default()),
                b"eof" => {
                    process.input.ends.set(true);
                    Ok(())
                }
                b"quit" => process.signal(Signal::TERM),
                b"kill" => process.signal(Signal::KILL),
                b"help" => HELP.lines().try_for_each(report),
                b"" => Ok(()),
                _ => report(&format!("there is no {}; see help", name.escape_ascii())),
            }
        }
    }

    impl Dispatcher for Commands {
        type Base = FileDispatcherBase;
        fn base(&self) -> &FileDispatcherBase {
            &self.base
        }

        fn readable(&self) -> bool {
            self.process.input.out_buffer.borrow().len() < MAX_INPUT
        }

        fn writable(&self) -> bool {
            false
        }

        fn handle_read(&self) -> Result {
            let data = self.recv(4096)?;
            let lines = self.lines.push(&data);
            lines.iter().try_for_each(|line| self.command(line))
        }

        fn handle_close(&self) -> Result {
            self.close()?;
            let rest = self.lines.rest();
            let done = rest.iter().try_for_each(|line| self.command(line));
            self.process.input.ends.set(true);
            done
        }
    }

    impl FileDispatcher for Commands {}

    // ---- the subprocess itself

    struct Process {
        child: RefCell<Child>,
        output: Rc<Output>,
        errors: Rc<Output>,
        input: Rc<Input>,
    }

    impl Process {
        fn start(command: &[OsString]) -> Result<Rc<Process>> {
            let [program, arguments @ ..] = command else {
                return Err(Error::msg("no command"));
            };
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::piped());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn();
            let mut child =
                child.map_err(|error| Error::msg(format!("{}: {error}", program.display())))?;
            Ok(Rc::new(Process {
                output: Output::open(child.stdout.take(), "out")?,
                errors: Output::open(child.stderr.take(), "err")?,
                input: Input::open(child.stdin.take())?,
                child: RefCell::new(child),
            }))
        }

        fn report_status(&self) -> Result {
            let pid = self.child.borrow().id();
            let (lines, errors) = (self.output.count.get(), self.errors.count.get());
            report(&format!("pid {pid}, out {lines} lines, err {errors} lines"))
        }

        fn signal(&self, signal: Signal) -> Result {
            let pid = Pid::from_child(&self.child.borrow());
            Ok(kill_process(pid, signal)?)
        }
    }

    /// `class reaper(asyncore.dispatcher)`: learns that the subprocess has ended.
    struct Reaper {
        base: DispatcherBase,
        process: Rc<Process>,
    }

    impl Dispatcher for Reaper {
        type Base = DispatcherBase;
        fn base(&self) -> &DispatcherBase {
            &self.base
        }

        fn writable(&self) -> bool {
            false
        }

        fn handle_read(&self) -> Result {
            self.recv(64)?;
            let ended = self.process.child.borrow_mut().try_wait()?;
            let Some(status) = ended else {
                return Ok(()); // It has been stopped, or goes on.
            };
            self.process.output.drain()?;
            self.process.errors.drain()?;
            report(&status.to_string())?;
            Err(SystemExit(exit_status(status)).into())
        }

        fn handle_error(&self, error: Error) -> Result {
            Err(error)
        }
    }

    /// As the shell has it in `$?`.
    fn exit_status(status: ExitStatus) -> i32 {
        let by_signal = || 128 + status.signal().unwrap_or(0);
        status.code().unwrap_or_else(by_signal)
    }

    // ---- lines

    /// Cuts what comes into lines. The last may still be incomplete.
    #[derive(Default)]
    struct Lines(RefCell<Vec<u8>>);

    impl Lines {
        fn push(&self, data: &[u8]) -> Vec<Vec<u8>> {
            let mut line = self.0.borrow_mut();
            let mut lines = Vec::new();
            for piece in data.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(piece);
                if line.pop_if(|byte| *byte == b'\n').is_some() || line.len() >= MAX_LINE {
                    lines.push(mem::take(&mut *line));
                }
            }
            lines
        }

        /// What there is of the last one, if anything.
        fn rest(&self) -> Option<Vec<u8>> {
            Some(self.0.take()).filter(|line| !line.is_empty())
        }
    }

    fn report(message: &str) -> Result {
        print("monitor", message.as_bytes())
    }

    fn print(name: &str, line: &[u8]) -> Result {
        let line = [name.as_bytes(), b": ", line, b"\n"].concat();
        let printed = io::stdout().write_all(&line);
        printed.map_err(|error| Error::msg(format!("standard output: {error}")))
    }

    // ---- the program

    /// Runs a program, shows what it writes line by line, and takes commands meanwhile.
    #[derive(Parser)]
    struct Args {
        /// Run the loop with the order and meaning of poll(2) rather than select(2)
        #[arg(long)]
        poll: bool,

        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    }

    pub(super) fn main() -> ExitCode {
        program(|args: &Args| {
            watch_signals()?;
            let (reader, writer) = UnixStream::pair()?;
            pipe::register(SIGCHLD, writer)?;
            let process = Process::start(&args.command)?;
            let on_end = Rc::clone(&process);
            Reaper::init_with(reader, |base| Reaper {
                base,
                process: on_end,
            })?;
            Commands::open(&process)?;

            let ended = loop {
                match Loop::new().use_poll(args.poll).run() {
                    Err(error) if error.is::<KeyboardInterrupt>() => {
                        process.signal(Signal::TERM)?;
                    }
                    ended => break ended,
                }
            };
            // It has ended, unless the monitor fails.
            let _ = process.child.borrow_mut().kill();
            close_all(None, true)?;
            ended
        })
    }
}
