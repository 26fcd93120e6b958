// SPDX-License-Identifier: MIT
//! Timers and sleeps. A timer is a Sleep: its first poll arms it, its drop takes it out.
use crate::{cpu_time, measure, report_once, run_main_on, runtime, Drivers, Run, Work};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{spawn, unconstrained, yield_now};
use tokio::time::{sleep, Sleep};

const STARTS_PER_ROUND: u64 = 1000;
const PENDING_TIMERS: u64 = 1_000_000;
const SLEEPS: u64 = 1_000_000;
const SLEEPS_SPREAD_NS: u64 = 10_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

// ---- Timers armed and stopped ----

/// In the course of an hour and in no order.
fn far(number: u64) -> Duration {
    Duration::from_nanos(HOUR_NS + number * 2_654_435_761 % HOUR_NS)
}

/// Polls the timer once, which arms it. Its value is 1 when the timer is pending.
struct Arm<'a>(Pin<&'a mut Sleep>);

impl Future for Arm<'_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        Poll::Ready(self.0.as_mut().poll(context).is_pending() as u64)
    }
}

async fn start_and_stop(first: u64, rounds: u64) -> Work {
    let operations = rounds * STARTS_PER_ROUND;
    let mut checksum = 0;
    for i in 0..operations {
        let timer = sleep(far(first + i));
        tokio::pin!(timer);
        checksum += Arm(timer).await;
    }
    Work {
        operations,
        checksum,
        expected: operations,
    }
}

/// Unconstrained: past its budget a task's timer is not armed by a poll.
fn timers(run: Run, pending: u64) {
    run_main_on(
        runtime(run.workers, Drivers::Time),
        unconstrained(async move {
            let mut all = Vec::new();
            for i in 0..pending {
                all.push(Box::pin(sleep(far(i))));
                Arm(all.last_mut().expect("a timer").as_mut()).await;
            }
            // The driver learns when the first of them is due; what is armed later and due later
            // than that does not wake it.
            yield_now().await;
            let mut number = pending;
            measure(run, move |rounds| {
                let first = number;
                number += rounds * STARTS_PER_ROUND;
                start_and_stop(first, rounds)
            })
            .await;
            drop(all);
        }),
    );
}

pub fn timer_arm(run: Run) {
    timers(run, 0);
}

pub fn timer_arm_1m(run: Run) {
    timers(run, PENDING_TIMERS);
}

// ---- Sleeps ----

static LEFT: AtomicU64 = AtomicU64::new(SLEEPS);
static ALL_WOKEN: Notify = Notify::const_new();

async fn doze(number: u64) {
    sleep(Duration::from_nanos(
        number * 2_654_435_761 % SLEEPS_SPREAD_NS + 1,
    ))
    .await;
    if LEFT.fetch_sub(1, AcqRel) == 1 {
        ALL_WOKEN.notify_one();
    }
}

pub fn sleep_1m(run: Run) {
    run_main_on(runtime(run.workers, Drivers::Time), async {
        let cpu_begin = cpu_time();
        let begin = Instant::now();
        for i in 0..SLEEPS {
            drop(spawn(doze(i)));
        }
        ALL_WOKEN.notified().await;
        let (wall, cpu) = (begin.elapsed(), cpu_time() - cpu_begin);
        let checksum = SLEEPS - LEFT.load(Relaxed);
        report_once(
            wall,
            cpu,
            Work {
                operations: SLEEPS,
                checksum,
                expected: SLEEPS,
            },
        );
    });
}
