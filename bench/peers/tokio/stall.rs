// SPDX-License-Identifier: MIT
//! Echoes beside tasks that compute for 10 ms without giving way, as BM_StallLoad has them: the
//! same server on two workers, the same stalls, the same client and the same times of arrival.
use crate::{cpu_time, multi_thread, require, Drivers, Run};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::io::AsRawFd;
use std::os::unix::net::UnixStream as Plain;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn;
use tokio::time::sleep_until;

const MESSAGES: usize = 6000;
const CONNECTIONS: usize = 64;
const MESSAGE_EVERY_NS: f64 = 100_000.0;
const MESSAGE_BYTES: usize = 64;
const STALL_NS: u64 = 10_000_000;
/// Not to begin before the server listens on all connections.
const LEAD: Duration = Duration::from_millis(20);

/// Times between arrivals, exponentially distributed, the same at each run and in every peer.
struct Arrivals {
    mean_ns: f64,
    random: u64,
}

impl Arrivals {
    fn new(mean_ns: f64) -> Arrivals {
        Arrivals {
            mean_ns,
            random: 88172645463325252,
        }
    }

    fn next(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = ((self.random >> 11) + 1) as f64 / 9007199254740992.0; // (0, 1]
        Duration::from_nanos((-part.ln() * self.mean_ns) as u64)
    }
}

// ---- The server ----

async fn echo_all(mut stream: UnixStream, echoed: Arc<AtomicU64>) {
    let mut bytes = [0u8; 4 * MESSAGE_BYTES];
    loop {
        let count = stream.read(&mut bytes).await.expect("a message");
        if count == 0 {
            return; // it hangs up
        }
        stream.write_all(&bytes[..count]).await.expect("an echo");
        echoed.fetch_add(count as u64, Relaxed);
    }
}

async fn stall() {
    let begin = Instant::now();
    while begin.elapsed().as_nanos() < STALL_NS as u128 {}
}

async fn spawn_stalls(percent: u64, is_over: Arc<AtomicBool>) {
    let mut schedule = Arrivals::new(STALL_NS as f64 / (percent as f64 / 100.0));
    let mut stalls = Vec::new();
    let mut due = Instant::now();
    while !is_over.load(Relaxed) {
        due += schedule.next();
        sleep_until(due.into()).await;
        stalls.push(spawn(stall()));
    }
    for stall in stalls {
        stall.await.expect("a stall");
    }
}

async fn serve_all(streams: Vec<Plain>, percent: u64, is_over: Arc<AtomicBool>) -> u64 {
    let echoed = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for stream in streams {
        let stream = UnixStream::from_std(stream).expect("a stream");
        tasks.push(spawn(echo_all(stream, echoed.clone())));
    }
    tasks.push(spawn(spawn_stalls(percent, is_over)));
    for task in tasks {
        task.await.expect("a task");
    }
    echoed.load(Relaxed)
}

// ---- The client ----

/// A connection as its client sees it.
struct Caller {
    stream: Plain,
    /// Of the messages sent.
    due: Vec<Instant>,
    /// Bytes of their echoes.
    received: usize,
    /// Of all bytes sent, less those that came back.
    sum: i64,
}

impl Caller {
    fn send(&mut self, due: Instant, number: usize) {
        let mut message = [0u8; MESSAGE_BYTES];
        message[0] = number as u8;
        message[MESSAGE_BYTES - 1] = (number >> 8) as u8;
        let sent = self.stream.write(&message).unwrap_or(0);
        require(sent == MESSAGE_BYTES, "send");
        self.due.push(due);
        self.sum += i64::from(message[0]) + i64::from(message[MESSAGE_BYTES - 1]);
    }

    fn take_echoes(&mut self, times: &mut Vec<u64>) {
        let mut bytes = [0u8; 16 * MESSAGE_BYTES];
        let count = match self.stream.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            Err(_) => 0,
        };
        require(count > 0, "recv");
        let now = Instant::now();
        let first = self.received / MESSAGE_BYTES;
        self.received += count;
        for due in &self.due[first..self.received / MESSAGE_BYTES] {
            times.push(now.saturating_duration_since(*due).as_nanos() as u64);
        }
        self.sum -= bytes[..count]
            .iter()
            .map(|&byte| i64::from(byte))
            .sum::<i64>();
    }
}

fn wait_for_echoes(polls: &mut [libc::pollfd], until: Instant) {
    let wait = until.saturating_duration_since(Instant::now());
    let timeout = libc::timespec {
        tv_sec: wait.as_secs() as libc::time_t,
        tv_nsec: wait.subsec_nanos() as libc::c_long,
    };
    let count = polls.len() as libc::nfds_t;
    let ready = unsafe { libc::ppoll(polls.as_mut_ptr(), count, &timeout, std::ptr::null()) };
    let is_interrupted = || std::io::Error::last_os_error().kind() == ErrorKind::Interrupted;
    require(ready >= 0 || is_interrupted(), "ppoll");
}

/// From when each message was to be sent to the end of its echo, in nanoseconds.
fn call_all(streams: Vec<Plain>) -> Vec<u64> {
    let mut polls: Vec<_> = streams
        .iter()
        .map(|stream| libc::pollfd {
            fd: stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let mut callers: Vec<_> = streams
        .into_iter()
        .map(|stream| Caller {
            stream,
            due: Vec::new(),
            received: 0,
            sum: 0,
        })
        .collect();
    let mut times = Vec::with_capacity(MESSAGES);
    let mut schedule = Arrivals::new(MESSAGE_EVERY_NS);
    let mut due = Instant::now() + LEAD;
    let mut sent = 0;
    while times.len() < MESSAGES {
        while sent < MESSAGES && due <= Instant::now() {
            callers[sent % CONNECTIONS].send(due, sent);
            due += schedule.next();
            sent += 1;
        }
        let until = match sent < MESSAGES {
            true => due,
            false => Instant::now() + Duration::from_nanos(STALL_NS),
        };
        wait_for_echoes(&mut polls, until);
        for (caller, poll) in callers.iter_mut().zip(&polls) {
            if poll.revents != 0 {
                caller.take_echoes(&mut times);
            }
        }
    }
    for caller in &callers {
        let is_all = caller.received == caller.due.len() * MESSAGE_BYTES;
        require(is_all && caller.sum == 0, "wrong echoes");
    }
    times
}

/// One batch, however long the run was to be. Prints the p99 where the others have wall-clock time,
/// and the p99.9 as a fifth figure.
fn stall_load(run: Run, percent: u64) {
    let pairs = (0..CONNECTIONS).map(|_| Plain::pair().expect("a pair of sockets"));
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
    for stream in ours.iter().chain(&theirs) {
        stream.set_nonblocking(true).expect("a socket");
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let server_over = is_over.clone();
    let cpu_begin = cpu_time();
    let server = std::thread::spawn(move || {
        multi_thread(run.workers, Drivers::All).block_on(async move {
            let main = spawn(serve_all(theirs, percent, server_over));
            main.await.expect("the main task")
        })
    });
    let mut times = call_all(ours); // and hangs up
    is_over.store(true, Relaxed);
    let echoed = server.join().expect("a thread");
    require(echoed == (MESSAGES * MESSAGE_BYTES) as u64, "wrong echoes");
    let cpu = (cpu_time() - cpu_begin).as_nanos() as f64 / MESSAGES as f64;
    times.sort_unstable();
    let at = |part: f64| times[(part * (times.len() - 1) as f64) as usize] as f64;
    println!(
        "{:.2} {:.2} {} {} {:.2}",
        at(0.99),
        cpu,
        MESSAGES,
        echoed,
        at(0.999)
    );
}

pub fn stall_64(run: Run) {
    stall_load(run, 64);
}

pub fn stall_160(run: Run) {
    stall_load(run, 160);
}
