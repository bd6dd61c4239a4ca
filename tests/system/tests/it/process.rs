//! Starting, asking, killing: a hub and tills as a shop would run them.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(crate) const NODE: &str = env!("CARGO_BIN_EXE_system-node");
pub(crate) const OLD: &str = env!("CARGO_BIN_EXE_system-old");
pub(crate) const FOREIGN: &str = env!("CARGO_BIN_EXE_system-foreign");
pub(crate) const HUB: &str = env!("CARGO_BIN_EXE_system-hub");

/// How long a condition may take to come true; far more than it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The document that a successful command printed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        let document = serde_json::from_str(&self.stdout);
        assert!(document.is_ok(), "{self:?}");
        document.unwrap_or_default()
    }

    /// Asserts success where the output does not matter.
    pub(crate) fn succeeds(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    /// Asserts a failure: its exit code, and what its text must say.
    pub(crate) fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(says), "`{says}` is not in {self:?}");
    }
}

pub(crate) fn command(program: &str, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // No desktop keyring: credentials go where every machine has them.
    command
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("COUNTERFOIL_FENCE_DIR", fence_dir(data))
        .env(system_tests::clock::FILE, data.with_extension("clock"));
    command.stdin(Stdio::null());
    command
}

/// The marks of a test's tills lie beside their folders, as those of a machine. Beside the test's own folder there is no
/// place for them.
pub(crate) fn fence_dir(data: &Path) -> PathBuf {
    match data.parent() {
        Some(folder) if folder != std::env::temp_dir() => folder.join("fence"),
        _ => PathBuf::new(),
    }
}

pub(crate) fn run(program: &str, data: &Path, arguments: &[&str]) -> Done {
    Done::of(
        &command(program, data, arguments)
            .output()
            .expect("the program starts"),
    )
}

pub(crate) fn node(data: &Path, arguments: &[&str]) -> Done {
    run(NODE, data, arguments)
}

pub(crate) fn hub(data: &Path, arguments: &[&str]) -> Done {
    run(HUB, data, arguments)
}

/// A till that sells tea at 2.55.
pub(crate) fn till(data: &Path) {
    assert_eq!(node(data, &["init"]).code, Some(0));
}

pub(crate) fn join_code(hub_data: &Path, shop: &str) -> String {
    let added = hub(hub_data, &["shop", "add", shop, "--json"]).json();
    added["join_code"].as_str().expect("a join code").to_owned()
}

/// A daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) url: String,
}

impl Daemon {
    pub(crate) fn start(program: &str, data: &Path, listen: &str) -> Self {
        Self::start_with(program, data, &["--listen", listen])
    }

    pub(crate) fn start_with(program: &str, data: &Path, arguments: &[&str]) -> Self {
        Self::announced(&mut command(program, data, &[&["run"], arguments].concat()))
    }

    /// Hub or till of an earlier release, as far as schemas go.
    pub(crate) fn old(kind: &str, schemas: &str, data: &Path, listen: &str) -> Self {
        let mut command = Command::new(OLD);
        command.args([kind, schemas]).arg(data).arg(listen);
        command.env_remove("DBUS_SESSION_BUS_ADDRESS");
        Self::announced(command.stdin(Stdio::null()))
    }

    /// What one of them says that does not start.
    pub(crate) fn old_refused(kind: &str, schemas: &str, data: &Path) -> String {
        let mut command = Command::new(OLD);
        command.args([kind, schemas]).arg(data).arg("127.0.0.1:0");
        let done = Done::of(&command.output().expect("the program starts"));
        assert_ne!(done.code, Some(0), "{done:?}");
        done.stderr
    }

    /// One that writes down all it does in a file.
    pub(crate) fn noting(program: &str, data: &Path, listen: &str, log: &Path) -> Self {
        let mut command = command(program, data, &["run", "--listen", listen]);
        command.stderr(std::fs::File::create(log).expect("a file"));
        Self::announced_at(&mut command, "trace")
    }

    fn announced(command: &mut Command) -> Self {
        Self::announced_at(command, "warn")
    }

    fn announced_at(command: &mut Command, level: &str) -> Self {
        let mut child = command
            .env("COUNTERFOIL_LOG", level)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its first line");
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the address")
            .to_owned();
        Self { child, url }
    }

    pub(crate) fn hub(data: &Path) -> Self {
        Self::start(HUB, data, "127.0.0.1:0")
    }

    pub(crate) fn node(data: &Path) -> Self {
        Self::start(NODE, data, "127.0.0.1:0")
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(mut self) -> String {
        self.stop();
        self.url.clone()
    }

    /// The same for one that is replaced.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        request(&self.url, "POST", path, &[], body.to_string().as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = request(&self.url, "GET", path, &[], b"").expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One HTTP/1.1 request over a connection of its own; the body of the answer as JSON, else as text.
pub(crate) fn request(
    url: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, Value)> {
    let address = url.strip_prefix("http://").expect("a plain address");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "Content-Type") {
        head += "Content-Type: application/json\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    // A server that refuses early closes while the body is still on its way.
    let sent = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let Some(status) = status else {
        sent?;
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((
        status,
        serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())),
    ))
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while !condition() {
        assert!(waited < PATIENCE, "not within {PATIENCE:?}: {what}");
        pause(STEP);
        waited += STEP;
    }
}

/// How long something takes on this machine, which decides when its next run is killed.
#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
pub(crate) fn length_of(work: impl FnOnce()) -> Duration {
    let begun = std::time::Instant::now();
    work();
    begun.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
