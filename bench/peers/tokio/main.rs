// SPDX-License-Identifier: MIT
//! The peer tokio: the rows in async tasks, and servers. One worker is the current_thread flavour,
//! two are multi_thread.
mod clock;
mod server;
mod stall;
mod sync;
mod tasks;
mod wake;

use std::env::var_os;
use std::future::Future;
use std::process::exit;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn;

/// One row under way.
#[derive(Clone, Copy)]
pub struct Run {
    pub workers: usize,
    /// Of measured time, at least.
    pub seconds: f64,
}

/// What a batch did. The checksum follows from the work and expected from a closed form.
#[derive(Clone, Copy, Default)]
pub struct Work {
    pub operations: u64,
    pub checksum: u64,
    pub expected: u64,
}

struct Row {
    name: &'static str,
    /// The numbers of workers it runs on.
    workers: &'static [usize],
    run: fn(Run),
}

const fn row(name: &'static str, workers: &'static [usize], run: fn(Run)) -> Row {
    Row { name, workers, run }
}

const ROWS: &[Row] = &[
    row("spawn_join", &[1, 2], tasks::spawn_join),
    row("spawn_1000", &[1, 2], tasks::spawn_1000),
    row("yield_2", &[1, 2], tasks::yield_2),
    row("yield_1000", &[1, 2], tasks::yield_1000),
    row("fib", &[1, 2], tasks::fib),
    row("skynet_tasks", &[1, 2], tasks::skynet),
    row("idle_task", &[1], tasks::idle_task),
    row("chan_hop", &[1, 2], sync::chan_hop),
    row("sem_hop", &[1, 2], sync::sem_hop),
    row("mpmc", &[1, 2], sync::mpmc),
    row("mpmc_mutex", &[1, 2], sync::mpmc_mutex),
    row("mutex_1", &[1], sync::mutex_1),
    row("mutex_16", &[1, 2], sync::mutex_16),
    row("mutex_yield", &[1, 2], sync::mutex_yield),
    row("bounce", &[2], wake::bounce),
    row("wake_hot", &[2], wake::wake_hot),
    row("wake_parked", &[2], wake::wake_parked),
    row("stall_64", &[2], stall::stall_64),
    row("stall_160", &[2], stall::stall_160),
    row("timer_arm", &[1], clock::timer_arm),
    row("timer_arm_1m", &[1], clock::timer_arm_1m),
    row("sleep_1m", &[1, 2], clock::sleep_1m),
];

pub fn require(is_right: bool, what: &str) {
    if !is_right {
        eprintln!("peer-tokio: {}", what);
        exit(1);
    }
}

/// The process's, all threads together.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    require(result == 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub fn report(wall_ns: f64, cpu_ns: f64, all: Work) {
    require(all.checksum == all.expected, "wrong checksum");
    println!(
        "{:.2} {:.2} {} {}",
        wall_ns, cpu_ns, all.operations, all.checksum
    );
}

pub fn report_once(wall: Duration, cpu: Duration, all: Work) {
    let per_operation = |time: Duration| time.as_nanos() as f64 / all.operations as f64;
    report(per_operation(wall), per_operation(cpu), all);
}

/// Runs batches of twice as many rounds each time until they have taken run.seconds together, and
/// prints their figures. The first batch of one round is not counted.
pub async fn measure<B, F>(run: Run, mut batch: B)
where
    B: FnMut(u64) -> F,
    F: Future<Output = Work>,
{
    let mut all = Work::default();
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let warm = batch(1).await;
    require(warm.checksum == warm.expected, "wrong checksum");
    let mut rounds = 1;
    while wall.as_secs_f64() < run.seconds {
        let cpu_begin = cpu_time();
        let begin = Instant::now();
        let work = batch(rounds).await;
        wall += begin.elapsed();
        cpu += cpu_time() - cpu_begin;
        require(work.checksum == work.expected, "wrong checksum");
        all.operations += work.operations;
        all.checksum += work.checksum;
        all.expected += work.expected;
        rounds *= 2;
    }
    report_once(wall, cpu, all);
}

/// What a runtime waits in.
#[derive(Clone, Copy, PartialEq)]
pub enum Drivers {
    /// As #[tokio::main] has it, ready for sockets and timers: it sleeps in epoll_wait, and polls
    /// that when tasks give way.
    All,
    /// Without I/O: wakes and timers cost less, for a wake is no write to an eventfd.
    Time,
}

fn build(mut builder: Builder, workers: usize, drivers: Drivers) -> Runtime {
    match drivers {
        Drivers::All => builder.enable_all(),
        Drivers::Time => builder.enable_time(),
    };
    builder.worker_threads(workers).build().expect("a runtime")
}

pub fn current_thread(drivers: Drivers) -> Runtime {
    build(Builder::new_current_thread(), 1, drivers)
}

pub fn multi_thread(workers: usize, drivers: Drivers) -> Runtime {
    build(Builder::new_multi_thread(), workers, drivers)
}

/// With PEER_TOKIO_MULTI_THREAD in the environment one worker is of that flavour as well: what it
/// costs to be ready for more.
pub fn runtime(workers: usize, drivers: Drivers) -> Runtime {
    if workers > 1 || var_os("PEER_TOKIO_MULTI_THREAD").is_some() {
        return multi_thread(workers, drivers);
    }
    current_thread(drivers)
}

/// Runs the row's main part as a task: in the multi_thread flavour, block_on's thread is no worker.
pub fn run_main_on<F>(runtime: Runtime, main: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async { spawn(main).await.expect("the main task") });
}

pub fn run_main<F>(workers: usize, main: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    run_main_on(runtime(workers, Drivers::All), main);
}

/// 0 + 1 + ... + (count - 1).
pub fn sum_below(count: u64) -> u64 {
    match count % 2 {
        0 => count / 2 * count.saturating_sub(1),
        _ => (count - 1) / 2 * count,
    }
}

fn list() {
    for row in ROWS {
        let workers: Vec<String> = row.workers.iter().map(usize::to_string).collect();
        println!("{} {}", row.name, workers.join(" "));
    }
}

fn run_row(name: &str, workers: usize, seconds: f64) -> i32 {
    let found = ROWS
        .iter()
        .find(|row| row.name == name && row.workers.contains(&workers));
    match found {
        Some(row) => (row.run)(Run { workers, seconds }),
        None => {
            eprintln!("peer-tokio: no row {} on {} workers", name, workers);
            return 2;
        }
    }
    0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    exit(match words[..] {
        ["--version"] => {
            println!("{}", env!("PEER_VERSION"));
            0
        }
        ["--list"] => {
            list();
            0
        }
        ["echo" | "http", ..] => server::server_main(&arguments),
        [name, workers, seconds] => run_row(
            name,
            workers.parse().unwrap_or(0),
            seconds.parse().unwrap_or(0.0),
        ),
        _ => {
            eprintln!(
                "usage: peer-tokio --version | --list | ROW WORKERS SECONDS | echo ... | http ..."
            );
            2
        }
    });
}
