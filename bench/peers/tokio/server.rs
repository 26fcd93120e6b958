// SPDX-License-Identifier: MIT
//! The servers of the peer tokio: echo by tokio::net, HTTP /plaintext by hyper.

use std::{future::Future, io};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::runtime::Builder;

const BACKLOG: u32 = 4096;
const BUFFER_BYTES: usize = 8192;

struct Options {
    is_http: bool,
    address: String,
    workers: usize,
}

/// What both kinds of connection are.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Sends back what comes, until the peer ends or fails.
async fn echo(mut stream: impl Stream) {
    let mut buffer = [0u8; BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer).await {
            Ok(bytes) if bytes > 0 => {
                if stream.write_all(&buffer[..bytes]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

#[cfg(feature = "hyper")]
mod plaintext {
    use hyper::header::{HeaderValue, CONTENT_TYPE};
    use hyper::server::conn::Http;
    use hyper::service::service_fn;
    use hyper::{Body, Request, Response, StatusCode};
    use std::convert::Infallible;

    pub(crate) const IS_THERE: bool = true;

    async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if request.uri().path() != "/plaintext" {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
        let mut response = Response::new(Body::from("Hello, World!"));
        let kind = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    /// Answers one connection's requests; hyper adds date and length.
    pub(crate) async fn serve(stream: impl super::Stream) {
        let _ = Http::new()
            .http1_only(true)
            .pipeline_flush(true)
            .serve_connection(stream, service_fn(answer))
            .await;
    }
}

#[cfg(not(feature = "hyper"))]
mod plaintext {
    pub(crate) const IS_THERE: bool = false;

    pub(crate) async fn serve(_stream: impl super::Stream) {}
}

/// A task for a connection.
fn start<F: Future<Output = ()> + Send + 'static>(task: F) {
    tokio::spawn(task);
}

async fn serve_tcp(options: &Options) -> io::Result<()> {
    let address = options
        .address
        .parse()
        .map_err(|e| io::Error::new(io::ErrorKind::Other, e))?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener: TcpListener = socket.listen(BACKLOG)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        if options.is_http {
            start(plaintext::serve(stream));
        } else {
            start(echo(stream));
        }
    }
}

async fn serve_unix(options: &Options, path: &str) -> io::Result<()> {
    let _ = std::fs::remove_file(path); // of an earlier run
    let listener = UnixListener::bind(path)?;
    println!("listening on unix:{}", path);
    loop {
        let (stream, _) = listener.accept().await?;
        if options.is_http {
            start(plaintext::serve(stream));
        } else {
            start(echo(stream));
        }
    }
}

/// The multi-threaded scheduler, as most programs have it; for one thread the other one, as who
/// wants no more than one would choose.
fn serve(options: &Options) -> io::Result<()> {
    let runtime = if options.workers == 1 {
        Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?
    } else {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(options.workers)
            .enable_io()
            .enable_time()
            .build()?
    };
    // In a task of its own: what block_on itself runs is polled by the main thread, no worker.
    let (is_http, workers) = (options.is_http, options.workers);
    let address = options.address.clone();
    let server = async move {
        let options = Options {
            is_http,
            address,
            workers,
        };
        match options.address.strip_prefix("unix:") {
            Some(path) => serve_unix(&options, path).await,
            None => serve_tcp(&options).await,
        }
    };
    runtime.block_on(async {
        tokio::spawn(server)
            .await
            .expect("the server does not panic")
    })
}

fn options_parse(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        is_http: arguments[0] == "http",
        address: "127.0.0.1:0".to_string(),
        workers: 1,
    };
    for pair in arguments[1..].chunks(2) {
        match (pair[0].as_str(), pair.get(1)?) {
            ("--listen", value) => options.address = value.clone(),
            ("--workers", value) => options.workers = value.parse().ok().filter(|&n| n > 0)?,
            _ => return None,
        }
    }
    Some(options)
}

/// `arguments` begin with echo or http. Returns the exit code.
pub fn server_main(arguments: &[String]) -> i32 {
    let options = match options_parse(arguments) {
        Some(options) => options,
        None => {
            eprintln!(
                "usage: peer-tokio echo|http [--listen ADDRESS:PORT|unix:PATH] [--workers N]"
            );
            return 2;
        }
    };
    if options.is_http && !plaintext::IS_THERE {
        eprintln!("peer-tokio: built without hyper: no http");
        return 1;
    }
    if let Err(error) = serve(&options) {
        eprintln!("peer-tokio: {}", error);
    }
    1
}
