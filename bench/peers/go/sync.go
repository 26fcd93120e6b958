// SPDX-License-Identifier: MIT

package main

import (
	"runtime"
	"sync"
)

const (
	hopsPerRound     = 1000
	itemsPerRound    = 8000
	producers        = 4
	consumers        = 4
	room             = 128
	sectionsPerRound = 1600
)

// 0 + 1 + ... + (count - 1).
func sumBelow(count uint64) uint64 {
	if count%2 == 0 {
		return count / 2 * (count - 1)
	}
	return (count - 1) / 2 * count
}

// ---- Channels ----

// Two goroutines that answer each other; one operation is one item.
func rally(rounds uint64, prepare func()) work {
	throws := rounds * hopsPerRound / 2
	there, back := make(chan uint64), make(chan uint64)
	go func() {
		prepare()
		for item := range there {
			back <- item
		}
		close(back)
	}()
	sum := make(chan uint64)
	go func() {
		prepare()
		all := uint64(0)
		for i := uint64(0); i < throws; i++ {
			there <- i
			all += <-back
		}
		close(there)
		<-back // until it is closed
		sum <- all
	}()
	return work{2 * throws, <-sum, sumBelow(throws)}
}

func chanHop(run run) {
	measure(run, func(rounds uint64) work { return rally(rounds, func() {}) })
}

// A goroutine that is locked to its thread is a loop of its own: each message goes to another
// thread.
func bounce(run run) {
	measure(run, func(rounds uint64) work { return rally(rounds, runtime.LockOSThread) })
}

// A channel with room for one is Go's semaphore.
func semHop(run run) {
	measure(run, func(rounds uint64) work {
		throws := rounds * hopsPerRound / 2
		there, back := make(chan struct{}, 1), make(chan struct{}, 1)
		count := uint64(0)
		go func() {
			for i := uint64(0); i < throws; i++ {
				<-there
				count++
				back <- struct{}{}
			}
		}()
		for i := uint64(0); i < throws; i++ {
			there <- struct{}{}
			<-back
			count++
		}
		return work{2 * throws, count, 2 * throws}
	})
}

func mpmc(run run) {
	measure(run, func(rounds uint64) work {
		items := rounds * itemsPerRound
		channel := make(chan uint64, room)
		var senders sync.WaitGroup
		senders.Add(producers)
		sums := make(chan uint64)
		for i := 0; i < consumers; i++ {
			go func() {
				sum := uint64(0)
				for item := range channel {
					sum += item
				}
				sums <- sum
			}()
		}
		for i := uint64(0); i < producers; i++ {
			go func(first, end uint64) {
				for item := first; item < end; item++ {
					channel <- item
				}
				senders.Done()
			}(i*items/producers, (i+1)*items/producers)
		}
		senders.Wait()
		close(channel)
		all := work{items, 0, sumBelow(items)}
		for i := 0; i < consumers; i++ {
			all.checksum += <-sums
		}
		return all
	})
}

// ---- Mutex ----

func mutex1(run run) {
	var mutex sync.Mutex
	measure(run, func(rounds uint64) work {
		sections := rounds * sectionsPerRound
		count := uint64(0)
		for i := uint64(0); i < sections; i++ {
			mutex.Lock()
			count++
			mutex.Unlock()
		}
		return work{sections, count, sections}
	})
}

func crowd(run run, tasks uint64, yields bool) {
	measure(run, func(rounds uint64) work {
		share := rounds * sectionsPerRound / tasks
		var mutex sync.Mutex
		var group sync.WaitGroup
		count := uint64(0)
		group.Add(int(tasks))
		for i := uint64(0); i < tasks; i++ {
			go func() {
				for j := uint64(0); j < share; j++ {
					mutex.Lock()
					before := count
					if yields {
						runtime.Gosched()
					}
					count = before + 1
					mutex.Unlock()
				}
				group.Done()
			}()
		}
		group.Wait()
		return work{share * tasks, count, share * tasks}
	})
}

func mutex16(run run) {
	crowd(run, 16, false)
}

func mutexYield(run run) {
	crowd(run, 4, true)
}
