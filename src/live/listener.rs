//! A small HTTP server for programs that have none: one request for each connection, one connection at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::shared::{Shared, spawn};
use crate::base::error::Error;

/// A request that is larger is refused.
const MOST_BYTES: usize = 8192;

/// A client that sends or takes nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// A listening server. It runs until it is stopped.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
}

impl Listener {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it, after the request that it answers.
    pub(super) fn stop(&self) {
        if !self.is_stopped.swap(true, Relaxed) {
            // Wakes the thread, which waits for a connection.
            let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Binds the address, and answers in a thread.
///
/// # Errors
/// If the address cannot be bound, or there is no thread.
pub(super) fn start(address: SocketAddr, shared: &Arc<Shared>) -> Result<Listener, Error> {
    let failed = |e: io::Error| Error::usage(format!("cannot listen at {address}: {e}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let (stop, shared) = (Arc::clone(&is_stopped), Arc::clone(shared));
    spawn("afterdrop-http", move || {
        for connection in listener.incoming() {
            if stop.load(Relaxed) {
                return;
            }
            // A client that has gone is no concern of the service.
            if let Ok(connection) = connection {
                let _ = serve(connection, &shared);
            }
        }
    })?;
    Ok(Listener {
        address,
        is_stopped,
    })
}

fn serve(mut connection: TcpStream, shared: &Shared) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let answer = match read_request(&mut connection)? {
        Some((method, path)) => answer(&method, &path, shared),
        None => Answer::text(400, "this is no HTTP request, or one that is too long\n"),
    };
    let Answer {
        status,
        content_type,
        body,
    } = answer;
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Bad Request",
    };
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )?;
    connection.write_all(&body)?;
    connection.flush()
}

/// Reads the head of a request: its method and path. `None` if it is none.
fn read_request(connection: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(status) if status.is_complete() => {
                let (Some(method), Some(path)) = (request.method, request.path) else {
                    return Ok(None);
                };
                return Ok(Some((method.into(), path.into())));
            }
            Ok(_) if head.len() < MOST_BYTES => {}
            _ => return Ok(None),
        }
        match connection.read(&mut buffer)? {
            0 => return Ok(None),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn of(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            content_type,
            body: body.into(),
        }
    }

    fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

fn answer(method: &str, target: &str, shared: &Shared) -> Answer {
    if method != "GET" {
        return Answer::text(405, "only GET is answered\n");
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let wants_names = query.split('&').any(|pair| pair == "symbolize=1");
    match path {
        "/debug/pprof/heap" | "/debug/pprof/allocs" => {
            let profile = match wants_names {
                true => shared.pprof_with_names(),
                false => shared.pprof(),
            };
            Answer::of("application/octet-stream", profile)
        }
        "/metrics" => Answer::of("text/plain; version=0.0.4; charset=utf-8", shared.metrics()),
        "/debug/afterdrop" => Answer::of("text/html; charset=utf-8", shared.page()),
        "/debug/afterdrop.json" => Answer::of("application/json", shared.json()),
        _ => Answer::text(
            404,
            "there are /debug/afterdrop, /debug/afterdrop.json, /debug/pprof/heap, /debug/pprof/allocs and /metrics\n",
        ),
    }
}
