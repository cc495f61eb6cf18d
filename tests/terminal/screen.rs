//! A program in a pseudo-terminal, and the screen that it writes on.

use std::{
    io::{Read, Write},
    num::NonZero,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
pub const ROWS: NonZero<u16> = NonZero::new(60).unwrap();
pub const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();

/// What the program wrote, as bytes and as a screen.
pub struct Output {
    pub bytes: Vec<u8>,
    pub parser: vt100::Parser,
}

/// `mustdrop` in a terminal.
pub struct Terminal {
    writer: Mutex<Box<dyn Write + Send>>,
    output: Arc<Mutex<Output>>,
    child: Box<dyn Child + Send + Sync>,
    /// Where it is closed, the program's input ends.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// `mustdrop` with these arguments and variables, its files in `folder`.
    pub fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: ROWS.get(), cols: COLUMNS.get(), pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_mustdrop"));
        command.args(arguments);
        command.cwd(env!("CARGO_MANIFEST_DIR"));
        for name in [
            "NO_COLOR",
            "TERM_PROGRAM",
            "KITTY_WINDOW_ID",
            "KONSOLE_VERSION",
            "TMUX",
            "STY",
            "MUSTDROP_PICTURES",
        ] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        command.env("COLORTERM", "truecolor");
        command.env("MUSTDROP_CACHE", folder);
        command.env("MUSTDROP_STATE", folder);
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("the program");
        let writer = Mutex::new(pair.master.take_writer().expect("a writer"));
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let parser = vt100::Parser::new(ROWS, COLUMNS, 1000);
        let output = Arc::new(Mutex::new(Output { bytes: Vec::new(), parser }));
        let written = Arc::clone(&output);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Linux says that a terminal has ended by an error.
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                let mut output = written.lock().expect("no panic");
                output.bytes.extend(&chunk[..read]);
                output.parser.process(&chunk[..read]);
            }
        });
        Self { writer, output, child, _master: pair.master }
    }

    /// Types these characters.
    pub fn press(&self, keys: &str) {
        let mut writer = self.writer.lock().expect("no panic");
        writer.write_all(keys.as_bytes()).and_then(|()| writer.flush()).expect("a terminal");
    }

    /// Types a line.
    pub fn enter(&self, line: &str) {
        self.press(line);
        self.press("\r");
    }

    pub fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().expect("no panic")
    }

    /// What is on the screen now.
    pub fn text(&self) -> String {
        self.output().parser.screen().contents()
    }

    /// Waits until the screen is as `wanted`, and returns it.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "{what} did not come:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for an empty prompt behind `count` others.
    pub fn prompt(&self, count: usize) -> String {
        self.until("a prompt", |text| {
            let is_empty = text.trim_end().ends_with("\n>") || text.trim_end() == ">";
            is_empty && text.lines().filter(|line| line.starts_with('>')).count() > count
        })
    }

    /// Waits for the program's end.
    pub fn end(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("it did not end:\n{}", self.text());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
    }
}
