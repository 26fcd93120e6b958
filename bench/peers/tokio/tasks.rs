// SPDX-License-Identifier: MIT
//! Spawning, giving way, fork and join, and the memory of a task.
use crate::{cpu_time, measure, multi_thread, report, require, run_main, run_main_on, sum_below};
use crate::{Drivers, Run, Work};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Semaphore;
use tokio::task::{spawn, yield_now, JoinHandle};

const TASKS_PER_ROUND: u64 = 1000;
const YIELDS_PER_ROUND: u64 = 10_000;
const FIB_N: u64 = 30;
const SKYNET_LEAVES: u64 = 1_000_000;
/// The root is the caller itself.
const SKYNET_TASKS: u64 = 1_111_110;
const IDLE_TASKS: u64 = 100_000;

// ---- Spawning ----

static COUNT: AtomicU64 = AtomicU64::new(0);

/// On one worker nobody else writes.
fn count_one(is_alone: bool) {
    if is_alone {
        COUNT.store(COUNT.load(Relaxed) + 1, Relaxed);
    } else {
        COUNT.fetch_add(1, Relaxed);
    }
}

pub fn spawn_join(run: Run) {
    let is_alone = run.workers == 1;
    run_main(
        run.workers,
        measure(run, move |rounds| async move {
            let operations = rounds * TASKS_PER_ROUND;
            let before = COUNT.load(Relaxed);
            for _ in 0..operations {
                spawn(async move { count_one(is_alone) })
                    .await
                    .expect("a task");
            }
            Work {
                operations,
                checksum: COUNT.load(Relaxed) - before,
                expected: operations,
            }
        }),
    );
}

pub fn spawn_1000(run: Run) {
    let is_alone = run.workers == 1;
    run_main(
        run.workers,
        measure(run, move |rounds| async move {
            let operations = rounds * TASKS_PER_ROUND;
            let before = COUNT.load(Relaxed);
            let mut handles = Vec::with_capacity(TASKS_PER_ROUND as usize);
            for _ in 0..rounds {
                for _ in 0..TASKS_PER_ROUND {
                    handles.push(spawn(async move { count_one(is_alone) }));
                }
                for handle in handles.drain(..) {
                    handle.await.expect("a task");
                }
            }
            Work {
                operations,
                checksum: COUNT.load(Relaxed) - before,
                expected: operations,
            }
        }),
    );
}

// ---- Giving way ----

fn yields(run: Run, tasks: u64) {
    run_main(
        run.workers,
        measure(run, move |rounds| async move {
            let share = rounds * YIELDS_PER_ROUND / tasks;
            let yielder = |_| {
                spawn(async move {
                    let mut count = 0;
                    while count < share {
                        yield_now().await;
                        count += 1;
                    }
                    count
                })
            };
            let handles: Vec<_> = (0..tasks).map(yielder).collect();
            let mut checksum = 0;
            for handle in handles {
                checksum += handle.await.expect("a task");
            }
            Work {
                operations: share * tasks,
                checksum,
                expected: share * tasks,
            }
        }),
    );
}

pub fn yield_2(run: Run) {
    yields(run, 2);
}

pub fn yield_1000(run: Run) {
    yields(run, 1000);
}

// ---- Fork and join ----

/// One branch is a task, the other is called here, in a box unless it is a leaf.
async fn fork_fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = spawn_fib(n - 1);
    let right = if n < 4 { n - 2 } else { call_fib(n - 2).await };
    left.await.expect("a task") + right
}

fn call_fib(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(fork_fib(n))
}

fn spawn_fib(n: u64) -> JoinHandle<u64> {
    spawn(fork_fib(n))
}

fn plain_fib(n: u64) -> u64 {
    (0..n)
        .fold((0, 1), |(value, next), _| (next, value + next))
        .0
}

/// multi_thread on one worker, too: it runs the task that was spawned last first, current_thread
/// all in turn, which takes three times as long.
pub fn fib(run: Run) {
    let calls = 2 * plain_fib(FIB_N + 1) - 1;
    run_main_on(
        multi_thread(run.workers, Drivers::All),
        measure(run, move |rounds| async move {
            let mut checksum = 0;
            for _ in 0..rounds {
                checksum += fork_fib(FIB_N).await;
            }
            Work {
                operations: rounds * calls,
                checksum,
                expected: rounds * plain_fib(FIB_N),
            }
        }),
    );
}

async fn grow(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let share = leaves / 10;
    let mut children = Vec::with_capacity(10);
    for i in 0..10 {
        children.push(spawn_grow(first + i * share, share));
    }
    let mut sum = 0;
    for child in children {
        sum += child.await.expect("a task");
    }
    sum
}

fn spawn_grow(first: u64, leaves: u64) -> JoinHandle<u64> {
    spawn(grow(first, leaves))
}

pub fn skynet(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let mut checksum = 0;
            for _ in 0..rounds {
                checksum += grow(0, SKYNET_LEAVES).await;
            }
            Work {
                operations: rounds * SKYNET_TASKS,
                checksum,
                expected: rounds * sum_below(SKYNET_LEAVES),
            }
        }),
    );
}

// ---- Memory ----

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .expect("statm")
        .parse()
        .expect("statm");
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

static GATE: Semaphore = Semaphore::const_new(0);
static PARKED: AtomicU64 = AtomicU64::new(0);

async fn wait_at_gate() {
    PARKED.fetch_add(1, Relaxed);
    GATE.acquire().await.expect("the gate").forget();
    COUNT.fetch_add(1, Relaxed);
}

/// The value is bytes.
pub fn idle_task(run: Run) {
    run_main(run.workers, async {
        let before = resident_bytes();
        let cpu_begin = cpu_time();
        for _ in 0..IDLE_TASKS {
            drop(spawn(wait_at_gate()));
        }
        while PARKED.load(Relaxed) < IDLE_TASKS {
            yield_now().await;
        }
        let cpu = cpu_time() - cpu_begin;
        let bytes = resident_bytes() - before;
        GATE.add_permits(IDLE_TASKS as usize);
        while COUNT.load(Relaxed) < IDLE_TASKS {
            yield_now().await;
        }
        require(GATE.available_permits() == 0, "the gate");
        let all = Work {
            operations: IDLE_TASKS,
            checksum: COUNT.load(Relaxed),
            expected: IDLE_TASKS,
        };
        report(
            bytes as f64 / IDLE_TASKS as f64,
            cpu.as_nanos() as f64 / IDLE_TASKS as f64,
            all,
        );
    });
}
