// SPDX-License-Identifier: MIT
//! From one worker to another: two current_thread runtimes, each in a thread of its own, so that a
//! task stays where it is.
use crate::{current_thread, measure, sum_below, Drivers, Run, Work};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{spawn, yield_now};

const WAKES_PER_ROUND: u64 = 100;

/// Runs main in this thread, with the handle of a runtime in another. When hot, a task in each does
/// nothing but give way, and neither thread ever sleeps.
fn with_two_threads<M, F>(is_hot: bool, main: M)
where
    M: FnOnce(Handle) -> F,
    F: std::future::Future<Output = ()>,
{
    let (near, far) = (current_thread(Drivers::Time), current_thread(Drivers::Time));
    let handle = far.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        far.block_on(async {
            if is_hot {
                spawn(keep_awake());
            }
            let _ = stopped.await;
        })
    });
    near.block_on(async {
        if is_hot {
            spawn(keep_awake());
        }
        main(handle).await;
    });
    drop(stop);
    thread.join().expect("a thread");
}

async fn keep_awake() {
    loop {
        yield_now().await;
    }
}

// ---- A wake ----

type Senders = Vec<oneshot::Sender<()>>;
type Receivers = Vec<oneshot::Receiver<()>>;

async fn answer_all(pings: Receivers, pongs: Senders) -> u64 {
    let mut count = 0;
    for (ping, pong) in pings.into_iter().zip(pongs) {
        ping.await.expect("a ping");
        count += 1;
        pong.send(()).expect("a receiver");
    }
    count
}

async fn ask_all(pings: Senders, pongs: Receivers) -> u64 {
    let mut count = 0;
    for (ping, pong) in pings.into_iter().zip(pongs) {
        ping.send(()).expect("a receiver");
        pong.await.expect("a pong");
        count += 1;
    }
    count
}

fn wakes(run: Run, is_hot: bool) {
    with_two_threads(is_hot, |far| {
        measure(run, move |rounds| {
            let far = far.clone();
            async move {
                let pairs = rounds * WAKES_PER_ROUND / 2;
                let (pings, ping_ends) = (0..pairs).map(|_| oneshot::channel()).unzip();
                let (pongs, pong_ends) = (0..pairs).map(|_| oneshot::channel()).unzip();
                let answers = far.spawn(answer_all(ping_ends, pongs));
                let asks = spawn(ask_all(pings, pong_ends));
                let checksum = asks.await.expect("a task") + answers.await.expect("a task");
                Work {
                    operations: 2 * pairs,
                    checksum,
                    expected: 2 * pairs,
                }
            }
        })
    });
}

pub fn wake_hot(run: Run) {
    wakes(run, true);
}

pub fn wake_parked(run: Run) {
    wakes(run, false);
}

// ---- A message ----

pub fn bounce(run: Run) {
    with_two_threads(false, |far| {
        measure(run, move |rounds| {
            let far = far.clone();
            async move {
                let throws = rounds * WAKES_PER_ROUND / 2;
                let (there, mut there_end) = mpsc::channel::<u64>(1);
                let (back, mut back_end) = mpsc::channel::<u64>(1);
                let answers = far.spawn(async move {
                    while let Some(item) = there_end.recv().await {
                        back.send(item).await.expect("a receiver");
                    }
                });
                let asks = spawn(async move {
                    let mut sum = 0;
                    for i in 0..throws {
                        there.send(i).await.expect("a receiver");
                        sum += back_end.recv().await.expect("an answer");
                    }
                    sum
                });
                let checksum = asks.await.expect("a task");
                answers.await.expect("a task");
                Work {
                    operations: 2 * throws,
                    checksum,
                    expected: sum_below(throws),
                }
            }
        })
    });
}
