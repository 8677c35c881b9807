//! `PROGRAM healthcheck`: asks a running process whether it is ready, for containers that have
//! neither curl nor a shell.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where the process listens, unless something else is said.
const HTTP: &str = "127.0.0.1:8080";
const PATIENCE: Duration = Duration::from_secs(2);
/// What is read of an answer.
const LONGEST: u64 = 4096;
const USAGE: &str = "healthcheck [ADDRESS:PORT]: asks http://ADDRESS:PORT/readyz, of this machine \
                     unless told otherwise (127.0.0.1:8080); the exit code is 0 when it is ready, \
                     and 1 when it is not";

/// Whether the command line asks for this.
pub(crate) fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|word| word == "healthcheck")
}

/// Asks, and returns what is to be said.
///
/// # Errors
///
/// The process is not ready, or does not answer.
pub(crate) fn run(arguments: &[OsString]) -> Result<String, String> {
    let mut words = arguments.iter().skip(2).map(|word| word.to_string_lossy());
    let address = match words.next() {
        Some(word) if word == "--help" || word == "-h" => return Ok(format!("{USAGE}\n")),
        Some(word) => word.into_owned(),
        None => HTTP.to_owned(),
    };
    if let Some(word) = words.next() {
        return Err(format!("{word} is one word too many: {USAGE}"));
    }
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("{address} is no ADDRESS:PORT: {USAGE}"))?;
    let answer = ask(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    judge(&answer)
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What an answer says: its status, and the reason in its body.
fn judge(answer: &str) -> Result<String, String> {
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        "200" => Ok("ready\n".to_owned()),
        _ => Err(format!("not ready ({status}): {}", body.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn run_with(words: &[&str]) -> Result<String, String> {
        let words = ["gatemq", "healthcheck"].iter().chain(words);
        run(&words.map(OsString::from).collect::<Vec<_>>())
    }

    /// What is said when a server answers this.
    fn told_of(answer: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut asked = [0; 512];
            let n_bytes = stream.read(&mut asked).expect("a request");
            stream.write_all(answer.as_bytes()).expect("it is taken");
            String::from_utf8_lossy(&asked[..n_bytes]).into_owned()
        });
        let told = run_with(&[&address]);
        let asked = server.join().expect("it answered");
        assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n"), "{asked}");
        told
    }

    #[test]
    fn what_is_no_address_is_no_health() {
        for words in [
            &["--http"][..],
            &["--http", "127.0.0.1:1"],
            &["127.0.0.1:1", "x"],
        ] {
            assert!(run_with(words).is_err(), "{words:?}");
        }
        assert!(run_with(&["--help"]).is_ok());
    }

    #[test]
    fn who_is_ready_is_and_who_is_not_says_why() {
        let ready = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(told_of(ready), Ok("ready\n".to_owned()));
        let busy = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"starting\"}\n";
        let said = told_of(busy).expect_err("it is not ready");
        assert!(said.contains("503") && said.contains("starting"), "{said}");
        assert!(told_of("").is_err(), "no answer is none");
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let address = port.expect("an address").to_string();
        assert!(run_with(&[&address]).is_err());
        assert!(run_with(&["nowhere"]).is_err());
        assert!(run_with(&["--help"]).is_ok_and(|help| help.contains("/readyz")));
    }
}
