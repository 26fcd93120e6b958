// SPDX-License-Identifier: MIT
//! Channels, semaphores, mutexes. Tokio's own channel has one consumer; where there are several,
//! async-channel's is used.
use crate::{measure, run_main, sum_below, Run, Work};
use std::sync::Arc;
use tokio::sync::{mpsc, Mutex, Semaphore};
use tokio::task::{spawn, yield_now};

const HOPS_PER_ROUND: u64 = 1000;
const ITEMS_PER_ROUND: u64 = 8000;
const PRODUCERS: u64 = 4;
const CONSUMERS: u64 = 4;
const ROOM: usize = 128;
const SECTIONS_PER_ROUND: u64 = 1600;

// ---- Channels ----

/// There is no unbuffered channel: room for one is the least.
pub fn chan_hop(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let throws = rounds * HOPS_PER_ROUND / 2;
            let (there, mut there_end) = mpsc::channel::<u64>(1);
            let (back, mut back_end) = mpsc::channel::<u64>(1);
            let pong = spawn(async move {
                while let Some(item) = there_end.recv().await {
                    back.send(item).await.expect("a receiver");
                }
            });
            let ping = spawn(async move {
                let mut sum = 0;
                for i in 0..throws {
                    there.send(i).await.expect("a receiver");
                    sum += back_end.recv().await.expect("an answer");
                }
                sum
            });
            let checksum = ping.await.expect("a task");
            pong.await.expect("a task");
            Work {
                operations: 2 * throws,
                checksum,
                expected: sum_below(throws),
            }
        }),
    );
}

pub fn sem_hop(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let throws = rounds * HOPS_PER_ROUND / 2;
            let there = Arc::new(Semaphore::new(0));
            let back = Arc::new(Semaphore::new(0));
            let (there_end, back_end) = (there.clone(), back.clone());
            let pong = spawn(async move {
                let mut count = 0;
                for _ in 0..throws {
                    there_end.acquire().await.expect("a permit").forget();
                    count += 1;
                    back_end.add_permits(1);
                }
                count
            });
            let mut checksum = 0;
            for _ in 0..throws {
                there.add_permits(1);
                back.acquire().await.expect("a permit").forget();
                checksum += 1;
            }
            checksum += pong.await.expect("a task");
            Work {
                operations: 2 * throws,
                checksum,
                expected: 2 * throws,
            }
        }),
    );
}

async fn produce_all(items: u64, producer: u64, sender: async_channel::Sender<u64>) {
    for item in producer * items / PRODUCERS..(producer + 1) * items / PRODUCERS {
        sender.send(item).await.expect("a receiver");
    }
}

async fn consume(receiver: async_channel::Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Ok(item) = receiver.recv().await {
        sum += item;
    }
    sum
}

/// When the last producer ends, the channel is closed.
pub fn mpmc(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let items = rounds * ITEMS_PER_ROUND;
            let (sender, receiver) = async_channel::bounded::<u64>(ROOM);
            let sinks: Vec<_> = (0..CONSUMERS)
                .map(|_| spawn(consume(receiver.clone())))
                .collect();
            for i in 0..PRODUCERS {
                spawn(produce_all(items, i, sender.clone()));
            }
            drop(sender);
            let mut checksum = 0;
            for sink in sinks {
                checksum += sink.await.expect("a task");
            }
            Work {
                operations: items,
                checksum,
                expected: sum_below(items),
            }
        }),
    );
}

async fn consume_in_turn(receiver: Arc<Mutex<mpsc::Receiver<u64>>>) -> u64 {
    let mut sum = 0;
    loop {
        let item = receiver.lock().await.recv().await;
        match item {
            Some(item) => sum += item,
            None => return sum,
        }
    }
}

/// The same with Tokio's own channel, whose consumer is behind a mutex.
pub fn mpmc_mutex(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let items = rounds * ITEMS_PER_ROUND;
            let (sender, receiver) = mpsc::channel::<u64>(ROOM);
            let receiver = Arc::new(Mutex::new(receiver));
            let sinks: Vec<_> = (0..CONSUMERS)
                .map(|_| spawn(consume_in_turn(receiver.clone())))
                .collect();
            for i in 0..PRODUCERS {
                let sender = sender.clone();
                spawn(async move {
                    for item in i * items / PRODUCERS..(i + 1) * items / PRODUCERS {
                        sender.send(item).await.expect("a receiver");
                    }
                });
            }
            drop(sender);
            let mut checksum = 0;
            for sink in sinks {
                checksum += sink.await.expect("a task");
            }
            Work {
                operations: items,
                checksum,
                expected: sum_below(items),
            }
        }),
    );
}

// ---- Mutex ----

pub fn mutex_1(run: Run) {
    run_main(
        run.workers,
        measure(run, |rounds| async move {
            let sections = rounds * SECTIONS_PER_ROUND;
            let mutex = Mutex::new(0u64);
            for _ in 0..sections {
                *mutex.lock().await += 1;
            }
            Work {
                operations: sections,
                checksum: mutex.into_inner(),
                expected: sections,
            }
        }),
    );
}

fn crowd(run: Run, tasks: u64, yields: bool) {
    run_main(
        run.workers,
        measure(run, move |rounds| async move {
            let share = rounds * SECTIONS_PER_ROUND / tasks;
            let mutex = Arc::new(Mutex::new(0u64));
            let mut handles = Vec::new();
            for _ in 0..tasks {
                let mutex = mutex.clone();
                handles.push(spawn(async move {
                    for _ in 0..share {
                        let mut count = mutex.lock().await;
                        let before = *count;
                        if yields {
                            yield_now().await;
                        }
                        *count = before + 1;
                    }
                }));
            }
            for handle in handles {
                handle.await.expect("a task");
            }
            let checksum = *mutex.lock().await;
            Work {
                operations: share * tasks,
                checksum,
                expected: share * tasks,
            }
        }),
    );
}

pub fn mutex_16(run: Run) {
    crowd(run, 16, false);
}

pub fn mutex_yield(run: Run) {
    crowd(run, 4, true);
}
